//! Roots: the words outside of the heap that keep objects alive.
//!
//! V8 has them in a dozen places (`Heap::IterateRoots`). Most are fields of the isolate or of what it points to: `finder.rs`,
//! `handles.rs`. Stacks and registers are gone through conservatively: a word that is a pointer to the start of an object
//! counts. Where a structure that every isolate has is not recognised, all native memory is gone through like that, and the
//! answer says so.

use std::sync::{Arc, Mutex, PoisonError};

use super::finder::Finder;
use super::{HeapGraph, Stop, stopped};
use crate::error::Result;
use crate::fast::AddressMap;
use crate::pages::{UNIT, UNIT_SHIFT};
use crate::parallel::parallel;

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
    pub(super) fn add(&mut self, kind: RootKind, at: u64, word: u64) {
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
