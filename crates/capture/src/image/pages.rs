//! Which pages hold something: stretches of addresses, by the kernel's table of pages.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use crate::sys::page_size;

/// Which pages are asked for.
pub(super) enum Kind {
    /// In memory or in swap.
    Present,
    /// The same, and not a page of a file.
    Anonymous,
}

/// Stretches of pages that hold something, by `/proc/PID/pagemap`.
pub(super) fn populated(
    pages: &File,
    range: &Range<u64>,
    kind: Kind,
) -> io::Result<Vec<Range<u64>>> {
    const PRESENT: u64 = 1 << 63;
    const SWAPPED: u64 = 1 << 62;
    const FILE: u64 = 1 << 61;
    let mut extents: Vec<Range<u64>> = Vec::new();
    let mut buffer = vec![0u8; 64 << 10];
    let size = page_size();
    let mut page = range.start / size;
    let end = range.end / size;
    while page < end {
        let want = ((end - page) * 8).min(buffer.len() as u64) as usize;
        let got = pages.read_at(&mut buffer[..want], page * 8)?;
        if got < 8 {
            break;
        }
        for entry in buffer[..got].as_chunks::<8>().0 {
            let entry = u64::from_ne_bytes(*entry);
            let holds = entry & (PRESENT | SWAPPED) != 0
                && (matches!(kind, Kind::Present) || entry & FILE == 0);
            if holds {
                let start = page * size;
                match extents.last_mut() {
                    Some(last) if last.end == start => last.end += size,
                    _ => extents.push(start..start + size),
                }
            }
            page += 1;
        }
    }
    Ok(extents)
}

/// Sorted stretches as few as possible: those that touch or overlap are one.
pub(super) fn joined(extents: Vec<Range<u64>>) -> Vec<Range<u64>> {
    let mut out: Vec<Range<u64>> = Vec::with_capacity(extents.len());
    for extent in extents {
        match out.last_mut() {
            Some(last) if extent.start <= last.end => last.end = last.end.max(extent.end),
            _ => out.push(extent),
        }
    }
    out
}
