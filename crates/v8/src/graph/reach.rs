//! What can be reached from the roots.
//!
//! Marking goes page by page, since a heap does not fit into the memory that this may take: whoever finds a pointer to
//! another page sets a bit there and puts that page in line; a worker that takes a page follows the pointers of all
//! objects that were marked in it meanwhile, and of those that it marks in it itself. So most pages are read a few times,
//! and a list that jumps from page to page costs a small read for each jump. Nothing here recurses.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};

use super::census::Census;
use super::reader::Reader;
use super::{HeapGraph, Stop, stopped};
use crate::error::Result;
use crate::parallel::workers;
use crate::tagged::Tagged;

/// How many pointers a worker remembers as followed: what most objects refer to, maps and empty arrays.
const SEEN: usize = 256;

/// Pages in line.
struct Queue {
    line: Mutex<Line>,
    wake: Condvar,
    /// Workers that wait.
    hungry: AtomicUsize,
}

#[derive(Default)]
struct Line {
    pages: VecDeque<u32>,
    waiting: usize,
    done: bool,
}

impl Queue {
    fn new() -> Queue {
        Queue {
            line: Mutex::default(),
            wake: Condvar::new(),
            hungry: AtomicUsize::new(0),
        }
    }

    /// The next page; `None` when all `workers` wait for one.
    fn take(&self, workers: usize) -> Option<u32> {
        let mut line = self.line.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(page) = line.pages.pop_front() {
                return Some(page);
            }
            if line.done {
                return None;
            }
            line.waiting += 1;
            if line.waiting == workers {
                line.done = true;
                self.wake.notify_all();
                return None;
            }
            self.hungry.fetch_add(1, Ordering::Relaxed);
            line = self.wake.wait(line).unwrap_or_else(PoisonError::into_inner);
            self.hungry.fetch_sub(1, Ordering::Relaxed);
            line.waiting -= 1;
        }
    }

    fn give(&self, pages: impl IntoIterator<Item = u32>) {
        let mut line = self.line.lock().unwrap_or_else(PoisonError::into_inner);
        line.pages.extend(pages);
        self.wake.notify_all();
    }

    fn end(&self) {
        let mut line = self.line.lock().unwrap_or_else(PoisonError::into_inner);
        line.done = true;
        line.pages.clear();
        self.wake.notify_all();
    }
}

/// What one worker found.
#[derive(Default)]
struct Found {
    census: Census,
    ephemerons: Vec<u64>,
}

impl HeapGraph {
    /// Marks what can be reached. The second call does nothing.
    ///
    /// # Errors
    /// When it was stopped.
    pub fn mark(&self, stop: &Stop) -> Result<()> {
        let mut reached = self.reached.lock().unwrap_or_else(PoisonError::into_inner);
        if reached.is_some() {
            return Ok(());
        }
        let mut line = VecDeque::new();
        for root in &self.roots(stop)?.words {
            self.shade(*root, &mut line);
        }
        let mut all = Found::default();
        while !line.is_empty() {
            let found = self.drain(line, stop)?;
            all.census.merge(found.census);
            all.ephemerons.extend(found.ephemerons);
            line = self.revive(&all.ephemerons);
        }
        *reached = Some(all.census);
        Ok(())
    }

    /// Marks what a word points to, and puts its page in line.
    fn shade(&self, word: u64, line: &mut VecDeque<u32>) {
        if word & 3 == 1
            && let Some((page, at)) = self.target(word & !3)
            && self.pages[page].mark(at)
            && !self.pages[page].queued.swap(true, Ordering::AcqRel)
        {
            line.push_back(page as u32);
        }
    }

    /// Follows pointers until no page is in line.
    fn drain(&self, line: VecDeque<u32>, stop: &Stop) -> Result<Found> {
        let queue = Queue::new();
        queue.give(line);
        let workers = workers().min(self.pages.len().max(1));
        let all: Mutex<Found> = Mutex::default();
        std::thread::scope(|scope| {
            for _ in 0..workers {
                scope.spawn(|| {
                    let found = self.work(&queue, workers, stop);
                    if let Ok(mut all) = all.lock() {
                        all.census.merge(found.census);
                        all.ephemerons.extend(found.ephemerons);
                    }
                });
            }
        });
        stopped(stop)?;
        Ok(all.into_inner().unwrap_or_else(PoisonError::into_inner))
    }

    fn work(&self, queue: &Queue, workers: usize, stop: &Stop) -> Found {
        let mut found = Found::default();
        let mut reader = Reader::new(self);
        let mut own: VecDeque<u32> = VecDeque::new();
        let mut stack = Vec::new();
        let mut seen = [0_u64; SEEN];
        while let Some(page) = own.pop_front().or_else(|| queue.take(workers)) {
            if stop.load(Ordering::Relaxed) {
                queue.end();
                break;
            }
            if own.len() > 1 && queue.hungry.load(Ordering::Relaxed) > 0 {
                let keep = own.len() / 2;
                queue.give(own.drain(keep..));
            }
            let index = page as usize;
            // From here on whoever marks in this page puts it in line again.
            self.pages[index].queued.swap(false, Ordering::AcqRel);
            let walked = reader.open(index, self.pages[index].pending());
            let mut bytes = 0;
            walked.each_pending(|at| {
                stack.push(at);
                while let Some(at) = stack.pop() {
                    let Some((object, pointers)) = reader.object_with(at) else {
                        continue;
                    };
                    bytes += object.size;
                    found.census.count_with(&self.v8, &object, &mut reader);
                    if self.v8.types.name_is_ephemeron(object.map.instance_type) {
                        found.ephemerons.push(at);
                    }
                    reader.edges_with(&object, pointers, |_, word| {
                        if word & 3 != 1 {
                            return;
                        }
                        let slot = &mut seen[(word >> 3) as usize % SEEN];
                        if *slot == word {
                            return;
                        }
                        *slot = word;
                        let Some((target, at)) = self.target(word & !3) else {
                            return;
                        };
                        let page = &self.pages[target];
                        if target == index {
                            if page.mark_and_scan(at) {
                                stack.push(at);
                            }
                        } else if page.mark(at) && !page.queued.swap(true, Ordering::AcqRel) {
                            own.push_back(target as u32);
                        }
                    });
                }
            });
            walked.reached.fetch_add(bytes, Ordering::Relaxed);
        }
        found
    }

    /// Values of ephemerons whose keys are alive.
    fn revive(&self, tables: &[u64]) -> VecDeque<u32> {
        let mut line = VecDeque::new();
        let header = (self.v8.c.array_data + 8 * self.v8.c.dictionary_prefix) as u64;
        let mut chunk = Vec::new();
        for &table in tables {
            let Ok(length) = self.v8.array_length(Tagged::of(table)) else {
                continue;
            };
            let mut at = table + header;
            let end = table + self.v8.c.array_data as u64 + 8 * length;
            while at + 16 <= end {
                chunk.resize((end - at).min(1 << 16) as usize & !15, 0);
                if self.v8.memory.target().read(at, &mut chunk).is_err() {
                    break;
                }
                for pair in chunk.chunks_exact(16) {
                    let word = |from: usize| {
                        u64::from_le_bytes(pair[from..from + 8].try_into().unwrap_or_default())
                    };
                    let (key, value) = (Tagged(word(0)), word(8));
                    if value & 3 == 1
                        && (!key.is_pointer()
                            || self
                                .target(key.address())
                                .is_none_or(|(page, at)| self.pages[page].is_marked(at)))
                    {
                        self.shade(value, &mut line);
                    }
                }
                at += chunk.len() as u64;
            }
        }
        line
    }

    /// Whether an object can be reached; only after [`HeapGraph::mark`].
    pub fn is_reachable(&self, address: u64) -> bool {
        self.target(address).is_some_and(|(page, at)| {
            self.pages[page].is_start(at) && self.pages[page].is_marked(at)
        })
    }
}
