//! References: who refers to an object, and the words of an object that may be pointers.

use std::sync::atomic::Ordering;

use super::page::Loaded;
use super::{HeapGraph, Object, Stop};
use crate::error::{Result, V8Error};
use crate::fast::AddressMap;
use crate::types::{Kind, Sizing};

/// Something that refers to an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    /// The object that refers.
    pub from: u64,
    /// Where in it.
    pub offset: u64,
    /// It does not keep the object alive.
    pub weak: bool,
}

/// The fields by which an object holds others weakly, though the pointers look strong. (`JSWeakRef`: target 24;
/// `WeakCell`: target 16, unregister token 24.)
fn weak_fields(kind: Kind) -> &'static [u64] {
    match kind {
        Kind::JsWeakRef => &[24],
        Kind::WeakCell => &[16, 24],
        _ => &[],
    }
}

impl HeapGraph {
    /// Calls `visit` with each word of an object that may be a pointer: its offset and content. Raw data and what does
    /// not keep alive is left out; weak pointers (low bits 11) are passed.
    pub(super) fn edges(&self, loaded: &Loaded, object: &Object, mut visit: impl FnMut(u64, u64)) {
        let v8 = &self.v8;
        if let Some(map) = loaded.word(object.address) {
            visit(0, map);
        }
        if object.map.kind == Kind::HeapNumber
            || object.map.instance_type < 128 && object.map.instance_type & 7 == 0
        {
            return;
        }
        match v8.types.sizing(object.map.instance_type) {
            Sizing::Bytes
            | Sizing::Doubles
            | Sizing::BigInt
            | Sizing::FreeSpace
            | Sizing::Coverage
            | Sizing::FeedbackMetadata => return,
            // The keys and values of weak collections count when both are alive: see `mark`.
            _ if v8.types.name_is_ephemeron(object.map.instance_type) => return,
            _ => {}
        }
        let weak = weak_fields(object.map.kind);
        let end = object
            .size
            .min((loaded.page.area_end).saturating_sub(object.address));
        let mut offset = 8;
        while offset + 8 <= end {
            let Some(word) = loaded.word(object.address + offset) else {
                break;
            };
            if word & 1 == 1 && !weak.contains(&offset) {
                visit(offset, word);
            }
            offset += 8;
        }
    }

    /// All objects that refer to one. An ephemeron's key does not keep it alive.
    ///
    /// # Errors
    /// When it was stopped.
    pub fn references(&self, targets: &[u64], stop: &Stop) -> Result<AddressMap<Vec<Reference>>> {
        let mut found: AddressMap<Vec<Reference>> =
            targets.iter().map(|target| (*target, Vec::new())).collect();
        for loaded in &self.pages {
            if stop.load(Ordering::Relaxed) {
                return Err(V8Error::Other("stopped".to_owned()));
            }
            // First whether the page has such a word at all: most have not.
            let hit = loaded.bytes.chunks_exact(8).any(|word| {
                let word = u64::from_le_bytes(word.try_into().unwrap_or_default());
                word & 1 == 1 && found.contains_key(&(word & !3))
            });
            if !hit {
                continue;
            }
            for (index, starts) in loaded.starts.iter().enumerate() {
                let mut bits = *starts;
                while bits != 0 {
                    let at = loaded.page.area_start
                        + 8 * (64 * index as u64 + u64::from(bits.trailing_zeros()));
                    bits &= bits - 1;
                    let Some(object) = self.object_in(loaded, at) else {
                        continue;
                    };
                    let ephemeron = self.v8.types.name_is_ephemeron(object.map.instance_type);
                    let mut note = |offset: u64, word: u64, weak: bool| {
                        if let Some(list) = found.get_mut(&(word & !3)) {
                            list.push(Reference {
                                from: at,
                                offset,
                                weak: weak || word & 3 == 3,
                            });
                        }
                    };
                    if ephemeron {
                        for offset in (16..object.size).step_by(8) {
                            if let Some(word) =
                                loaded.word(at + offset).filter(|word| word & 1 == 1)
                            {
                                // Pairs of key and value from the third word of the data on.
                                note(offset, word, (offset - 16) / 8 % 2 == 1);
                            }
                        }
                        continue;
                    }
                    for offset in weak_fields(object.map.kind) {
                        if let Some(word) = loaded.word(at + offset) {
                            note(*offset, word, true);
                        }
                    }
                    self.edges(loaded, &object, |offset, word| note(offset, word, false));
                }
            }
        }
        Ok(found)
    }
}
