//! The table of ranges: what lies where, and what is put over it.

use std::collections::BTreeMap;
use std::ops::Range;

/// Where the bytes of a range come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backing {
    /// The core, from this place in the file on.
    Core {
        /// In bytes from the start of the core.
        offset: u64,
    },
    /// A file that was mapped there and has been checked to be the same one; [`Memory::file`] tells which.
    File {
        /// For [`Memory::file`].
        index: usize,
        /// In bytes from the start of the file.
        offset: u64,
    },
    /// Zeros: what a mapping has behind the end of its file, and what was never touched, where the core says so.
    Zero,
    /// The process had memory here, and its bytes are not to be had. Reading it is an error.
    Missing,
}

impl Backing {
    /// The backing of what begins `by` bytes further on.
    pub(super) fn advanced(self, by: u64) -> Backing {
        match self {
            Backing::Core { offset } => Backing::Core {
                offset: offset.saturating_add(by),
            },
            Backing::File { index, offset } => Backing::File {
                index,
                offset: offset.saturating_add(by),
            },
            other => other,
        }
    }
}

/// A range of addresses with one backing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemoryRange {
    /// First address.
    pub start: u64,
    /// First address behind it.
    pub end: u64,
    /// `PF_R` (4), `PF_W` (2), `PF_X` (1); `None` where only the list of mapped files tells of it.
    pub flags: Option<u32>,
    /// Where its bytes come from.
    pub backing: Backing,
}

/// Ranges by first address; they do not overlap.
#[derive(Default)]
pub(super) struct Ranges(BTreeMap<u64, MemoryRange>);

impl Ranges {
    /// Puts a range over what was there before.
    ///
    /// ```text
    /// before   |------- a -------|---- b ----|
    /// new            |----- c -----|
    /// after    |- a -|----- c -----|--- b ---|
    /// ```
    pub(super) fn splice(&mut self, new: MemoryRange) {
        if new.start >= new.end {
            return;
        }
        // What begins before the new range and reaches into it, perhaps beyond.
        if let Some((_, before)) = self.0.range_mut(..new.start).next_back()
            && before.end > new.start
        {
            let mut rest = before.clone();
            before.end = new.start;
            if rest.end > new.end {
                rest.backing = rest.backing.advanced(new.end - rest.start);
                rest.start = new.end;
                self.0.insert(rest.start, rest);
            }
        }
        let inside: Vec<u64> = self
            .0
            .range(new.start..new.end)
            .map(|(&start, _)| start)
            .collect();
        for start in inside {
            if let Some(mut old) = self.0.remove(&start)
                && old.end > new.end
            {
                old.backing = old.backing.advanced(new.end - old.start);
                old.start = new.end;
                self.0.insert(old.start, old);
            }
        }
        self.0.insert(new.start, new);
    }

    /// The ranges that are missing, as far as they reach into one; the last of them first.
    pub(super) fn missing_in(&self, range: &Range<u64>) -> impl Iterator<Item = &MemoryRange> {
        let start = range.start;
        self.0
            .range(..range.end)
            .rev()
            .map(|(_, known)| known)
            .take_while(move |known| known.end > start)
            .filter(|known| known.backing == Backing::Missing)
    }

    /// All of them, sorted.
    pub(super) fn sorted(&self) -> Vec<MemoryRange> {
        self.0.values().cloned().collect()
    }
}

/// The parts of a range that lie outside of sorted ranges.
pub(super) fn without(
    range: Range<u64>,
    others: &[Range<u64>],
) -> impl Iterator<Item = Range<u64>> {
    let first = others.partition_point(|other| other.end <= range.start);
    let inside = others[first..]
        .iter()
        .take_while(move |other| other.start < range.end)
        .cloned();
    let mut at = range.start;
    inside
        .chain([range.end..range.end])
        .filter_map(move |other| {
            let part = at..other.start;
            at = other.end;
            (part.start < part.end).then_some(part)
        })
}
