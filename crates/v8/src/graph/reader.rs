//! Reads the objects of one page after the other, as much of a page as is needed.

use super::page::Walked;
use super::{HeapGraph, Object};
use crate::pages::UNIT;
use crate::types::Sizing;
use crate::v8::V8;
use crate::walk::{MapCache, size_of};

const BLOCK: usize = 4096;
/// Of pages from which more objects than this are wanted everything is read at once.
const DENSE: u32 = 12;

/// The bytes of one page; a worker has one for all the pages it goes through.
pub(super) struct Reader<'g> {
    graph: &'g HeapGraph,
    page: usize,
    buf: Vec<u8>,
    /// Which blocks of `buf` are read, one bit each.
    filled: u64,
    pub(super) maps: MapCache,
}

impl<'g> Reader<'g> {
    pub(super) fn new(graph: &'g HeapGraph) -> Reader<'g> {
        Reader {
            graph,
            page: usize::MAX,
            buf: Vec::new(),
            filled: 0,
            maps: MapCache::default(),
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
            self.filled = 0;
        }
        if wanted > DENSE && walked.bytes.is_none() && !walked.page.large {
            self.fill(walked, 0, walked.held as usize);
        }
        walked
    }

    /// Bytes of the area that are ever kept in `buf`: all but those of large pages.
    fn window(walked: &Walked) -> usize {
        walked.held.min(UNIT) as usize
    }

    fn fill(&mut self, walked: &Walked, from: usize, to: usize) {
        let window = Reader::window(walked);
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
            if target
                .read(
                    walked.page.area_start + start as u64,
                    &mut self.buf[start..stop],
                )
                .is_err()
            {
                // What was walked was held; it can only have gone since. No pointers are in zeros.
                self.buf[start..stop].fill(0);
            }
            for one in block..end {
                self.filled |= 1 << one;
            }
            block = end;
        }
    }

    /// The bytes from an address of the open page on: `len`, or as many as the page has (of a large page the first unit).
    pub(super) fn bytes(&mut self, at: u64, len: usize) -> &[u8] {
        let walked = &self.graph.pages[self.page];
        let from = at.wrapping_sub(walked.page.area_start) as usize;
        if let Some(bytes) = &walked.bytes {
            let to = from.saturating_add(len).min(bytes.len());
            return bytes.get(from..to).unwrap_or_default();
        }
        let to = from.saturating_add(len).min(Reader::window(walked));
        if from < to {
            self.fill(walked, from, to);
        }
        self.buf.get(from..to).unwrap_or_default()
    }

    /// The object that begins at an address of the open page.
    pub(super) fn object(&mut self, at: u64) -> Option<Object> {
        let v8 = self.v8();
        let mut map = word(self.bytes(at, 8), 0)?;
        if map & 7 == 0 {
            map = v8.map_word(at, map);
        }
        let map = self.maps.get(v8, map)?;
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
        Some(Object {
            address: at,
            map,
            size,
        })
    }

    /// Calls `visit` with each word of an object that may be a pointer: its offset and content. Raw data and what does
    /// not keep alive is left out; weak pointers (low bits 11) are passed.
    pub(super) fn edges(&mut self, object: &Object, mut visit: impl FnMut(u64, u64)) {
        let v8 = self.v8();
        if !super::references::has_pointers(v8, &object.map) {
            if let Some(map) = word(self.bytes(object.address, 8), 0) {
                visit(0, map);
            }
            return;
        }
        let weak = super::references::weak_fields(self.graph, object);
        let window = self.bytes(object.address, object.size as usize);
        let mut offset = 0;
        let pass = |bytes: &[u8], offset: &mut u64, visit: &mut dyn FnMut(u64, u64)| {
            for chunk in bytes.chunks_exact(8) {
                let content = u64::from_le_bytes(chunk.try_into().unwrap_or_default());
                if content & 1 == 1 && !weak.contains(&*offset) {
                    visit(*offset, content);
                }
                *offset += 8;
            }
        };
        pass(window, &mut offset, &mut visit);
        // The rest of an object that is larger than a unit.
        let walked = &self.graph.pages[self.page];
        let end = object
            .size
            .min((walked.page.area_start + walked.held).saturating_sub(object.address));
        let mut chunk = Vec::new();
        while offset + 8 <= end && walked.page.large {
            chunk.resize((end - offset).min(UNIT) as usize, 0);
            let target = v8.memory.target();
            if target.read(object.address + offset, &mut chunk).is_err() {
                break;
            }
            let before = offset;
            pass(&chunk, &mut offset, &mut visit);
            if offset == before {
                break;
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
