//! Where the bytes of ArrayBuffers and typed arrays are.

use crate::error::Result;
use crate::tagged::Tagged;
use crate::types::Kind;
use crate::v8::V8;

/// Types of elements from elements kind 18 on (`TYPED_ARRAYS` of V8's `objects/elements-kind.h`), and bytes of one.
const TYPED_OLD: [(&str, u64); 12] = [
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
    // Not in 20.
    ("Float16Array", 2),
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

/// An ArrayBuffer or a SharedArrayBuffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BufferInfo {
    /// Where its bytes are.
    pub store: u64,
    /// How many.
    pub length: u64,
    /// How many there may be, when it can be resized.
    pub max: Option<u64>,
    /// Its bytes were given away.
    pub detached: bool,
}

/// What a typed array or a DataView shows of its buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ViewInfo {
    /// The buffer.
    pub buffer: Tagged,
    /// Where it begins in it.
    pub offset: u64,
    /// Its bytes; none when the buffer was detached or is too short by now.
    pub length: u64,
}

impl V8 {
    /// Where the bytes of an ArrayBuffer or SharedArrayBuffer are. (`JSArrayBuffer`: length, greatest length, store,
    /// extension, flags: bit 2 detached, bit 4 shared, bit 5 resizable. The length of a growable SharedArrayBuffer is in
    /// its `BackingStore`, which the extension refers to, in 20 and 22 by its second word: store, byte length.)
    ///
    /// # Errors
    /// When it is none.
    pub fn buffer_info(&self, value: Tagged) -> Result<BufferInfo> {
        let at = self.expect(value, Kind::JsArrayBuffer, "an ArrayBuffer")?;
        let length = self.memory.u64(self.at(at, self.c.buffer_length))?;
        let max = self.memory.u64(self.at(at, self.c.buffer_length + 8))?;
        let store = self.memory.u64(self.at(at, self.c.buffer_store))?;
        let flags = self.memory.u32(self.at(at, self.c.buffer_store + 16))?;
        let flag = |bit: u32| flags >> bit & 1 == 1;
        let (detached, shared, resizable) = (flag(2), flag(4), flag(5));
        let mut info = BufferInfo {
            store,
            length,
            max: resizable.then_some(max),
            detached,
        };
        if detached {
            info.length = 0;
        } else if shared && resizable {
            let extension = self.memory.u64(self.at(at, self.c.buffer_store + 8))?;
            let backing = extension.wrapping_add(if self.column < 2 { 8 } else { 0 });
            let backing = self.memory.u64(backing)?;
            if self.memory.u64(backing)? == store {
                info.length = self.memory.u64(backing.wrapping_add(8))?.min(max);
            }
        }
        Ok(info)
    }

    /// The store and the length in bytes of an ArrayBuffer or SharedArrayBuffer.
    ///
    /// # Errors
    /// When it is none.
    pub fn array_buffer(&self, value: Tagged) -> Result<(u64, u64)> {
        let info = self.buffer_info(value)?;
        Ok((info.store, info.length))
    }

    /// What a typed array or DataView shows. (`JSArrayBufferView::bit_field`: bit 0 it is as long as its buffer, bit 1 its
    /// buffer can be resized.)
    ///
    /// # Errors
    /// When it is none.
    pub fn view_info(&self, value: Tagged, width: u64) -> Result<ViewInfo> {
        let at = value.address();
        let offset = self.memory.u64(self.at(at, self.c.view_offset))?;
        let length = self.memory.u64(self.at(at, self.c.view_length))?;
        let buffer = self.field(at, self.c.view_buffer)?;
        let flags_at = if self.column < 2 {
            self.c.view_length + 8
        } else {
            self.c.view_buffer + 8
        };
        let flags = self.memory.u32(self.at(at, flags_at))?;
        let mut view = ViewInfo {
            buffer,
            offset,
            length,
        };
        // A typed array on V8's own heap has no real buffer yet.
        let Ok(info) = self.buffer_info(buffer) else {
            return Ok(view);
        };
        if info.detached {
            view.length = 0;
            view.offset = 0;
        } else if flags & 1 == 1 {
            let rest = info.length.saturating_sub(offset);
            view.length = rest - rest % width;
        } else if flags & 2 == 2 && offset.saturating_add(length) > info.length {
            view.length = 0;
        }
        Ok(view)
    }

    /// Of a typed array: the name of its type, the bytes of an element, how many there are, where they are.
    ///
    /// # Errors
    /// When it is none.
    pub fn typed_array(&self, value: Tagged) -> Result<(&'static str, u64, u64, u64)> {
        let at = self.expect(value, Kind::JsTypedArray, "a typed array")?;
        let map = self.map_of(value)?;
        let kinds: &[(&str, u64)] = if self.column < 2 {
            &TYPED_OLD[..11 + self.column]
        } else {
            &TYPED_NEW
        };
        let index = usize::from(self.elements_kind(&map).wrapping_sub(18));
        // Those over resizable buffers follow in the same order.
        let (name, width) = *kinds.get(index % kinds.len()).unwrap_or(&("TypedArray", 1));
        let bytes = self.view_info(value, width)?.length;
        let external = self.memory.u64(self.at(at, self.c.typed_external))?;
        let base = self.memory.u64(self.at(at, self.c.typed_base))?;
        Ok((name, width, bytes / width, external.wrapping_add(base)))
    }
}
