//! Where native memory tells of areas that are being filled (`labs.rs`): allocators, which the isolates lead to or which lie on
//! the stacks of the garbage collector's threads, and any three words that explain why a walk stopped.

use std::collections::HashSet;
use std::sync::atomic::AtomicBool;
use std::sync::{Mutex, PoisonError};

use crate::labs::{Area, FreeAreas};
use crate::pages::{UNIT, UNIT_SHIFT};
use crate::parallel::parallel;
use crate::v8::V8;

/// Bytes of the isolate and its heap that are looked through for pointers to allocators.
const ISOLATE: u64 = 0x18000;
/// Bytes of what they point to: an allocator is smaller.
const ALLOCATOR: usize = 512;
/// Words of an allocator before the area that lies in it; and of those before a piece of memory that are looked at with
/// it, since an area may begin in its last two.
const BEFORE: usize = 64;
const AHEAD: usize = BEFORE + 2;
/// What is looked for in native memory: allocators, and words that explain why a walk stopped.
struct Search {
    heaps: Vec<u64>,
    /// The heap's pages lie between these.
    low: u64,
    high: u64,
    /// Where walks met no map; and the units that these places lie in.
    tops: HashSet<u64>,
    units: HashSet<u64>,
    allocators: Mutex<Vec<Area>>,
    some: Mutex<Vec<Area>>,
}

impl Search {
    fn new(v8: &V8, tops: HashSet<u64>) -> Search {
        let pages = v8.pages.pages();
        Search {
            heaps: v8.isolates().iter().map(|isolate| isolate.heap).collect(),
            low: pages.first().map_or(0, |page| page.base),
            high: pages.last().map_or(0, |page| page.base + page.size),
            units: tops.iter().map(|top| top >> UNIT_SHIFT).collect(),
            tops,
            allocators: Mutex::default(),
            some: Mutex::default(),
        }
    }

    /// Looks through words, of which the first is at `at`; those before `from` are only there for what comes before an
    /// area.
    fn look(&self, at: u64, words: &[u64], from: usize, allocators: bool) {
        for (index, window) in words.windows(3).enumerate() {
            let [start, top, limit] = *window else {
                continue;
            };
            if start < self.low || start > top || top > limit || limit > self.high {
                continue;
            }
            let area = Area { start, top, limit };
            if self.units.contains(&(top >> UNIT_SHIFT))
                && start >> UNIT_SHIFT == top >> UNIT_SHIFT
                && top < limit
                && self.tops.contains(&top)
            {
                Search::note(&self.some, area);
            }
            if !allocators
                || index < from
                || start == limit
                || (start | top | limit) & 7 != 0
                || limit - start > UNIT
            {
                continue;
            }
            let before = &words[index.saturating_sub(BEFORE)..index];
            let own = before.contains(&(at + 8 * index as u64))
                && before.iter().any(|word| self.heaps.contains(word));
            let behind_heap = before.last().is_some_and(|word| self.heaps.contains(word));
            if own || behind_heap {
                Search::note(&self.allocators, area);
            }
        }
    }

    fn note(list: &Mutex<Vec<Area>>, area: Area) {
        let mut list = list.lock().unwrap_or_else(PoisonError::into_inner);
        if list.len() < 4096 {
            list.push(area);
        }
    }

    /// The areas of allocators, and those whose tops were wanted.
    fn found(self) -> (Vec<Area>, Vec<Area>) {
        let taken =
            |list: Mutex<Vec<Area>>| list.into_inner().unwrap_or_else(PoisonError::into_inner);
        (taken(self.allocators), taken(self.some))
    }
}

impl V8 {
    /// Looks for areas whose tops are these places, where walks met no map, and for allocators: in what the isolates lead
    /// to, and then, where that does not explain all, in all writable native memory. Whether any was found.
    pub fn search_free_areas(
        &self,
        tops: &[u64],
        areas: &mut FreeAreas,
        stop: &AtomicBool,
    ) -> bool {
        let search = Search::new(self, tops.iter().copied().collect());
        // A collection under way has allocators everywhere, and `free_areas` has looked for them everywhere.
        let seen = !self.moving_heaps().is_empty();
        self.near_isolates(|at, words| search.look(at, words, 0, !seen));
        let mut wanted = search.tops.clone();
        let mut found = self.learn(areas, search.found(), &mut wanted);
        if !wanted.is_empty() {
            let search = Search::new(self, wanted.clone());
            self.each_native_part(stop, |at, words| search.look(at, words, BEFORE, !seen));
            found |= self.learn(areas, search.found(), &mut wanted);
        }
        found
    }

    /// Learns the areas of all allocators in native memory.
    pub(crate) fn search_allocators(&self, areas: &mut FreeAreas, stop: &AtomicBool) {
        let search = Search::new(self, HashSet::new());
        self.each_native_part(stop, |at, words| search.look(at, words, BEFORE, true));
        self.learn(areas, search.found(), &mut HashSet::new());
    }

    /// Adds what a search found: the areas of allocators, then words that explain one of the wanted tops. Whether any was
    /// new; the tops that are explained are no longer wanted.
    fn learn(
        &self,
        areas: &mut FreeAreas,
        (mut allocators, some): (Vec<Area>, Vec<Area>),
        wanted: &mut HashSet<u64>,
    ) -> bool {
        let mut found = false;
        allocators.sort_by_key(|area| (area.start, area.top));
        for area in allocators {
            if self.learn_area(areas, area.start, area.top, area.limit) {
                wanted.remove(&area.top);
                found = true;
            }
        }
        for area in some {
            if wanted.contains(&area.top) && self.learn_area(areas, area.top, area.top, area.limit)
            {
                wanted.remove(&area.top);
                found = true;
            }
        }
        found
    }

    /// Calls `look` with the first words of what the isolates point to; of what that points to where it names a heap
    /// (`LocalHeap`, whose allocators are objects of their own), and once more (the list of them, in the `IsolateSafepoint`).
    /// Not further: from Node 24 on pages name their heap too, and form lists of ten thousand.
    fn near_isolates(&self, look: impl Fn(u64, &[u64])) {
        /// Words in which whoever belongs to a heap names it.
        const NAMES: usize = 16;
        /// How many steps of pointers are followed from the isolate's own.
        const STEPS: usize = 2;
        /// Most objects that are looked at.
        const MOST: usize = 1 << 16;
        let heaps: Vec<u64> = self.isolates().iter().map(|isolate| isolate.heap).collect();
        let mut line: Vec<u64> = Vec::new();
        for isolate in self.isolates() {
            line.extend(self.words_at(isolate.address, ISOLATE as usize));
        }
        let mut seen = HashSet::new();
        for step in 0..=STEPS {
            for at in std::mem::take(&mut line) {
                if at & 7 != 0
                    || !(0x1_0000..1 << 56).contains(&at)
                    || seen.len() >= MOST
                    || !seen.insert(at)
                    || self.pages.page_of(at).is_some()
                {
                    continue;
                }
                let words = self.words_at(at, ALLOCATOR);
                if step < STEPS && words.iter().take(NAMES).any(|word| heaps.contains(word)) {
                    line.extend(&words);
                }
                look(at, &words);
            }
        }
    }

    /// Calls `look` with the words of writable native memory, stacks included, piece by piece, and where the first of them
    /// is. A piece has the last [`AHEAD`] words before it too (zeros where there are none). From several threads.
    pub(crate) fn each_native_part(&self, stop: &AtomicBool, look: impl Fn(u64, &[u64]) + Sync) {
        let mut parts = Vec::new();
        for region in self.memory.target().regions() {
            // Stacks too: the allocators of a garbage collection are on them.
            if !region.writable || region.executable || region.held == 0 {
                continue;
            }
            let mut at = region.range.start;
            while at < region.range.end {
                let end = (((at >> UNIT_SHIFT) + 1) << UNIT_SHIFT).min(region.range.end);
                let ours = self.pages.page_of(at & !(UNIT - 1) | 0x3ff8);
                if ours.is_none_or(|page| page.base > at || end > page.base + page.size) {
                    parts.push((at, end));
                }
                at = end;
            }
        }
        parallel(
            parts.len(),
            stop,
            || (Vec::new(), Vec::new()),
            |(bytes, words): &mut (Vec<u8>, Vec<u64>), index| {
                let (from, to) = parts[index];
                let ahead = 8 * AHEAD;
                bytes.clear();
                bytes.resize(ahead + (to - from) as usize, 0);
                let target = self.memory.target();
                if target.read(from, &mut bytes[ahead..]).is_err() {
                    for at in (from..to).step_by(4096) {
                        let start = ahead + (at - from) as usize;
                        let end = (start + 4096).min(bytes.len());
                        if target.read(at, &mut bytes[start..end]).is_err() {
                            bytes[start..end].fill(0);
                        }
                    }
                }
                if index > 0
                    && parts[index - 1].1 == from
                    && target
                        .read(from - ahead as u64, &mut bytes[..ahead])
                        .is_err()
                {
                    bytes[..ahead].fill(0);
                }
                words.clear();
                words.extend(
                    bytes
                        .chunks_exact(8)
                        .map(|word| u64::from_le_bytes(word.try_into().unwrap_or_default())),
                );
                look(from.wrapping_sub(ahead as u64), words);
            },
        );
    }
}
