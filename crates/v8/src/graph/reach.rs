//! What can be reached from the roots.

use std::sync::atomic::Ordering;

use super::{HeapGraph, Stop};
use crate::error::{Result, V8Error};
use crate::tagged::Tagged;

impl HeapGraph {
    /// Marks what can be reached. The second call does nothing.
    ///
    /// # Errors
    /// When it was stopped.
    pub fn mark(&self, stop: &Stop) -> Result<()> {
        if self.marked.load(Ordering::Relaxed) {
            return Ok(());
        }
        let mut todo: Vec<u64> = Vec::new();
        let root = |word: u64, todo: &mut Vec<u64>| {
            if word & 3 == 1
                && let Some(loaded) = self.loaded(word)
                && loaded.is_start(word & !3)
                && loaded.mark(word & !3)
            {
                todo.push(word & !3);
            }
        };
        for thread in &self.v8.threads {
            for register in &thread.registers {
                root(*register, &mut todo);
            }
        }
        for word in self.native_words(stop) {
            root(word, &mut todo);
        }
        for loaded in self.pages.iter().filter(|loaded| loaded.page.heap == 0) {
            for (index, starts) in loaded.starts.iter().enumerate() {
                let new = starts & !loaded.marks[index].fetch_or(*starts, Ordering::Relaxed);
                let mut bits = new;
                while bits != 0 {
                    todo.push(
                        loaded.page.area_start
                            + 8 * (64 * index as u64 + u64::from(bits.trailing_zeros())),
                    );
                    bits &= bits - 1;
                }
            }
        }
        let mut ephemerons = Vec::new();
        loop {
            while let Some(at) = todo.pop() {
                if todo.len() & 0xfff == 0 && stop.load(Ordering::Relaxed) {
                    return Err(V8Error::Other("stopped".to_owned()));
                }
                let Some(loaded) = self.loaded(at) else {
                    continue;
                };
                let Some(object) = self.object_in(loaded, at) else {
                    continue;
                };
                if self.v8.types.name_is_ephemeron(object.map.instance_type) {
                    ephemerons.push(at);
                }
                self.edges(loaded, &object, |_, word| {
                    if word & 3 == 1
                        && let Some(target) = self.loaded(word)
                        && target.is_start(word & !3)
                        && target.mark(word & !3)
                    {
                        todo.push(word & !3);
                    }
                });
            }
            // Values of ephemerons whose keys are alive, until nothing new is reached.
            for table in &ephemerons {
                for entry in self
                    .v8
                    .hash_table(Tagged::of(*table), 0, 2)
                    .unwrap_or_default()
                {
                    let [key, value] = entry[..] else { continue };
                    let alive = !key.is_pointer()
                        || self
                            .loaded(key.address())
                            .is_none_or(|loaded| loaded.is_marked(key.address()));
                    if alive {
                        root(value.0, &mut todo);
                    }
                }
            }
            if todo.is_empty() {
                break;
            }
        }
        self.marked.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Whether an object can be reached; only after [`HeapGraph::mark`].
    pub fn is_reachable(&self, address: u64) -> bool {
        self.loaded(address)
            .is_some_and(|loaded| loaded.is_marked(address))
    }
}
