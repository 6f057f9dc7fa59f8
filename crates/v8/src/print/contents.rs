//! What is inside an object: entries, elements, properties, and what V8 keeps in fields of its own.

use crate::error::Result;
use crate::object::{Property, Slot};
use crate::tagged::Tagged;
use crate::types::Kind;

use super::Printer;
use super::text::{escaped, key_text, quoted, quoted_units};
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
        match kind {
            Kind::JsMap | Kind::JsSet | Kind::JsWeakMap | Kind::JsWeakSet => {
                self.collection(value, kind, depth, out)?
            }
            Kind::JsMapIterator | Kind::JsSetIterator => self.collection_rest(value, depth, out)?,
            Kind::JsTypedArray => self.typed_entries(value, out)?,
            Kind::JsArrayBuffer => self.buffer(value, out)?,
            Kind::JsDataView => self.view(value, out)?,
            Kind::JsPromise => self.promise(value, depth, out)?,
            Kind::JsProxy => {
                self.named(
                    "[[target]]",
                    v8.field(at, v8.c.js_proxy_target)?,
                    depth,
                    out,
                );
                self.named(
                    "[[handler]]",
                    v8.field(at, v8.c.js_proxy_handler)?,
                    depth,
                    out,
                );
                return Ok(());
            }
            Kind::JsWeakRef => {
                let target = v8.field(at, v8.c.js_weak_ref_target)?;
                self.named("[[target]]", target, depth, out);
            }
            Kind::JsFinalizationRegistry => self.registry(value, depth, out)?,
            Kind::JsGenerator | Kind::JsAsyncGenerator | Kind::JsAsyncFunction => {
                self.generator(value, out)?
            }
            Kind::JsBoundFunction => {
                self.named("[[target]]", v8.field(at, v8.c.js_bound_target)?, 0, out);
                self.named("[[this]]", v8.field(at, v8.c.js_bound_this)?, depth, out);
                for argument in v8.fixed_array(v8.field(at, v8.c.js_bound_arguments)?)? {
                    self.named("[[argument]]", argument, depth, out);
                }
            }
            Kind::JsRegExp => {
                // lastIndex is the first property in the object, and shows only where it matters.
                let last = v8.field(at, v8.c.js_regexp_flags + 8)?;
                if last.as_smi() != Some(0) {
                    self.named("lastIndex", last, depth, out);
                }
            }
            Kind::JsModuleNamespace => return self.module(value, depth, out),
            Kind::JsObject => {
                self.iterator(value, depth, out)?;
                self.fields(value, depth, out)?;
            }
            _ => {}
        }
        if kind != Kind::JsTypedArray {
            self.elements(value, kind, depth, out)?;
        }
        self.properties(value, kind, depth, out)
    }

    /// Whether an object has nothing to show.
    pub(super) fn is_empty(&self, value: Tagged, kind: Kind) -> bool {
        // In a list of brief texts the address is what matters.
        if self.options.depth == 0 || !matches!(kind, Kind::JsObject | Kind::JsArray) {
            return false;
        }
        let v8 = self.v8;
        v8.elements(value, 1)
            .is_ok_and(|elements| elements.entries.is_empty() && elements.length == 0)
            && v8
                .properties(value)
                .is_ok_and(|properties| !properties.iter().any(|property| self.is_shown(property)))
            && v8.map_of(value).is_ok_and(|map| {
                matches!(
                    v8.types.name(map.instance_type).as_str(),
                    "JS_OBJECT" | "JS_ARRAY"
                )
            })
    }

    fn collection(
        &mut self,
        value: Tagged,
        kind: Kind,
        depth: usize,
        out: &mut Value,
    ) -> Result<()> {
        let limit = self.limit() as u64;
        let (entries, used) = if matches!(kind, Kind::JsMap | Kind::JsSet) {
            self.v8.collection(value, limit)?
        } else {
            let all = self.v8.weak_collection(value)?;
            let used = all.len() as u64;
            (all, used)
        };
        let pairs = matches!(kind, Kind::JsMap | Kind::JsWeakMap);
        for (key, content) in entries.into_iter().take(limit as usize) {
            let map_key = pairs.then(|| self.value(key, depth));
            let value = self.value(if pairs { content } else { key }, depth);
            out.entries.push(Entry {
                key: None,
                map_key,
                value,
            });
        }
        out.items = out.entries.len();
        out.more = used.saturating_sub(out.items as u64);
        Ok(())
    }

    fn registry(&mut self, value: Tagged, depth: usize, out: &mut Value) -> Result<()> {
        let v8 = self.v8;
        let cleanup = v8.field(value.address(), v8.c.object_header + 8)?;
        self.named("[[cleanup]]", cleanup, depth, out);
        for [target, holdings, token] in v8.registered(value, self.limit() as u64)? {
            let mut cell = Value {
                brackets: Some(("{", "}")),
                ..Value::plain("internal", "")
            };
            self.named("target", target, depth, &mut cell);
            self.named("holdings", holdings, depth, &mut cell);
            if !v8.is_undefined(token) {
                self.named("token", token, depth, &mut cell);
            }
            out.entries.push(Entry::named("[[cell]]", cell));
        }
        Ok(())
    }

    /// Elements: of arrays by their place, of other objects with their index.
    fn elements(&mut self, value: Tagged, kind: Kind, depth: usize, out: &mut Value) -> Result<()> {
        let limit = self.limit() as u64;
        let mut elements = self.v8.elements(value, limit)?;
        let array = matches!(kind, Kind::JsArray | Kind::JsArguments);
        // The holes between two elements count as one.
        if array {
            let mut lines = 0;
            let mut next = 0;
            let fits = elements.entries.iter().take_while(|(index, _)| {
                lines += 1 + u64::from(*index > next);
                next = index + 1;
                lines <= limit
            });
            let fits = fits.count();
            if fits < elements.entries.len() {
                elements.entries.truncate(fits.max(1));
            }
        }
        let mut next = 0;
        for (index, slot) in &elements.entries {
            if array && *index > next {
                out.entries.push(holes(index - next));
            }
            let content = self.slot(slot, depth);
            out.entries.push(if array {
                Entry::item(content)
            } else {
                Entry::named(quoted(&index.to_string()), content)
            });
            next = index + 1;
        }
        let shown = elements.entries.len() as u64;
        if array && shown < limit && shown == self.present(value, &elements, shown)? {
            if elements.length > next {
                out.entries.push(holes(elements.length - next));
            }
        } else if array {
            out.more += elements.length.saturating_sub(next);
        } else {
            out.more += elements.count.saturating_sub(shown);
        }
        if array || out.items == 0 {
            out.items = out.entries.len();
        }
        Ok(())
    }

    /// How many present elements an array has, at most one more than are shown.
    fn present(
        &self,
        value: Tagged,
        elements: &crate::object::Elements,
        shown: u64,
    ) -> Result<u64> {
        if elements.count <= shown {
            return Ok(shown);
        }
        Ok(self.v8.elements(value, shown + 1)?.entries.len() as u64)
    }

    /// Whether a property shows: those of the program that are enumerable, its private fields, and with `hidden` all.
    /// Private methods are those of the class, as public ones are.
    fn is_shown(&self, property: &Property) -> bool {
        if self.options.hidden {
            return true;
        }
        if property.private {
            return self
                .v8
                .symbol_description(property.key)
                .ok()
                .flatten()
                .is_some_and(|name| name.starts_with('#'));
        }
        property.enumerable && !matches!(property.slot, Slot::Native)
    }

    /// Named properties, those with symbols for keys last.
    fn properties(
        &mut self,
        value: Tagged,
        kind: Kind,
        depth: usize,
        out: &mut Value,
    ) -> Result<()> {
        let v8 = self.v8;
        let mut properties = v8.properties(value)?;
        properties.sort_by_key(|property| !property.private && !v8.is_string(property.key));
        if kind == Kind::JsError {
            properties.sort_by_key(|property| !property.enumerable);
        }
        let (limit, mut count) = (self.limit(), 0);
        for property in &properties {
            let mut name = v8.key_text(property);
            let mut shown = self.is_shown(property);
            if kind == Kind::JsError && !property.private {
                shown = match name.as_str() {
                    // What the head tells already.
                    "name" | "message" | "stack" if !self.options.hidden => {
                        property.enumerable && !self.is_told(&property.slot, &out.text)
                    }
                    "cause" | "errors" => true,
                    _ => shown,
                };
            }
            if !shown || kind == Kind::JsRegExp && name == "lastIndex" {
                continue;
            }
            if count >= limit {
                out.more_properties += 1;
                continue;
            }
            count += 1;
            if self.brand(property, out) {
                continue;
            }
            if v8.is_string(property.key) {
                // Lone surrogates are not in a text.
                name = match v8.units(property.key, 4096) {
                    Ok(units) if name.contains('\u{fffd}') => quoted_units(&units),
                    _ => key_text(&name),
                };
                // As it is written in a literal, where it would be the prototype.
                if name == "__proto__" {
                    name = "['__proto__']".to_owned();
                }
            } else if !property.private {
                name = format!("[{}]", escaped(&name));
            }
            if !property.enumerable && !property.private {
                name = format!("[{name}]");
            }
            let content = self.slot(&property.slot, depth);
            out.entries.push(Entry::named(name, content));
        }
        Ok(())
    }

    fn is_told(&self, slot: &Slot, head: &str) -> bool {
        match slot {
            Slot::Value(value) => self
                .v8
                .name_text(*value)
                .is_none_or(|text| head.contains(&text)),
            _ => true,
        }
    }

    /// The exports of a module namespace. (`JSModuleNamespace::module` is its last field, `Module::exports` 8: an
    /// ObjectHashTable from names to Cells; what is not initialised yet is a hole.)
    fn module(&mut self, value: Tagged, depth: usize, out: &mut Value) -> Result<()> {
        let v8 = self.v8;
        let size = v8.map_of(value)?.size;
        let module = v8.field(value.address(), i64::from(size) - 8)?;
        let exports = v8.field(module.address(), 8)?;
        let mut all = Vec::new();
        for entry in v8.hash_table(exports, 0, 2)? {
            if let [name, cell] = entry[..]
                && let Some(name) = v8.name_text(name)
            {
                all.push((name, cell));
            }
        }
        all.sort();
        let limit = self.limit();
        for (name, cell) in all.iter().take(limit) {
            let content = match v8.kind_of(*cell) {
                Ok(Kind::Cell) => v8.field(cell.address(), 8)?,
                _ => *cell,
            };
            let slot = if v8.is_hole(content) {
                Slot::Hole
            } else {
                Slot::Value(content)
            };
            let content = self.slot(&slot, depth);
            out.entries.push(Entry::named(key_text(name), content));
        }
        out.more_properties = (all.len() as u64).saturating_sub(limit as u64);
        Ok(())
    }
}

fn holes(count: u64) -> Entry {
    let text = if count == 1 {
        "<1 empty item>".to_owned()
    } else {
        format!("<{count} empty items>")
    };
    Entry::item(Value::plain("hole", text))
}
