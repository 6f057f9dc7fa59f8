//! The isolates of a process: where each begins, which thread is in it, where its roots are.
//!
//! Pages name their heap. The isolate lies a fixed way before it, which is told by the thread-local variable that names a
//! thread's isolate; by that variable's value where its symbol was stripped or never was; else by the table. What is believed must have
//! a map of maps where the table of roots should have it.

use std::collections::BTreeMap;

use crate::constants::{Constants, Provenance, ROWS};
use crate::error::{Result, V8Error};
use crate::memory::Memory;
use crate::page_table::PageTable;
use crate::tagged::Tagged;
use crate::target::ThreadState;

/// The distances from an isolate to its heap that are believed: the isolate's own data before it takes tens of kilobytes.
const DISTANCES: std::ops::Range<i64> = 0x1000..0x40000;
/// How far from an isolate's start its roots may be.
const MAX_ROOTS: u64 = 0x1000;
/// Bytes on both sides of the thread pointer that are looked through for an isolate.
const TLS_REACH: u64 = 0x2000;

/// One isolate: a JavaScript heap with its threads' stacks.
#[derive(Debug, Clone)]
pub struct Isolate {
    /// Its number, from 0 on in the order of threads: 0 is the main one.
    pub id: usize,
    /// Where the `Isolate` object is.
    pub address: u64,
    /// Where its `Heap` is: pages name it.
    pub heap: u64,
    /// The thread that is in it, where one is.
    pub thread: Option<u64>,
    /// The roots, by their order in V8.
    pub roots: Vec<Tagged>,
}

/// What is needed to find them.
pub(crate) struct Search<'a> {
    pub memory: &'a Memory,
    pub pages: &'a PageTable,
    pub threads: &'a [ThreadState],
    /// How many roots there are, and the place of `meta_map` among them.
    pub roots: usize,
    pub meta_index: u64,
}

/// Where an isolate's parts are, and how each was told.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Parts {
    /// `heap_in_isolate`.
    heap: (i64, Provenance),
    /// `roots_in_isolate`.
    roots: (u64, Provenance),
}

/// What is known of them.
pub(crate) struct Found {
    /// Those that a thread is in, the main one first.
    pub entered: Vec<Isolate>,
    /// All of them, where that had to be found out: the same first.
    pub all: Option<Vec<Isolate>>,
    pub parts: Parts,
}

impl Search<'_> {
    /// Finds those that threads are in; all of them where that cannot be told without.
    ///
    /// # Errors
    /// [`V8Error::NoV8`] when no page names a heap, [`V8Error::Layout`] when no isolate with a table of roots lies before any
    /// of the heaps.
    pub fn run(&self, c: &Constants) -> Result<Found> {
        let named = self.named();
        if let Some(parts) = self.parts_by_roots(&named) {
            let mut addresses: Vec<u64> = named.iter().map(|(_, isolate)| *isolate).collect();
            addresses.sort_unstable();
            addresses.dedup();
            let entered = self.isolates(&addresses, parts, &named, c);
            if !entered.is_empty() {
                return Ok(Found {
                    entered,
                    all: None,
                    parts,
                });
            }
        }
        let heaps = self.heaps();
        if heaps.is_empty() {
            return Err(V8Error::NoV8(
                "no page of a V8 heap is in the core".to_owned(),
            ));
        }
        let (entered, how) = if named.is_empty() {
            (self.guessed(&heaps), Provenance::Searched)
        } else {
            (named, Provenance::Derived)
        };
        let parts = self
            .parts_by_pages(&heaps, &entered, how, c)
            .ok_or_else(|| {
                V8Error::Layout(
                    "the isolates (no table of roots was found before any of the heaps that the pages name)"
                        .to_owned(),
                )
            })?;
        let addresses: Vec<u64> = heaps
            .iter()
            .map(|heap| heap.wrapping_add_signed(-parts.heap.0))
            .collect();
        let all = self.isolates(&addresses, parts, &entered, c);
        Ok(Found {
            entered: all
                .iter()
                .filter(|isolate| isolate.thread.is_some())
                .cloned()
                .collect(),
            all: Some(all),
            parts,
        })
    }

    /// Those that threads are in, and behind them the ones that no thread is in.
    pub fn complete(&self, entered: &[Isolate], parts: Parts, c: &Constants) -> Vec<Isolate> {
        let known: Vec<u64> = entered.iter().map(|isolate| isolate.heap).collect();
        let addresses: Vec<u64> = self
            .heaps()
            .into_iter()
            .filter(|heap| !known.contains(heap))
            .map(|heap| heap.wrapping_add_signed(-parts.heap.0))
            .collect();
        let mut all = entered.to_vec();
        all.extend(self.isolates(&addresses, parts, &[], c));
        for (id, isolate) in all.iter_mut().enumerate() {
            isolate.id = id;
        }
        all
    }

    /// The heaps that pages name.
    fn heaps(&self) -> Vec<u64> {
        let mut pages_of: BTreeMap<u64, usize> = BTreeMap::new();
        for page in self.pages.pages().iter().filter(|page| page.heap != 0) {
            *pages_of.entry(page.heap).or_default() += 1;
        }
        // Those with the most pages first: a page that lies may name any heap.
        let mut heaps: Vec<u64> = pages_of.keys().copied().collect();
        heaps.sort_by_key(|heap| std::cmp::Reverse(pages_of[heap]));
        heaps.truncate(1024);
        heaps
    }

    /// Where the parts are, by the isolates that threads name as theirs: some of an isolate's roots are objects of its own
    /// heap, and the page of such a one names that.
    fn parts_by_roots(&self, named: &[(u64, u64)]) -> Option<Parts> {
        named.iter().find_map(|(_, isolate)| {
            let roots = self.roots_from(*isolate)?;
            // Those that can change are behind those that cannot.
            let distance = self
                .roots_at(isolate.wrapping_add(roots))
                .into_iter()
                .rev()
                .filter(|root| root.is_pointer())
                .filter_map(|root| self.pages.page_of(root.address()))
                .map(|page| page.heap.wrapping_sub(*isolate) as i64)
                .find(|distance| DISTANCES.contains(distance))?;
            Some(Parts {
                heap: (distance, Provenance::Derived),
                roots: (roots, Provenance::Searched),
            })
        })
    }

    /// The same by all pages, with what threads name or seem to name.
    fn parts_by_pages(
        &self,
        heaps: &[u64],
        entered: &[(u64, u64)],
        how: Provenance,
        c: &Constants,
    ) -> Option<Parts> {
        let told = entered.iter().find_map(|(_, isolate)| {
            let distance = heaps
                .iter()
                .map(|heap| heap.wrapping_sub(*isolate) as i64)
                .filter(|distance| DISTANCES.contains(distance))
                // The next isolate may lie close behind.
                .min()?;
            Some((distance, self.roots_from(*isolate)?, how))
        });
        let from_table = || {
            let isolate = heaps.first()?.wrapping_add_signed(-c.heap_in_isolate);
            let roots = self.roots_from(isolate)?;
            // The table knows one distance: only what agrees with it in both is believed.
            (roots as i64 == c.roots_in_isolate).then_some((
                c.heap_in_isolate,
                roots,
                Provenance::Table,
            ))
        };
        let searched = || {
            let (distance, roots) = self.before(*heaps.first()?, c.roots_in_isolate)?;
            Some((distance, roots, Provenance::Searched))
        };
        let (distance, roots, how) = told.or_else(from_table).or_else(searched)?;
        Some(Parts {
            heap: (distance, how),
            roots: (roots, Provenance::Searched),
        })
    }

    /// The isolates at these addresses, in their order, with numbers and roots.
    fn isolates(
        &self,
        addresses: &[u64],
        parts: Parts,
        entered: &[(u64, u64)],
        c: &Constants,
    ) -> Vec<Isolate> {
        let mut isolates: Vec<Isolate> = addresses
            .iter()
            // A heap that only damaged pages name has no roots.
            .filter(|address| self.has_roots(**address, parts.roots.0))
            .map(|&address| {
                let heap = address.wrapping_add_signed(parts.heap.0);
                let claims = entered.iter().filter(|(_, isolate)| *isolate == address);
                let claims: Vec<u64> = claims.map(|(tid, _)| *tid).collect();
                Isolate {
                    id: 0,
                    address,
                    heap,
                    thread: self
                        .owner(address, heap, &claims)
                        .or_else(|| self.thread_by_stack(address, c)),
                    roots: self.roots_at(address.wrapping_add(parts.roots.0)),
                }
            })
            .collect();
        let main = self.threads.iter().map(|thread| thread.tid).min();
        isolates.sort_by_key(|isolate| {
            (
                match isolate.thread {
                    Some(tid) if Some(tid) == main => 0,
                    Some(tid) => tid,
                    None => u64::MAX,
                },
                isolate.address,
            )
        });
        for (id, isolate) in isolates.iter_mut().enumerate() {
            isolate.id = id;
        }
        isolates
    }

    /// The words of a table of roots.
    fn roots_at(&self, table: u64) -> Vec<Tagged> {
        (0..self.roots as u64)
            .map(|index| Tagged(self.memory.u64(table.wrapping_add(8 * index)).unwrap_or(0)))
            .collect()
    }

    /// The thread whose JavaScript an isolate runs, of those that name it as theirs: V8's own do too, that take samples for a
    /// profile, mark or compile. The isolate knows the stack of its thread (`StackGuard` has its limit).
    fn owner(&self, isolate: u64, heap: u64, claims: &[u64]) -> Option<u64> {
        let main = self.threads.iter().map(|thread| thread.tid).min();
        if let [_, _, ..] = claims
            && !claims.iter().any(|tid| Some(*tid) == main)
        {
            let regions = self.memory.target().regions();
            let stack = |tid: u64| {
                let sp = self.threads.iter().find(|thread| thread.tid == tid)?.sp;
                regions.iter().find(|region| region.range.contains(&sp))
            };
            let known = |tid: &u64| {
                stack(*tid).is_some_and(|stack| {
                    (isolate..heap)
                        .step_by(8)
                        .filter_map(|at| self.memory.u64(at).ok())
                        .any(|word| stack.range.contains(&word))
                })
            };
            if let Some(tid) = claims.iter().copied().find(known) {
                return Some(tid);
            }
        }
        let first = claims.iter().find(|tid| Some(**tid) == main);
        first.or(claims.first()).copied()
    }

    /// Thread and isolate, by V8's thread-local variable.
    fn named(&self) -> Vec<(u64, u64)> {
        let target = self.memory.target();
        self.threads
            .iter()
            .filter_map(|thread| {
                let slot =
                    target.thread_local(thread.tid, "_ZN2v88internal18g_current_isolate_E")?;
                let isolate = self.memory.u64(slot).ok()?;
                (isolate != 0).then_some((thread.tid, isolate))
            })
            .collect()
    }

    /// The same without its symbol: words near each thread's pointer that lie before one of the heaps as isolates do. (Node
    /// 18 keeps it there too, among the values of pthread keys.)
    fn guessed(&self, heaps: &[u64]) -> Vec<(u64, u64)> {
        let mut found = Vec::new();
        for thread in self.threads.iter().filter(|thread| thread.tls != 0) {
            let first = thread.tls.saturating_sub(TLS_REACH) & !7;
            let isolate = (first..first.saturating_add(2 * TLS_REACH))
                .step_by(8)
                .filter_map(|at| self.memory.u64(at).ok())
                .find(|word| {
                    word & 7 == 0
                        && heaps
                            .iter()
                            .any(|heap| DISTANCES.contains(&(heap.wrapping_sub(*word) as i64)))
                        && self.roots_from(*word).is_some()
                });
            if let Some(isolate) = isolate {
                found.push((thread.tid, isolate));
            }
        }
        found
    }

    /// The thread on whose stack an isolate last left JavaScript for native code, where the core lacks the threads' pointers to
    /// their variables (qemu's cores do).
    fn thread_by_stack(&self, isolate: u64, c: &Constants) -> Option<u64> {
        if self.threads.iter().any(|thread| thread.tls != 0) {
            return None;
        }
        let exit = self
            .memory
            .u64(isolate.wrapping_add_signed(c.c_entry_fp))
            .ok()?;
        let regions = self.memory.target().regions();
        let stack = regions.iter().find(|region| region.range.contains(&exit))?;
        let on_it = |thread: &&ThreadState| stack.range.contains(&thread.sp) && thread.sp <= exit;
        let nearest = self.threads.iter().filter(on_it);
        nearest
            .min_by_key(|thread| exit - thread.sp)
            .map(|thread| thread.tid)
    }

    /// The roots of an isolate, from its start on: the smallest offset at which the slot of the map of maps holds it.
    fn roots_from(&self, isolate: u64) -> Option<u64> {
        (0..MAX_ROOTS)
            .step_by(8)
            .find(|offset| self.has_roots(isolate, *offset))
    }

    fn has_roots(&self, isolate: u64, offset: u64) -> bool {
        let slot = isolate
            .wrapping_add(offset)
            .wrapping_add(8 * self.meta_index);
        self.memory.u64(slot).is_ok_and(|word| {
            word & 3 == 1
                && self.pages.page_of(word & !3).is_some()
                && self.memory.u64(word & !3).is_ok_and(|map| map == word)
        })
    }

    /// The isolate before a heap by its roots alone: the lowest slot of a map of maps, as far before it as its number says.
    fn before(&self, heap: u64, roots: i64) -> Option<(i64, u64)> {
        let low = heap.saturating_sub(DISTANCES.end as u64) & !7;
        let table = (low..heap)
            .step_by(8)
            .find(|at| self.has_roots(at.wrapping_sub(8 * self.meta_index), 0))?
            .wrapping_sub(8 * self.meta_index);
        let distance = heap.wrapping_sub(table.wrapping_add_signed(-roots)) as i64;
        DISTANCES
            .contains(&distance)
            .then_some((distance, roots as u64))
    }
}

/// Writes what was found into the constants.
pub(crate) fn settle(parts: Parts, c: &mut Constants, provenance: &mut [Provenance]) {
    (c.heap_in_isolate, c.roots_in_isolate) = (parts.heap.0, parts.roots.0 as i64);
    for (field, how) in [
        ("heap_in_isolate", parts.heap.1),
        ("roots_in_isolate", parts.roots.1),
    ] {
        if let Some(index) = ROWS.iter().position(|row| row.field == field) {
            provenance[index] = how;
        }
    }
}
