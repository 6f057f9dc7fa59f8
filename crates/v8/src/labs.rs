//! Linear allocation areas: from their top to their limit there are no objects, and nothing on the page says so.
//!
//! Those of the main thread for new and old space are fields of the isolate (`IsolateData::new_allocation_info_`,
//! `old_allocation_info_`: start, top, limit). Those of trusted and code space and of other threads are in allocators that
//! the heap points to. What is left is found from the other end: a walk stops where it meets no map, and if some three
//! words of native memory say start <= that place < limit, then it is the top of such an area. (Three rising words alone
//! are too little: registries of code and old copies of areas on stacks look the same.)

use std::collections::{HashMap, HashSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::constants::NO;
use crate::pages::{Space, UNIT, UNIT_SHIFT};
use crate::v8::V8;

/// From where to where no objects are.
#[derive(Debug, Clone, Default)]
pub struct FreeAreas {
    by_top: HashMap<u64, u64>,
}

impl FreeAreas {
    /// Where the area ends that begins at an address.
    pub fn limit(&self, top: u64) -> Option<u64> {
        if self.by_top.is_empty() {
            return None;
        }
        self.by_top.get(&top).copied()
    }
}

/// Bytes of the isolate and its heap that are looked through for pointers to allocators.
const ISOLATE: u64 = 0x18000;
/// Bytes of what they point to: an allocator is smaller.
const ALLOCATOR: usize = 512;

impl V8 {
    /// The areas that the isolates lead to.
    pub fn free_areas(&self) -> FreeAreas {
        let mut areas = FreeAreas::default();
        for isolate in &self.isolates {
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
                }
            }
        }
        areas
    }

    fn learn_area(&self, areas: &mut FreeAreas, start: u64, top: u64, limit: u64) -> bool {
        if start <= top
            && top < limit
            && (start | top | limit) & 7 == 0
            && let Some(page) = self.pages.page_of(start)
            && limit <= page.area_end
            && !page.large
            && !areas.by_top.contains_key(&top)
        {
            areas.by_top.insert(top, limit);
            return true;
        }
        false
    }

    /// Looks for areas whose tops are these places, where walks met no map: first in what the isolates point to, then in
    /// all writable native memory. Whether any was found.
    pub fn search_free_areas(
        &self,
        tops: &[u64],
        areas: &mut FreeAreas,
        stop: &AtomicBool,
    ) -> bool {
        let mut wanted: HashSet<u64> = tops.iter().copied().collect();
        let mut found = false;
        let mut note = |words: &[u64], wanted: &mut HashSet<u64>| {
            for window in words.windows(3) {
                let [start, top, limit] = *window else {
                    continue;
                };
                if wanted.contains(&top)
                    && start >> UNIT_SHIFT == top >> UNIT_SHIFT
                    && self.learn_area(areas, start, top, limit)
                {
                    wanted.remove(&top);
                    found = true;
                }
            }
        };
        let mut near = Vec::new();
        for isolate in &self.isolates {
            near.extend(self.words_at(isolate.address, ISOLATE as usize));
        }
        near.sort_unstable();
        near.dedup();
        for pointer in near {
            if pointer & 7 == 0 && pointer > 0x1_0000 && self.pages.page_of(pointer).is_none() {
                note(&self.words_at(pointer, ALLOCATOR), &mut wanted);
            }
        }
        if !wanted.is_empty() {
            for words in self.search_everywhere(&wanted, stop) {
                note(&words, &mut wanted);
            }
        }
        found
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

    /// Every three words of native memory around one of the wanted.
    fn search_everywhere(&self, wanted: &HashSet<u64>, stop: &AtomicBool) -> Vec<[u64; 3]> {
        let units: HashSet<u64> = wanted.iter().map(|top| top >> UNIT_SHIFT).collect();
        let mut parts = Vec::new();
        for region in self.memory.target().regions() {
            // Stacks too: the allocators of a garbage collection are on them.
            if !region.writable || region.executable || region.held == 0 {
                continue;
            }
            let mut at = region.range.start;
            while at < region.range.end {
                let end = (((at >> UNIT_SHIFT) + 1) << UNIT_SHIFT).min(region.range.end);
                let ours = self.pages.page_of(at.next_multiple_of(UNIT) + 0x4000);
                if ours.is_none_or(|page| page.base > at) {
                    parts.push((at, end));
                }
                at = end;
            }
        }
        let next = AtomicUsize::new(0);
        let found = Mutex::new(Vec::new());
        let workers = std::thread::available_parallelism().map_or(2, usize::from);
        std::thread::scope(|scope| {
            for _ in 0..workers.min(8) {
                scope.spawn(|| {
                    let mut buf = vec![0_u8; UNIT as usize];
                    loop {
                        let index = next.fetch_add(1, Ordering::Relaxed);
                        let Some(&(from, to)) = parts.get(index) else {
                            break;
                        };
                        if stop.load(Ordering::Relaxed) {
                            break;
                        }
                        let bytes = &mut buf[..(to - from) as usize];
                        if self.memory.target().read(from, bytes).is_err() {
                            continue;
                        }
                        let mut last = [0; 3];
                        for word in bytes.chunks_exact(8) {
                            let word = u64::from_le_bytes(word.try_into().unwrap_or_default());
                            last = [last[1], last[2], word];
                            if last[1] != 0
                                && units.contains(&(last[1] >> UNIT_SHIFT))
                                && wanted.contains(&last[1])
                                && let Ok(mut found) = found.lock()
                                && found.len() < 4096
                            {
                                found.push(last);
                            }
                        }
                    }
                });
            }
        });
        found.into_inner().unwrap_or_default()
    }
}
