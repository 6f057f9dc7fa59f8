//! Typed arrays, Buffers, ArrayBuffers and views of them.

use std::fmt::Write as _;

use crate::error::Result;
use crate::tagged::Tagged;
use crate::types::Kind;

use super::Printer;
use super::text::{half, number_text};
use super::value::{Entry, Value};

impl Printer<'_> {
    /// Name of its elements' type, bytes of one, how many, where they are.
    pub(super) fn typed(&self, value: Tagged) -> Result<(&'static str, u64, u64, u64)> {
        self.v8.typed_array(value)
    }

    pub(super) fn typed_entries(&mut self, value: Tagged, out: &mut Value) -> Result<()> {
        let v8 = self.v8;
        let (name, width, length, data) = self.typed(value)?;
        let class = out.class.clone();
        let limit = length.min(self.options.entries as u64);
        if class == "Buffer" || class == "FastBuffer" {
            out.brackets = None;
            let limit = length.min(50);
            let bytes = v8.memory.bytes(data, limit, 1 << 20)?;
            let mut text = String::from("<Buffer");
            for byte in bytes {
                let _ = write!(text, " {byte:02x}");
            }
            if length > limit {
                let _ = write!(text, " ... {} more bytes", length - limit);
            }
            out.text = text + ">";
            return Ok(());
        }
        out.more = length - limit;
        for index in 0..limit {
            let at = data.wrapping_add(index * width);
            let memory = &v8.memory;
            let text = match name {
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
            };
            out.entries.push(Entry {
                key: None,
                map_key: None,
                value: Value::plain("number", text),
            });
        }
        Ok(())
    }

    pub(super) fn buffer(&mut self, value: Tagged, kind: Kind, out: &mut Value) -> Result<()> {
        let v8 = self.v8;
        let at = value.address();
        if kind == Kind::JsDataView {
            let length = v8.memory.u64(v8.at(at, v8.c.view_length))?;
            let offset = v8.memory.u64(v8.at(at, v8.c.view_offset))?;
            out.entries.push(Entry {
                key: Some("byteLength".to_owned()),
                map_key: None,
                value: Value::plain("number", length.to_string()),
            });
            out.entries.push(Entry {
                key: Some("byteOffset".to_owned()),
                map_key: None,
                value: Value::plain("number", offset.to_string()),
            });
            self.named("buffer", v8.field(at, v8.c.view_buffer)?, 1, out);
            return Ok(());
        }
        let (store, length) = v8.array_buffer(value)?;
        let shown = length.min(50);
        let mut text = String::from("<");
        if let Ok(bytes) = v8.memory.bytes(store, shown, 1 << 20) {
            for (index, byte) in bytes.iter().enumerate() {
                let _ = write!(text, "{}{byte:02x}", if index == 0 { "" } else { " " });
            }
        } else if length > 0 {
            text.push_str("its bytes are not in the core");
        }
        if length > shown {
            let _ = write!(text, " ... {} more bytes", length - shown);
        }
        out.entries.push(Entry {
            key: Some("[Uint8Contents]".to_owned()),
            map_key: None,
            value: Value::plain("internal", text + ">"),
        });
        out.entries.push(Entry {
            key: Some("byteLength".to_owned()),
            map_key: None,
            value: Value::plain("number", length.to_string()),
        });
        Ok(())
    }
}
