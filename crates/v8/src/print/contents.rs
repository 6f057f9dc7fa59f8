//! What is inside an object: entries, elements, properties, and what V8 keeps in fields of its own.

use crate::error::Result;
use crate::object::Slot;
use crate::tagged::Tagged;
use crate::types::Kind;

use super::Printer;
use super::text::{key_text, quoted};
use super::value::{Entry, Value};

impl Printer<'_> {
    /// What is inside.
    pub(super) fn fill(
        &mut self,
        value: Tagged,
        kind: Kind,
        depth: usize,
        out: &mut Value,
    ) -> Result<()> {
        let v8 = self.v8;
        let at = value.address();
        let limit = self.options.entries as u64;
        match kind {
            Kind::JsMap | Kind::JsSet => {
                let (entries, used) = v8.collection(value, limit)?;
                out.more = used.saturating_sub(entries.len() as u64);
                for (key, content) in entries {
                    let map_key = (kind == Kind::JsMap).then(|| self.value(key, depth));
                    let content = self.value(content, depth);
                    out.entries.push(Entry {
                        key: None,
                        map_key,
                        value: content,
                    });
                }
            }
            Kind::JsWeakMap | Kind::JsWeakSet => {
                let entries = v8.weak_collection(value)?;
                out.more = (entries.len() as u64).saturating_sub(limit);
                for (key, content) in entries.into_iter().take(limit as usize) {
                    let key = self.value(key, depth);
                    if kind == Kind::JsWeakMap {
                        let content = self.value(content, depth);
                        out.entries.push(Entry {
                            key: None,
                            map_key: Some(key),
                            value: content,
                        });
                    } else {
                        out.entries.push(Entry {
                            key: None,
                            map_key: None,
                            value: key,
                        });
                    }
                }
            }
            Kind::JsTypedArray => {
                self.typed_entries(value, out)?;
                return Ok(());
            }
            Kind::JsArrayBuffer | Kind::JsDataView => self.buffer(value, kind, out)?,
            Kind::JsPromise => self.promise(value, depth, out)?,
            Kind::JsProxy => {
                for (name, field) in [
                    ("[[target]]", v8.c.js_proxy_target),
                    ("[[handler]]", v8.c.js_proxy_handler),
                ] {
                    self.named(name, v8.field(at, field)?, depth, out);
                }
                return Ok(());
            }
            Kind::JsWeakRef => self.named(
                "[[target]]",
                v8.field(at, v8.c.js_weak_ref_target)?,
                depth,
                out,
            ),
            Kind::JsGenerator | Kind::JsAsyncGenerator | Kind::JsAsyncFunction => {
                let state = match v8.field(at, v8.c.generator_continuation)?.as_smi() {
                    Some(-1) => "closed".to_owned(),
                    Some(-2) => "running".to_owned(),
                    _ => {
                        let place = v8
                            .generator_frame(value)
                            .ok()
                            .and_then(|frame| frame.location);
                        place.map_or("suspended".to_owned(), |place| {
                            format!("suspended at {place}")
                        })
                    }
                };
                out.entries.push(Entry {
                    key: Some("[[state]]".to_owned()),
                    map_key: None,
                    value: Value::plain("internal", state),
                });
                self.named(
                    "[[function]]",
                    v8.field(at, v8.c.generator_function)?,
                    0,
                    out,
                );
                self.named(
                    "[[receiver]]",
                    v8.field(at, v8.c.generator_receiver)?,
                    0,
                    out,
                );
                if let Some(promise) = v8.generator_promise(value) {
                    self.named("[[promise]]", promise, 0, out);
                }
            }
            Kind::JsBoundFunction => {
                self.named("[[target]]", v8.field(at, v8.c.js_bound_target)?, 0, out);
                self.named("[[this]]", v8.field(at, v8.c.js_bound_this)?, depth, out);
                for argument in v8.fixed_array(v8.field(at, v8.c.js_bound_arguments)?)? {
                    self.named("[[argument]]", argument, depth, out);
                }
            }
            Kind::JsModuleNamespace => self.module(value, depth, out)?,
            _ => {}
        }
        // Elements, then named properties.
        let elements = v8.elements(value, limit)?;
        let array = kind == Kind::JsArray || kind == Kind::JsArguments;
        let mut next = 0;
        for (index, slot) in &elements.entries {
            if array && *index > next && !matches!(slot, Slot::Hole) {
                out.entries.push(hole(index - next));
            }
            if matches!(slot, Slot::Hole) {
                continue;
            }
            let content = self.slot(slot, depth);
            let key = (!array).then(|| quoted(&index.to_string()));
            out.entries.push(Entry {
                key,
                map_key: None,
                value: content,
            });
            next = index + 1;
        }
        let shown = elements.entries.last().map_or(0, |entry| entry.0 + 1);
        if elements.count > elements.entries.len() as u64 && elements.entries.len() as u64 >= limit
        {
            out.more += if array {
                elements.length.saturating_sub(shown)
            } else {
                elements.count - elements.entries.len() as u64
            };
        } else if array && elements.length > next {
            out.entries.push(hole(elements.length - next));
        }
        if kind == Kind::JsProxy || kind == Kind::JsModuleNamespace {
            return Ok(());
        }
        let mut count = 0;
        for property in v8.properties(value)? {
            let hash_name = property.private
                && v8
                    .symbol_description(property.key)
                    .ok()
                    .flatten()
                    .is_some_and(|name| name.starts_with('#'));
            // Of private symbols those with a # are the program's; accessors of V8's and hidden ones only when asked for.
            if !self.options.hidden
                && (!property.enumerable && !hash_name
                    || matches!(property.slot, Slot::Native)
                    || property.private && !hash_name)
            {
                continue;
            }
            if count >= limit {
                out.more += 1;
                continue;
            }
            count += 1;
            let key = v8.key_text(&property);
            let key = if v8.is_string(property.key) {
                key_text(&key)
            } else if property.private {
                key
            } else {
                format!("[{key}]")
            };
            let key = if property.enumerable || property.private {
                key
            } else {
                format!("[{key}]")
            };
            let content = self.slot(&property.slot, depth);
            out.entries.push(Entry {
                key: Some(key),
                map_key: None,
                value: content,
            });
        }
        Ok(())
    }

    fn promise(&mut self, value: Tagged, depth: usize, out: &mut Value) -> Result<()> {
        let v8 = self.v8;
        let flags = v8
            .field(value.address(), v8.c.js_promise_flags)?
            .as_smi()
            .unwrap_or(0);
        let result = v8.field(value.address(), v8.c.js_promise_result)?;
        let state = match flags & 3 {
            0 => "<pending>",
            1 => "<fulfilled>",
            _ => "<rejected>",
        };
        if flags & 3 == 0 {
            out.entries.push(Entry {
                key: None,
                map_key: None,
                value: Value::plain("internal", state),
            });
            for (handler, settles) in v8.reactions(value).into_iter().take(self.options.entries) {
                let waits = match v8
                    .awaiting_generator(handler)
                    .and_then(|generator| v8.generator_frame(generator).ok())
                {
                    Some(frame) => format!(
                        "await in {} ({})",
                        frame.name,
                        frame
                            .location
                            .map_or(String::new(), |place| place.to_string())
                    ),
                    None if v8
                        .kind_of(handler)
                        .is_ok_and(|kind| kind == Kind::JsFunction) =>
                    {
                        v8.brief(handler)
                    }
                    None => format!("settles {}", v8.brief(settles)),
                };
                out.entries.push(Entry {
                    key: Some("[[reaction]]".to_owned()),
                    map_key: None,
                    value: Value::plain("internal", waits),
                });
            }
        } else {
            self.named(state, result, depth, out);
        }
        Ok(())
    }

    /// The exports of a module namespace. (`JSModuleNamespace::module` 24, `Module::exports` 8: an ObjectHashTable from
    /// names to Cells.)
    fn module(&mut self, value: Tagged, depth: usize, out: &mut Value) -> Result<()> {
        let v8 = self.v8;
        let module = v8.field(value.address(), v8.c.object_header)?;
        let exports = v8.field(module.address(), 8)?;
        for entry in v8
            .hash_table(exports, 0, 2)?
            .into_iter()
            .take(self.options.entries)
        {
            let [name, cell] = entry[..] else { continue };
            let Some(name) = v8.name_text(name) else {
                continue;
            };
            let content = match v8.kind_of(cell) {
                Ok(Kind::Cell) => v8.field(cell.address(), 8)?,
                _ => cell,
            };
            self.named(&key_text(&name), content, depth, out);
        }
        out.entries.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(())
    }
}

fn hole(count: u64) -> Entry {
    let text = if count == 1 {
        "<1 empty item>".to_owned()
    } else {
        format!("<{count} empty items>")
    };
    Entry {
        key: None,
        map_key: None,
        value: Value::plain("hole", text),
    }
}
