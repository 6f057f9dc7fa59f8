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

use std::collections::HashMap;
use std::sync::atomic::AtomicBool;

use crate::constants::NO;
use crate::pages::{Page, Space};
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

/// Most bytes of a semi-space (`SemiSpace`), and before the links of a page's header.
const SEMI_SPACE: u64 = 0x400;
const LINKS: u64 = 0x400;

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

    pub(crate) fn learn_area(
        &self,
        areas: &mut FreeAreas,
        start: u64,
        top: u64,
        limit: u64,
    ) -> bool {
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
}
