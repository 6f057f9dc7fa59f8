//! Walking the heap: from each object to the next, page by page.
//!
//! The size of an object tells where the next begins. Areas that were being filled when the process died (linear
//! allocation areas) have no objects between their top and their limit; those are found in the isolate and skipped. Where
//! a word is no map all the same, the walk steps on until three objects in a row make sense, and counts the gap.

use std::collections::HashMap;

use crate::constants::NO;
use crate::error::{Result, V8Error};
use crate::fast::AddressMap;
use crate::pages::{Page, Space};
use crate::tagged::Tagged;
use crate::types::Sizing;
use crate::v8::{MapInfo, V8};

const fn round8(size: u64) -> u64 {
    (size + 7) & !7
}

/// The size of an object whose words `word` gives by their offset; `None` when it makes no sense.
pub(crate) fn size_of(v8: &V8, map: &MapInfo, word: impl Fn(u64) -> Result<u64>) -> Option<u64> {
    if map.size != 0 {
        return Some(u64::from(map.size));
    }
    let smi = |offset: u64| -> Option<u64> {
        Tagged(word(offset).ok()?)
            .as_smi()
            .and_then(|value| u64::try_from(value).ok())
    };
    let low = |offset: u64| -> Option<u64> { Some(word(offset).ok()? & 0xffff_ffff) };
    let high = |offset: u64| -> Option<u64> { Some(word(offset).ok()? >> 32) };
    let size = match v8.types.sizing(map.instance_type) {
        Sizing::SeqOneByte => 16 + high(8)?,
        Sizing::SeqTwoByte => 16 + 2 * high(8)?,
        Sizing::Words(header) => u64::from(header) + 8 * smi(8)?,
        Sizing::Doubles => 16 + 8 * smi(8)?,
        Sizing::Bytes => 16 + smi(8)?,
        Sizing::Bytecode => v8.c.bytecode_data as u64 + smi(8)?,
        Sizing::PropertyArray => 16 + 8 * (smi(8)? & 0x3ff),
        Sizing::Descriptors => v8.c.descriptor_header as u64 + 24 * (word(8).ok()? & 0xffff),
        Sizing::FeedbackVector => (if v8.column < 2 { 56 } else { 48 }) + 8 * low(8)?,
        Sizing::FeedbackMetadata => {
            16 + 4 * low(8)?.div_ceil(6) + if v8.column < 2 { 0 } else { 2 * high(8)? }
        }
        Sizing::FreeSpace => v8.free_space_unit() * smi(8)?,
        Sizing::BigInt => 16 + 8 * ((low(8)? & 0x7fff_ffff) >> 1),
        Sizing::PreparseData => round8(16 + low(8)?) + 8 * high(8)?,
        Sizing::Coverage => 16 + 16 * low(8)?,
        Sizing::Swiss => {
            let capacity = high(8)?;
            24 + 16 * capacity + capacity + 16 + capacity
        }
        Sizing::DoubleStringCache => 16 + 16 * low(8)?,
        Sizing::WasmTypeInfo => 24 + 8 * smi(16)?,
        Sizing::InstructionStream => {
            let size = if v8.c.stream_size == NO {
                // 20: the instructions' and the metadata's length are in the Code.
                let code = Tagged(word(v8.c.stream_code as u64).ok()?);
                if !code.is_pointer() {
                    return None;
                }
                let part = |field| {
                    v8.memory
                        .u32(v8.at(code.address(), field))
                        .ok()
                        .map(u64::from)
                };
                v8.c.stream_start as u64 + part(v8.c.code_size)? + part(v8.c.code_metadata_size)?
            } else {
                v8.c.stream_start as u64 + low(v8.c.stream_size as u64)?
            };
            size.next_multiple_of(64)
        }
        Sizing::ScopeInfo => crate::scope::decode(&word, v8.column).ok()?.size,
        // Its payload, where it has one, is a filler of its own.
        Sizing::WasmNull => 8,
        // 26 has holes of 64 KiB whose payload is not mapped.
        Sizing::Hole => 8 + 65536,
        Sizing::Map | Sizing::Unknown => return None,
    };
    (8..1 << 40).contains(&size).then_some(round8(size))
}

/// What was found where no object was.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Gaps {
    /// Bytes between objects that are none.
    pub bytes: u64,
    /// Bytes that were walked.
    pub walked: u64,
    /// Bytes of the area that were skipped because they are free for allocation.
    pub free: u64,
    /// Where the first few gaps begin, and their length.
    pub first: Vec<(u64, u64)>,
    /// Pages that could not be read.
    pub missing: u64,
}

impl Gaps {
    /// Adds another page's.
    pub fn add(&mut self, other: Gaps) {
        self.bytes += other.bytes;
        self.walked += other.walked;
        self.free += other.free;
        self.missing += other.missing;
        self.first.extend(other.first);
        self.first.truncate(64);
    }

    /// The part of the heap that could not be walked, from 0 to 1.
    pub fn share(&self) -> f64 {
        if self.walked == 0 {
            0.0
        } else {
            (self.bytes + self.missing) as f64 / (self.walked + self.missing) as f64
        }
    }
}

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
    last: (u64, Option<MapInfo>),
    maps: AddressMap<Option<MapInfo>>,
}

impl V8 {
    /// Areas free for allocation: from where to where no objects are. From the isolates' own fields, checked to be in one
    /// page (`IsolateData::new_allocation_info_`, `old_allocation_info_`: start, top, limit).
    pub fn free_areas(&self) -> HashMap<u64, u64> {
        let mut areas = HashMap::new();
        for isolate in &self.isolates {
            for field in [self.c.new_lab, self.c.old_lab] {
                if field != NO
                    && let Ok(start) = self.memory.u64(self.at(isolate.address, field))
                    && let Ok(top) = self.memory.u64(self.at(isolate.address, field + 8))
                    && let Ok(limit) = self.memory.u64(self.at(isolate.address, field + 16))
                {
                    self.learn_area(&mut areas, start, top, limit);
                }
            }
        }
        areas
    }

    pub(crate) fn learn_area(
        &self,
        areas: &mut HashMap<u64, u64>,
        start: u64,
        top: u64,
        limit: u64,
    ) {
        if start <= top
            && top < limit
            && (start | top | limit) & 7 == 0
            && let Some(page) = self.pages.page_of(start)
            && limit <= page.area_end
            && !page.large
        {
            areas.entry(top).or_insert(limit);
        }
    }

    /// Three words start ≤ top ≤ limit in native memory that lie in one page: areas of other allocators (trusted and
    /// code space, background threads). Stacks are left out, and longer rising runs, which are registries of code.
    pub fn search_free_areas(&self, areas: &mut HashMap<u64, u64>) {
        let stacks: Vec<_> = self.threads.iter().map(|thread| thread.sp).collect();
        let mut buf = vec![0_u8; 1 << 20];
        for region in self.memory.target().regions() {
            let stack = stacks.iter().any(|sp| region.range.contains(sp));
            if !region.writable || region.executable || stack || region.held == 0 {
                continue;
            }
            let mut at = region.range.start;
            while at < region.range.end {
                if self.pages.page_of(at + 0x4000).is_some()
                    && at.is_multiple_of(crate::pages::UNIT)
                {
                    at += crate::pages::UNIT;
                    continue;
                }
                let len = (region.range.end - at)
                    .min(buf.len() as u64)
                    .min(crate::pages::UNIT - at % crate::pages::UNIT)
                    as usize;
                if self.memory.target().read(at, &mut buf[..len]).is_ok() {
                    let mut before = 0;
                    let words: Vec<u64> = buf[..len]
                        .chunks_exact(8)
                        .map(|word| u64::from_le_bytes(word.try_into().unwrap_or_default()))
                        .collect();
                    for window in words.windows(4) {
                        let [start, top, limit, after] = *window else {
                            continue;
                        };
                        if start & 7 == 0
                            && start != 0
                            && start <= top
                            && top < limit
                            && limit - start <= crate::pages::UNIT
                            && !(before != 0
                                && before <= start
                                && start - before < crate::pages::UNIT
                                && before & 7 == 0)
                            && !(after > limit
                                && after - limit < crate::pages::UNIT
                                && after & 7 == 0)
                        {
                            self.learn_area(areas, start, top, limit);
                        }
                        before = start;
                    }
                }
                at += len as u64;
            }
        }
    }

    /// The pages of an isolate's view: its own and the read-only ones; all of them without one. Stale copies are left out.
    pub fn pages_of(&self, isolate: Option<usize>) -> Vec<&Page> {
        let heap = isolate
            .and_then(|id| self.isolates.get(id))
            .map(|isolate| isolate.heap);
        self.pages
            .pages()
            .iter()
            .filter(|page| !(page.from && page.space == Space::New))
            .filter(|page| heap.is_none_or(|heap| page.heap == heap || page.heap == 0))
            .collect()
    }

    /// Calls `visit` with each object of a page.
    pub fn walk_page(
        &self,
        page: &Page,
        free: &HashMap<u64, u64>,
        visit: impl FnMut(Found<'_>),
    ) -> Gaps {
        self.walk_page_with(page, free, &mut MapCache::default(), visit)
            .1
    }

    /// The same with a cache that serves for many pages; gives the bytes of the area too.
    pub fn walk_page_with(
        &self,
        page: &Page,
        free: &HashMap<u64, u64>,
        maps: &mut MapCache,
        visit: impl FnMut(Found<'_>),
    ) -> (Vec<u8>, Gaps) {
        let mut bytes = Vec::new();
        let gaps = self.walk_into(page, free, maps, visit, &mut bytes);
        (bytes, gaps)
    }

    fn walk_into(
        &self,
        page: &Page,
        free: &HashMap<u64, u64>,
        maps: &mut MapCache,
        mut visit: impl FnMut(Found<'_>),
        bytes: &mut Vec<u8>,
    ) -> Gaps {
        let mut gaps = Gaps::default();
        let area = page.area_end - page.area_start;
        // What the core does not hold is not made room for.
        let held_at_all = self.memory.u64(page.area_end - 8).is_ok() || page.heap == 0;
        if area > 1 << 36 || !held_at_all && area > 1 << 28 {
            gaps.missing = area;
            return gaps;
        }
        let mut held = area as usize;
        bytes.resize(held, 0);
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
            if held == 0 {
                gaps.missing = area;
                bytes.clear();
                return gaps;
            }
            bytes.truncate(held);
        }
        let base = page.area_start;
        let bytes: &[u8] = bytes;
        let word_at = |at: u64| -> Result<u64> {
            let offset = at.wrapping_sub(base) as usize;
            bytes
                .get(offset..offset.wrapping_add(8))
                .and_then(|word| word.try_into().ok())
                .map(u64::from_le_bytes)
                .ok_or(V8Error::Missing { address: at })
        };
        let mut lookup = |word: u64| -> Option<MapInfo> {
            if word & 3 != 1 {
                return None;
            }
            if maps.last.0 == word {
                return maps.last.1;
            }
            let map = *maps
                .maps
                .entry(word)
                .or_insert_with(|| self.map(Tagged(word)));
            maps.last = (word, map);
            map
        };
        let end = base + held as u64;
        let mut at = base;
        let mut sized = |at: u64| -> Option<(MapInfo, u64)> {
            let map = lookup(word_at(at).ok()?)?;
            let size = size_of(self, &map, |offset| word_at(at.wrapping_add(offset)))?;
            (page.large || at + size <= end || page.heap == 0).then_some((map, size))
        };
        while at < end {
            if let Some(limit) = free.get(&at) {
                gaps.free += limit - at;
                at = *limit;
                continue;
            }
            match sized(at) {
                Some((map, size)) => {
                    let offset = (at - base) as usize;
                    let until = (offset as u64 + size).min(held as u64) as usize;
                    visit(Found {
                        address: at,
                        map: &map,
                        size,
                        bytes: &bytes[offset..until],
                    });
                    gaps.walked += size.min(end - at);
                    at += size;
                    if page.large {
                        break;
                    }
                }
                None => {
                    let start = at;
                    at += 8;
                    while at < end && !free.contains_key(&at) {
                        // Three objects in a row, or objects up to the end.
                        let mut probe = at;
                        let mut row = 0;
                        while row < 3 && probe < end {
                            match sized(probe) {
                                Some((_, size)) => probe += size,
                                None => break,
                            }
                            row += 1;
                        }
                        if row == 3 || row > 0 && probe == end {
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
        if (held as u64) < area && page.heap != 0 {
            gaps.missing += area - held as u64;
        }
        gaps
    }
}
