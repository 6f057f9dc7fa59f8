//! The yardstick of `npm run bench`: the bare `MADV_DOFORK` + fork of this process, and nothing else.
//!
//! Call [`prepare`] right before [`bare_fork`]. Both are for a quiet process: a V8 page that appears
//! between the two would keep the mark that lets it be forked.

use std::io::{Error, Result};
use std::sync::Mutex;
use std::time::Instant;

use napi_derive::napi;

type Range = (usize, usize);

static RANGES: Mutex<Vec<Range>> = Mutex::new(Vec::new());
static CHILD: Mutex<Option<libc::pid_t>> = Mutex::new(None);

/// Remembers which mappings are `MADV_DONTFORK` (`dc` in smaps); gives how many there are.
#[napi]
pub fn prepare() -> napi::Result<u32> {
    let ranges = dont_fork(&std::fs::read_to_string("/proc/self/smaps")?);
    let count = ranges.len() as u32;
    *RANGES.lock().unwrap() = ranges;
    Ok(count)
}

/// Marks them `MADV_DOFORK` and forks a child that exits at once. Gives the milliseconds that took.
/// [`restore`] must follow.
#[napi]
pub fn bare_fork() -> napi::Result<f64> {
    let ranges = RANGES.lock().unwrap();
    let start = Instant::now();
    let child = do_fork(&ranges).and_then(|()| fork());
    let elapsed = start.elapsed();
    *CHILD.lock().unwrap() = Some(child?);
    Ok(elapsed.as_secs_f64() * 1000.0)
}

/// Reaps the child and puts the marks back. Apart, so that it is in none of the figures: a capture
/// can do that on another thread.
#[napi]
pub fn restore() -> napi::Result<()> {
    for &range in RANGES.lock().unwrap().iter() {
        match advise(range, libc::MADV_DONTFORK) {
            Err(error) if error.raw_os_error() != Some(libc::ENOMEM) => return Err(error.into()),
            _ => {}
        }
    }
    if let Some(child) = CHILD.lock().unwrap().take() {
        reap(child)?;
    }
    Ok(())
}

/// The ranges of a smaps text whose `VmFlags` hold `dc`.
fn dont_fork(smaps: &str) -> Vec<Range> {
    let mut ranges = Vec::new();
    let mut current = None;
    for line in smaps.lines() {
        if let Some(flags) = line.strip_prefix("VmFlags:") {
            if flags.split_whitespace().any(|flag| flag == "dc") {
                ranges.extend(current);
            }
        } else if let Some(range) = parse_range(line) {
            current = Some(range);
        }
    }
    ranges
}

fn parse_range(line: &str) -> Option<Range> {
    let (low, high) = line.split(' ').next()?.split_once('-')?;
    Some((
        usize::from_str_radix(low, 16).ok()?,
        usize::from_str_radix(high, 16).ok()?,
    ))
}

/// One call over the span from the lowest to the highest range. It tells ENOMEM for the holes in
/// between, and has been applied. At a VM_IO mapping it stops with EINVAL: then one call per range.
fn do_fork(ranges: &[Range]) -> Result<()> {
    let (Some(first), Some(last)) = (ranges.first(), ranges.last()) else {
        return Ok(());
    };
    match advise((first.0, last.1), libc::MADV_DOFORK) {
        Err(error) if error.raw_os_error() == Some(libc::ENOMEM) => Ok(()),
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => ranges
            .iter()
            // ENOMEM: it has been unmapped meanwhile.
            .try_for_each(|&range| match advise(range, libc::MADV_DOFORK) {
                Err(error) if error.raw_os_error() == Some(libc::ENOMEM) => Ok(()),
                other => other,
            }),
        other => other,
    }
}

fn advise((low, high): Range, advice: libc::c_int) -> Result<()> {
    // SAFETY: MADV_DOFORK and MADV_DONTFORK change neither the content nor the protection of memory.
    let result = unsafe { libc::madvise(low as *mut libc::c_void, high - low, advice) };
    if result == 0 {
        Ok(())
    } else {
        Err(Error::last_os_error())
    }
}

/// Without an exit signal: the child is invisible to libuv's own child handling.
fn fork() -> Result<libc::pid_t> {
    // SAFETY: no flags and no stack is a plain fork, with the arguments all zero in every order that
    // architectures have for them. The child does nothing but one raw exit_group.
    let pid = unsafe {
        let pid = libc::syscall(libc::SYS_clone, 0, 0, 0, 0, 0);
        if pid == 0 {
            libc::syscall(libc::SYS_exit_group, 0);
        }
        pid
    };
    if pid < 0 {
        Err(Error::last_os_error())
    } else {
        Ok(pid as libc::pid_t)
    }
}

fn reap(pid: libc::pid_t) -> Result<()> {
    // SAFETY: a null status is allowed. __WALL, as the child has no exit signal.
    while unsafe { libc::waitpid(pid, std::ptr::null_mut(), libc::__WALL) } < 0 {
        let error = Error::last_os_error();
        if error.raw_os_error() != Some(libc::EINTR) {
            return Err(error);
        }
    }
    Ok(())
}
