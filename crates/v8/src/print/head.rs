//! What stands before the braces of an object, or instead of them.

use crate::error::Result;
use crate::object::Slot;
use crate::tagged::Tagged;
use crate::types::Kind;

use super::Printer;
use super::text::{iso_time, number_text};

impl Printer<'_> {
    /// What stands before the braces.
    pub(super) fn head(&mut self, value: Tagged, kind: Kind, class: &str) -> Result<String> {
        let v8 = self.v8;
        let at = value.address();
        Ok(match kind {
            Kind::JsFunction => {
                let shared = v8.shared(v8.shared_of(value)?)?;
                let name = v8.function_name(value)?;
                let source = shared
                    .script
                    .and(shared.text_start)
                    .and_then(|_| v8.function_text(&shared).ok())
                    .unwrap_or_default();
                // FunctionKind, the lowest 5 bits: 3 to 6 are constructors of classes. (V8's `objects/function-kind.h`.)
                let what = if (3..=6).contains(&(shared.flags & 31)) {
                    "class"
                } else if source.starts_with("async function*") || source.starts_with("async *") {
                    "AsyncGeneratorFunction:"
                } else if source.starts_with("async") {
                    "AsyncFunction:"
                } else if source.starts_with("function*") || source.starts_with('*') {
                    "GeneratorFunction:"
                } else {
                    "Function:"
                };
                let name = if name.is_empty() {
                    "(anonymous)".to_owned()
                } else {
                    name
                };
                let place = v8
                    .function_location(&shared)
                    .map_or(String::new(), |place| format!(" {place}"));
                format!("[{what} {name}{place}]")
            }
            Kind::JsBoundFunction => {
                let target = v8.field(at, v8.c.js_bound_target)?;
                let name = v8.function_name(target).unwrap_or_default();
                format!("[Function: bound {name}]")
            }
            Kind::JsArray => {
                let length = v8
                    .number(v8.field(at, v8.c.js_array_length)?)
                    .unwrap_or(0.0);
                if class == "Array" {
                    String::new()
                } else {
                    format!("{class}({})", number_text(length))
                }
            }
            Kind::JsArguments => "[Arguments]".to_owned(),
            Kind::JsTypedArray => {
                let (name, _, length, _) = self.typed(value)?;
                if class == "Buffer" || class == "FastBuffer" {
                    format!("Buffer({length})")
                } else if class == name {
                    format!("{name}({length})")
                } else {
                    format!("{class}({length})")
                }
            }
            Kind::JsMap | Kind::JsSet => {
                let (_, used) = v8.collection(value, 0)?;
                format!("{class}({used})")
            }
            Kind::JsDate => {
                let text = self
                    .date(value)
                    .and_then(iso_time)
                    .unwrap_or_else(|| "Invalid Date".to_owned());
                if class == "Date" {
                    text
                } else {
                    format!("{class} {text}")
                }
            }
            Kind::JsRegExp => self.regexp(value)?,
            Kind::JsError => self.error_head(value, class),
            Kind::JsWrapper => {
                let inner = self.value(v8.field(at, v8.c.js_wrapper_value)?, 0);
                format!("[{class}: {}]", inner.text)
            }
            Kind::JsGenerator => "Object [Generator]".to_owned(),
            Kind::JsAsyncGenerator => "Object [AsyncGenerator]".to_owned(),
            Kind::JsAsyncFunction => "[async function's state]".to_owned(),
            Kind::JsGlobalObject | Kind::JsGlobalProxy => "Object [global]".to_owned(),
            Kind::JsModuleNamespace => "[Module: null prototype]".to_owned(),
            Kind::JsExternal => format!("[External: {:#x}]", v8.memory.u64(at + 24).unwrap_or(0)),
            _ => {
                let map = v8.map_of(value)?;
                let prototype = v8.field(map.address, v8.c.map_prototype)?;
                match class {
                    "Object" if v8.root_name(prototype) == Some("null_value") => {
                        "[Object: null prototype]".to_owned()
                    }
                    "Object" => String::new(),
                    _ => class.to_owned(),
                }
            }
        })
    }

    fn date(&self, value: Tagged) -> Option<f64> {
        let field = self
            .v8
            .field(value.address(), self.v8.c.js_date_value)
            .ok()?;
        // A tagged number in 20, a raw double later: a pointer to a number is one, and so is a small integer.
        if self.v8.column == 0
            || self
                .v8
                .kind_of(field)
                .is_ok_and(|kind| kind == Kind::HeapNumber)
        {
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
        const FLAGS: [(i32, char); 8] = [
            (7, 'd'),
            (0, 'g'),
            (1, 'i'),
            (6, 'l'),
            (2, 'm'),
            (5, 's'),
            (4, 'u'),
            (3, 'y'),
        ];
        let mut text = format!("/{}/", v8.text(source, 4096)?.text);
        text.extend(
            FLAGS
                .iter()
                .filter(|(bit, _)| flags >> bit & 1 == 1)
                .map(|(_, c)| *c),
        );
        if flags >> 8 & 1 == 1 {
            text.push('v');
        }
        Ok(text)
    }

    /// `TypeError: message` and the stack.
    fn error_head(&mut self, value: Tagged, class: &str) -> String {
        let v8 = self.v8;
        if let Some(stack) = v8.error_stack(value) {
            return format!("[{stack}]");
        }
        let text = |slot: Option<Slot>| match slot {
            Some(Slot::Value(value)) => v8.name_text(value),
            _ => None,
        };
        let name = text(v8.lookup(value, "name")).unwrap_or_else(|| class.to_owned());
        match text(v8.lookup(value, "message")).filter(|message| !message.is_empty()) {
            Some(message) => format!("[{name}: {message}]"),
            None => format!("[{name}]"),
        }
    }
}
