//! What stands before the braces of an object, or instead of them.

use crate::error::Result;
use crate::object::Slot;
use crate::tagged::Tagged;
use crate::types::Kind;

use super::Printer;
use super::text::{iso_time, number_text};

/// Most prototypes that are asked for anything.
pub(super) const MAX_PROTOTYPES: usize = 64;

impl Printer<'_> {
    /// What stands before the braces.
    pub(super) fn head(&mut self, value: Tagged, kind: Kind, class: &str) -> Result<String> {
        let v8 = self.v8;
        let at = value.address();
        Ok(match kind {
            Kind::JsFunction => self.function(value)?,
            Kind::JsBoundFunction => {
                let name = match v8.own_property(value, "name") {
                    Some(name) => v8.name_text(name).unwrap_or_default(),
                    None => {
                        let target = v8.field(at, v8.c.js_bound_target)?;
                        format!("bound {}", v8.given_name(target).unwrap_or_default())
                    }
                };
                format!("[Function: {name}]")
            }
            Kind::JsArray => {
                let length = v8
                    .number(v8.field(at, v8.c.js_array_length)?)
                    .unwrap_or(0.0);
                let prefix = self.prefix(value, class, &format!("({})", number_text(length)))?;
                if prefix == format!("Array({})", number_text(length)) {
                    String::new()
                } else {
                    prefix
                }
            }
            Kind::JsArguments => "[Arguments]".to_owned(),
            Kind::JsTypedArray => {
                let (name, _, length, _) = v8.typed_array(value)?;
                if matches!(class, "Buffer" | "FastBuffer") {
                    format!("Buffer({length})")
                } else if self.has_no_prototype(value) {
                    format!("[{name}({length}): null prototype]")
                } else if class == name {
                    format!("{name}({length})")
                } else {
                    format!("{class}({length}) [{name}]")
                }
            }
            Kind::JsMap | Kind::JsSet => {
                let (_, used) = v8.collection(value, 0)?;
                self.prefix(value, class, &format!("({used})"))?
            }
            Kind::JsMapIterator | Kind::JsSetIterator => {
                let name = v8.types.name(v8.map_of(value)?.instance_type);
                let of = if kind == Kind::JsMapIterator {
                    "Map"
                } else {
                    "Set"
                };
                if name.ends_with("KEY_VALUE_ITERATOR") {
                    format!("[{of} Entries]")
                } else {
                    format!("[{of} Iterator]")
                }
            }
            Kind::JsDate => {
                let text = self
                    .date(value)
                    .and_then(iso_time)
                    .unwrap_or_else(|| "Invalid Date".to_owned());
                if self.has_no_prototype(value) {
                    format!("[Date: null prototype] {text}")
                } else if class == "Date" {
                    text
                } else {
                    format!("{class} {text}")
                }
            }
            Kind::JsRegExp => {
                let text = self.regexp(value)?;
                if self.has_no_prototype(value) {
                    format!("[RegExp: null prototype] {text}")
                } else if class == "RegExp" {
                    text
                } else {
                    format!("{class} {text}")
                }
            }
            Kind::JsWrapper => {
                let inner = self.value(v8.field(at, v8.c.js_wrapper_value)?, 0);
                let of = match inner.what {
                    "string" => "String",
                    "number" => "Number",
                    "boolean" => "Boolean",
                    "bigint" => "BigInt",
                    _ => "Symbol",
                };
                if self.has_no_prototype(value) {
                    format!("[{of} (null prototype): {}]", inner.text)
                } else if class == of {
                    format!("[{of}: {}]", inner.text)
                } else {
                    format!("[{of} ({class}): {}]", inner.text)
                }
            }
            Kind::JsProxy => {
                let handler = v8.field(at, v8.c.js_proxy_handler)?;
                if v8.root_name(handler) == Some("null_value") {
                    "<Revoked Proxy>".to_owned()
                } else {
                    "Proxy".to_owned()
                }
            }
            Kind::JsGenerator => "Object [Generator]".to_owned(),
            Kind::JsAsyncGenerator => "Object [AsyncGenerator]".to_owned(),
            Kind::JsAsyncFunction => "[async function's state]".to_owned(),
            Kind::JsGlobalObject | Kind::JsGlobalProxy => "Object [global]".to_owned(),
            Kind::JsModuleNamespace => "[Module: null prototype]".to_owned(),
            Kind::JsExternal => format!("[External: {:#x}]", v8.memory.u64(at + 24).unwrap_or(0)),
            _ => match self.iterator_head(value)? {
                Some(head) => head,
                None => {
                    let prefix = self.prefix(value, class, "")?;
                    if prefix == "Object" {
                        String::new()
                    } else {
                        prefix
                    }
                }
            },
        })
    }

    pub(super) fn has_no_prototype(&self, value: Tagged) -> bool {
        let v8 = self.v8;
        let prototype = || v8.field(v8.map_of(value)?.address, v8.c.map_prototype);
        prototype().is_ok_and(|prototype| v8.root_name(prototype) == Some("null_value"))
    }

    /// `Class(size) [tag]`; of what has no prototype `[Class(size): null prototype]`.
    fn prefix(&mut self, value: Tagged, class: &str, size: &str) -> Result<String> {
        let v8 = self.v8;
        let map = v8.map_of(value)?;
        let prototype = v8.field(map.address, v8.c.map_prototype)?;
        let tag = self.tag(value, prototype).unwrap_or_default();
        if v8.root_name(prototype) == Some("null_value") {
            let mut prefix = format!("[{class}{size}: null prototype]");
            if !tag.is_empty() && tag != class {
                prefix.push_str(&format!(" [{tag}]"));
            }
            return Ok(prefix);
        }
        Ok(if tag.is_empty() || tag == class {
            format!("{class}{size}")
        } else if tag.rsplit_once('.').is_some_and(|(_, last)| last == class) {
            // Intl.NumberFormat, WebAssembly.Module: the tag is the class by its full name.
            format!("{tag}{size}")
        } else {
            format!("{class}{size} [{tag}]")
        })
    }

    /// What `Symbol.toStringTag` says of an object, where it is a plain string.
    fn tag(&mut self, value: Tagged, prototype: Tagged) -> Option<String> {
        let symbol = self.v8.root("to_string_tag_symbol")?;
        let own = |printer: &Self, object: Tagged| {
            let map = printer.v8.map_of(object).ok()?;
            let named = printer.v8.is_dictionary_map(&map)
                || printer
                    .v8
                    .map_keys(&map)
                    .is_ok_and(|keys| keys.iter().any(|(key, _, _)| *key == symbol));
            if !named {
                return None;
            }
            let properties = printer.v8.properties(object).ok()?;
            let tag = properties
                .into_iter()
                .find(|property| property.key == symbol)?;
            Some(match tag.slot {
                // One of the object's own that is enumerable shows as a property.
                Slot::Value(text) if object != value || !tag.enumerable => {
                    printer.v8.name_text(text)
                }
                _ => None,
            })
        };
        if let Some(tag) = own(self, value) {
            return tag;
        }
        if let Some(known) = self.tags.get(&prototype.0) {
            return known.clone();
        }
        let mut at = prototype;
        let mut found = None;
        for _ in 0..MAX_PROTOTYPES {
            let Ok(map) = self.v8.map_of(at) else { break };
            if !map.kind.is_js_object() || map.kind == Kind::JsProxy {
                break;
            }
            if let Some(tag) = own(self, at) {
                found = tag;
                break;
            }
            at = self
                .v8
                .field(map.address, self.v8.c.map_prototype)
                .unwrap_or_default();
        }
        self.tags.insert(prototype.0, found.clone());
        found
    }

    /// `[Function: name file:line:column]`, `[class Name extends Base file:line:column]`.
    fn function(&mut self, value: Tagged) -> Result<String> {
        let v8 = self.v8;
        let shared = v8.shared(v8.shared_of(value)?)?;
        let mut name = v8.given_name(value)?;
        let place = v8
            .function_location(&shared)
            .map_or(String::new(), |place| format!(" {place}"));
        // FunctionKind, the lowest 5 bits, in the order of V8's `objects/function-kind.h`; the same in all four.
        let kind = shared.flags & 31;
        if (3..=6).contains(&kind) {
            if name.is_empty() {
                "(anonymous)".clone_into(&mut name);
            }
            let map = v8.map_of(value)?;
            let base = v8.field(map.address, v8.c.map_prototype)?;
            let extends = if v8.root_name(base) == Some("null_value") {
                " extends [null prototype]".to_owned()
            } else {
                let named = v8.given_name(base).unwrap_or_default();
                // Of a class that extends null it is Function.prototype, the one function whose own prototype is none.
                let of_v8 = || {
                    let above = v8
                        .map_of(base)
                        .and_then(|map| v8.field(map.address, v8.c.map_prototype));
                    above.is_ok_and(|above| v8.kind_of(above) != Ok(Kind::JsFunction))
                };
                match (named.is_empty(), kind) {
                    (false, _) => format!(" extends {named}"),
                    (true, 5 | 6) if v8.kind_of(base).is_ok_and(|kind| kind == Kind::JsProxy) => {
                        " extends Proxy".to_owned()
                    }
                    (true, 5 | 6) if of_v8() => " extends null".to_owned(),
                    (true, 5 | 6) => " extends (anonymous)".to_owned(),
                    _ => String::new(),
                }
            };
            return Ok(format!("[class {name}{extends}{place}]"));
        }
        let what = match kind {
            12..=15 => "AsyncFunction",
            16..=18 => "AsyncGeneratorFunction",
            19..=21 => "GeneratorFunction",
            _ => "Function",
        };
        let null = if self.has_no_prototype(value) {
            " (null prototype)"
        } else {
            ""
        };
        let class = self.function_class(value, what);
        Ok(if name.is_empty() {
            format!("[{what}{null} (anonymous){place}]{class}")
        } else {
            format!("[{what}{null}: {name}{place}]{class}")
        })
    }

    /// ` Class`, of a function of a class that extends Function.
    fn function_class(&self, value: Tagged, what: &str) -> String {
        let v8 = self.v8;
        let mut at = value;
        for _ in 0..MAX_PROTOTYPES {
            let Ok(map) = v8.map_of(at) else { break };
            let Ok(next) = v8.field(map.address, v8.c.map_prototype) else {
                break;
            };
            if let Some(constructor) = v8.own_property(next, "constructor") {
                return match v8.given_name(constructor) {
                    Ok(name)
                        if !name.is_empty()
                            && name != what
                            && !name.ends_with("Function")
                            && name != "Object" =>
                    {
                        format!(" {name}")
                    }
                    _ => String::new(),
                };
            }
            at = next;
        }
        String::new()
    }

    fn date(&self, value: Tagged) -> Option<f64> {
        let field = self
            .v8
            .field(value.address(), self.v8.c.js_date_value)
            .ok()?;
        // A tagged number in 20 and 22, a raw double later.
        if self.v8.column < 2 {
            return self.v8.number(field);
        }
        Some(f64::from_bits(field.0))
    }

    fn regexp(&self, value: Tagged) -> Result<String> {
        let v8 = self.v8;
        let source = v8.field(value.address(), v8.c.js_regexp_source)?;
        let flags = v8
            .field(value.address(), v8.c.js_regexp_flags)?
            .as_smi()
            .unwrap_or(0);
        // JSRegExp::Flag, by bit; written in the order of the language.
        const FLAGS: [(i32, char); 9] = [
            (7, 'd'),
            (0, 'g'),
            (1, 'i'),
            (6, 'l'),
            (2, 'm'),
            (5, 's'),
            (4, 'u'),
            (8, 'v'),
            (3, 'y'),
        ];
        let mut text = format!("/{}/", v8.text(source, 4096)?.text);
        text.extend(
            FLAGS
                .iter()
                .filter(|(bit, _)| flags >> bit & 1 == 1)
                .map(|(_, c)| *c),
        );
        Ok(text)
    }
}
