//! The graph of all objects: which there are, which can be reached, who refers to whom.
//!
//! The pages are walked in parallel, and their bytes are kept while the graph is. Which objects can be reached is told
//! conservatively: every word of native memory, of stacks and of registers that is a pointer to the start of an object
//! counts as a root. What is only held weakly (weak pointers, keys of ephemerons) is not reached by that.

mod groups;
mod page;
mod reach;
mod references;
mod roots;

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use crate::error::{Result, V8Error};
use crate::fast::AddressMap;
use crate::pages::{UNIT, UNIT_SHIFT};
use crate::tagged::Tagged;
use crate::v8::{MapInfo, V8};
use crate::walk::{Gaps, MapCache};

pub use groups::Group;
use page::Loaded;
pub use references::Reference;

/// The objects of an isolate, or of all of them.
pub struct HeapGraph {
    v8: Arc<V8>,
    pages: Vec<Loaded>,
    units: AddressMap<u32>,
    /// What could not be walked.
    pub gaps: Gaps,
    marked: AtomicBool,
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

/// A stop from outside: Ctrl-C.
pub type Stop = AtomicBool;

impl HeapGraph {
    /// Walks the pages of an isolate and the shared ones, or of all isolates. Uses two threads or as many as there are
    /// processors.
    ///
    /// # Errors
    /// When it was stopped.
    pub fn build(v8: &Arc<V8>, isolate: Option<usize>, stop: &Stop) -> Result<HeapGraph> {
        let mut free = v8.free_areas();
        v8.search_free_areas(&mut free);
        let pages = v8.pages_of(isolate);
        let next = AtomicUsize::new(0);
        let done: Mutex<(Vec<Loaded>, Gaps)> = Mutex::default();
        let workers = std::thread::available_parallelism()
            .map_or(2, usize::from)
            .clamp(1, 16);
        std::thread::scope(|scope| {
            for _ in 0..workers.min(pages.len().max(1)) {
                scope.spawn(|| {
                    let mut maps = MapCache::default();
                    loop {
                        let index = next.fetch_add(1, Ordering::Relaxed);
                        let Some(page) = pages.get(index) else { break };
                        if stop.load(Ordering::Relaxed) {
                            break;
                        }
                        let mut starts = vec![
                            0_u64;
                            ((page.area_end - page.area_start) / 8)
                                .div_ceil(64)
                                .min(1 << 30) as usize
                        ];
                        if page.large {
                            starts.truncate(1);
                        }
                        let (bytes, gaps) = v8.walk_page_with(page, &free, &mut maps, |found| {
                            let index = ((found.address - page.area_start) >> 3) as usize;
                            if let Some(word) = starts.get_mut(index / 64) {
                                *word |= 1 << (index % 64);
                            }
                        });
                        let marks = starts.iter().map(|_| AtomicU64::new(0)).collect();
                        if let Ok(mut done) = done.lock() {
                            done.0.push(Loaded {
                                page: (*page).clone(),
                                bytes,
                                starts,
                                marks,
                            });
                            done.1.add(gaps);
                        }
                    }
                });
            }
        });
        if stop.load(Ordering::Relaxed) {
            return Err(V8Error::Other("stopped".to_owned()));
        }
        let (mut pages, gaps) = done.into_inner().unwrap_or_default();
        pages.sort_by_key(|page| page.page.base);
        let mut units = AddressMap::default();
        for (index, loaded) in pages.iter().enumerate() {
            let count = (loaded.bytes.len() as u64 + 0x4000).div_ceil(UNIT);
            // Only the first unit of a large page has the start of an object.
            for unit in 0..if loaded.page.large {
                1
            } else {
                count.min(1 << 16)
            } {
                units
                    .entry((loaded.page.base >> UNIT_SHIFT) + unit)
                    .or_insert(index as u32);
            }
        }
        Ok(HeapGraph {
            v8: v8.clone(),
            pages,
            units,
            gaps,
            marked: AtomicBool::new(false),
        })
    }

    fn loaded(&self, address: u64) -> Option<&Loaded> {
        self.units
            .get(&(address >> UNIT_SHIFT))
            .map(|index| &self.pages[*index as usize])
    }

    /// Whether an object begins at an address.
    pub fn is_object(&self, address: u64) -> bool {
        self.loaded(address)
            .is_some_and(|page| page.is_start(address))
    }

    /// The object that an address lies in.
    pub fn object_around(&self, address: u64) -> Option<Object> {
        let index = self.v8.pages.index_of(address)?;
        let base = self.v8.pages.pages()[index].base;
        let loaded = self.loaded(base)?;
        let mut at = address & !7;
        while at >= loaded.page.area_start {
            if loaded.is_start(at) {
                let object = self.object_in(loaded, at)?;
                return (address < at + object.size).then_some(object);
            }
            if loaded.page.large {
                at = loaded.page.area_start;
                if !loaded.is_start(at) {
                    return None;
                }
                continue;
            }
            at -= 8;
        }
        None
    }

    fn object_in(&self, loaded: &Loaded, at: u64) -> Option<Object> {
        let map = self.v8.map(Tagged(loaded.word(at)?))?;
        let size = crate::walk::size_of(&self.v8, &map, |offset| {
            loaded
                .word(at + offset)
                .ok_or(V8Error::Missing { address: at })
        })?;
        Some(Object {
            address: at,
            map,
            size,
        })
    }

    /// The object that begins at an address.
    pub fn object(&self, address: u64) -> Option<Object> {
        let loaded = self.loaded(address)?;
        loaded
            .is_start(address)
            .then(|| self.object_in(loaded, address))
            .flatten()
    }

    /// Calls `visit` with every object, in the order of addresses; only with those that can be reached, if so wanted.
    pub fn each(&self, reachable: bool, mut visit: impl FnMut(&Object)) {
        for loaded in &self.pages {
            for (index, starts) in loaded.starts.iter().enumerate() {
                let marks = if reachable {
                    loaded.marks[index].load(Ordering::Relaxed)
                } else {
                    u64::MAX
                };
                let mut bits = starts & marks;
                while bits != 0 {
                    let bit = u64::from(bits.trailing_zeros());
                    bits &= bits - 1;
                    let at = loaded.page.area_start + 8 * (64 * index as u64 + bit);
                    if let Some(object) = self.object_in(loaded, at) {
                        visit(&object);
                    }
                }
            }
        }
    }
}
