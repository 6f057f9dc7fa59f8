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

use std::fs::{self, File};
use std::io::{self, Read};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex};
use std::time::{Duration, Instant};

use nix::errno::Errno;

use crate::copy::Files;
use crate::error::Failure;
use crate::maps::{self, Mapping};
use crate::sys::{self, page_size};

/// A whole address space, from above the smallest address that can be mapped.
#[cfg(target_arch = "x86_64")]
const ADDRESSES: Range<u64> = 0x10000..0x7fff_ffff_f000;
#[cfg(not(target_arch = "x86_64"))]
const ADDRESSES: Range<u64> = 0x10000..0xffff_ffff_f000;

/// V8 maps its heap in units of this size, on multiples of it.
const UNIT: u64 = 256 * 1024;

/// glibc maps the heaps of its malloc arenas in units of this size.
const ARENA: u64 = 64 << 20;

/// The smallest page there is.
const LEAST_PAGE: u64 = 4096;

// --- the lock ------------------------------------------------------------------------------------

/// Held from before the marks are listed until they are back: a listing made in between would see none,
/// and a capture from another thread would take that for a process without marks. It is taken on the
/// JavaScript thread and given back by the keeper, hence no `MutexGuard`.
static MARKS: (Mutex<bool>, Condvar) = (Mutex::new(false), Condvar::new());

/// Counts how often that lock was taken.
static GENERATION: AtomicU64 = AtomicU64::new(0);

/// The right to change marks. Dropping it lets the next capture go on.
pub(crate) struct MarksLock(());

impl MarksLock {
    /// None when another capture has not put its marks back within `patience`.
    pub(crate) fn acquire(patience: Duration) -> Option<MarksLock> {
        let (held, freed) = (&MARKS.0, &MARKS.1);
        let guard = held.lock().unwrap_or_else(|poison| poison.into_inner());
        let (mut guard, timeout) = freed
            .wait_timeout_while(guard, patience, |held| *held)
            .unwrap_or_else(|poison| poison.into_inner());
        if timeout.timed_out() {
            return None;
        }
        *guard = true;
        GENERATION.fetch_add(1, Ordering::SeqCst);
        Some(MarksLock(()))
    }
}

impl Drop for MarksLock {
    fn drop(&mut self) {
        *MARKS.0.lock().unwrap_or_else(|poison| poison.into_inner()) = false;
        MARKS.1.notify_one();
    }
}

/// A number that stays the same as long as no capture takes marks off; None while one has them off.
/// For whoever lists marks without the lock, which would keep a capture waiting.
pub(crate) fn undisturbed() -> Option<u64> {
    let held = MARKS.0.lock().unwrap_or_else(|poison| poison.into_inner());
    (!*held).then(|| GENERATION.load(Ordering::SeqCst))
}

// --- taking them off -----------------------------------------------------------------------------

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

// --- what had it ---------------------------------------------------------------------------------

/// Sizes that tell cheaply whether the address space changed, and what kind of memory is in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Extent {
    /// All mapped pages.
    mapped: u64,
    /// Private writable pages.
    data: u64,
}

impl Extent {
    pub(crate) fn now() -> Option<Extent> {
        let numbers = statm().ok()?;
        Some(Extent {
            mapped: numbers[0],
            data: numbers[5],
        })
    }
}

/// Allocates nothing: it is read while the other threads are stopped.
fn statm() -> io::Result<[u64; 7]> {
    let mut text = [0; 160];
    let length = File::open("/proc/self/statm")?.read(&mut text)?;
    let mut numbers = [0; 7];
    let words = text[..length].split(|byte| !byte.is_ascii_digit());
    for (number, word) in numbers.iter_mut().zip(words) {
        *number = word.iter().fold(0, |sum: u64, digit| {
            sum.wrapping_mul(10).wrapping_add(u64::from(digit - b'0'))
        });
    }
    Ok(numbers)
}

/// Bytes of memory that are resident now, 0 where /proc cannot be read.
pub(crate) fn resident() -> u64 {
    statm().map_or(0, |numbers| numbers[1] * page_size())
}

/// Whether reading smaps costs less than forking a probe.
///
/// A fork takes 15 ms for a GB that is not V8's, smaps 8 ms for any GB and 10 more for a GB of V8's,
/// whose pages lie in mappings of their own (measured). How much is V8's the page tables tell: a 256 KiB
/// chunk at a random address needs its own, 31 MB for a GB of heap beside 2.4 MB for a GB of Buffers.
pub(crate) fn smaps_is_cheaper() -> bool {
    let Ok(status) = fs::read_to_string("/proc/self/status") else {
        return false;
    };
    let field = |name: &str| -> Option<f64> {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_ascii_whitespace().next()?.parse().ok()
    };
    let (Some(resident), Some(tables)) = (field("VmRSS:"), field("VmPTE:")) else {
        return false;
    };
    let (resident, tables) = (resident / 1048576.0, tables / 1024.0);
    let heap = ((tables - 2.4 * resident) / 28.6).clamp(0.0, resident);
    15.0 * (resident - heap) > 8.0 * resident + 10.0 * heap
}

/// The marked ranges as smaps lists them now.
pub(crate) fn list_by_smaps() -> io::Result<Vec<Range<u64>>> {
    // In large bites: every read takes the lock on the address space anew.
    let mut text = Vec::with_capacity(1 << 20);
    File::open("/proc/self/smaps")?.read_to_end(&mut text)?;
    Ok(maps::flagged(&text, b"dc"))
}

/// What had marks when last that was known for sure.
static KNOWN: Mutex<Vec<Range<u64>>> = Mutex::new(Vec::new());

fn known() -> Vec<Range<u64>> {
    KNOWN
        .lock()
        .unwrap_or_else(|poison| poison.into_inner())
        .clone()
}

pub(crate) fn set_known(marked: &[Range<u64>]) {
    *KNOWN.lock().unwrap_or_else(|poison| poison.into_inner()) = marked.to_vec();
}

/// The marked ranges as the difference between a copy and the probe made before it.
///
/// `stirred`: memory was mapped in between, and a mapping born between the two looks like one that was left
/// out of the first. Then only what had a mark before or looks like V8's counts: a mark that is missing costs a little speed in later spawns, a mark on a
/// foreign mapping would take that from every later fork.
pub(crate) fn list_by_probe(
    copy: &[Mapping],
    probe: &[Mapping],
    stirred: Stirred,
) -> Vec<Range<u64>> {
    let marked = maps::subtract(&maps::joined(copy), &maps::joined(probe));
    match stirred {
        Stirred::No => marked,
        stirred => believable(&marked, copy, &known(), stirred),
    }
}

/// Who may have mapped memory between a probe and what it is compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stirred {
    No,
    /// Threads of our own that have just begun, with a stack and perhaps an arena each.
    ByNewThreads,
    ByAnybody,
}

/// The marked ranges where no probe can be asked: what had a mark when last that was known, and may still be V8's.
pub(crate) fn list_by_memory(now: &[Mapping]) -> Vec<Range<u64>> {
    let mut marked = Vec::new();
    for_each_overlap(&known(), now, |part, mapping| {
        if may_be_v8s(mapping) {
            marked.push(part);
        }
    });
    marked
}

/// Private memory without a file, and neither the stack nor the heap of malloc.
fn may_be_v8s(mapping: &Mapping) -> bool {
    let named = !mapping.name.is_empty() && !mapping.name.starts_with(b"[anon:");
    mapping.is_private_anonymous() && !named
}

/// Leaves out of `marked` what is not known and certainly, or with [`Stirred::ByAnybody`] probably, not V8's.
fn believable(
    marked: &[Range<u64>],
    copy: &[Mapping],
    known: &[Range<u64>],
    stirred: Stirred,
) -> Vec<Range<u64>> {
    let new = maps::subtract(marked, known);
    let mut foreign = Vec::new();
    for_each_overlap(&new, copy, |part, mapping| {
        if is_foreign(mapping, copy) {
            foreign.push(part);
        }
    });
    if stirred == Stirred::ByAnybody {
        for range in maps::subtract(&new, &foreign) {
            let mut code = false;
            for_each_overlap(std::slice::from_ref(&range), copy, |_, mapping| {
                code |= mapping.permissions[2] == b'x';
            });
            if range.start % UNIT != 0 && !code {
                foreign.push(range);
            }
        }
        foreign.sort_by_key(|range| range.start);
    }
    maps::subtract(marked, &foreign)
}

/// Memory with a name, the stack of a thread, an arena of glibc's malloc.
fn is_foreign(mapping: &Mapping, all: &[Mapping]) -> bool {
    const STACK: [u8; 4] = *b"rw-p";
    const CLOSED: [u8; 4] = *b"---p";
    if !may_be_v8s(mapping) {
        return true;
    }
    let at = all.partition_point(|other| other.range.start < mapping.range.start);
    let before = at.checked_sub(1).and_then(|before| all.get(before));
    let before = before.filter(|before| before.range.end == mapping.range.start);
    let after = all.get(at + 1);
    let after = after.filter(|after| after.range.start == mapping.range.end);
    // A stack has a guard page below it. V8 has such pages too, around its code and the headers of it.
    let size = |mapping: &Mapping| mapping.range.end - mapping.range.start;
    let is_stack = |guard: &Mapping, stack: &Mapping| {
        guard.permissions == CLOSED
            && size(guard) <= 16 * LEAST_PAGE
            && stack.permissions == STACK
            && size(stack) >= 16 * LEAST_PAGE
    };
    // An arena is closed from where it is not yet used, and both together have the size of one.
    let is_arena = |used: &Mapping, rest: &Mapping| {
        used.permissions == STACK
            && rest.permissions == CLOSED
            && used.range.start.is_multiple_of(ARENA)
            && rest.range.end == used.range.start + ARENA
    };
    before.is_some_and(|before| is_stack(before, mapping) || is_arena(before, mapping))
        || after.is_some_and(|after| is_stack(mapping, after) || is_arena(mapping, after))
}

fn overlap(a: &Range<u64>, b: &Range<u64>) -> Option<Range<u64>> {
    let (start, end) = (a.start.max(b.start), a.end.min(b.end));
    (start < end).then_some(start..end)
}

// --- putting them back ---------------------------------------------------------------------------

/// Puts the marks back on `marked`, and on nothing that has taken the place of one of them since.
///
/// The service runs on meanwhile, so a range may have been unmapped and the address given to somebody
/// else. Before: only where the same kind of mapping still lies. After: the mark stays only where the
/// memory is provably the one that was copied. A page that parent and copy still share (present and not
/// exclusively mapped) cannot be younger than the fork; where every page has been written since, the
/// first words of the unit, V8's page header, are compared with the copy's. What V8 has emptied to use it
/// again later has none left: there the mapping must reach from where to where it did, between the same gaps.
///
/// `then` and `now` are the mappings of the copy and of this process.
/// Returns the mappings of `marked` that held any memory in the copy: those must be in its core.
pub(crate) fn restore(
    marked: &[Range<u64>],
    then: &[Mapping],
    now: &[Mapping],
    files: Option<&Files>,
    tick: &mut dyn FnMut(),
) -> io::Result<Vec<Range<u64>>> {
    let mut back = Vec::new();
    // By mapping, since one that was never touched is not in a core: of V8's 512 MB of room for code
    // most is such.
    let mut copied = Vec::new();
    for_each_overlap(marked, then, |range, before| {
        copied.push(range.clone());
        for_each_overlap(std::slice::from_ref(&range), now, |part, after| {
            if before.backing == after.backing && before.name == after.name {
                back.push(part);
            }
        });
    });
    let mut touching: Vec<Range<u64>> = Vec::new();
    for part in back {
        match touching.last_mut() {
            Some(last) if last.end == part.start => last.end = part.end,
            _ => touching.push(part),
        }
    }
    for range in &touching {
        // ENOMEM: part of it was unmapped this moment; the rest has the mark.
        let _ = sys::advise_fork(range, false);
    }
    let Some(files) = files else {
        return Ok(Vec::new());
    };
    let Checked { populated, emptied } = check(&copied, &touching, files, tick)?;
    if !emptied.is_empty() {
        // As they are now that the marks are on: what was mapped meanwhile over more than that has been split.
        let now = maps::parse(&fs::read("/proc/self/maps").unwrap_or_default());
        for unit in emptied {
            if place(&unit, then) != place(&unit, &now) {
                let _ = sys::advise_fork(&unit, true);
            }
        }
    }
    Ok(populated)
}

/// The mapping that a unit lies in, and whether others touch it.
fn place(unit: &Range<u64>, mappings: &[Mapping]) -> Option<(Range<u64>, bool, bool)> {
    let at = mappings.partition_point(|mapping| mapping.range.end <= unit.start);
    let range = mappings.get(at)?.range.clone();
    let before = at.checked_sub(1).and_then(|before| mappings.get(before));
    let after = mappings.get(at + 1);
    let touched = (
        before.is_some_and(|before| before.range.end == range.start),
        after.is_some_and(|after| after.range.start == range.end),
    );
    (range.start <= unit.start).then_some((range, touched.0, touched.1))
}

fn for_each_overlap(
    ranges: &[Range<u64>],
    mappings: &[Mapping],
    mut found: impl FnMut(Range<u64>, &Mapping),
) {
    for range in ranges {
        let first = mappings.partition_point(|mapping| mapping.range.end <= range.start);
        for mapping in mappings[first..]
            .iter()
            .take_while(|mapping| mapping.range.start < range.end)
        {
            if let Some(part) = overlap(range, &mapping.range) {
                found(part, mapping);
            }
        }
    }
}

/// What [`check`] found in the copy.
struct Checked {
    /// Mappings that hold memory there.
    populated: Vec<Range<u64>>,
    /// Units that hold some there, and none here any more.
    emptied: Vec<Range<u64>>,
}

fn check(
    copied: &[Range<u64>],
    restored: &[Range<u64>],
    files: &Files,
    tick: &mut dyn FnMut(),
) -> io::Result<Checked> {
    let (Some(copy_pages), own_pages) = (&files.pagemap, File::open("/proc/self/pagemap").ok())
    else {
        // Not even the copy may read its page map: trust the list, and count every range as populated.
        return Ok(Checked {
            populated: copied.to_vec(),
            emptied: Vec::new(),
        });
    };
    let own_memory = File::open("/proc/self/mem").ok();
    let mut last_tick = Instant::now();
    let mut populated = Vec::new();
    let mut emptied = Vec::new();
    for range in copied {
        let mut any = false;
        for unit in units(range) {
            let before = Pages::read(copy_pages, &unit)?;
            any |= before.present;
            if !before.present {
                continue;
            }
            let Some(own_pages) = &own_pages else {
                continue;
            };
            let is_restored = restored
                .get(restored.partition_point(|range| range.end <= unit.start))
                .is_some_and(|range| overlap(range, &unit).is_some());
            if !is_restored {
                continue;
            }
            let own = Pages::read(own_pages, &unit)?;
            if !own.present {
                emptied.push(unit);
            } else if !own.shared
                && !same_first_words(own_memory.as_ref(), files.mem.as_ref(), unit.start)
            {
                let _ = sys::advise_fork(&unit, true);
            }
        }
        if any {
            populated.push(range.clone());
        }
        if last_tick.elapsed() > Duration::from_millis(20) {
            tick();
            last_tick = Instant::now();
        }
    }
    Ok(Checked { populated, emptied })
}

fn units(range: &Range<u64>) -> impl Iterator<Item = Range<u64>> {
    let end = range.end;
    std::iter::successors(Some(range.start), move |start| {
        let next = (start / UNIT + 1) * UNIT;
        (next < end).then_some(next)
    })
    .map(move |start| start..end.min((start / UNIT + 1) * UNIT))
}

/// What `/proc/PID/pagemap` says of up to one unit.
struct Pages {
    /// Any page is in memory or in swap.
    present: bool,
    /// Any page is in memory and mapped by more than this process.
    shared: bool,
}

impl Pages {
    fn read(pagemap: &File, unit: &Range<u64>) -> io::Result<Pages> {
        const PRESENT: u64 = 1 << 63;
        const SWAPPED: u64 = 1 << 62;
        const EXCLUSIVE: u64 = 1 << 56;
        let mut bytes = [0u8; (UNIT / LEAST_PAGE * 8) as usize];
        let wanted = ((unit.end - unit.start) / page_size() * 8) as usize;
        let length = pagemap.read_at(&mut bytes[..wanted], unit.start / page_size() * 8)?;
        let entries = bytes[..length]
            .as_chunks::<8>()
            .0
            .iter()
            .map(|entry| u64::from_ne_bytes(*entry));
        let mut pages = Pages {
            present: false,
            shared: false,
        };
        for entry in entries {
            pages.present |= entry & (PRESENT | SWAPPED) != 0;
            pages.shared |= entry & (PRESENT | EXCLUSIVE) == PRESENT;
        }
        Ok(pages)
    }
}

fn same_first_words(own: Option<&File>, copy: Option<&File>, address: u64) -> bool {
    let (Some(own), Some(copy)) = (own, copy) else {
        return true;
    };
    let read = |file: &File| -> Option<[u8; 96]> {
        let mut words = [0; 96];
        file.read_exact_at(&mut words, address).ok()?;
        Some(words)
    };
    // Unreadable here means PROT_NONE or gone: nothing that a fork would copy.
    let (Some(own), Some(copy)) = (read(own), read(copy)) else {
        return true;
    };
    own.as_chunks::<8>()
        .0
        .iter()
        .zip(copy.as_chunks::<8>().0)
        .any(|(a, b)| a == b && *a != [0; 8])
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_cover_a_range_and_end_on_multiples() {
        let range = (UNIT - LEAST_PAGE)..(3 * UNIT + LEAST_PAGE);
        let units: Vec<_> = units(&range).collect();
        assert_eq!(units.first().unwrap().start, range.start);
        assert_eq!(units.last().unwrap().end, range.end);
        assert!(
            units
                .windows(2)
                .all(|pair| pair[0].end == pair[1].start && pair[0].end % UNIT == 0)
        );
        assert_eq!(units.len(), 4);
    }

    #[test]
    fn a_mapping_born_between_the_forks_counts_only_when_it_looks_like_v8s() {
        let line = |text: &str| maps::parse(text.as_bytes());
        let probe = line("1000-2000 rw-p 00000000 00:00 0 \n");
        let copy = line(
            "1000-2000 rw-p 00000000 00:00 0 \n\
             5000-6000 rw-p 00000000 00:00 0 \n\
             40000-80000 rw-p 00000000 00:00 0 \n\
             c0000-100000 r--p 00000000 fe:00 12 /data\n\
             4000000-4100000 rw-p 00000000 00:00 0 \n\
             4100000-8000000 ---p 00000000 00:00 0 \n",
        );
        let all = list_by_probe(&copy, &probe, Stirred::No);
        assert_eq!(
            all,
            [
                0x5000..0x6000,
                0x40000..0x80000,
                0xc0000..0x100000,
                ARENA..2 * ARENA
            ]
        );
        assert_eq!(believable(&all, &copy, &[], Stirred::ByAnybody), all[1..2]);
        let before = 0x4000..0x6000;
        assert_eq!(
            believable(
                &all,
                &copy,
                std::slice::from_ref(&before),
                Stirred::ByAnybody
            ),
            all[..2]
        );
    }

    #[test]
    fn stacks_and_arenas_are_told_from_what_v8_has() {
        // As Node 22 has it, with an arena and a stack that touch V8's.
        let copy = maps::parse(
            b"3feb40700000-3feb40740000 rw-p 00000000 00:00 0 \n\
              7f0004000000-7f0004021000 rw-p 00000000 00:00 0 \n\
              7f0004021000-7f0008000000 ---p 00000000 00:00 0 \n\
              7fd91e740000-7fd91e742000 rw-p 00000000 00:00 0 \n\
              7fd91e742000-7fd91e743000 ---p 00000000 00:00 0 \n\
              7fd91e743000-7fd91e77f000 rwxp 00000000 00:00 0 \n\
              7fd91e77f000-7fd93e540000 ---p 00000000 00:00 0 \n\
              7fd93e540000-7fd93e720000 r-xp 00000000 fe:00 12 /usr/bin/node\n\
              7fd93e720000-7fd93e740000 ---p 00000000 00:00 0 \n\
              7fd93e77d000-7fd93e781000 rw-p 00000000 00:00 0 \n\
              7fd93e781000-7fd93e7fd000 ---p 00000000 00:00 0 \n\
              7fd93e7fd000-7fd93e7fe000 ---p 00000000 00:00 0 \n\
              7fd93e7fe000-7fd93effe000 rw-p 00000000 00:00 0 \n\
              7fd940000000-7fd940040000 rw-p 00000000 00:00 0 [heap]\n",
        );
        let page = 0x3feb40700000..0x3feb40740000;
        let code = 0x7fd91e740000..0x7fd93e540000;
        let tail = 0x7fd93e720000..0x7fd93e740000;
        let table = 0x7fd93e77d000..0x7fd93e7fd000;
        assert_eq!(
            list_by_probe(&copy, &[], Stirred::ByNewThreads),
            [page.clone(), code.clone(), tail, table.clone()]
        );
        // Then what V8 has outside its units must be known from before, but for code.
        assert_eq!(
            list_by_probe(&copy, &[], Stirred::ByAnybody),
            [page.clone(), code.clone()]
        );
        let known = std::slice::from_ref(&table);
        assert_eq!(
            believable(&maps::joined(&copy), &copy, known, Stirred::ByAnybody),
            [page, code, table]
        );
    }
}
