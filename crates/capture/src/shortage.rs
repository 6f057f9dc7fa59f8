//! The limits on memory that a process has (RLIMIT_AS, RLIMIT_DATA), and whether they leave what a capture may need.
//!
//! Where memory cannot be had the process itself would end, by whichever of its threads asks for it first: so nothing
//! is begun when there might be too little.

use nix::libc::RLIM_INFINITY;
use nix::sys::resource::{Resource, getrlimit};

use crate::dontfork::Extent;

/// What one of glibc's malloc arenas takes of the address space, and each new thread may make one.
const ARENA: u64 = 64 << 20;

/// Nobody has more packing threads than this without asking for them.
const MOST_THREADS: u64 = 8;

/// A soft limit and what the process has of it, in bytes; `limit` is `None` where there is none.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Budget {
    pub(crate) limit: Option<u64>,
    pub(crate) used: u64,
}

/// A limit that leaves too little.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Shortage {
    name: &'static str,
    free: u64,
    limit: u64,
    needed: u64,
}

impl Shortage {
    /// Of this process, now.
    pub(crate) fn now() -> Option<Shortage> {
        let limit = |resource| match getrlimit(resource) {
            Ok((soft, _)) if soft != RLIM_INFINITY => Some(soft),
            _ => None,
        };
        let (address_space, data) = (limit(Resource::RLIMIT_AS), limit(Resource::RLIMIT_DATA));
        // Without limits nothing is read.
        if address_space.is_none() && data.is_none() {
            return None;
        }
        let (mapped, written) = Extent::now()?.bytes();
        Shortage::of(
            Budget {
                limit: address_space,
                used: mapped,
            },
            Budget {
                limit: data,
                used: written,
            },
        )
    }

    /// Of a process with these: its address space, and its private writable memory.
    pub(crate) fn of(address_space: Budget, data: Budget) -> Option<Shortage> {
        let threads = std::thread::available_parallelism().map_or(1, |count| count.get() as u64);
        // Those that pack, and four more.
        let arenas = ARENA * (threads.min(MOST_THREADS) + 4);
        [
            ("RLIMIT_AS, ulimit -v", address_space, arenas),
            ("RLIMIT_DATA, ulimit -d", data, ARENA),
        ]
        .into_iter()
        .find_map(|(name, Budget { limit, used }, needed)| {
            let limit = limit?;
            let free = limit.saturating_sub(used);
            (free < needed).then_some(Shortage {
                name,
                free,
                limit,
                needed,
            })
        })
    }

    /// What it is.
    pub(crate) fn why(&self) -> String {
        format!(
            "The limit on the memory of this process ({}) leaves {} MB of {} MB, and a capture may need {} MB: without \
             them the service itself could end.",
            self.name,
            self.free >> 20,
            self.limit >> 20,
            self.needed >> 20
        )
    }

    /// What to do.
    pub(crate) const CHANGE: &str = "Raise it where the service is started; a limit on what is really used is better \
                                     set for its control group.";
}
