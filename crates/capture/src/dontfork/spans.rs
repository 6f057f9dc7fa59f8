//! Taking the marks off: the whole address space in a few calls.

use std::fs::{self};
use std::ops::Range;
use std::sync::Mutex;

use nix::errno::Errno;

use super::list::{list_by_smaps, resident, set_known};
use crate::maps::{self};
use crate::sys::{self};

/// A whole address space, from above the smallest address that can be mapped.
#[cfg(target_arch = "x86_64")]
const ADDRESSES: Range<u64> = 0x10000..0x7fff_ffff_f000;
#[cfg(not(target_arch = "x86_64"))]
const ADDRESSES: Range<u64> = 0x10000..0xffff_ffff_f000;

/// Mappings that `madvise` refuses (device memory, `[vvar]`) and that would end a span early. Found at
/// the first refusal and kept: rings and devices come seldom and `[vvar]` never moves.
static OBSTACLES: Mutex<Vec<Range<u64>>> = Mutex::new(Vec::new());

/// Larger processes are not asked for their marks before the first capture: 10 ms for a GB.
const SMALL: u64 = 200 << 20;

/// Looks for the obstacles that every process has, and for the marks that it has now, once, so that the first
/// capture does not have to, and has something to compare with.
pub fn prepare() {
    if (1..SMALL).contains(&resident())
        && let Ok(marked) = list_by_smaps()
    {
        set_known(&marked);
    }
    let Ok(text) = fs::read("/proc/self/maps") else {
        return;
    };
    let special = maps::parse(&text)
        .into_iter()
        .filter(|mapping| mapping.name.starts_with(b"[v"));
    set_obstacles(special.map(|mapping| mapping.range).collect());
}

fn set_obstacles(found: Vec<Range<u64>>) {
    *OBSTACLES
        .lock()
        .unwrap_or_else(|poison| poison.into_inner()) = found;
}

/// The whole address space in spans that `madvise` walks through, laid out before the threads are stopped.
pub(crate) struct Spans {
    spans: Vec<Range<u64>>,
    obstacles: Vec<Range<u64>>,
}

impl Spans {
    pub(crate) fn now() -> Spans {
        let obstacles = OBSTACLES
            .lock()
            .unwrap_or_else(|poison| poison.into_inner())
            .clone();
        let spans = maps::subtract(std::slice::from_ref(&ADDRESSES), &obstacles);
        Spans { spans, obstacles }
    }

    /// Makes fork copy everything. Allocates nothing. `EINVAL`: there is an obstacle that was not known, see
    /// [`unmark_each`]; any other error: the kernel refuses (a seccomp filter), no whole core can be had.
    pub(crate) fn unmark(&self) -> Result<(), Errno> {
        for span in &self.spans {
            match sys::advise_fork(span, true) {
                // ENOMEM: there were holes in the span. It has been applied to all that is mapped.
                Ok(()) | Err(Errno::ENOMEM) => {}
                refused => return refused,
            }
        }
        for obstacle in &self.obstacles {
            // By now something else may lie there.
            let _ = sys::advise_fork(obstacle, true);
        }
        Ok(())
    }
}

/// The same one mapping at a time, and remembers the obstacles. Slow, and for the first time only.
pub(crate) fn unmark_each() -> Result<(), Errno> {
    let text = fs::read("/proc/self/maps").map_err(|_| Errno::EINVAL)?;
    let mut obstacles = Vec::new();
    for mapping in maps::parse(&text) {
        match sys::advise_fork(&mapping.range, true) {
            Ok(()) | Err(Errno::ENOMEM) => {}
            Err(Errno::EINVAL) => obstacles.push(mapping.range),
            refused => return refused,
        }
    }
    set_obstacles(obstacles);
    Ok(())
}
