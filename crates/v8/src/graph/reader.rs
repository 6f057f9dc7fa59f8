//! Reads the objects of one page after the other, as much of a page as is needed.

use super::page::Walked;
use super::references::{Pointers, pointers, weak_fields};
use super::{HeapGraph, Object};
use crate::pages::UNIT;
use crate::size::size_of;
use crate::types::Sizing;
use crate::v8::{MapInfo, V8};
use crate::walk::MapCache;

const BLOCK: usize = 4096;
/// Of pages from which more objects than this are wanted everything is read at once.
const DENSE: u32 = 12;
/// How many maps are at hand.
const RECENT: usize = 256;

/// The bytes of one page; a worker has one for all the pages it goes through.
pub(super) struct Reader<'g> {
    graph: &'g HeapGraph,
    page: usize,
    /// Where its area begins, and how many bytes of that are ever in `buf`: all but those of large pages.
    start: u64,
    window: usize,
    buf: Vec<u8>,
    /// Which blocks of `buf` are read, one bit each; and whether all of the window is.
    filled: u64,
    whole: bool,
    maps: MapCache,
    /// The maps of the objects that were met last, by the words that lead there.
    recent: Vec<(u64, MapInfo, Pointers)>,
}

impl<'g> Reader<'g> {
    pub(super) fn new(graph: &'g HeapGraph) -> Reader<'g> {
        Reader {
            graph,
            page: usize::MAX,
            start: 0,
            window: 0,
            buf: Vec::new(),
            filled: 0,
            whole: false,
            maps: MapCache::default(),
            recent: Vec::new(),
        }
    }

    fn v8(&self) -> &'g V8 {
        &self.graph.v8
    }

    /// Turns to a page, from which so many objects will be asked for.
    pub(super) fn open(&mut self, page: usize, wanted: u32) -> &'g Walked {
        let walked = &self.graph.pages[page];
        if self.page != page {
            self.page = page;
            self.start = walked.page.area_start;
            self.window = walked.held.min(UNIT) as usize;
            self.filled = 0;
            self.whole = false;
        }
        if wanted > DENSE && !walked.page.large && !self.whole {
            self.fill(0, self.window);
            self.whole = true;
        }
        walked
    }

    fn fill(&mut self, from: usize, to: usize) {
        let window = self.window;
        let (first, last) = (from / BLOCK, to.min(window).div_ceil(BLOCK).min(64));
        let mut block = first;
        while block < last {
            if self.filled >> block & 1 == 1 {
                block += 1;
                continue;
            }
            let mut end = block + 1;
            while end < last && self.filled >> end & 1 == 0 {
                end += 1;
            }
            let (start, stop) = (block * BLOCK, (end * BLOCK).min(window));
            if self.buf.len() < stop {
                self.buf.resize(stop, 0);
            }
            let target = self.graph.v8.memory.target();
            let bytes = &mut self.buf[start..stop];
            if target.read(self.start + start as u64, bytes).is_err() {
                // What was walked was held; it can only have gone since. No pointers are in zeros.
                bytes.fill(0);
            }
            for one in block..end {
                self.filled |= 1 << one;
            }
            block = end;
        }
    }

    /// The bytes from an address of the open page on: `len`, or as many as the page has (of a large page the first unit).
    pub(super) fn bytes(&mut self, at: u64, len: usize) -> &[u8] {
        let from = at.wrapping_sub(self.start) as usize;
        let to = from.saturating_add(len).min(self.window);
        if !self.whole && from < to {
            self.fill(from, to);
        }
        self.buf.get(from..to).unwrap_or_default()
    }

    /// A map by the word that leads there, and what of its objects are pointers.
    fn map(&mut self, at: u64, first: u64) -> Option<(MapInfo, Pointers)> {
        let slot = (first >> 3 ^ first >> 11) as usize % RECENT;
        match self.recent.get(slot) {
            Some((known, map, pointers)) if *known == first => Some((*map, *pointers)),
            _ => self.load(at, first, slot),
        }
    }

    #[cold]
    fn load(&mut self, at: u64, first: u64, slot: usize) -> Option<(MapInfo, Pointers)> {
        let v8 = self.v8();
        let now = if first & 7 == 0 {
            v8.map_word(at, first)
        } else {
            first
        };
        let map = self.maps.get(v8, now)?;
        let pointers = pointers(self.graph, &map);
        // A word that is no map says so of this object alone.
        if now == first {
            self.recent.resize(RECENT, (0, map, pointers));
            self.recent[slot] = (first, map, pointers);
        }
        Some((map, pointers))
    }

    /// The object that begins at an address of the open page.
    pub(super) fn object(&mut self, at: u64) -> Option<Object> {
        self.object_with(at).map(|(object, _)| object)
    }

    /// The same, and what of it are pointers.
    pub(super) fn object_with(&mut self, at: u64) -> Option<(Object, Pointers)> {
        let v8 = self.v8();
        let first = word(self.bytes(at, 8), 0)?;
        let (map, pointers) = self.map(at, first)?;
        let size = if map.size != 0 {
            u64::from(map.size)
        } else {
            // All but one tell their size in their first words.
            let far = match v8.types.sizing(map.instance_type) {
                Sizing::ScopeInfo => 4 * BLOCK,
                _ => 64,
            };
            let head = self.bytes(at, far);
            size_of(v8, &map, |offset| {
                word(head, offset as usize).ok_or(crate::V8Error::Missing { address: at })
            })?
        };
        let address = at;
        Some((Object { address, map, size }, pointers))
    }

    /// Calls `visit` with each word of an object that may be a pointer: its offset and content. Raw data and what does
    /// not keep alive is left out; weak pointers (low bits 11) are passed.
    pub(super) fn edges(&mut self, object: &Object, visit: impl FnMut(u64, u64)) {
        let pointers = pointers(self.graph, &object.map);
        self.edges_with(object, pointers, visit);
    }

    /// The same, where it is known what of it are pointers.
    pub(super) fn edges_with(
        &mut self,
        object: &Object,
        pointers: Pointers,
        mut visit: impl FnMut(u64, u64),
    ) {
        let size = match pointers {
            // The map, which is one at all times.
            Pointers::Map => 8,
            _ => object.size,
        };
        let weak = match pointers {
            Pointers::NotAll => weak_fields(self.graph, object),
            _ => Default::default(),
        };
        let window = self.bytes(object.address, size as usize);
        let mut offset = 0;
        for chunk in window.chunks_exact(8) {
            let content = u64::from_le_bytes(chunk.try_into().unwrap_or_default());
            if content & 1 == 1 && (weak.is_empty() || !weak.contains(&offset)) {
                visit(offset, content);
            }
            offset += 8;
        }
        if offset < size {
            self.rest(object.address, offset, size, visit);
        }
    }

    /// What of an object that is larger than a unit lies behind the window.
    #[cold]
    fn rest(&self, address: u64, from: u64, size: u64, mut visit: impl FnMut(u64, u64)) {
        let walked = &self.graph.pages[self.page];
        let end = size.min((walked.page.area_start + walked.held).saturating_sub(address));
        let mut chunk = Vec::new();
        let mut offset = from;
        while offset + 8 <= end && walked.page.large {
            chunk.resize((end - offset).min(UNIT) as usize & !7, 0);
            let target = self.graph.v8.memory.target();
            if target.read(address + offset, &mut chunk).is_err() {
                break;
            }
            for word in chunk.chunks_exact(8) {
                let content = u64::from_le_bytes(word.try_into().unwrap_or_default());
                if content & 1 == 1 {
                    visit(offset, content);
                }
                offset += 8;
            }
        }
    }
}

/// The word at an offset.
pub(super) fn word(bytes: &[u8], offset: usize) -> Option<u64> {
    Some(u64::from_le_bytes(
        bytes.get(offset..offset.checked_add(8)?)?.try_into().ok()?,
    ))
}
