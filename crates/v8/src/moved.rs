//! Objects that a collection under way has moved: from where, to where, and what stands in place of their maps.
//!
//! A process that dies there has pointers to old places and to new ones. At the old place the first word is the new address,
//! without a tag (`MapWord::FromForwardingAddress`). In a heap that was not being collected nothing here is asked for.

use std::collections::{HashMap, HashSet};
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;

use crate::error::Result;
use crate::labs::FreeAreas;
use crate::pages::UNIT;
use crate::size::size_of;
use crate::v8::V8;
use crate::walk::MapCache;

/// The types below are those of strings.
const FIRST_NONSTRING: u16 = 128;

impl V8 {
    /// The heaps whose threads stood where the garbage collector moves objects: what it has not moved yet is where it was,
    /// and what it has moved may still be referred to by its old place, where the new one stands instead of a map.
    pub(crate) fn moving_heaps(&self) -> &[u64] {
        self.moving.get_or_init(|| {
            let target = self.memory.target();
            let movers: Vec<_> = [
                "_ZN2v88internal18ScavengerCollector14CollectGarbageEv",
                "_ZN2v88internal20MarkCompactCollector8EvacuateEv",
            ]
            .into_iter()
            .filter_map(|name| target.symbol(name))
            .collect();
            if movers.is_empty() {
                return Vec::new();
            }
            let calls = |pc: u64| {
                movers
                    .iter()
                    .any(|mover| pc.wrapping_sub(mover.address) < mover.size)
            };
            let inside = |tid| target.unwind(tid).iter().any(|frame| calls(frame.pc));
            self.entered()
                .iter()
                .filter(|isolate| isolate.thread.is_some_and(inside))
                .map(|isolate| isolate.heap)
                .collect()
        })
    }

    /// The maps of large objects of the new space that a scavenge has kept: they stay where they are, but their own
    /// address stands in place of the map until the end. The map is beside the object in tables of the scavenger
    /// (`surviving_new_large_objects_`). By address, the pointers to maps.
    pub(crate) fn surviving(&self) -> &HashMap<u64, u64> {
        self.surviving.get_or_init(|| {
            let objects: HashSet<u64> = self
                .pages
                .pages()
                .iter()
                .filter(|page| page.large && page.heap != 0)
                .map(|page| page.area_start)
                .filter(|at| self.memory.u64(*at) == Ok(*at))
                .collect();
            let found: Mutex<Vec<(u64, u64)>> = Mutex::default();
            if !objects.is_empty() {
                self.each_native_part(&AtomicBool::new(false), |_, words| {
                    for pair in words.windows(2) {
                        if pair[0] & 3 == 1
                            && pair[1] & 3 == 1
                            && objects.contains(&(pair[0] & !3))
                            && self.is_map_of_large(pair[0] & !3, pair[1])
                            && let Ok(mut found) = found.lock()
                        {
                            found.push((pair[0] & !3, pair[1]));
                        }
                    }
                });
            }
            found.into_inner().unwrap_or_default().into_iter().collect()
        })
    }

    /// Whether an object alone on its page has the page's size by this map.
    fn is_map_of_large(&self, at: u64, word: u64) -> bool {
        let Some(page) = self.pages.page_of(at) else {
            return false;
        };
        self.map(crate::tagged::Tagged(word)).is_some_and(|map| {
            crate::size::size_of(self, &map, |field| self.memory.u64(at.wrapping_add(field)))
                .is_some_and(|size| {
                    let area = page.area_end - page.area_start;
                    size <= area && area - size < 2 * UNIT
                })
        })
    }

    /// The pointer to the map of an object that begins with this word: that word, or where a collection that was under way has
    /// put the object's new address there, the first word of its copy.
    pub(crate) fn map_word(&self, at: u64, first: u64) -> u64 {
        if first & 7 != 0 || first == 0 || self.moving_heaps().is_empty() {
            return first;
        }
        if first == at {
            return self.surviving().get(&at).copied().unwrap_or(first);
        }
        match self.pages.page_of(first) {
            Some(_) => self.memory.u64(first).unwrap_or(first),
            None => first,
        }
    }

    /// Where an object is now that a pointer leads to: elsewhere, when a collection that was under way has moved it and not
    /// come to that pointer yet.
    pub(crate) fn moved_to(&self, at: u64) -> Option<u64> {
        if self.moving_heaps().is_empty() {
            return None;
        }
        let page = self.pages.page_of(at)?;
        if !page.from && !page.candidate {
            return None;
        }
        let to = self.memory.u64(at).ok()?;
        (to & 7 == 0 && to != at && self.pages.page_of(to).is_some()).then_some(to)
    }

    /// The size of an object that the garbage collector has moved, where it died before it gave the old page back: in
    /// place of the map stands the new address, without a tag, and the copy there has map and size. (Without this, 1 to
    /// 6 % of a heap could not be walked after a kill in the middle of a mark-compact of Node 22 and 26.)
    ///
    /// A scavenge also leads from a string that is only another one's name (`ThinString`, or a `ConsString` whose second part
    /// is empty) straight to that one, which has another size: `word` gives the words of what was left.
    pub(crate) fn moved_size(
        &self,
        target: u64,
        word: impl Fn(u64) -> Result<u64>,
        free: &FreeAreas,
        maps: &mut MapCache,
    ) -> Option<u64> {
        let page = self.pages.page_of(target)?;
        if let Some(size) = free.begun(target) {
            return Some(size);
        }
        let map = maps.get(self, self.memory.u64(target).ok()?)?;
        if map.instance_type < FIRST_NONSTRING
            && let Ok(named) = word(16)
            && named & 3 == 1
            && (named & !3 == target || self.memory.u64(named & !3) == Ok(target))
        {
            let empty = self.root("empty_string").map(|root| root.0);
            let cons = empty.is_some() && word(24).ok() == empty;
            return Some(if cons { 32 } else { 24 });
        }
        let size = size_of(self, &map, |field| {
            self.memory.u64(target.wrapping_add(field))
        })?;
        (size <= page.area_end - target).then_some(size)
    }
}
