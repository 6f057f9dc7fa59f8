//! What had a mark.

use std::fs::{self, File};
use std::io::{self, Read};
use std::ops::Range;
use std::sync::Mutex;

use super::overlaps::for_each_overlap;
use crate::maps::{self, Mapping};
use crate::sys::page_size;

/// V8 maps its heap in units of this size, on multiples of it.
pub(super) const UNIT: u64 = 256 * 1024;

/// glibc maps the heaps of its malloc arenas in units of this size.
const ARENA: u64 = 64 << 20;

/// The smallest page there is.
pub(super) const LEAST_PAGE: u64 = 4096;

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

    /// Bytes of address space, and of private writable memory: what RLIMIT_AS and RLIMIT_DATA limit.
    pub(crate) fn bytes(self) -> (u64, u64) {
        (self.mapped * page_size(), self.data * page_size())
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
        let number: u32 = line.split_ascii_whitespace().next()?.parse().ok()?;
        Some(f64::from(number))
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
        maps::sort(&mut foreign);
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

#[cfg(test)]
mod tests {
    use super::*;

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
