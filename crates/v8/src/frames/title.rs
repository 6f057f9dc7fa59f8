//! What V8's traces call a frame: `new Class`, `Type.method [as name]`, `name`, `<anonymous>`. The rules are those of
//! `SerializeJSStackFrame` in V8's `objects/call-site-info.cc`.

use super::Frame;
use crate::code::FrameValue;
use crate::function::Shared;
use crate::object::Slot;
use crate::tagged::Tagged;
use crate::types::Kind;
use crate::v8::V8;

/// Most prototypes that are looked through.
const MAX_CHAIN: usize = 64;

/// SharedFunctionInfo's flags: the kind of function (`objects/function-kind.h`), and that it is a class.
const KIND: u32 = 31;
const CLASS: u32 = 1 << 10;

/// A name as V8's scanner would read one: what is not, such as `get size`, stands without a type before it.
fn is_identifier(name: &str) -> bool {
    let mut chars = name.chars();
    chars
        .next()
        .is_some_and(|first| first.is_alphabetic() || first == '$' || first == '_')
        && chars.all(|c| c.is_alphanumeric() || matches!(c, '$' | '_' | '\u{200c}' | '\u{200d}'))
}

/// Whether a function's name ends with the method's, so that it need not be told: `Foo.bar` does with `bar`, and since
/// Node 22 `get size` with `size`.
fn ends_with_method(name: &str, method: &str, column: usize) -> bool {
    name == method
        || name
            .strip_suffix(method)
            .is_some_and(|before| before.ends_with('.') || (column >= 1 && before.ends_with(' ')))
}

impl V8 {
    /// The function as V8's traces write it.
    pub(crate) fn frame_title(&self, frame: &Frame, shared: &Shared) -> String {
        let name = self.title_name(frame, shared);
        let named = |name: String| match name.is_empty() {
            true => "<anonymous>".to_owned(),
            false => name,
        };
        if frame.constructor {
            return format!("new {}", named(name));
        }
        let Some(class) = frame.receiver.as_ref().and_then(|one| self.type_name(one)) else {
            return named(name);
        };
        let method = frame
            .receiver
            .as_ref()
            .and_then(FrameValue::tagged)
            .zip(frame.function)
            .and_then(|(receiver, function)| self.method_name(receiver, function, shared))
            .filter(|method| !method.is_empty());
        if name.is_empty() {
            return format!("{class}.{}", method.as_deref().unwrap_or("<anonymous>"));
        }
        let mut title = String::new();
        if !class.is_empty() && is_identifier(&name) && name != class {
            title = format!("{class}.");
        }
        title.push_str(&name);
        if let Some(method) = method
            && !ends_with_method(&name, &method, self.column)
        {
            title.push_str(&format!(" [as {method}]"));
        }
        title
    }

    /// The function's name: what was given to it, else what the compiler has, else `eval` for code of one.
    fn title_name(&self, frame: &Frame, shared: &Shared) -> String {
        if let Some(known) = shared.builtin.and_then(|id| self.builtin_title(id)) {
            return known;
        }
        let name = match frame.function {
            Some(function) => self.own_name(function),
            None => None,
        };
        let name = name.unwrap_or_else(|| self.compiled_name(shared));
        if name.is_empty() && shared.script.is_some_and(|script| self.is_eval(script)) {
            return "eval".to_owned();
        }
        name
    }

    /// The names that V8 gives to a few builtins in traces, since Node 22. (`Builtins::NameForStackTrace`.)
    fn builtin_title(&self, id: i32) -> Option<String> {
        if self.column == 0 {
            return None;
        }
        let name = self.builtin_name(id)?;
        if let Some(method) = name.strip_prefix("DataViewPrototype") {
            let mut chars = method.chars();
            let first = chars.next()?.to_lowercase();
            let method: String = first.chain(chars).collect();
            return match method.as_str() {
                "getByteLength" => Some("get DataView.prototype.byteLength".to_owned()),
                "getByteOffset" | "getBuffer" => None,
                _ => Some(format!("DataView.prototype.{method}")),
            };
        }
        match name.as_str() {
            "StringPrototypeToLocaleLowerCase" => Some("String.toLocaleLowerCase".to_owned()),
            "StringPrototypeIndexOf" => Some("String.indexOf".to_owned()),
            "StringPrototypeToLowerCaseIntl" => Some("String.toLowerCase".to_owned()),
            _ => None,
        }
    }

    /// The type before a method's name; none for a function that is called as no method.
    fn type_name(&self, receiver: &FrameValue) -> Option<String> {
        let receiver = match receiver {
            FrameValue::Tagged(value) => *value,
            FrameValue::Number(_) => return Some("Number".to_owned()),
            FrameValue::BigInt(_) => return Some("BigInt".to_owned()),
            FrameValue::Boolean(_) => return Some("Boolean".to_owned()),
            FrameValue::Unmade(unmade) if unmade.string => return Some("String".to_owned()),
            FrameValue::Unmade(unmade) => {
                let map = self.map(unmade.words.first()?.tagged()?)?;
                let name = self.function_name(self.map_constructor(&map)?).ok()?;
                return Some(name);
            }
            FrameValue::OptimizedOut | FrameValue::Unknown => return None,
        };
        if receiver.is_smi() {
            return Some("Number".to_owned());
        }
        let name = match self.kind_of(receiver).ok()? {
            Kind::Oddball => match self.root_name(receiver) {
                Some("true_value" | "false_value") => "Boolean",
                _ => return None,
            },
            Kind::Hole | Kind::JsGlobalProxy => return None,
            Kind::JsProxy => "Proxy",
            Kind::String => "String",
            Kind::Symbol => "Symbol",
            Kind::BigInt => "BigInt",
            Kind::HeapNumber => "Number",
            Kind::JsFunction => {
                // Node 20 and 22 name classes only.
                let shared = self
                    .shared_of(receiver)
                    .and_then(|shared| self.shared(shared));
                let named =
                    self.column >= 2 || shared.is_ok_and(|shared| shared.flags & CLASS != 0);
                let name = match named {
                    true => self.debug_name(receiver),
                    false => String::new(),
                };
                return Some(match name.is_empty() {
                    true => "Function".to_owned(),
                    false => name,
                });
            }
            _ => return Some(self.trace_class(receiver)),
        };
        Some(name.to_owned())
    }

    /// The compiler's name: V8 has two for what initialises the fields of a class. (`SharedFunctionInfo::DebugName`.)
    fn compiled_name(&self, shared: &Shared) -> String {
        let kind = shared.flags & KIND;
        let (members, statics) = match self.column {
            3 => (24..=25, 26..=27),
            _ => (24..=24, 25..=25),
        };
        if shared.script.is_some() && members.contains(&kind) {
            return "<instance_members_initializer>".to_owned();
        }
        if shared.script.is_some() && statics.contains(&kind) {
            return "<static_initializer>".to_owned();
        }
        shared.name.clone()
    }

    /// A function's own `name`, else the compiler's. (`JSFunction::GetDebugName`.)
    fn debug_name(&self, function: Tagged) -> String {
        self.own_name(function)
            .unwrap_or_else(|| self.plain_name(function))
    }

    /// The compiler's name of a function.
    fn plain_name(&self, function: Tagged) -> String {
        self.shared_of(function)
            .and_then(|shared| self.shared(shared))
            .map_or(String::new(), |shared| self.compiled_name(&shared))
    }

    /// The class of a receiver by V8's own rule, with `Symbol.toStringTag`. (`JSReceiver::GetConstructorName`.)
    fn trace_class(&self, receiver: Tagged) -> String {
        let mut at = receiver;
        let tag = self.root("to_string_tag_symbol");
        for _ in 0..MAX_CHAIN {
            let Ok(map) = self.map_of(at) else { break };
            if !map.kind.is_js_object() {
                break;
            }
            let properties = self.properties(at).unwrap_or_default();
            // V8 looks at the map's constructor first.
            if at == receiver
                && map.bits2 & 1 == 1
                && map.bits3 >> 20 & 1 == 0
                && let Some(constructor) = self.map_constructor(&map)
            {
                // Since Node 26 what it was renamed to counts.
                let name = match self.column {
                    3 => self.debug_name(constructor),
                    _ => self.plain_name(constructor),
                };
                if !name.is_empty() && name != "Object" {
                    return name;
                }
            }
            for property in properties {
                if let Slot::Value(value) = property.slot {
                    if Some(property.key) == tag
                        && let Some(text) = self.name_text(value)
                    {
                        return text;
                    }
                    if at != receiver
                        && self.name_text(property.key).as_deref() == Some("constructor")
                        && self
                            .kind_of(value)
                            .is_ok_and(|kind| kind == Kind::JsFunction)
                    {
                        let name = self.plain_name(value);
                        if !name.is_empty() && name != "Object" {
                            return name;
                        }
                    }
                }
            }
            at = self
                .field(map.address, self.c.map_prototype)
                .unwrap_or_default();
        }
        self.class_name(receiver)
            .map_or_else(|_| "Object".to_owned(), |name| name.to_string())
    }

    /// Under which property of the receiver or its prototypes a function is: first the one of its own name, else the
    /// only enumerable one. (`CallSiteInfo::GetMethodName`, `InferMethodName`.)
    fn method_name(&self, receiver: Tagged, function: Tagged, shared: &Shared) -> Option<String> {
        let is_it = |slot: &Slot| match slot {
            Slot::Value(value) => *value == function,
            Slot::Accessor(getter, setter) => *getter == function || *setter == function,
            _ => false,
        };
        let own = shared.name.as_str();
        let own = own
            .strip_prefix("get ")
            .or_else(|| own.strip_prefix("set "))
            .unwrap_or_else(|| own.rsplit('.').next().unwrap_or(own));
        if shared.script.is_some() && (24..=27).contains(&(shared.flags & KIND)) {
            return None;
        }
        let mut by_name = None;
        let mut inferred: Option<Option<String>> = None;
        let mut at = receiver;
        for _ in 0..MAX_CHAIN {
            let Ok(map) = self.map_of(at) else { break };
            if !map.kind.is_js_object() || map.kind == Kind::JsProxy {
                break;
            }
            for property in self.properties(at).unwrap_or_default() {
                let hit = is_it(&property.slot);
                let symbol = self
                    .kind_of(property.key)
                    .is_ok_and(|kind| kind == Kind::Symbol);
                if property.private || symbol || !(hit || by_name.is_none()) {
                    continue;
                }
                let Some(key) = self.name_text(property.key) else {
                    continue;
                };
                // The first of that name hides those further up, whatever it is.
                if !own.is_empty() && by_name.is_none() && key == own {
                    by_name = Some(hit);
                }
                if hit && property.enumerable {
                    inferred = Some(match inferred {
                        None => Some(key),
                        Some(Some(before)) if before == key => Some(before),
                        Some(_) => None,
                    });
                }
            }
            at = self.field(map.address, self.c.map_prototype).ok()?;
        }
        match by_name {
            Some(true) => Some(own.to_owned()),
            _ => inferred.flatten(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_are_told_where_the_name_does_not_tell() {
        assert!(ends_with_method("bar", "bar", 0));
        assert!(ends_with_method("Foo.bar", "bar", 0));
        assert!(!ends_with_method("foobar", "bar", 3));
        assert!(!ends_with_method("get size", "size", 0));
        assert!(ends_with_method("get size", "size", 1));
        assert!(is_identifier("_on$1") && is_identifier("größe"));
        assert!(!is_identifier("get size") && !is_identifier("#x") && !is_identifier("1a"));
    }
}
