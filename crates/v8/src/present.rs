//! Which memory of the process has anything in it.
//!
//! A core does not say which pages were resident: what was reserved and never touched is read as zeros, if it is there at
//! all. So a page of 4 KiB counts as present when the core holds it and some byte of it is not zero. Pages of files that
//! were not changed are not in a core, though they count in the process's RSS.

use std::ops::Range;
use std::sync::atomic::AtomicBool;

use crate::parallel::parallel;
use crate::target::Target;

const PAGE: u64 = 4096;
const CHUNK: u64 = 1 << 20;

/// Stretches of memory, sorted and apart.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Present {
    ranges: Vec<(u64, u64)>,
    /// Before each of them, the bytes of those before it.
    sums: Vec<u64>,
}

impl Present {
    /// Looks through these ranges of a process.
    pub fn find(target: &dyn Target, ranges: &[Range<u64>], stop: &AtomicBool) -> Present {
        let mut parts = Vec::new();
        for range in ranges {
            let mut at = range.start;
            while at < range.end {
                let end = (at + CHUNK).min(range.end);
                parts.push((at, end));
                at = end;
            }
        }
        let states = parallel(
            parts.len(),
            stop,
            || (Vec::new(), Vec::new()),
            |(buf, found): &mut (Vec<u8>, Vec<(u64, u64)>), index| {
                let (from, to) = parts[index];
                buf.resize((to - from) as usize, 0);
                let whole = target.read(from, buf).is_ok();
                let mut at = from;
                while at < to {
                    let end = (at - at % PAGE + PAGE).min(to);
                    let bytes = &mut buf[(at - from) as usize..(end - from) as usize];
                    if (whole || target.read(at, bytes).is_ok()) && !is_zero(bytes) {
                        match found.last_mut() {
                            Some(last) if last.1 == at => last.1 = end,
                            _ => found.push((at, end)),
                        }
                    }
                    at = end;
                }
            },
        );
        Present::of(states.into_iter().flat_map(|(_, found)| found).collect())
    }

    fn of(mut found: Vec<(u64, u64)>) -> Present {
        found.sort_unstable();
        let mut present = Present::default();
        let mut sum = 0;
        for (start, end) in found {
            match present.ranges.last_mut() {
                Some(last) if last.1 == start => last.1 = end,
                _ => {
                    present.ranges.push((start, end));
                    present.sums.push(sum);
                }
            }
            sum += end - start;
        }
        present
    }

    /// How many bytes of a range are present.
    pub fn bytes(&self, range: &Range<u64>) -> u64 {
        self.below(range.end)
            .saturating_sub(self.below(range.start))
    }

    /// How many below an address.
    fn below(&self, address: u64) -> u64 {
        let upto = self.ranges.partition_point(|(start, _)| *start < address);
        let Some(last) = upto.checked_sub(1) else {
            return 0;
        };
        let (start, end) = self.ranges[last];
        self.sums[last] + end.min(address) - start
    }

    /// How many in all.
    pub fn total(&self) -> u64 {
        self.below(u64::MAX)
    }
}

fn is_zero(bytes: &[u8]) -> bool {
    let (words, rest) = bytes.as_chunks::<64>();
    words.iter().all(|word| *word == [0; 64]) && rest.iter().all(|byte| *byte == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_what_lies_in_a_range() {
        let present = Present::of(vec![(0x9000, 0xa000), (0x1000, 0x2000), (0x2000, 0x4000)]);
        assert_eq!(present.ranges, [(0x1000, 0x4000), (0x9000, 0xa000)]);
        assert_eq!(present.total(), 0x4000);
        assert_eq!(present.bytes(&(0..u64::MAX)), 0x4000);
        assert_eq!(present.bytes(&(0x1800..0x2800)), 0x1000);
        assert_eq!(present.bytes(&(0x4000..0x9000)), 0);
        assert_eq!(present.bytes(&(0x3fff..0x9001)), 2);
        assert!(is_zero(&[0; 200]) && !is_zero(&[&[0; 199][..], &[1]].concat()));
    }
}
