//! Objects of V8's own, which no program can hold.

use crate::error::Result;
use crate::tagged::Tagged;
use crate::types::Kind;

use super::Printer;
use super::value::{Entry, Value};

impl Printer<'_> {
    /// An object of V8's own: its type, and what is known of some.
    pub(super) fn internal(&mut self, value: Tagged, depth: usize) -> Result<Value> {
        let v8 = self.v8;
        let map = v8.map_of(value)?;
        let name = v8.types.name(map.instance_type);
        let mut out = Value {
            class: name.clone(),
            ..Value::plain("internal", format!("<{name} {:#x}>", value.0))
        };
        match map.kind {
            Kind::FixedArray | Kind::Context if depth > 0 => {
                out.text = format!("<{name}>");
                out.brackets = Some(("[", "]"));
                let names = if map.kind == Kind::Context {
                    let scope = v8.field(value.address(), v8.c.array_data)?;
                    v8.scope_names(scope).unwrap_or_default()
                } else {
                    Vec::new()
                };
                let length = v8.array_length(value)?;
                let first = if map.kind == Kind::Context {
                    v8.context_locals_start(value)
                } else {
                    0
                };
                let limit = self.limit() as u64;
                for index in 0..length.min(limit) {
                    let content = v8.unwrap_context_cell(v8.element_of(value, index)?);
                    let key = match index
                        .checked_sub(first)
                        .and_then(|slot| names.get(slot as usize))
                    {
                        Some(name) if map.kind == Kind::Context => Some(name.clone()),
                        _ if map.kind == Kind::Context => Some(match index {
                            0 => "[[scope]]".to_owned(),
                            1 => "[[previous]]".to_owned(),
                            _ => format!("[{index}]"),
                        }),
                        _ => None,
                    };
                    let content = self.value(content, if index < first { 0 } else { depth - 1 });
                    out.entries.push(Entry {
                        key,
                        map_key: None,
                        value: content,
                    });
                }
                out.more = length.saturating_sub(limit);
            }
            Kind::Cell | Kind::FeedbackCell => {
                self.named("value", v8.field(value.address(), 8)?, 0, &mut out)
            }
            Kind::SharedFunctionInfo => {
                let shared = v8.shared(value)?;
                let place = v8
                    .function_location(&shared)
                    .map_or(String::new(), |place| format!(" {place}"));
                out.text = format!("<{name} {}{place}>", shared.name);
            }
            Kind::Script => out.text = format!("<{name} {}>", v8.script(value.address())?.name),
            Kind::Map => {
                let inner = v8.map(value);
                out.text = format!(
                    "<MAP of {}>",
                    inner.map_or("?".to_owned(), |map| v8.types.name(map.instance_type))
                );
            }
            _ => {}
        }
        Ok(out)
    }
}
