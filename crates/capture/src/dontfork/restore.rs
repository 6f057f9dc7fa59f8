//! Putting the marks back, on the memory that had them and on no other.

use std::fs::{self, File};
use std::io::{self};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use super::list::{LEAST_PAGE, UNIT};
use super::overlaps::{for_each_overlap, overlap};
use crate::copy::Files;
use crate::maps::{self, Mapping};
use crate::sys::{self, page_size};

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
}
