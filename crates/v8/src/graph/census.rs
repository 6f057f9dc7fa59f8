//! Counting objects while they are gone through: by map, so that naming them comes later and once for each.

use super::Object;
use super::reader::{Reader, word};
use crate::fast::AddressMap;
use crate::types::Kind;
use crate::v8::V8;

/// Objects of one map.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Tally {
    pub(super) count: u64,
    pub(super) bytes: u64,
    pub(super) external: u64,
    /// The one with the lowest address.
    pub(super) example: u64,
}

impl Tally {
    pub(super) fn add(&mut self, other: &Tally) {
        self.example = if self.count == 0 {
            other.example
        } else {
            self.example.min(other.example)
        };
        self.count += other.count;
        self.bytes += other.bytes;
        self.external += other.external;
    }
}

/// How many tallies are at hand while objects are counted: neighbours are of few maps.
const RECENT: usize = 64;

/// What was counted.
#[derive(Debug, Clone, Default)]
pub(super) struct Census {
    /// JavaScript objects by map, but for those that keep their properties in a dictionary of their own. Complete after
    /// [`Census::settle`].
    pub(super) maps: AddressMap<Tally>,
    recent: Vec<(u64, Tally)>,
    /// Those: address, map, bytes.
    pub(super) dictionaries: Vec<(u64, u64, u64)>,
    /// Texts of strings that are outside of the heap: address and bytes.
    pub(super) texts: Vec<(u64, u64)>,
    /// Stores of ArrayBuffers, likewise.
    pub(super) stores: Vec<(u64, u64)>,
}

impl Census {
    /// Puts the tallies at hand to the others.
    fn settle(&mut self) {
        for (map, tally) in std::mem::take(&mut self.recent) {
            if tally.count > 0 {
                self.maps.entry(map).or_default().add(&tally);
            }
        }
    }

    fn tally(&mut self, map: u64, one: &Tally) {
        if self.recent.is_empty() {
            self.recent.resize(RECENT, (0, Tally::default()));
        }
        let slot = &mut self.recent[(map >> 4 ^ map >> 10) as usize % RECENT];
        if slot.0 != map {
            if slot.1.count > 0 {
                self.maps.entry(slot.0).or_default().add(&slot.1);
            }
            *slot = (map, Tally::default());
        }
        slot.1.add(one);
    }

    pub(super) fn merge(&mut self, mut other: Census) {
        other.settle();
        for (map, tally) in other.maps {
            self.maps.entry(map).or_default().add(&tally);
        }
        self.dictionaries.extend(other.dictionaries);
        self.texts.extend(other.texts);
        self.stores.extend(other.stores);
    }

    /// A copy without the lists of what is outside.
    pub(super) fn objects(&self) -> Census {
        Census {
            maps: self.maps.clone(),
            dictionaries: self.dictionaries.clone(),
            ..Census::default()
        }
    }

    /// Counts an object whose first bytes are these.
    pub(super) fn count(&mut self, v8: &V8, object: &Object, head: &[u8]) {
        let kind = object.map.kind;
        if kind == Kind::String {
            if object.map.instance_type & 7 == 2 {
                // The length is the upper half of the second word; bit 3 of the type says one byte a character.
                let length = word(head, 8).unwrap_or(0) >> 32;
                let width = 2 - u64::from(object.map.instance_type >> 3 & 1);
                // Bit 4: the address of the text is only in the resource, behind its vtable.
                let text = if object.map.instance_type >> 4 & 1 == 1 {
                    let resource = word(head, 16).unwrap_or(0);
                    v8.memory.u64(resource.wrapping_add(8)).unwrap_or(0)
                } else {
                    word(head, 24).unwrap_or(0)
                };
                self.texts.push((text, length * width));
            }
            return;
        }
        if !kind.is_js_object() {
            return;
        }
        if v8.is_dictionary_map(&object.map) {
            self.dictionaries
                .push((object.address, object.map.address, object.size));
            return;
        }
        let external = outside(v8, object, head);
        if kind == Kind::JsArrayBuffer && external > 0 {
            let store = word(head, v8.c.buffer_store.max(0) as usize).unwrap_or(0);
            self.stores.push((store, external));
        }
        self.tally(
            object.map.address,
            &Tally {
                count: 1,
                bytes: object.size,
                external,
                example: object.address,
            },
        );
    }

    /// Counts an object of the page that a reader has open.
    pub(super) fn count_with(&mut self, v8: &V8, object: &Object, reader: &mut Reader<'_>) {
        let kind = object.map.kind;
        if kind == Kind::String && object.map.instance_type & 7 == 2 || kind.is_js_object() {
            let len = if needs_bytes(kind) { 96 } else { 0 };
            let head = reader.bytes(object.address, len);
            self.count(v8, object, head);
        }
    }
}

fn needs_bytes(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::String | Kind::JsArrayBuffer | Kind::JsTypedArray | Kind::JsDataView
    )
}

/// Bytes outside of the heap: the store of an ArrayBuffer, and of a Buffer or typed array the part of one that it shows.
fn outside(v8: &V8, object: &Object, head: &[u8]) -> u64 {
    let field = |field: i64| {
        usize::try_from(field)
            .ok()
            .and_then(|offset| word(head, offset))
    };
    match object.map.kind {
        Kind::JsArrayBuffer => {
            // One without a store (detached, empty, or of a small typed array that keeps its data on the heap) has none.
            match (field(v8.c.buffer_store), field(v8.c.buffer_length)) {
                (Some(store), Some(length)) if store != 0 && length < 1 << 48 => length,
                _ => 0,
            }
        }
        Kind::JsTypedArray => match (field(v8.c.typed_base), field(v8.c.view_length)) {
            // Data on the heap has the array that holds it as its base.
            (Some(base), Some(length)) if base & 1 == 0 && length < 1 << 48 => length,
            _ => 0,
        },
        _ => 0,
    }
}
