//! The roots of one isolate, in its fields and in what these point to.
//!
//! Each structure is recognised by what it is made of - a pointer back to the isolate, numbers that count up, lists that end
//! where they began - and not by offsets, which move within a release line: the handles of native code (`handles.rs`), queued
//! microtasks, the compilation cache, the cache of the startup snapshot, lists of strong roots.

use std::collections::HashSet;

use super::roots::{RootKind, Roots};
use crate::tagged::Tagged;
use crate::types::Kind;
use crate::v8::{Isolate, V8};

/// No list here is longer.
pub(super) const MOST: usize = 1 << 20;
/// Bytes of a vector that are looked at before the next ones are.
const PIECE: usize = 4096;

/// Finds the roots of one isolate.
pub(super) struct Finder<'v> {
    pub(super) v8: &'v V8,
    pub(super) isolate: &'v Isolate,
    /// Its words.
    pub(super) words: Vec<u64>,
}

impl<'v> Finder<'v> {
    pub(super) fn new(v8: &'v V8, isolate: &'v Isolate) -> Finder<'v> {
        // Isolates are allocated, and glibc's malloc has the size before what it gives.
        let heap = isolate.heap.wrapping_sub(isolate.address);
        let told = v8.memory.u64(isolate.address.wrapping_sub(8)).unwrap_or(0) & !7;
        let size = if (heap + 0x1000..0x40000).contains(&told) {
            told - 8
        } else {
            heap.min(0x20000) + 0x4000
        };
        Finder {
            v8,
            isolate,
            words: v8.words_at(isolate.address, size as usize),
        }
    }

    pub(super) fn word(&self, at: u64) -> u64 {
        self.v8.memory.u64(at).unwrap_or(0)
    }

    /// Whether native memory may begin there.
    pub(super) fn native(&self, at: u64) -> bool {
        at & 7 == 0 && at > 0x1_0000 && at < 1 << 56 && self.v8.pages.page_of(at).is_none()
    }

    pub(super) fn find(&self, roots: &mut Roots) {
        self.own(roots);
        let mut pointers: Vec<u64> = self
            .words
            .iter()
            .copied()
            .filter(|word| self.native(*word))
            .collect();
        pointers.sort_unstable();
        pointers.dedup();
        let (mut globals, mut locals, mut eternals) = (false, false, false);
        let mut traced = HashSet::new();
        for &at in &pointers {
            let words = self.v8.words_at(at, 128);
            if words.len() < 8 {
                continue;
            }
            if words[0] == self.isolate.address {
                globals |= self.global_handles(at, &words, roots);
                locals |= self.handle_scopes(&words, roots);
                self.component(at, roots);
            }
            eternals |= self.eternal_handles(&words, roots);
            self.microtasks(at, &words, roots);
            self.strong_list(at, roots);
            self.traced_blocks(at, &mut traced, roots);
            // 20 has the traced handles behind one pointer more.
            if self.v8.column == 0 && self.native(words[0]) {
                for block in self.v8.words_at(words[0], 64) {
                    if self.native(block) && self.word(block + 32) == words[0] {
                        self.traced_blocks(block, &mut traced, roots);
                    }
                }
            }
        }
        self.vectors(roots);
        for (found, what) in [
            (globals, "global handles"),
            (locals, "handle scopes"),
            (eternals, "eternal handles"),
        ] {
            if !found && !roots.missing.contains(&what) {
                roots.missing.push(what);
            }
        }
    }

    /// The isolate's own fields. Its heap has the heads of some lists whose members live only while others hold them:
    /// native contexts, allocation sites.
    fn own(&self, roots: &mut Roots) {
        let v8 = self.v8;
        for (index, &word) in self.words.iter().enumerate() {
            let at = self.isolate.address + 8 * index as u64;
            if word & 3 != 1 || v8.pages.page_of(word & !3).is_none() {
                continue;
            }
            if at >= self.isolate.heap
                && let Ok(map) = v8.map_of(Tagged(word))
                && (v8.types.is_native_context(map.instance_type)
                    || v8.types.number("ALLOCATION_SITE") == Some(map.instance_type))
            {
                continue;
            }
            roots.add(RootKind::Isolate, at, word);
        }
    }

    /// `MicrotaskQueue`: size, capacity, start, ring; and the next and the previous queue, which point back.
    fn microtasks(&self, at: u64, words: &[u64], roots: &mut Roots) {
        let mut queue = at;
        let mut words = words.to_vec();
        for _ in 0..4096 {
            let [_, size, capacity, start, ring, _, next, before] = words[..8] else {
                return;
            };
            if !self.native(next)
                || !self.native(before)
                || self.word(next + 56) != queue
                || self.word(before + 48) != queue
                || size > capacity
                || capacity > 1 << 28
                || capacity > 0 && (start >= capacity || !self.native(ring))
            {
                return;
            }
            for index in 0..size {
                let slot = ring + 8 * ((start + index) % capacity);
                roots.add(RootKind::Microtask, slot, self.word(slot));
            }
            if next == at {
                return;
            }
            queue = next;
            words = self.v8.words_at(next, 64);
            if words.len() < 8 {
                return;
            }
        }
    }

    /// `StrongRootsEntry`: a label, from where to where, the entry before and behind.
    fn strong_list(&self, first: u64, roots: &mut Roots) {
        let mut at = first;
        let mut before = 0;
        for _ in 0..4096 {
            let words = self.v8.words_at(at, 40);
            let [label, start, end, previous, next] = words[..] else {
                return;
            };
            let sane = previous == before
                && start <= end
                && end - start < 1 << 30
                && (start | end) & 7 == 0
                && (start == end || self.native(start))
                && self.v8.memory.c_string(label, 64).is_ok_and(|label| {
                    label.len() > 3 && label.bytes().all(|byte| (b' '..0x7f).contains(&byte))
                });
            if !sane {
                return;
            }
            for (index, word) in self
                .v8
                .words_at(start, (end - start) as usize)
                .into_iter()
                .enumerate()
            {
                roots.add(RootKind::List, start + 8 * index as u64, word);
            }
            if next == 0 {
                return;
            }
            before = at;
            at = next;
        }
    }

    /// A part of the isolate that is an object of its own and begins with a pointer back: the compilation cache, the
    /// debugger. Its own words only.
    fn component(&self, at: u64, roots: &mut Roots) {
        let told = self.word(at - 8) & !7;
        let size = if (32..0x1000).contains(&told) {
            told - 8
        } else {
            256
        };
        for (index, word) in self.v8.words_at(at, size as usize).into_iter().enumerate() {
            if word & 3 == 1 && self.v8.pages.page_of(word & !3).is_some() {
                roots.add(RootKind::List, at + 8 * index as u64, word);
            }
        }
    }

    /// Vectors of objects among the isolate's fields: what the startup snapshot made and the program may ask for. Those of
    /// strings alone are not: the table of external strings does not keep them.
    fn vectors(&self, roots: &mut Roots) {
        for window in self.words.windows(3) {
            let [begin, end, room] = *window else {
                continue;
            };
            if begin >= end
                || end > room
                || room - begin > 1 << 24
                || (end | room) & 7 != 0
                || end - begin < 64
                || !self.native(begin)
            {
                continue;
            }
            let Some(words) = self.mostly_objects(begin, end) else {
                continue;
            };
            let strings = words
                .iter()
                .take(4096)
                .filter(|word| {
                    self.v8
                        .kind_of(Tagged(**word))
                        .is_ok_and(|kind| kind == Kind::String)
                })
                .count();
            if strings == words.len().min(4096) {
                continue;
            }
            for (index, word) in words.into_iter().enumerate() {
                roots.add(RootKind::List, begin + 8 * index as u64, word);
            }
        }
    }

    /// The words of a vector of which nine in ten at least are pointers into the heap. Most that look like one are not, and
    /// the first few words tell.
    fn mostly_objects(&self, begin: u64, end: u64) -> Option<Vec<u64>> {
        let bytes = end - begin;
        let (mut words, mut others) = (Vec::new(), 0);
        while words.len() as u64 * 8 < bytes {
            let at = begin + 8 * words.len() as u64;
            let piece = self.v8.words_at(at, PIECE.min((end - at) as usize));
            let others_here = piece
                .iter()
                .filter(|word| **word & 3 != 1 || self.v8.pages.page_of(**word & !3).is_none());
            others += others_here.count() as u64;
            if piece.is_empty() || others * 10 > bytes / 8 {
                return None;
            }
            words.extend(piece);
        }
        Some(words)
    }
}
