//! Iterators: what they go through, and what is still to come.

use crate::error::Result;
use crate::tagged::Tagged;
use crate::types::Kind;

use super::Printer;
use super::value::{Entry, Value};

impl Printer<'_> {
    /// `[Array Iterator]` and the like; none for what is no iterator of V8's.
    pub(super) fn iterator_head(&self, value: Tagged) -> Result<Option<String>> {
        let name = self.v8.types.name(self.v8.map_of(value)?.instance_type);
        Ok(match name.as_str() {
            "JS_ARRAY_ITERATOR" => Some("[Array Iterator]".to_owned()),
            "JS_STRING_ITERATOR" => Some("[String Iterator]".to_owned()),
            "JS_REG_EXP_STRING_ITERATOR" => Some("[RegExp String Iterator]".to_owned()),
            "JS_ASYNC_FROM_SYNC_ITERATOR" => Some("[Async-from-Sync Iterator]".to_owned()),
            _ if name.starts_with("JS_ITERATOR_") => Some("[Iterator Helper]".to_owned()),
            _ => None,
        })
    }

    /// The fields of an iterator. (`JSArrayIterator`: object 24, next index 32, kind 40; `JSStringIterator`: string 24, index
    /// 32; `JSRegExpStringIterator`: regexp 24, string 32, flags 40 with bit 0 done; helpers: the iterator below at 24, in
    /// 26 behind a word of state.)
    pub(super) fn iterator(&mut self, value: Tagged, depth: usize, out: &mut Value) -> Result<()> {
        let v8 = self.v8;
        let field = |offset| v8.field(value.address(), v8.c.object_header + offset);
        let name = v8.types.name(v8.map_of(value)?.instance_type);
        match name.as_str() {
            "JS_ARRAY_ITERATOR" => {
                self.named("[[of]]", field(0)?, depth, out);
                self.named("[[next]]", field(8)?, 0, out);
                let kind = match field(16)?.as_smi() {
                    Some(0) => "keys",
                    Some(1) => "values",
                    _ => "entries",
                };
                out.entries.push(Entry::named(
                    "[[kind]]",
                    Value::plain("string", format!("'{kind}'")),
                ));
            }
            "JS_STRING_ITERATOR" => {
                self.named("[[of]]", field(0)?, depth, out);
                self.named("[[next]]", field(8)?, 0, out);
            }
            "JS_REG_EXP_STRING_ITERATOR" => {
                self.named("[[regexp]]", field(0)?, depth, out);
                self.named("[[of]]", field(8)?, depth, out);
                let done = field(16)?.as_smi().unwrap_or(0) & 1 == 1;
                out.entries.push(Entry::named(
                    "[[done]]",
                    Value::plain("boolean", done.to_string()),
                ));
            }
            _ if name.starts_with("JS_ITERATOR_") || name == "JS_ASYNC_FROM_SYNC_ITERATOR" => {
                let below = [field(0)?, field(8)?]
                    .into_iter()
                    .find(|below| v8.kind_of(*below).is_ok_and(Kind::is_js_object));
                if let Some(below) = below {
                    self.named("[[over]]", below, depth, out);
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// What an iterator of a Map or a Set has still to give.
    pub(super) fn collection_rest(
        &mut self,
        value: Tagged,
        depth: usize,
        out: &mut Value,
    ) -> Result<()> {
        let v8 = self.v8;
        let (entries, count) = v8.collection_rest(value, self.limit() as u64)?;
        out.more = count.saturating_sub(entries.len() as u64);
        let name = v8.types.name(v8.map_of(value)?.instance_type);
        for (key, content) in entries {
            let item = if name.ends_with("KEY_VALUE_ITERATOR") {
                let pair = [self.value(key, depth), self.value(content, depth)];
                Value {
                    brackets: Some(("[", "]")),
                    entries: pair.into_iter().map(Entry::item).collect(),
                    items: 2,
                    ..Value::plain("object", "")
                }
            } else if name == "JS_MAP_KEY_ITERATOR" {
                self.value(key, depth)
            } else {
                self.value(content, depth)
            };
            out.entries.push(Entry::item(item));
        }
        out.items = out.entries.len();
        Ok(())
    }
}
