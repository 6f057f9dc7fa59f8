//! Ranges that lie in mappings.

use std::ops::Range;

use crate::maps::Mapping;

pub(super) fn overlap(a: &Range<u64>, b: &Range<u64>) -> Option<Range<u64>> {
    let (start, end) = (a.start.max(b.start), a.end.min(b.end));
    (start < end).then_some(start..end)
}

pub(super) fn for_each_overlap(
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
