//! Walking the heap: from each object to the next, page by page.
//!
//! The size of an object tells where the next begins; where the garbage collector has moved it, that of its copy. Areas that were being filled when the process died (`labs.rs`) have
//! no objects between their top and their limit, and are skipped. Where
//! a word is no map all the same, the walk steps on until three objects in a row make sense, and counts the gap.

use crate::error::{Result, V8Error};
use crate::fast::AddressMap;
use crate::gaps::Gaps;
use crate::labs::FreeAreas;
use crate::pages::{Page, Space, UNIT};
use crate::size::size_of;
use crate::tagged::Tagged;
use crate::v8::{MapInfo, V8};

/// Most maps that a cache remembers.
const MAX_MAPS: usize = 1 << 18;
/// Most bytes of an object that is not alone on its page (`kMaxRegularHeapObjectSize`, half a page).
const MAX_REGULAR: u64 = UNIT / 2;
/// How much of a large page is read to see what its object is.
const LARGE_HEAD: u64 = 4096;

/// An object met on the walk.
#[derive(Debug, Clone, Copy)]
pub struct Found<'a> {
    /// Where it begins.
    pub address: u64,
    /// Its map.
    pub map: &'a MapInfo,
    /// Its size in bytes.
    pub size: u64,
    /// Its bytes, as far as the page holds them.
    pub bytes: &'a [u8],
}

/// The maps that were met, so that each is checked once.
#[derive(Debug, Default)]
pub struct MapCache {
    /// Those that were met last, each at a place that its address tells; empty before the first.
    recent: Vec<(u64, Option<MapInfo>)>,
    maps: AddressMap<Option<MapInfo>>,
}

/// How many maps are at hand: objects that follow each other are of few.
const RECENT: usize = 256;

impl MapCache {
    /// The map that a word points to, if it points to one.
    pub fn get(&mut self, v8: &V8, word: u64) -> Option<MapInfo> {
        if word & 3 != 1 {
            return None;
        }
        let slot = (word >> 3 ^ word >> 11) as usize % RECENT;
        match self.recent.get(slot) {
            Some((known, map)) if *known == word => *map,
            _ => self.load(v8, word, slot),
        }
    }

    #[cold]
    fn load(&mut self, v8: &V8, word: u64, slot: usize) -> Option<MapInfo> {
        // What is no map is only met in gaps and in damaged cores, where it could be anything.
        if self.maps.len() > MAX_MAPS {
            self.maps.clear();
        }
        let map = *self
            .maps
            .entry(word)
            .or_insert_with(|| v8.map(Tagged(word)));
        self.recent.resize(RECENT, (0, None));
        self.recent[slot] = (word, map);
        map
    }
}

/// The bytes of one page, reused for the next.
#[derive(Debug, Default)]
pub struct WalkBuffer {
    bytes: Vec<u8>,
    held: usize,
    /// Where the objects were that have been moved from the page that was walked last.
    pub(crate) moved: Vec<u64>,
}

impl WalkBuffer {
    /// Those of the page that was walked last.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..self.held]
    }
}

impl V8 {
    /// The pages of an isolate's view: its own and the read-only ones; all of them without one. Stale copies are left out;
    /// but in a heap that died inside a scavenge, what has not been copied yet is nowhere else.
    pub fn pages_of(&self, isolate: Option<usize>) -> Vec<&Page> {
        let heap = isolate
            .and_then(|id| self.isolate(id))
            .map(|isolate| isolate.heap);
        let copied = |page: &Page| {
            page.from && page.space == Space::New && !self.moving_heaps().contains(&page.heap)
        };
        self.pages
            .pages()
            .iter()
            .filter(|page| !copied(page))
            .filter(|page| heap.is_none_or(|heap| page.heap == heap || page.heap == 0))
            .collect()
    }

    /// Calls `visit` with each object of a page.
    pub fn walk_page(&self, page: &Page, free: &FreeAreas, visit: impl FnMut(Found<'_>)) -> Gaps {
        self.walk_page_with(
            page,
            free,
            &mut MapCache::default(),
            &mut WalkBuffer::default(),
            visit,
        )
    }

    /// The same with a cache and a buffer that serve for many pages; the buffer has the bytes of the area afterwards, as
    /// far as the core holds them (of a large page only the first).
    pub fn walk_page_with(
        &self,
        page: &Page,
        free: &FreeAreas,
        maps: &mut MapCache,
        buffer: &mut WalkBuffer,
        visit: impl FnMut(Found<'_>),
    ) -> Gaps {
        let area = page.area_end - page.area_start;
        buffer.held = 0;
        buffer.moved.clear();
        // Only pages of one object are larger than a unit, and what the core does not hold is no object.
        if !page.large && area > UNIT || page.large && self.memory.u64(page.area_end - 8).is_err() {
            return Gaps {
                missing: area,
                ..Gaps::default()
            };
        }
        let wanted = if page.large {
            area.min(LARGE_HEAD)
        } else {
            area
        } as usize;
        if buffer.bytes.len() < wanted {
            buffer.bytes.resize(wanted, 0);
        }
        let bytes = &mut buffer.bytes[..wanted];
        let mut held = wanted;
        if self.memory.target().read(page.area_start, bytes).is_err() {
            // Pages of 26's read-only space are partly unmapped: what there is up to the first hole.
            held = 0;
            while held < bytes.len() {
                let at = page.area_start + held as u64;
                let until = (held + 4096 - (at & 4095) as usize).min(bytes.len());
                if self.memory.read(at, &mut bytes[held..until]).is_err() {
                    break;
                }
                held = until;
            }
        }
        buffer.held = held;
        if held == 0 {
            return Gaps {
                missing: area,
                ..Gaps::default()
            };
        }
        let mut gaps = if page.large {
            self.walk_large(page, &buffer.bytes[..held], maps, visit)
        } else {
            let moved = &mut buffer.moved;
            self.walk_bytes(page, &buffer.bytes[..held], free, maps, moved, visit)
        };
        if (held as u64) < area && page.heap != 0 && !page.large {
            gaps.missing += area - held as u64;
        }
        gaps
    }

    /// The map and the size of what lies at an address of a page: an object that is here, or without a map the place that
    /// one was moved away from. `None` where it is neither, or does not fit.
    fn sized(
        &self,
        page: &Page,
        bytes: &[u8],
        at: u64,
        free: &FreeAreas,
        maps: &mut MapCache,
    ) -> Option<(Option<MapInfo>, u64)> {
        let base = page.area_start;
        let offset = at - base;
        let first = word_of(bytes, offset, base).ok()?;
        let word = |field| word_of(bytes, offset.wrapping_add(field), base);
        let (map, size) = if first & 7 == 0 {
            (None, self.moved_size(first, word, free, maps)?)
        } else {
            let map = maps.get(self, first)?;
            (Some(map), size_of(self, &map, word)?)
        };
        let end = base + bytes.len() as u64;
        (at + size <= end || page.heap == 0).then_some((map, size))
    }

    /// The one object of a large page.
    fn walk_large(
        &self,
        page: &Page,
        bytes: &[u8],
        maps: &mut MapCache,
        mut visit: impl FnMut(Found<'_>),
    ) -> Gaps {
        let area = page.area_end - page.area_start;
        let word = |offset: u64| word_of(bytes, offset, page.area_start);
        let object = word(0)
            .ok()
            .and_then(|first| maps.get(self, self.map_word(page.area_start, first)))
            .and_then(|map| Some((map, size_of(self, &map, word)?)));
        let mut gaps = Gaps {
            walked: area,
            ..Gaps::default()
        };
        match object {
            Some((map, size)) => visit(Found {
                address: page.area_start,
                map: &map,
                size,
                bytes,
            }),
            None => {
                gaps.bytes = area;
                gaps.first.push((page.area_start, area));
            }
        }
        gaps
    }

    fn walk_bytes(
        &self,
        page: &Page,
        bytes: &[u8],
        free: &FreeAreas,
        maps: &mut MapCache,
        moved_from: &mut Vec<u64>,
        mut visit: impl FnMut(Found<'_>),
    ) -> Gaps {
        let mut gaps = Gaps::default();
        let base = page.area_start;
        let end = base + bytes.len() as u64;
        // A page that was just mapped: every object begins with a word that is not zero.
        if bytes.iter().all(|byte| *byte == 0) {
            gaps.free = end - base;
            return gaps;
        }
        let mut moved = false;
        let mut areas = free.of(page).iter().peekable();
        let mut at = base;
        while at < end {
            while areas.next_if(|area| area.limit <= at).is_some() {}
            // Areas begin where an object would, and no object goes over their top.
            let bound = match areas.peek() {
                Some(area) if at >= area.top => {
                    gaps.free += area.limit.min(end) - at;
                    at = area.limit;
                    continue;
                }
                Some(area) if at >= area.start => area.top,
                Some(area) => area.start.min(end),
                None => end,
            };
            // Object by object, as long as nothing is unusual.
            let from = at;
            let mut last = None;
            while at < bound.min(end) {
                let Some(rest) = bytes.get((at - base) as usize..) else {
                    break;
                };
                let word = |field| word_of(rest, field, at);
                let Some(map) = word(0).ok().and_then(|first| maps.get(self, first)) else {
                    break;
                };
                let Some(size) = size_of(self, &map, word).filter(|size| *size <= bound - at)
                else {
                    break;
                };
                let Some(object) = rest.get(..size as usize) else {
                    break;
                };
                visit(Found {
                    address: at,
                    map: &map,
                    size,
                    bytes: object,
                });
                last = Some((at, size));
                at += size;
            }
            gaps.walked += at - from;
            if at == bound || at >= end {
                if let Some(area) = areas.peek()
                    && at == area.top
                {
                    gaps.last
                        .extend(last.filter(|(last, _)| *last >= area.start));
                }
                continue;
            }
            moved |= word_of(bytes, at - base, base)
                .is_ok_and(|word| word & 7 == 0 && self.pages.page_of(word).is_some());
            match self.sized(page, bytes, at, free, maps) {
                Some((map, size)) if at + size <= bound || page.heap == 0 => {
                    let offset = (at - base) as usize;
                    let until = (offset as u64 + size).min(bytes.len() as u64) as usize;
                    if let Some(map) = &map {
                        visit(Found {
                            address: at,
                            map,
                            size,
                            bytes: &bytes[offset..until],
                        });
                    } else {
                        moved_from.push(at);
                    }
                    if areas
                        .peek()
                        .is_some_and(|area| at >= area.start && at + size == area.top)
                    {
                        gaps.last.push((at, size));
                    }
                    gaps.walked += size.min(end - at);
                    at += size;
                }
                // The last object of an area that was being filled: it has its place, and is not written yet.
                _ if areas.peek().is_some_and(|area| at >= area.start)
                    && bound - at <= MAX_REGULAR =>
                {
                    gaps.begun += bound - at;
                    gaps.unwritten.push((at, bound - at));
                    at = bound;
                }
                // While a page is emptied, the copies of what has left it are as they were made. Where one is not any
                // more, all that lived here was moved long ago, and the page only waits to be given back.
                _ if page.candidate && moved => {
                    gaps.free += end - at;
                    break;
                }
                _ => {
                    let start = at;
                    at += 8;
                    while at < bound {
                        // Three objects in a row, or objects up to the end.
                        let mut probe = at;
                        let mut row = 0;
                        while row < 3 && probe < bound {
                            match self.sized(page, bytes, probe, free, maps) {
                                Some((_, size)) => probe += size,
                                None => break,
                            }
                            row += 1;
                        }
                        if row == 3 && probe <= bound || row > 0 && probe == bound {
                            break;
                        }
                        at += 8;
                    }
                    gaps.bytes += at - start;
                    gaps.walked += at - start;
                    if gaps.first.len() < 64 {
                        gaps.first.push((start, at - start));
                    }
                }
            }
        }
        gaps
    }
}

fn word_of(bytes: &[u8], offset: u64, base: u64) -> Result<u64> {
    let offset = offset as usize;
    bytes
        .get(offset..offset.wrapping_add(8))
        .and_then(|word| word.try_into().ok())
        .map(u64::from_le_bytes)
        .ok_or(V8Error::Missing {
            address: base.wrapping_add(offset as u64),
        })
}
