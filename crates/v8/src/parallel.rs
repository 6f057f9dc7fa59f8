//! The same work on many things, in as many threads as there are processors.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// How many threads work on a heap.
pub(crate) fn workers() -> usize {
    std::thread::available_parallelism()
        .map_or(2, usize::from)
        .clamp(1, 8)
}

/// Runs `work` on every number below `count` until it is stopped; each thread has a state of its own. Gives the states.
pub(crate) fn parallel<S: Send>(
    count: usize,
    stop: &AtomicBool,
    state: impl Fn() -> S + Sync,
    work: impl Fn(&mut S, usize) + Sync,
) -> Vec<S> {
    parallel_in(workers(), count, stop, state, work)
}

/// The same in so many threads: more than there are processors where the work is to wait for a disk.
pub(crate) fn parallel_in<S: Send>(
    threads: usize,
    count: usize,
    stop: &AtomicBool,
    state: impl Fn() -> S + Sync,
    work: impl Fn(&mut S, usize) + Sync,
) -> Vec<S> {
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..threads.min(count.max(1)) {
            scope.spawn(|| {
                let mut own = state();
                while !stop.load(Ordering::Relaxed) {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    if index >= count {
                        break;
                    }
                    work(&mut own, index);
                }
                done.lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(own);
            });
        }
    });
    done.into_inner().unwrap_or_else(PoisonError::into_inner)
}
