//! Takes a core of the process it runs in, without stopping it.
//!
//! A copy of the process is made by fork, which takes milliseconds, and it is the copy that the kernel dumps.
//! What V8 hides from forks is made visible first ([`dontfork`](crate::prepare)). You give a [`Request`] and get
//! a [`RawCore`] on another thread, to be verified and packed; this crate knows nothing of either.
//!
//! It is not for other processes than its own, and not for crashes. It runs on Linux only.
//!
//! What can go wrong around fork, signals and the memory of a running process is all in this crate:
//! [`begin`] may be called from any thread, any number of times.

mod amend;
mod brake;
mod calls;
mod cgroup;
mod child;
mod copy;
pub mod doctor;
mod dontfork;
mod dump;
mod error;
mod folder;
mod image;
mod live;
mod maps;
mod monitor;
mod notes;
mod plan;
mod proof;
mod queue;
mod registers;
mod request;
mod shortage;
mod snapshot;
mod stream;
mod sys;
mod threads;

pub use dump::Dump;
pub use error::Failure;
pub use folder::{ARCHIVE, Folder, Title};
pub use image::{Part, Skipped, Wanted};
pub use live::Live;
pub use monitor::Monitor;
pub use queue::{abort, begin, drain, end_all, end_all_of, is_kernels_own};
pub use request::{
    Begun, Content, Describe, Done, Finish, Made, Method, Outcome, Output, Progress, RawCore,
    Request, Target, Threads, Watch,
};
pub use stream::{Stream, pipe};
pub use sys::{background_thread, is_undumpable, name_thread};
pub use threads::How;

/// Finds out once, when there is time, what every capture needs to know of this process.
pub fn prepare() {
    sys::prepare_priority();
    dontfork::prepare();
}
