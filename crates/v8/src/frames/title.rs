//! What V8's traces call a frame: `new Class`, `Type.method [as name]`, `name`, `<anonymous>`.

use super::Frame;
use crate::function::Shared;
use crate::object::Slot;
use crate::tagged::Tagged;
use crate::types::Kind;
use crate::v8::V8;

impl V8 {
    /// The function as V8's traces write it: `new Class`, `Type.method [as name]`, `name`, `<anonymous>`. (V8's
    /// `SerializeJSStackFrame` in `objects/call-site-info.cc`.)
    pub(crate) fn frame_title(&self, frame: &Frame, shared: &Shared) -> String {
        let mut name = shared.name.clone();
        if name.is_empty()
            && let Some(function) = frame.function
        {
            name = self.function_name(function).unwrap_or_default();
        }
        if frame.constructor {
            return format!(
                "new {}",
                if name.is_empty() {
                    "<anonymous>"
                } else {
                    &name
                }
            );
        }
        let toplevel = frame.inlined
            || frame.receiver.is_none_or(|receiver| {
                !receiver.is_pointer()
                    || matches!(
                        self.kind_of(receiver),
                        Err(_) | Ok(Kind::Oddball | Kind::Hole | Kind::JsGlobalProxy)
                    )
            });
        if toplevel {
            return if name.is_empty() {
                "<anonymous>".to_owned()
            } else {
                name
            };
        }
        let receiver = frame.receiver.unwrap_or_default();
        let class = match self.kind_of(receiver) {
            Ok(Kind::JsProxy) => "Proxy".to_owned(),
            Ok(Kind::String) => "String".to_owned(),
            Ok(Kind::Symbol) => "Symbol".to_owned(),
            Ok(Kind::BigInt) => "BigInt".to_owned(),
            Ok(Kind::HeapNumber) => "Number".to_owned(),
            _ => self.trace_class(receiver),
        };
        let method = frame
            .function
            .and_then(|function| self.method_name(receiver, function));
        if name.is_empty() {
            return format!("{class}.{}", method.as_deref().unwrap_or("<anonymous>"));
        }
        let mut title = if name.starts_with(&format!("{class}.")) {
            name.clone()
        } else {
            format!("{class}.{name}")
        };
        if let Some(method) = method
            && method != name
            && !name.ends_with(&format!(".{method}"))
            && !name.ends_with(&format!(" {method}"))
        {
            title.push_str(&format!(" [as {method}]"));
        }
        title
    }

    /// The class of a receiver by V8's own rule, with `Symbol.toStringTag`.
    fn trace_class(&self, receiver: Tagged) -> String {
        if self
            .kind_of(receiver)
            .is_ok_and(|kind| kind == Kind::JsFunction)
        {
            return "Function".to_owned();
        }
        let mut at = receiver;
        let tag = self.root("to_string_tag_symbol");
        for _ in 0..64 {
            let Ok(map) = self.map_of(at) else { break };
            if !map.kind.is_js_object() {
                break;
            }
            let properties = self.properties(at).unwrap_or_default();
            // V8 looks at the map's constructor first.
            if at == receiver
                && map.bits2 & 1 == 1
                && map.bits3 >> 20 & 1 == 0
                && let Some(name) = self
                    .map_constructor(&map)
                    .and_then(|function| self.function_name(function).ok())
                && !name.is_empty()
                && name != "Object"
            {
                return name;
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
                        && let Ok(name) = self.function_name(value)
                        && !name.is_empty()
                        && name != "Object"
                    {
                        return name;
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

    /// Under which property of the receiver or its prototypes a function is.
    fn method_name(&self, receiver: Tagged, function: Tagged) -> Option<String> {
        let mut at = receiver;
        for _ in 0..64 {
            let map = self.map_of(at).ok()?;
            if !map.kind.is_js_object() || map.kind == Kind::JsProxy {
                return None;
            }
            let mut found = None;
            for property in self.properties(at).unwrap_or_default() {
                let hit = match property.slot {
                    Slot::Value(value) => value == function,
                    Slot::Accessor(getter, setter) => getter == function || setter == function,
                    _ => false,
                };
                if hit
                    && !property.private
                    && let Some(name) = self.name_text(property.key)
                {
                    // Under two names it has none.
                    if found.is_some() {
                        return None;
                    }
                    found = Some(name);
                }
            }
            if found.is_some() {
                return found;
            }
            at = self.field(map.address, self.c.map_prototype).ok()?;
        }
        None
    }
}
