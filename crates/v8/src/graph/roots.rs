//! Roots: the words outside of the heap that keep objects alive.
//!
//! V8 has them in a dozen places (`Heap::IterateRoots`). Most are fields of the isolate or of what it points to, and each
//! of these structures is recognised by what it is made of - a pointer back to the isolate, numbers that count up, lists
//! that end where they began - and not by offsets, which move within a release line: global handles with their states
//! (`handles/global-handles.cc`), traced handles, handle scopes (`api/api.h`), eternal handles, queued microtasks, the
//! compilation cache, the cache of the startup snapshot, lists of strong roots. Stacks and registers are gone through
//! conservatively: a word that is a pointer to the start of an object counts. Where a structure that every isolate has is
//! not recognised, all native memory is gone through like that, and the answer says so.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use super::{HeapGraph, Stop, stopped};
use crate::error::Result;
use crate::fast::AddressMap;
use crate::pages::{UNIT, UNIT_SHIFT};
use crate::parallel::parallel;
use crate::tagged::Tagged;
use crate::types::Kind;
use crate::v8::{Isolate, V8};

/// Nodes in a block of global handles, and the bytes of one (`GlobalHandles::kBlockSize`, `NodeBase`).
const GLOBAL_NODES: u64 = 256;
const GLOBAL_NODE: u64 = 32;
/// Bytes of a block of local handles (`kHandleBlockSize` words).
const HANDLE_BLOCK: u64 = 1022 * 8;
/// Handles in a block of eternal ones.
const ETERNAL_BLOCK: u64 = 256;
/// No list here is longer.
const MOST: usize = 1 << 20;
/// Most bytes of a stack.
const STACK: u64 = 64 << 20;

/// What kind of place a root is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RootKind {
    /// A field of the isolate: a root of V8's table, a builtin, what the current thread is about.
    Isolate,
    /// A handle of native code in a scope (`v8::Local`).
    Local,
    /// A strong handle of native code (`v8::Global`, `v8::Persistent`).
    Global,
    /// A handle that objects of C++'s garbage-collected heap hold.
    Traced,
    /// A handle for ever.
    Eternal,
    /// A microtask that waits for its turn.
    Microtask,
    /// A list of V8's own: caches, tables of objects that are being made.
    List,
    /// A word on the stack of a thread.
    Stack(u64),
    /// A register of a thread.
    Register(u64),
    /// A word of native memory that looks like a pointer.
    Native,
}

impl RootKind {
    /// Whether it only looks like a pointer.
    pub fn is_guessed(self) -> bool {
        matches!(
            self,
            RootKind::Stack(_) | RootKind::Register(_) | RootKind::Native
        )
    }

    /// As a reader of English says it.
    pub fn words(self) -> String {
        match self {
            RootKind::Isolate => "a root of the isolate".to_owned(),
            RootKind::Local => "a local handle of native code".to_owned(),
            RootKind::Global => "a global handle of native code".to_owned(),
            RootKind::Traced => "a handle of a C++ object".to_owned(),
            RootKind::Eternal => "an eternal handle".to_owned(),
            RootKind::Microtask => "a microtask in the queue".to_owned(),
            RootKind::List => "a list of V8's own".to_owned(),
            RootKind::Stack(tid) => format!("the stack of thread {tid}"),
            RootKind::Register(tid) => format!("a register of thread {tid}"),
            RootKind::Native => "native memory".to_owned(),
        }
    }
}

/// The roots of a graph.
#[derive(Debug, Clone, Default)]
pub struct Roots {
    /// Tagged pointers.
    pub words: Vec<u64>,
    /// Where each of them is: what kind of place, and its address (0 for a register).
    pub places: Vec<(RootKind, u64)>,
    /// What was not recognised, for which all native memory was gone through; empty when the roots are exact but for
    /// stacks and registers.
    pub missing: Vec<&'static str>,
}

impl Roots {
    fn add(&mut self, kind: RootKind, at: u64, word: u64) {
        if word & 3 == 1 && word > 0x1_0000 {
            self.words.push(word);
            self.places.push((kind, at));
        }
    }
}

impl HeapGraph {
    /// The roots, found when they are first asked for.
    ///
    /// # Errors
    /// When it was stopped.
    pub fn roots(&self, stop: &Stop) -> Result<Arc<Roots>> {
        let mut kept = self.roots.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(roots) = &*kept {
            return Ok(roots.clone());
        }
        let v8 = &*self.v8;
        let mut roots = Roots::default();
        for isolate in v8.isolates() {
            if self.isolate.is_none_or(|id| id == isolate.id) {
                Finder::new(v8, isolate).find(&mut roots);
            }
        }
        for thread in &v8.threads {
            for register in &thread.registers {
                roots.add(RootKind::Register(thread.tid), 0, *register);
            }
        }
        self.stacks(&mut roots);
        self.in_transit(&mut roots);
        if !roots.missing.is_empty() {
            let native: Mutex<Vec<(u64, u64)>> = Mutex::default();
            self.each_native_word(stop, |at, word| {
                native
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push((at, word));
            })?;
            for (at, word) in native.into_inner().unwrap_or_else(PoisonError::into_inner) {
                roots.add(RootKind::Native, at, word);
            }
        }
        stopped(stop)?;
        let roots = Arc::new(roots);
        *kept = Some(roots.clone());
        Ok(roots)
    }

    /// What was being moved when the process died: the copy may be written in part, and the content is where it was.
    fn in_transit(&self, roots: &mut Roots) {
        let copies = self.gaps.unwritten.iter().chain(&self.gaps.last);
        let copies: AddressMap<u64> = copies.copied().collect();
        if copies.is_empty() {
            return;
        }
        for walked in self.pages.iter().filter(|page| !page.moved.is_empty()) {
            walked.each_moved(|at| {
                let to = self.v8.moved_to(at);
                let Some(size) = to.and_then(|to| copies.get(&to)) else {
                    return;
                };
                let words = self.v8.words_at(at, *size as usize);
                for (index, word) in words.into_iter().enumerate().skip(1) {
                    roots.add(RootKind::List, at + 8 * index as u64, word);
                }
            });
        }
    }

    /// The words of the stacks that are in use.
    fn stacks(&self, roots: &mut Roots) {
        let regions = self.v8.memory.target().regions();
        for thread in &self.v8.threads {
            let Some(region) = regions
                .iter()
                .find(|region| region.range.contains(&thread.sp))
            else {
                continue;
            };
            let mut at = thread.sp & !7;
            let end = region.range.end.min(at.saturating_add(STACK));
            let mut buf = vec![0_u8; 1 << 16];
            while at < end {
                // Up to the next page, so that one that is missing costs only itself.
                let len = (4096 - (at & 4095)).min(end - at) as usize;
                if self.v8.memory.read(at, &mut buf[..len]).is_ok() {
                    for (index, word) in buf[..len].chunks_exact(8).enumerate() {
                        let word = u64::from_le_bytes(word.try_into().unwrap_or_default());
                        if self.is_object(word & !3) {
                            roots.add(RootKind::Stack(thread.tid), at + 8 * index as u64, word);
                        }
                    }
                }
                at += len as u64;
            }
        }
    }

    /// Calls `visit` with the address and the content of each word of writable native memory that has the form of a
    /// pointer to an object of this graph; stacks are left out. In no order, from several threads.
    ///
    /// # Errors
    /// When it was stopped.
    pub fn each_native_word(&self, stop: &Stop, visit: impl Fn(u64, u64) + Sync) -> Result<()> {
        let v8 = &self.v8;
        let mut parts = Vec::new();
        for region in v8.memory.target().regions() {
            // Executable memory is V8's code, whose pages are walked.
            let stack = v8
                .threads
                .iter()
                .any(|thread| region.range.contains(&thread.sp));
            if !region.writable || region.executable || region.held == 0 || stack {
                continue;
            }
            let mut at = region.range.start;
            while at < region.range.end {
                let end = (((at >> UNIT_SHIFT) + 1) << UNIT_SHIFT).min(region.range.end);
                // V8's own pages are no roots.
                let ours = v8.pages.page_of(at & !(UNIT - 1) | 0x3ff8);
                if ours.is_none_or(|page| page.base > at || end > page.base + page.size) {
                    parts.push((at, end));
                }
                at = end;
            }
        }
        parallel(parts.len(), stop, Vec::new, |buf: &mut Vec<u8>, index| {
            let (from, to) = parts[index];
            buf.resize((to - from) as usize, 0);
            if v8.memory.target().read(from, buf).is_err() {
                return;
            }
            for (index, word) in buf.chunks_exact(8).enumerate() {
                let word = u64::from_le_bytes(word.try_into().unwrap_or_default());
                if word & 1 == 1 && word > 0x1_0000 && self.is_object(word & !3) {
                    visit(from + 8 * index as u64, word);
                }
            }
        });
        stopped(stop)
    }
}

/// Finds the roots of one isolate.
struct Finder<'v> {
    v8: &'v V8,
    isolate: &'v Isolate,
    /// Its words.
    words: Vec<u64>,
}

impl<'v> Finder<'v> {
    fn new(v8: &'v V8, isolate: &'v Isolate) -> Finder<'v> {
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

    fn word(&self, at: u64) -> u64 {
        self.v8.memory.u64(at).unwrap_or(0)
    }

    /// Whether native memory may begin there.
    fn native(&self, at: u64) -> bool {
        at & 7 == 0 && at > 0x1_0000 && at < 1 << 56 && self.v8.pages.page_of(at).is_none()
    }

    fn find(&self, roots: &mut Roots) {
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

    /// `GlobalHandles`: the isolate, a space that points back, blocks of 256 nodes that each know their number.
    fn global_handles(&self, at: u64, words: &[u64], roots: &mut Roots) -> bool {
        let space = words[1];
        if !self.native(space) || self.word(space) != at {
            return false;
        }
        let mut block = self.word(space + 8);
        let mut seen = HashSet::new();
        while block != 0 && seen.len() < MOST && seen.insert(block) {
            let nodes = self
                .v8
                .words_at(block, (GLOBAL_NODES * GLOBAL_NODE + 24) as usize);
            let per = (GLOBAL_NODE / 8) as usize;
            let end = per * GLOBAL_NODES as usize;
            if nodes.len() < end + 3
                || nodes[end + 1] != at
                || (0..GLOBAL_NODES as usize)
                    .any(|index| nodes[per * index + 1] >> 16 & 0xff != index as u64)
            {
                return false;
            }
            for index in 0..GLOBAL_NODES as usize {
                // The lowest bits of the flags: 0 free, 1 strong, 2 weak, 3 about to be freed.
                if nodes[per * index + 1] >> 24 & 3 == 1 {
                    let slot = block + GLOBAL_NODE * index as u64;
                    roots.add(RootKind::Global, slot, nodes[per * index]);
                }
            }
            block = nodes[end];
        }
        !seen.is_empty()
    }

    /// `HandleScopeImplementer`: the isolate, the blocks of handles, contexts that were entered, contexts that were saved.
    /// The last block is used up to `HandleScopeData::next`, a field of the isolate.
    fn handle_scopes(&self, words: &[u64], roots: &mut Roots) -> bool {
        let vector = |from: usize| {
            let (data, capacity, size) = (words[from], words[from + 1], words[from + 2]);
            (size <= capacity && capacity < MOST as u64 && (size == 0 || self.native(data)))
                .then(|| self.v8.words_at(data, 8 * size as usize))
                .filter(|all| all.len() as u64 == size)
        };
        if words.len() < 11 {
            return false;
        }
        let (Some(blocks), Some(entered), Some(saved)) = (vector(1), vector(4), vector(7)) else {
            return false;
        };
        let contexts = entered.into_iter().chain(saved);
        let Some(&last) = blocks.last() else {
            // No scope has a handle now, as in a worker whose loop waits. The vectors have been in use all the same, and the
            // block that they no longer need is kept as the spare one.
            let known = [2, 5, 8].iter().all(|&capacity| words[capacity] > 0);
            if !known || !self.native(words[10]) {
                return false;
            }
            for word in contexts {
                roots.add(RootKind::Isolate, 0, word);
            }
            return true;
        };
        // `HandleScopeData`: next, limit, level and the level at which scopes are sealed. While the event loop waits they
        // are: then the limit is next, so that nobody makes a handle by mistake.
        let Some(next) = self.words.windows(3).find_map(|data| {
            let (next, limit) = (data[0], data[1]);
            let sealed = limit == next && data[2] as u32 == (data[2] >> 32) as u32;
            let end = last.wrapping_add(HANDLE_BLOCK);
            ((limit == end || sealed) && last <= next && next <= end).then_some(next)
        }) else {
            return false;
        };
        for &block in &blocks {
            let bytes = if block == last {
                next - last
            } else {
                HANDLE_BLOCK
            };
            for (index, word) in self
                .v8
                .words_at(block, bytes as usize)
                .into_iter()
                .enumerate()
            {
                roots.add(RootKind::Local, block + 8 * index as u64, word);
            }
        }
        for word in contexts {
            roots.add(RootKind::Isolate, 0, word);
        }
        true
    }

    /// `EternalHandles`: how many, and a vector of their blocks.
    fn eternal_handles(&self, words: &[u64], roots: &mut Roots) -> bool {
        let (count, begin, end) = (words[0] & 0xffff_ffff, words[1], words[2]);
        if count == 0
            || count > 1 << 20
            || end.wrapping_sub(begin) != 8 * count.div_ceil(ETERNAL_BLOCK)
            || words[3] < end
            || !self.native(begin)
        {
            return false;
        }
        let blocks = self.v8.words_at(begin, (end - begin) as usize);
        let object = |word: u64| word & 3 == 1 && self.v8.pages.page_of(word & !3).is_some();
        if blocks.is_empty() || !blocks.iter().all(|&block| object(self.word(block))) {
            return false;
        }
        let mut left = count;
        for block in blocks {
            let here = left.min(ETERNAL_BLOCK);
            for (index, word) in self
                .v8
                .words_at(block, 8 * here as usize)
                .into_iter()
                .enumerate()
            {
                roots.add(RootKind::Eternal, block + 8 * index as u64, word);
            }
            left -= here;
        }
        true
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

    /// `TracedNodeBlock`: the blocks before and behind, the handles it belongs to, how many nodes are used and how many
    /// there are; and behind that the nodes, which know their numbers. Which of them C++ can still reach is not asked.
    fn traced_blocks(&self, first: u64, seen: &mut HashSet<u64>, roots: &mut Roots) {
        let end = self.isolate.address + 8 * self.words.len() as u64;
        let mut block = first;
        while block != 0 && self.native(block) && seen.len() < MOST {
            let words = self.v8.words_at(block, 88);
            if words.len() < 11 {
                return;
            }
            // Two lists that it is in before V8 14, three since.
            let (reference, nodes) = if self.v8.column < 3 { (4, 48) } else { (6, 72) };
            let owner = words[reference];
            let ours = (self.isolate.address..end).contains(&owner)
                || self.v8.column == 0 && self.native(owner);
            let capacity = words[reference + 1] >> 16 & 0xffff;
            let used = words[reference + 1] & 0xffff;
            if !ours || capacity < 2 || used > capacity {
                return;
            }
            let nodes_at = block + nodes;
            let nodes = self.v8.words_at(nodes_at, 16 * capacity as usize);
            if nodes.len() as u64 != 2 * capacity
                || (0..capacity as usize)
                    .any(|index| nodes[2 * index + 1] >> 16 & 0xffff != index as u64)
                || !seen.insert(block)
            {
                return;
            }
            for index in 0..capacity as usize {
                if nodes[2 * index + 1] >> 32 & 1 == 1 {
                    roots.add(
                        RootKind::Traced,
                        nodes_at + 16 * index as u64,
                        nodes[2 * index],
                    );
                }
            }
            block = words[1];
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
            let words = self.v8.words_at(begin, (end - begin) as usize);
            if words.len() as u64 * 8 != end - begin {
                continue;
            }
            let objects = words
                .iter()
                .filter(|word| **word & 3 == 1 && self.v8.pages.page_of(**word & !3).is_some())
                .count();
            let strings = words
                .iter()
                .take(4096)
                .filter(|word| {
                    self.v8
                        .kind_of(Tagged(**word))
                        .is_ok_and(|kind| kind == Kind::String)
                })
                .count();
            if objects * 10 < words.len() * 9 || strings == words.len().min(4096) {
                continue;
            }
            for (index, word) in words.into_iter().enumerate() {
                roots.add(RootKind::List, begin + 8 * index as u64, word);
            }
        }
    }
}
