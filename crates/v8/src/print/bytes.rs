//! Typed arrays, Buffers, ArrayBuffers and views of them.

use std::fmt::Write as _;

use crate::error::Result;
use crate::tagged::Tagged;
use crate::v8::V8;

use super::text::{half, more, number_text};
use super::value::{Entry, Value};
use super::{PrintOptions, Printer};

/// Most bytes of a Buffer that are shown, as Node's `INSPECT_MAX_BYTES`.
const MAX_BYTES: u64 = 50;

impl V8 {
    /// The elements of a typed array, written as numbers, as many as the options allow.
    ///
    /// # Errors
    /// When it is none, or its bytes are not in the core.
    pub fn typed_elements(&self, value: Tagged, options: &PrintOptions) -> Result<Vec<String>> {
        self.printer(options).numbers(value, options.entries)
    }
}

impl Printer<'_> {
    /// The numbers of a typed array; of a Buffer its bytes.
    pub(super) fn typed_entries(&mut self, value: Tagged, out: &mut Value) -> Result<()> {
        let v8 = self.v8;
        let (_, _, length, data) = v8.typed_array(value)?;
        if matches!(out.class.as_str(), "Buffer" | "FastBuffer") {
            out.text.clear();
            out.brackets = Some(("<", ">"));
            let text = format!("Buffer {}", self.some_bytes(data, length));
            out.entries
                .push(Entry::item(Value::plain("internal", text)));
            out.items = 1;
            return Ok(());
        }
        for text in self.numbers(value, self.limit())? {
            let what = if text.ends_with('n') {
                "bigint"
            } else {
                "number"
            };
            out.entries.push(Entry::item(Value::plain(what, text)));
        }
        self.left = self.left.saturating_sub(out.entries.len());
        out.more = length - out.entries.len() as u64;
        out.items = out.entries.len();
        Ok(())
    }

    /// The first elements of a typed array, written as numbers.
    fn numbers(&self, value: Tagged, limit: usize) -> Result<Vec<String>> {
        let v8 = self.v8;
        let (name, width, length, data) = v8.typed_array(value)?;
        let memory = &v8.memory;
        (0..length.min(limit as u64))
            .map(|index| {
                let at = data.wrapping_add(index * width);
                Ok(match name {
                    "Uint8Array" | "Uint8ClampedArray" => memory.u8(at)?.to_string(),
                    "Int8Array" => (memory.u8(at)? as i8).to_string(),
                    "Uint16Array" => memory.u16(at)?.to_string(),
                    "Int16Array" => (memory.u16(at)? as i16).to_string(),
                    "Uint32Array" => memory.u32(at)?.to_string(),
                    "Int32Array" => (memory.u32(at)? as i32).to_string(),
                    "Float16Array" => number_text(half(memory.u16(at)?)),
                    "Float32Array" => number_text(f64::from(f32::from_bits(memory.u32(at)?))),
                    "Float64Array" => number_text(f64::from_bits(memory.u64(at)?)),
                    "BigUint64Array" => format!("{}n", memory.u64(at)?),
                    "BigInt64Array" => format!("{}n", memory.u64(at)? as i64),
                    _ => "?".to_owned(),
                })
            })
            .collect()
    }

    /// The first bytes in hexadecimal.
    fn some_bytes(&self, store: u64, length: u64) -> String {
        let shown = length.min(MAX_BYTES);
        let mut text = String::new();
        match self.v8.memory.bytes(store, shown, MAX_BYTES) {
            Ok(bytes) => {
                for (index, byte) in bytes.iter().enumerate() {
                    let _ = write!(text, "{}{byte:02x}", if index == 0 { "" } else { " " });
                }
            }
            Err(_) => text.push_str("its bytes are not in the core"),
        }
        if length > shown {
            let _ = write!(text, " {}", more(length - shown, "byte", "bytes"));
        }
        text
    }

    /// An ArrayBuffer or SharedArrayBuffer.
    pub(super) fn buffer(&mut self, value: Tagged, out: &mut Value) -> Result<()> {
        let info = self.v8.buffer_info(value)?;
        if info.detached {
            out.entries
                .push(Entry::item(Value::plain("internal", "(detached)")));
        } else {
            let text = format!("<{}>", self.some_bytes(info.store, info.length));
            out.entries.push(Entry::named(
                "[Uint8Contents]",
                Value::plain("internal", text),
            ));
        }
        number("byteLength", info.length, out);
        if let Some(max) = info.max {
            number("maxByteLength", max, out);
        }
        Ok(())
    }

    /// A DataView.
    pub(super) fn view(&mut self, value: Tagged, out: &mut Value) -> Result<()> {
        let view = self.v8.view_info(value, 1)?;
        number("byteLength", view.length, out);
        number("byteOffset", view.offset, out);
        self.named("buffer", view.buffer, 1, out);
        Ok(())
    }
}

fn number(name: &str, value: u64, out: &mut Value) {
    out.entries.push(Entry::named(
        name,
        Value::plain("number", value.to_string()),
    ));
}
