//! References: who refers to an object, and which words of an object are pointers that keep others alive.

use std::borrow::Cow;

use super::reader::{Reader, word};
use super::{HeapGraph, Object, Stop, stopped};
use crate::error::Result;
use crate::fast::AddressMap;
use crate::parallel::parallel;
use crate::types::{Kind, Sizing};
use crate::v8::MapInfo;

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

/// Which words of an object are pointers that keep others alive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pointers {
    /// Only the one to its map. (What the tables of weak collections hold depends on their keys: see `reach.rs`. Constants
    /// in machine code are weak.)
    Map,
    /// All that look like one.
    All,
    /// All but [`weak_fields`].
    NotAll,
}

/// The same for all objects of a map.
pub(super) fn pointers(graph: &HeapGraph, map: &MapInfo) -> Pointers {
    let types = &graph.v8.types;
    if map.kind == Kind::HeapNumber || map.instance_type < 128 && map.instance_type & 7 == 0 {
        return Pointers::Map;
    }
    let raw = matches!(
        types.sizing(map.instance_type),
        Sizing::Bytes
            | Sizing::Doubles
            | Sizing::BigInt
            | Sizing::FreeSpace
            | Sizing::Coverage
            | Sizing::FeedbackMetadata
            | Sizing::InstructionStream
    );
    if raw || types.name_is_ephemeron(map.instance_type) {
        return Pointers::Map;
    }
    match map.kind {
        Kind::JsWeakRef | Kind::WeakCell => Pointers::NotAll,
        Kind::Context if types.is_native_context(map.instance_type) => Pointers::NotAll,
        Kind::Internal if graph.allocation_site == Some(map.instance_type) => Pointers::NotAll,
        _ => Pointers::All,
    }
}

/// The fields by which an object holds others weakly, though the pointers look strong. (`JSWeakRef`: target 24;
/// `WeakCell`: target 16, unregister token 24; the links of V8's lists of contexts and of allocation sites.)
pub(super) fn weak_fields(graph: &HeapGraph, object: &Object) -> Cow<'static, [u64]> {
    let v8 = &graph.v8;
    match object.map.kind {
        Kind::JsWeakRef => Cow::Borrowed(&[24]),
        // In 26 the holdings come before these.
        Kind::WeakCell if v8.column >= 3 => Cow::Borrowed(&[24, 32]),
        Kind::WeakCell => Cow::Borrowed(&[16, 24]),
        Kind::Context if v8.types.is_native_context(object.map.instance_type) => {
            let native = |offset: &u64| {
                v8.field(object.address, *offset as i64)
                    .and_then(|word| v8.map_of(word))
                    .is_ok_and(|map| v8.types.is_native_context(map.instance_type))
            };
            Cow::Owned((16..object.size).step_by(8).filter(native).collect())
        }
        Kind::Internal
            if graph.allocation_site == Some(object.map.instance_type) && object.size >= 48 =>
        {
            Cow::Owned(vec![object.size - 8])
        }
        _ => Cow::Borrowed(&[]),
    }
}

/// Most references to one object that are told of one other: an array of ten million may hold the same in each element.
const MOST_OF_ONE: usize = 64;

/// A set of addresses that says quickly of most that they are not in it.
struct Targets {
    filter: Vec<u64>,
    list: AddressMap<Vec<Reference>>,
}

impl Targets {
    fn new(targets: &[u64]) -> Targets {
        let mut filter = vec![0_u64; 1024];
        for target in targets {
            let bit = Targets::bit(*target);
            filter[bit / 64] |= 1 << (bit % 64);
        }
        Targets {
            filter,
            list: targets.iter().map(|target| (*target, Vec::new())).collect(),
        }
    }

    fn bit(address: u64) -> usize {
        (address >> 3 ^ address >> 19) as usize & 0xffff
    }

    fn has(&self, word: u64) -> bool {
        let bit = Targets::bit(word & !3);
        word & 1 == 1
            && self.filter[bit / 64] >> (bit % 64) & 1 == 1
            && self.list.contains_key(&(word & !3))
    }
}

impl HeapGraph {
    /// All objects that refer to one, each with its first few references. An ephemeron's key does not keep it alive.
    ///
    /// # Errors
    /// When it was stopped.
    pub fn references(&self, targets: &[u64], stop: &Stop) -> Result<AddressMap<Vec<Reference>>> {
        let aliases = self.left_places(&Targets::new(targets));
        let all: Vec<u64> = targets.iter().chain(aliases.keys()).copied().collect();
        let wanted = Targets::new(&all);
        let states = parallel(
            self.pages.len(),
            stop,
            || (Reader::new(self), Vec::new()),
            |(reader, found): &mut (Reader<'_>, Vec<(u64, Reference)>), index| {
                let walked = reader.open(index, u32::MAX);
                // First whether the page has such a word at all: most have not.
                let bytes = reader.bytes(walked.page.area_start, walked.held as usize);
                if !walked.page.large
                    && !bytes.chunks_exact(8).any(|word| {
                        wanted.has(u64::from_le_bytes(word.try_into().unwrap_or_default()))
                    })
                {
                    return;
                }
                walked.each_start(false, |at| {
                    if let Some(object) = reader.object(at) {
                        self.references_of(reader, &object, &wanted, found);
                    }
                });
            },
        );
        stopped(stop)?;
        let mut list = wanted.list;
        for (_, found) in states {
            for (target, reference) in found {
                list.entry(target).or_default().push(reference);
            }
        }
        for (old, new) in aliases {
            let moved = list.remove(&old).unwrap_or_default();
            list.entry(new).or_default().extend(moved);
        }
        for references in list.values_mut() {
            references.sort_by_key(|reference| (reference.from, reference.offset));
        }
        Ok(list)
    }

    /// Where these objects were before a collection that was under way moved them: some pointers may still lead there. By
    /// those places, where they are now.
    fn left_places(&self, targets: &Targets) -> AddressMap<u64> {
        let mut places = AddressMap::default();
        for walked in self.pages.iter().filter(|page| !page.moved.is_empty()) {
            walked.each_moved(|at| {
                if let Some(to) = self.v8.moved_to(at)
                    && targets.list.contains_key(&to)
                {
                    places.insert(at, to);
                }
            });
        }
        places
    }

    fn references_of(
        &self,
        reader: &mut Reader<'_>,
        object: &Object,
        wanted: &Targets,
        found: &mut Vec<(u64, Reference)>,
    ) {
        let mut told: AddressMap<usize> = AddressMap::default();
        let mut note = |offset: u64, word: u64, weak: bool| {
            if !wanted.has(word) {
                return;
            }
            let count = told.entry(word & !3).or_default();
            *count += 1;
            if *count <= MOST_OF_ONE {
                found.push((
                    word & !3,
                    Reference {
                        from: object.address,
                        offset,
                        weak: weak || word & 3 == 3,
                    },
                ));
            }
        };
        if self.v8.types.name_is_ephemeron(object.map.instance_type) {
            // Pairs of key and value from the fourth word of the data on.
            let mut chunk = vec![0; 1 << 16];
            let mut offset = 16;
            while offset < object.size {
                let len = (object.size - offset).min(chunk.len() as u64) as usize;
                let part = &mut chunk[..len];
                let target = self.v8.memory.target();
                if target.read(object.address + offset, part).is_err() {
                    break;
                }
                for word in part.chunks_exact(8) {
                    let word = u64::from_le_bytes(word.try_into().unwrap_or_default());
                    note(offset, word, (offset - 16) / 8 % 2 == 1);
                    offset += 8;
                }
                if len < 8 {
                    break;
                }
            }
            return;
        }
        for offset in weak_fields(self, object).iter() {
            if let Some(word) = word(reader.bytes(object.address + offset, 8), 0) {
                note(*offset, word, true);
            }
        }
        reader.edges(object, |offset, word| note(offset, word, false));
    }
}
