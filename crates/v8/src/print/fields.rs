//! Objects of Intl and WebAssembly: what V8 keeps of them in fields of its own.

use crate::error::Result;
use crate::tagged::Tagged;
use crate::types::Kind;

use super::Printer;
use super::value::{Entry, Value};

impl Printer<'_> {
    /// Fields of objects that the embedder or the language gives no property for. (`JSNumberFormat` and the other objects of
    /// Intl have their locale as the first string among their fields; `WasmMemoryObject` has an ArrayBuffer,
    /// `WasmInstanceObject` its exports behind its module.)
    pub(super) fn fields(&mut self, value: Tagged, depth: usize, out: &mut Value) -> Result<()> {
        let v8 = self.v8;
        let map = v8.map_of(value)?;
        let fields = || {
            (v8.c.object_header..i64::from(map.size))
                .step_by(8)
                .filter_map(|offset| v8.field(value.address(), offset).ok())
        };
        let kind = v8.types.name(map.instance_type);
        match kind.as_str() {
            "JS_COLLATOR"
            | "JS_DATE_TIME_FORMAT"
            | "JS_DISPLAY_NAMES"
            | "JS_DURATION_FORMAT"
            | "JS_LIST_FORMAT"
            | "JS_NUMBER_FORMAT"
            | "JS_PLURAL_RULES"
            | "JS_RELATIVE_TIME_FORMAT"
            | "JS_SEGMENTER"
            | "JS_V8_BREAK_ITERATOR" => {
                let locale =
                    fields().find(|field| v8.string_length(*field).is_ok_and(|length| length > 0));
                if let Some(locale) = locale {
                    self.named("[[locale]]", locale, depth, out);
                }
                // The flags of both are the one Smi among their fields, in the order of V8's `objects/js-*.tq`.
                let flags = fields().find_map(Tagged::as_smi).unwrap_or(0);
                let told: &[(&str, &[&str], i32)] = match kind.as_str() {
                    "JS_SEGMENTER" => &[(
                        "[[granularity]]",
                        &["grapheme", "word", "sentence"],
                        flags & 3,
                    )],
                    "JS_DISPLAY_NAMES" => &[
                        ("[[style]]", &["long", "short", "narrow"], flags & 3),
                        ("[[fallback]]", &["code", "none"], flags >> 2 & 1),
                    ],
                    _ => &[],
                };
                for (name, words, index) in told {
                    if let Some(word) = words.get(*index as usize) {
                        out.entries.push(Entry::text(name, word));
                    }
                }
            }
            "WASM_MEMORY_OBJECT" => {
                let is = |field: &Tagged, kind| v8.kind_of(*field).is_ok_and(|is| is == kind);
                match fields().find(|field| is(field, Kind::JsArrayBuffer)) {
                    Some(buffer) => self.named("[[buffer]]", buffer, depth, out),
                    // Made when somebody asks for it. Until then the record behind the Foreign counts the bytes, in its
                    // first word.
                    None => {
                        let bytes = fields()
                            .find(|field| {
                                v8.map_of(*field)
                                    .is_ok_and(|map| v8.types.name(map.instance_type) == "FOREIGN")
                            })
                            .and_then(|foreign| v8.memory.u64(foreign.address() + 8).ok())
                            .and_then(|record| v8.memory.u64(record).ok())
                            .filter(|bytes| bytes % 65_536 == 0);
                        if let Some(bytes) = bytes {
                            let bytes = Value::plain("number", bytes.to_string());
                            out.entries.push(Entry::named("[[byteLength]]", bytes));
                        }
                    }
                }
            }
            "WASM_GLOBAL_OBJECT" | "WASM_TABLE_OBJECT" => {
                // A global of a type of the machine's lies in a buffer, one of JavaScript's in an array; a table in an array.
                let held = fields().find_map(|field| match v8.kind_of(field) {
                    Ok(Kind::JsArrayBuffer) => Some(("[[bytes]]", field)),
                    Ok(Kind::FixedArray) => Some(("[[values]]", field)),
                    _ => None,
                });
                if let Some((name, field)) = held {
                    self.named(name, field, depth, out);
                }
            }
            "WASM_INSTANCE_OBJECT" => {
                let is_module = |field: &Tagged| {
                    v8.map_of(*field)
                        .is_ok_and(|map| v8.types.name(map.instance_type) == "WASM_MODULE_OBJECT")
                };
                if let Some(exports) = fields().skip_while(|field| !is_module(field)).nth(1) {
                    self.named("[[exports]]", exports, depth, out);
                }
            }
            _ => {}
        }
        Ok(())
    }
}
