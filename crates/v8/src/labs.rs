//! Linear allocation areas: pieces of a page that one thread fills, from their start to their limit. Up to the top there
//! are objects; from the top on there are none, and nothing on the page says so.
//!
//! Those of the main thread for new and old space are fields of the isolate (`IsolateData::new_allocation_info_`,
//! `old_allocation_info_`: start, top, limit). All others, those of the garbage collector's threads among them, are in
//! allocators in native memory and on stacks, which are recognised by what they are made of: they name the heap, and point
//! to the area that lies in themselves (`MainAllocator::allocation_info_`, `heap/main-allocator.h`; before V8 12
//! `CompactionSpace`, and `LocalAllocationBuffer`, whose area lies behind the heap's address).
//!
//! **The top is ahead of the memory**: it is raised before the object is written. So a thread that was stopped in
//! between - most often when it touched a page of memory for the first time - leaves an area whose last object is not there
//! yet. That is no gap: nothing else can be before the top, and the object's size is what is missing up to it. (Not
//! to know this left one page in every twelfth kill inside the collector that could not be walked to its end.)
//!
//! What is left is found from the other end: a walk stops where it meets no map, and if some three
//! words of native memory say start <= that place < limit, then it is the top of such an area. (Three rising words alone
//! are too little: registries of code and old copies of areas on stacks look the same.)

use std::collections::{HashMap, HashSet};
use std::sync::atomic::AtomicBool;
use std::sync::{Mutex, PoisonError};

use crate::constants::NO;
use crate::pages::{Page, Space, UNIT, UNIT_SHIFT};
use crate::parallel::parallel;
use crate::v8::V8;

/// One area.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Area {
    pub start: u64,
    /// From here on nothing was allocated.
    pub top: u64,
    pub limit: u64,
}

/// The areas that are known, and the objects that were begun in them.
#[derive(Debug, Clone, Default)]
pub struct FreeAreas {
    /// By the page's base, in order, apart from each other.
    by_page: HashMap<u64, Vec<Area>>,
    /// Objects that have their place and are not written yet: their bytes.
    begun: HashMap<u64, u64>,
}

impl FreeAreas {
    /// Those of a page.
    pub(crate) fn of(&self, page: &Page) -> &[Area] {
        self.by_page.get(&page.base).map_or(&[], Vec::as_slice)
    }

    /// The bytes of an object that was begun at an address.
    pub(crate) fn begun(&self, address: u64) -> Option<u64> {
        self.begun.get(&address).copied()
    }

    /// Notes objects that were begun; whether any is new.
    pub(crate) fn note_begun(&mut self, found: impl Iterator<Item = (u64, u64)>) -> bool {
        let before = self.begun.len();
        self.begun.extend(found);
        self.begun.len() > before
    }

    /// Adds an area, unless it crosses one that is known.
    fn add(&mut self, page: &Page, area: Area) -> bool {
        let sane = page.area_start <= area.start
            && area.start <= area.top
            && area.top <= area.limit
            && area.start < area.limit
            && area.limit <= page.area_end
            && (area.start | area.top | area.limit) & 7 == 0
            && !page.large;
        if !sane {
            return false;
        }
        let areas = self.by_page.entry(page.base).or_default();
        // Before V8 12 the collector's threads cut theirs out of the main thread's, below its top.
        let within = |known: &&Area| area.start <= known.start && known.limit <= area.top;
        let start = areas.iter().filter(within).map(|known| known.limit).max();
        let area = Area {
            start: start.unwrap_or(area.start),
            ..area
        };
        let at = areas.partition_point(|known| known.start < area.start);
        let apart = |known: &Area| known.limit <= area.start || area.limit <= known.start;
        let before = at.checked_sub(1).and_then(|before| areas.get(before));
        if area.start < area.limit && before.is_none_or(apart) && areas.get(at).is_none_or(apart) {
            areas.insert(at, area);
            return true;
        }
        false
    }
}

/// Bytes of the isolate and its heap that are looked through for pointers to allocators.
const ISOLATE: u64 = 0x18000;
/// Bytes of what they point to: an allocator is smaller.
const ALLOCATOR: usize = 512;
/// Words of an allocator before the area that lies in it; and of those before a piece of memory that are looked at with
/// it, since an area may begin in its last two.
const BEFORE: usize = 64;
const AHEAD: usize = BEFORE + 2;
/// Most bytes of a semi-space (`SemiSpace`), and before the links of a page's header.
const SEMI_SPACE: u64 = 0x400;
const LINKS: u64 = 0x400;

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
    /// The areas that the isolates lead to. Where a thread was inside the garbage collector, those of its helpers too.
    pub fn free_areas(&self) -> FreeAreas {
        let mut areas = FreeAreas::default();
        if !self.moving_heaps().is_empty() {
            self.search_allocators(&mut areas, &AtomicBool::new(false));
        }
        for isolate in self.isolates() {
            let mut fresh = None;
            for field in [self.c.new_lab, self.c.old_lab] {
                if field != NO
                    && let Ok(start) = self.memory.u64(self.at(isolate.address, field))
                    && let Ok(top) = self.memory.u64(self.at(isolate.address, field + 8))
                    && let Ok(mut limit) = self.memory.u64(self.at(isolate.address, field + 16))
                {
                    // The limit may have been drawn in, so that V8 looks after something on the way there. Up to where it
                    // was there is nothing; in Node 18's new space that is the end of the page.
                    if field == self.c.new_lab
                        && self.version.is_node_18()
                        && let Some(page) = self.pages.page_of(start)
                        && page.space == Space::New
                    {
                        limit = page.area_end;
                    }
                    self.learn_area(&mut areas, start, top, limit);
                    if field == self.c.new_lab {
                        fresh = Some(limit);
                    }
                }
            }
            self.unused_pages(isolate.heap, fresh, &mut areas);
        }
        areas
    }

    fn learn_area(&self, areas: &mut FreeAreas, start: u64, top: u64, limit: u64) -> bool {
        self.pages
            .page_of(start)
            .is_some_and(|page| areas.add(&page, Area { start, top, limit }))
    }

    /// What a semi-space has not used since it was last emptied: the rest of its current page, and the pages behind that in
    /// its list. There may be objects of long ago there. `fresh` is the limit of the main thread's area.
    fn unused_pages(&self, heap: u64, fresh: Option<u64>, areas: &mut FreeAreas) -> Option<()> {
        let mine = |page: &&Page| {
            page.heap == heap && page.space == Space::New && !page.from && !page.large
        };
        let pages: Vec<&Page> = self.pages.pages().iter().filter(mine).collect();
        let owner = pages.first()?.owner;
        if pages.iter().any(|page| page.owner != owner) {
            return None;
        }
        // `SemiSpaceNewSpace`: two semi-spaces, of one class, and since V8 12 behind them the end of the last area that was
        // given out. Before, all threads took theirs from the main thread's.
        let class = self.memory.u64(owner).ok()?;
        let top = if self.column == 0 {
            fresh?
        } else {
            let size = (8..SEMI_SPACE)
                .step_by(8)
                .find(|offset| self.memory.u64(owner + offset) == Ok(class))?;
            self.memory.u64(owner + 2 * size).ok()?
        };
        let current = pages
            .iter()
            .find(|page| page.area_start <= top && top <= page.area_end)?;
        let rest = |page: &Page, start: u64| Area {
            start,
            top: start,
            limit: page.area_end,
        };
        areas.add(current, rest(current, top));
        // The list: the first and the last page behind the space's own fields, and links somewhere in the headers.
        let (first, last) = (
            self.memory.u64(owner + 40).ok()?,
            self.memory.u64(owner + 48).ok()?,
        );
        let by_metadata: HashMap<u64, &Page> =
            pages.iter().map(|page| (page.metadata, *page)).collect();
        let order = (8..LINKS).step_by(8).find_map(|link| {
            let mut order = vec![first];
            while order.len() <= pages.len() {
                let at = *order.last()?;
                if !by_metadata.contains_key(&at) {
                    return None;
                }
                match self.memory.u64(at + link).ok()? {
                    0 => break,
                    next => order.push(next),
                }
            }
            (order.len() == pages.len() && order.last() == Some(&last) && order.len() > 1)
                .then_some(order)
        })?;
        let behind = order
            .iter()
            .skip_while(|metadata| **metadata != current.metadata)
            .skip(1);
        for metadata in behind {
            if let Some(page) = by_metadata.get(metadata) {
                areas.add(page, rest(page, page.area_start));
            }
        }
        Some(())
    }

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
        let near = self.near_isolates();
        for (at, words) in &near {
            search.look(*at, words, 0, !seen);
        }
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
    fn search_allocators(&self, areas: &mut FreeAreas, stop: &AtomicBool) {
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

    /// The first words of what the isolates point to, and of what that points to where it names a heap (`LocalHeap`, whose
    /// allocators are objects of their own): by address, each once.
    fn near_isolates(&self) -> Vec<(u64, Vec<u64>)> {
        /// Words in which whoever belongs to a heap names it.
        const NAMES: usize = 16;
        /// Most objects that are looked at.
        const MOST: usize = 1 << 16;
        let heaps: Vec<u64> = self.isolates().iter().map(|isolate| isolate.heap).collect();
        let mut line: Vec<u64> = Vec::new();
        for isolate in self.isolates() {
            line.extend(self.words_at(isolate.address, ISOLATE as usize));
        }
        let mut near = Vec::new();
        let mut seen = HashSet::new();
        while let Some(at) = line.pop() {
            if at & 7 != 0
                || !(0x1_0000..1 << 56).contains(&at)
                || near.len() >= MOST
                || !seen.insert(at)
                || self.pages.page_of(at).is_some()
            {
                continue;
            }
            let words = self.words_at(at, ALLOCATOR);
            if words.len() < 3 {
                continue;
            }
            if words.iter().take(NAMES).any(|word| heaps.contains(word)) {
                line.extend(&words);
            }
            near.push((at, words));
        }
        near
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
            crate::walk::size_of(self, &map, |field| self.memory.u64(at.wrapping_add(field)))
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

    /// The words at an address, up to where memory ends.
    pub(crate) fn words_at(&self, address: u64, bytes: usize) -> Vec<u64> {
        let mut buf = vec![0; bytes];
        let mut got = 0;
        while got < bytes {
            let at = address.wrapping_add(got as u64);
            let now = (4096 - (at & 4095) as usize).min(bytes - got);
            if self.memory.read(at, &mut buf[got..got + now]).is_err() {
                break;
            }
            got += now;
        }
        buf[..got]
            .chunks_exact(8)
            .map(|word| u64::from_le_bytes(word.try_into().unwrap_or_default()))
            .collect()
    }

    /// Calls `look` with the words of writable native memory, stacks included, piece by piece, and where the first of them
    /// is. A piece has the last [`AHEAD`] words before it too (zeros where there are none). From several threads.
    fn each_native_part(&self, stop: &AtomicBool, look: impl Fn(u64, &[u64]) + Sync) {
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
