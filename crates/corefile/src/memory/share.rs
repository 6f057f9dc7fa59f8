//! How much of some memory comes from where.

use std::ops::Range;

use super::{Backing, Memory};
use crate::source::Source;

/// Most stretches of data of a core that are told apart. What lies behind them counts as data; finding so many takes a
/// tenth of a second.
const MAX_STRETCHES: usize = 1 << 16;

/// Bytes by where they come from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Share {
    /// In the core.
    pub core: u64,
    /// To be had from a mapped file that was found and checked.
    pub file: u64,
    /// Zero: behind the end of a file, or never touched.
    pub zero: u64,
    /// Not to be had.
    pub missing: u64,
}

impl Memory {
    /// How many of these bytes of the core's file lie in holes.
    fn hole_bytes(&self, bytes: Range<u64>) -> u64 {
        let holes = self.holes.get_or_init(|| holes(&*self.core));
        let first = holes.partition_point(|hole| hole.end <= bytes.start);
        holes[first..]
            .iter()
            .take_while(|hole| hole.start < bytes.end)
            .map(|hole| hole.end.min(bytes.end) - hole.start.max(bytes.start))
            .sum()
    }

    /// How many bytes of these addresses come from where: core, file, zero, missing. Addresses without any memory
    /// count as nothing. A hole of a sparse core counts as zero: the kernel and we leave one where the process had
    /// never touched its memory.
    pub fn share(&self, addresses: &Range<u64>) -> Share {
        let mut share = Share::default();
        let first = self
            .sorted
            .partition_point(|range| range.end <= addresses.start);
        for range in &self.sorted[first..] {
            if range.start >= addresses.end {
                break;
            }
            let bytes = range.end.min(addresses.end) - range.start.max(addresses.start);
            match range.backing {
                Backing::Core { .. } => {
                    let from = range.start.max(addresses.start) - range.start;
                    if let Backing::Core { offset } = range.backing.advanced(from) {
                        let holes = self.hole_bytes(offset..offset.saturating_add(bytes));
                        share.core += bytes - holes;
                        share.zero += holes;
                    }
                }
                Backing::File { .. } => share.file += bytes,
                Backing::Zero => share.zero += bytes,
                Backing::Missing => share.missing += bytes,
            }
        }
        share
    }
}

/// Where nothing is stored in a file.
pub(super) fn holes(source: &dyn Source) -> Vec<Range<u64>> {
    let mut holes = Vec::new();
    let mut at = 0;
    for _ in 0..MAX_STRETCHES {
        let data = source.data_at(at);
        let start = data.as_ref().map_or(source.len(), |data| data.start);
        if at < start {
            holes.push(at..start);
        }
        match data {
            Some(data) if data.end > at => at = data.end,
            _ => break,
        }
    }
    holes
}
