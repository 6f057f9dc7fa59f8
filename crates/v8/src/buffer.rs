//! Where the bytes of ArrayBuffers and typed arrays are.

use crate::error::Result;
use crate::tagged::Tagged;
use crate::types::Kind;
use crate::v8::V8;

/// Types of elements from elements kind 18 on (`TYPED_ARRAYS` of V8's `objects/elements-kind.h`), and bytes of one.
const TYPED_OLD: [(&str, u64); 11] = [
    ("Uint8Array", 1),
    ("Int8Array", 1),
    ("Uint16Array", 2),
    ("Int16Array", 2),
    ("Uint32Array", 4),
    ("Int32Array", 4),
    ("Float32Array", 4),
    ("Float64Array", 8),
    ("Uint8ClampedArray", 1),
    ("BigUint64Array", 8),
    ("BigInt64Array", 8),
];
const TYPED_NEW: [(&str, u64); 12] = [
    ("Uint8Array", 1),
    ("Int8Array", 1),
    ("Uint16Array", 2),
    ("Int16Array", 2),
    ("Uint32Array", 4),
    ("Int32Array", 4),
    ("BigUint64Array", 8),
    ("BigInt64Array", 8),
    ("Uint8ClampedArray", 1),
    ("Float32Array", 4),
    ("Float64Array", 8),
    ("Float16Array", 2),
];

impl V8 {
    /// The store and the length in bytes of an ArrayBuffer or SharedArrayBuffer.
    ///
    /// # Errors
    /// When it is none.
    pub fn array_buffer(&self, value: Tagged) -> Result<(u64, u64)> {
        let at = self.expect(value, Kind::JsArrayBuffer, "an ArrayBuffer")?;
        Ok((
            self.memory.u64(self.at(at, self.c.buffer_store))?,
            self.memory.u64(self.at(at, self.c.buffer_length))?,
        ))
    }

    /// Of a typed array: the name of its type, the bytes of an element, how many there are, where they are.
    ///
    /// # Errors
    /// When it is none.
    pub fn typed_array(&self, value: Tagged) -> Result<(&'static str, u64, u64, u64)> {
        let at = self.expect(value, Kind::JsTypedArray, "a typed array")?;
        let map = self.map_of(value)?;
        let kinds: &[(&str, u64)] = if self.column < 2 {
            &TYPED_OLD
        } else {
            &TYPED_NEW
        };
        let index = usize::from(self.elements_kind(&map).wrapping_sub(18));
        // Those over resizable buffers follow in the same order.
        let (name, width) = *kinds.get(index % kinds.len()).unwrap_or(&("TypedArray", 1));
        let bytes = self.memory.u64(self.at(at, self.c.view_length))?;
        let external = self.memory.u64(self.at(at, self.c.typed_external))?;
        let base = self.memory.u64(self.at(at, self.c.typed_base))?;
        Ok((name, width, bytes / width, external.wrapping_add(base)))
    }
}
