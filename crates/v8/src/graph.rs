//! The graph of all objects: which there are, which can be reached, who refers to whom.
//!
//! The pages are walked in parallel. Of each is kept where its objects begin, one bit for 8 bytes, and as much again when it
//! is marked what can be reached; the bytes are read again when they are needed. So a heap of a gigabyte takes some 30 MB
//! here.

mod census;
mod finder;
mod groups;
mod handles;
mod page;
mod path;
mod reach;
mod reader;
mod references;
mod roots;
mod units;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::error::{Result, V8Error};
use crate::gaps::Gaps;
use crate::labs::FreeAreas;
use crate::pages::{Page, Space};
use crate::parallel::parallel;
use crate::tagged::Tagged;
use crate::v8::{MapInfo, V8};
use crate::walk::{MapCache, WalkBuffer};

use census::Census;
pub use groups::Group;
use page::Walked;
pub use path::Path;
use reader::Reader;
pub use references::Reference;
pub use roots::{RootKind, Roots};
use units::Units;

/// The objects of an isolate, or of all of them.
pub struct HeapGraph {
    v8: Arc<V8>,
    isolate: Option<usize>,
    pages: Vec<Walked>,
    units: Units,
    /// Objects have been moved away from some of the pages: a collection was under way.
    moving: bool,
    /// What could not be walked.
    pub gaps: Gaps,
    all: Census,
    /// What could be reached, once it was marked.
    reached: Mutex<Option<Census>>,
    roots: Mutex<Option<Arc<Roots>>>,
    /// V8's number for the type of its notes on where objects are made.
    allocation_site: Option<u16>,
}

/// An object of the graph.
#[derive(Debug, Clone, Copy)]
pub struct Object {
    /// Where it begins.
    pub address: u64,
    /// Its map.
    pub map: MapInfo,
    /// Its bytes on the heap.
    pub size: u64,
}

impl Object {
    /// The pointer to it.
    pub fn tagged(&self) -> Tagged {
        Tagged::of(self.address)
    }
}

/// What one space of one heap has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SpaceUse {
    /// Its pages.
    pub pages: u64,
    /// Their bytes, headers and free areas included.
    pub bytes: u64,
    /// Bytes of objects.
    pub objects: u64,
    /// Bytes of objects that can be reached.
    pub reachable: u64,
}

/// Stores of ArrayBuffers, or texts of external strings: what belongs to objects and lies outside of the heap.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Outside {
    /// How many.
    pub count: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl Outside {
    fn of(ranges: &[(u64, u64)]) -> Outside {
        Outside {
            count: ranges.len() as u64,
            bytes: ranges.iter().map(|(_, bytes)| bytes).sum(),
        }
    }
}

/// A stop from outside: Ctrl-C.
pub type Stop = AtomicBool;

fn stopped(stop: &Stop) -> Result<()> {
    if stop.load(Ordering::Relaxed) {
        return Err(V8Error::Other("stopped".to_owned()));
    }
    Ok(())
}

/// A page, what could not be walked in it, and the count of its objects apart where there is such a gap, or objects are
/// being moved away: the page may be walked again.
type WalkedPage = (Walked, Gaps, Option<Census>);

/// What one thread brings back from walking.
#[derive(Default)]
struct Walk {
    pages: Vec<WalkedPage>,
    census: Census,
    maps: MapCache,
    buffer: WalkBuffer,
}

impl HeapGraph {
    /// Walks the pages of an isolate and the shared ones, or of all isolates.
    ///
    /// # Errors
    /// When it was stopped.
    pub fn build(v8: &Arc<V8>, isolate: Option<usize>, stop: &Stop) -> Result<HeapGraph> {
        // The list of pages first: what comes then asks for hundreds of them.
        let pages = v8.pages_of(isolate);
        let mut free = v8.free_areas();
        let (mut walked, mut census) = walk(v8, &pages, &free, stop)?;
        // A gap may be an area that was being filled and of which nothing was known yet; and the size of an object that was
        // being moved to one is only known once the area is.
        for round in 0..3 {
            let tops: Vec<u64> = walked
                .iter()
                .flat_map(|(_, gaps, _)| gaps.first.iter().map(|(at, _)| *at))
                .collect();
            let begun = walked
                .iter()
                .flat_map(|(_, gaps, _)| gaps.unwritten.iter().copied());
            let mut more = free.note_begun(begun);
            if round == 0 && !tops.is_empty() {
                more |= v8.search_free_areas(&tops, &mut free, stop);
            }
            if !more {
                break;
            }
            let (again, done): (Vec<WalkedPage>, _) = walked
                .into_iter()
                .partition(|(page, gaps, _)| gaps.bytes > 0 || page.page.is_left());
            walked = done;
            let again: Vec<Page> = again.into_iter().map(|(page, _, _)| page.page).collect();
            let (more, counted) = walk(v8, &again.iter().collect::<Vec<_>>(), &free, stop)?;
            walked.extend(more);
            census.merge(counted);
        }
        for (_, _, of_page) in &mut walked {
            if let Some(of_page) = of_page.take() {
                census.merge(of_page);
            }
        }
        walked.sort_by_key(|(page, _, _)| page.page.base);
        let mut gaps = Gaps::default();
        let mut pages = Vec::with_capacity(walked.len());
        for (page, of_page, _) in walked {
            gaps.add(of_page);
            pages.push(page);
        }
        // Only the first unit of a large page has the start of an object.
        let units = Units::new(pages.iter().map(|walked: &Walked| {
            let bytes = if walked.page.large {
                1
            } else {
                walked.page.area_start - walked.page.base + walked.held
            };
            (walked.page.base, bytes)
        }));
        Ok(HeapGraph {
            v8: v8.clone(),
            isolate,
            moving: pages.iter().any(|page| !page.moved.is_empty()),
            pages,
            units,
            gaps,
            all: census,
            reached: Mutex::new(None),
            roots: Mutex::new(None),
            allocation_site: v8.types.number("ALLOCATION_SITE"),
        })
    }

    /// Where the object that a pointer leads to is now: elsewhere, when it was being moved as the process died. The number of
    /// its page, and its address.
    fn target(&self, address: u64) -> Option<(usize, u64)> {
        let page = self.units.page(address)?;
        if self.moving && self.pages[page].is_moved(address) {
            let to = self.v8.moved_to(address)?;
            return Some((self.units.page(to)?, to));
        }
        Some((page, address))
    }

    /// Whether an object begins at an address.
    pub fn is_object(&self, address: u64) -> bool {
        self.target(address)
            .is_some_and(|(page, at)| self.pages[page].is_start(at))
    }

    /// The object that an address lies in.
    pub fn object_around(&self, address: u64) -> Option<Object> {
        let index = self.v8.pages.index_of(address)?;
        let base = self.v8.pages.pages()[index].base;
        let index = self.units.page(base)?;
        let page = &self.pages[index];
        let mut at = address & !7;
        if page.page.large {
            at = page.page.area_start;
        }
        while at >= page.page.area_start {
            if page.is_start(at) {
                let object = self.object_in(index, at)?;
                return (address < at + object.size).then_some(object);
            }
            at -= 8;
        }
        None
    }

    fn object_in(&self, index: usize, at: u64) -> Option<Object> {
        let mut reader = Reader::new(self);
        reader.open(index, 1);
        reader.object(at)
    }

    /// The object that begins at an address.
    pub fn object(&self, address: u64) -> Option<Object> {
        let (index, address) = self.target(address)?;
        self.pages[index]
            .is_start(address)
            .then(|| self.object_in(index, address))
            .flatten()
    }

    /// Calls `visit` with every object, in the order of addresses; only with those that can be reached, if so wanted.
    pub fn each(&self, reachable: bool, mut visit: impl FnMut(&Object)) {
        let mut reader = Reader::new(self);
        for index in 0..self.pages.len() {
            let walked = reader.open(index, u32::MAX);
            walked.each_start(reachable, |at| {
                if let Some(object) = reader.object(at) {
                    visit(&object);
                }
            });
        }
    }

    /// The heaps' spaces: by heap (0 for what all isolates share) and space. What is reachable is told after
    /// [`HeapGraph::mark`].
    pub fn spaces(&self) -> std::collections::BTreeMap<(u64, Space), SpaceUse> {
        let mut spaces = std::collections::BTreeMap::new();
        for walked in &self.pages {
            let page = &walked.page;
            let space: &mut SpaceUse = spaces.entry((page.heap, page.space)).or_default();
            space.pages += 1;
            space.bytes += page.size;
            space.objects += walked.used;
            space.reachable += if page.heap == 0 {
                walked.used
            } else {
                walked.reached.load(Ordering::Relaxed)
            };
        }
        spaces
    }

    fn with_census<T>(&self, reachable: bool, take: impl FnOnce(&Census) -> T) -> T {
        if reachable
            && let Some(census) = &*self.reached.lock().unwrap_or_else(PoisonError::into_inner)
        {
            return take(census);
        }
        take(&self.all)
    }

    /// Stores of ArrayBuffers.
    pub fn stores(&self, reachable: bool) -> Outside {
        self.with_census(reachable, |census| Outside::of(&census.stores))
    }

    /// Where the stores of all ArrayBuffers are: address and bytes.
    pub fn store_ranges(&self) -> &[(u64, u64)] {
        &self.all.stores
    }

    /// Where the texts of all external strings are: address and bytes.
    pub fn text_ranges(&self) -> &[(u64, u64)] {
        &self.all.texts
    }

    /// Texts of strings that are outside of the heap.
    pub fn texts(&self, reachable: bool) -> Outside {
        self.with_census(reachable, |census| Outside::of(&census.texts))
    }
}

/// Walks pages; gives them, and the count of the objects of those without a gap.
fn walk(
    v8: &V8,
    pages: &[&Page],
    free: &FreeAreas,
    stop: &Stop,
) -> Result<(Vec<WalkedPage>, Census)> {
    let states = parallel(
        pages.len(),
        stop,
        Walk::default,
        |walk: &mut Walk, index| {
            let page = pages[index];
            // What the core does not hold is not made room for.
            let words = if page.large {
                1
            } else {
                ((page.area_end - page.area_start) / 8)
                    .div_ceil(64)
                    .min(1 << 16) as usize
            };
            let mut starts = vec![0_u64; words];
            let mut used = 0;
            let mut census = Census::default();
            let mut maps = 0;
            let gaps = v8.walk_page_with(page, free, &mut walk.maps, &mut walk.buffer, |found| {
                let index = (found.address - page.area_start) >> 3;
                if let Some(word) = starts.get_mut((index / 64) as usize) {
                    *word |= 1 << (index % 64);
                }
                if found.map.kind != crate::types::Kind::Free {
                    used += found.size;
                }
                let object = Object {
                    address: found.address,
                    map: *found.map,
                    size: found.size,
                };
                if object.map.kind.is_js_object() {
                    maps |= Walked::map_bit(object.map.address);
                }
                census.count(v8, &object, found.bytes);
            });
            let held = if page.large {
                page.area_end - page.area_start - gaps.missing
            } else {
                walk.buffer.bytes().len() as u64
            };
            let mut done = Walked::new(*page, held, starts, used);
            done.note_moved(&walk.buffer.moved);
            done.maps = maps;
            let apart = if gaps.bytes == 0 && !page.is_left() {
                walk.census.merge(census);
                None
            } else {
                Some(census)
            };
            walk.pages.push((done, gaps, apart));
        },
    );
    stopped(stop)?;
    let mut all = Vec::with_capacity(pages.len());
    let mut census = Census::default();
    for state in states {
        all.extend(state.pages);
        census.merge(state.census);
    }
    Ok((all, census))
}
