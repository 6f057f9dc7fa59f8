//! Pages by address.
//!
//! Each page is found when it is first asked for, by a look at the unit that an address is in and at a few before it: a stack
//! touches a few dozen of the nine thousand pages of a 2 GB heap, and from a cold disk the headers of all of them take a
//! quarter of a second. What needs the whole heap makes the list of all pages, once.

use std::ops::Range;
use std::sync::{Arc, OnceLock, RwLock};

use crate::fast::AddressMap;
use crate::memory::Memory;
use crate::pages::{Page, PageLayout, UNIT, UNIT_SHIFT, find, page_at};

/// Units before that of an address that are looked at for the beginning of a large page.
const BACK: u64 = 8;
/// Most units that are looked at one by one. Who asks for more gets the list of all pages.
const MAX_PROBES: usize = 1 << 14;

/// Pages by address.
pub struct PageTable {
    memory: Arc<Memory>,
    layout: PageLayout,
    /// The memory that may be V8's: V8 maps no file for its heap. Sorted; what touches is one range.
    ranges: Vec<Range<u64>>,
    /// The units that were looked at: what begins there.
    probed: RwLock<AddressMap<Option<Page>>>,
    all: OnceLock<All>,
}

/// All pages.
struct All {
    pages: Vec<Page>,
    units: AddressMap<u32>,
}

/// What a look at a few units tells of an address.
enum Probe {
    In(Page),
    Outside,
    /// It may lie far inside a large page.
    Unclear,
}

impl PageTable {
    /// Over the memory of a process. Nothing is read yet.
    pub(crate) fn new(memory: Arc<Memory>, layout: PageLayout) -> PageTable {
        let mut ranges: Vec<Range<u64>> = Vec::new();
        for region in memory.target().regions() {
            if region.file.is_some() {
                continue;
            }
            match ranges.last_mut() {
                Some(last) if region.range.start <= last.end => {
                    last.end = last.end.max(region.range.end);
                }
                _ => ranges.push(region.range),
            }
        }
        PageTable {
            memory,
            layout,
            ranges,
            probed: RwLock::default(),
            all: OnceLock::new(),
        }
    }

    fn all(&self) -> &All {
        self.all.get_or_init(|| {
            let pages = find(&self.memory, self.layout, &self.ranges);
            let mut units = AddressMap::default();
            for (index, page) in pages.iter().enumerate() {
                // A hostile header may claim a terabyte: the first units are enough for a map.
                let count = page.size.div_ceil(UNIT).min(1 << 16);
                for unit in 0..count {
                    units
                        .entry((page.base >> UNIT_SHIFT) + unit)
                        .or_insert(index as u32);
                }
            }
            All { pages, units }
        })
    }

    /// Says of the pages that begin at these addresses that what they have was left behind.
    pub(crate) fn leave_behind(&mut self, bases: &[u64]) {
        self.all();
        for page in self.all.get_mut().iter_mut().flat_map(|all| &mut all.pages) {
            page.from |= bases.contains(&page.base);
        }
    }

    /// All of them.
    pub fn pages(&self) -> &[Page] {
        &self.all().pages
    }

    /// The number of the page that holds an address inside its area, in the list of all.
    pub fn index_of(&self, address: u64) -> Option<usize> {
        self.all().index_of(address)
    }

    /// The page that holds an address inside its area.
    pub fn page_of(&self, address: u64) -> Option<Page> {
        if let Some(all) = self.all.get() {
            return all.index_of(address).map(|index| all.pages[index]);
        }
        match self.probe(address) {
            Probe::In(page) => Some(page),
            Probe::Outside => None,
            Probe::Unclear => self.index_of(address).map(|index| self.pages()[index]),
        }
    }

    /// The same, but for an address far inside a large page, of which nothing is known yet, perhaps none.
    pub(crate) fn near(&self, address: u64) -> Option<Page> {
        match self.probe(address) {
            Probe::In(page) => Some(page),
            Probe::Outside | Probe::Unclear => None,
        }
    }

    fn probe(&self, address: u64) -> Probe {
        let next = self.ranges.partition_point(|range| range.start <= address);
        let Some(range) = next
            .checked_sub(1)
            .map(|index| &self.ranges[index])
            .filter(|range| range.contains(&address))
        else {
            return Probe::Outside;
        };
        for back in 0..=BACK {
            let Some(unit) = (address >> UNIT_SHIFT).checked_sub(back) else {
                return Probe::Outside;
            };
            if unit << UNIT_SHIFT < range.start {
                return Probe::Outside;
            }
            let Some(begins) = self.probed(unit) else {
                return Probe::Unclear;
            };
            match begins {
                Some(page) if page.area_start <= address && address < page.area_end => {
                    return Probe::In(page);
                }
                Some(_) if back == 0 => return Probe::Outside,
                // The words of a large object may look like a header.
                Some(_) => return Probe::Unclear,
                None => {}
            }
        }
        Probe::Unclear
    }

    /// What begins at a unit; none when too many were asked for.
    fn probed(&self, unit: u64) -> Option<Option<Page>> {
        if let Some(known) = self.probed.read().ok()?.get(&unit) {
            return Some(*known);
        }
        let page = page_at(&self.memory, self.layout, unit << UNIT_SHIFT);
        let mut probed = self.probed.write().ok()?;
        if probed.len() >= MAX_PROBES {
            return None;
        }
        probed.insert(unit, page);
        Some(page)
    }
}

impl All {
    fn index_of(&self, address: u64) -> Option<usize> {
        let index = *self.units.get(&(address >> UNIT_SHIFT))? as usize;
        let page = &self.pages[index];
        (page.area_start <= address && address < page.area_end).then_some(index)
    }
}
