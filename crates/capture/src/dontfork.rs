//! The ranges that V8 keeps out of every fork, in and out of a copy.
//!
//! Since Node 18.20 all pages of V8 are `MADV_DONTFORK` (`dc` in smaps): a plain fork has no JavaScript
//! heap. So the marks come off just before the fork, and must go back on exactly the same ranges, or every
//! later `child_process.spawn` copies the page tables of the whole heap.
//!
//! Which ranges had the mark only smaps tells, and that takes as long as the fork itself (1 GB heap: 12 to
//! 18 ms beside 17 to 26). But nobody has to know before the fork. One `madvise` over the whole address
//! space takes the marks off (it changes nothing where there is none), in 0.65 ms for 1 GB. And what had
//! the mark is read afterwards, off the JavaScript thread, from a second, earlier copy, the probe: a plain
//! fork leaves out exactly the marked ranges, so what the real copy has and the probe has not is the answer,
//! of that very instant. A fork without the heap is cheap (1.6 ms at 1 GB of heap). Only a process that
//! is nearly all Buffers is better off with smaps, and takes that.

use crate::error::Failure;

mod list;
mod lock;
mod overlaps;
mod restore;
mod spans;

pub(crate) use list::{
    Extent, Stirred, list_by_memory, list_by_probe, list_by_smaps, resident, set_known,
    smaps_is_cheaper,
};
pub(crate) use lock::{MarksLock, undisturbed};
pub(crate) use restore::restore;
pub use spans::prepare;
pub(crate) use spans::{Spans, unmark_each};

/// What is said where the heap cannot be had.
pub(crate) fn incomplete(what: &str) -> Failure {
    Failure::new(
        "ERR_CORE_INCOMPLETE",
        format!(
            "The core would lack the JavaScript heap: {what}. V8 keeps its pages out of every fork \
             (MADV_DONTFORK), and here that could not be changed. Allow madvise(MADV_DOFORK) in the seccomp \
             profile of this process; no core was kept, since one without the heap is of little use."
        ),
    )
}
