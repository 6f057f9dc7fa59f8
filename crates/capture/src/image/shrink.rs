//! What goes where a core may have no more than so many bytes: what matters least, and no more of it than needed.
//!
//! In this order, in each step the largest first: room that was never touched; large buffers; other native memory;
//! V8's pages; at last what belongs to mapped files, since without it no debugger knows what is what. Never the
//! stacks, nor the headers of mapped ELF files, with their build-ids: without them no reader believes a file. A mapping is no measure: the kernel joins neighbours of the same kind, so that one mapping may hold large
//! buffers and all that is of use beside them. So single stretches go, and which of them are buffers the headers of
//! glibc's malloc tell.

use std::cmp::Reverse;
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use super::{Image, Segment, Skipped, Sources};
use crate::maps::{self, Mapping};
use crate::sys::page_size;

/// What goes of one stretch is a multiple of this. From this size on a stretch counts as a large buffer.
const PIECE: u64 = 1 << 20;

/// The most that one stack is taken for, from its pointer upward, where nothing tells its end.
const STACK: u64 = 8 << 20;

/// What lies below a stack pointer is still used: the red zone, and frames that were just left.
const BELOW: u64 = 64 << 10;

/// In the order in which they go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Untouched,
    /// What malloc gave away in one piece.
    Buffer,
    /// What may be anything.
    Large,
    Native,
    Heap,
    OfFile,
}

/// A stretch of the core that may go.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Candidate {
    rank: Rank,
    range: Range<u64>,
    /// Where only a part has to go: the upper one. What is mapped anew lies below what was there before, but for the
    /// heap of `brk`.
    from_above: bool,
}

impl Image {
    /// Leaves out memory until the core has the size that is wanted.
    pub(super) fn shrink(&mut self, sources: &Sources<'_>) {
        let Some(most) = sources.wanted.max_size else {
            return;
        };
        if self.size <= most {
            return;
        }
        let mut candidates = candidates(&self.segments, sources);
        candidates.sort_unstable_by_key(|one| {
            (
                one.rank,
                Reverse(one.range.end - one.range.start),
                one.range.start,
            )
        });
        let mut candidates = candidates.into_iter();
        let (mut rooms, mut lost) = (Vec::new(), Vec::new());
        // What is cut takes headers of its own, so a little more may have to go than it seemed.
        while self.size > most {
            let mut need = (self.size - most).next_multiple_of(page_size());
            let mut gone = Vec::new();
            while need > 0 {
                let Some(Candidate {
                    rank,
                    range,
                    from_above,
                }) = candidates.next()
                else {
                    break;
                };
                let part = part(&range, need.next_multiple_of(PIECE), from_above);
                need = need.saturating_sub(part.end - part.start);
                gone.push(part.clone());
                match rank {
                    Rank::Untouched => rooms.push(part),
                    Rank::OfFile => {
                        self.not_as_in_file.push(part.clone());
                        lost.push(part);
                    }
                    _ => lost.push(part),
                }
            }
            if gone.is_empty() {
                break;
            }
            maps::sort(&mut gone);
            self.left_out += self.cut(&gone);
            self.finish(sources);
        }
        self.list(rooms, "maxSize: never touched", sources.mappings);
        self.list(lost, "maxSize", sources.mappings);
    }

    /// Cuts the ranges, sorted, out of the segments. Gives how many bytes that held something went.
    fn cut(&mut self, gone: &[Range<u64>]) -> u64 {
        let mut segments = Vec::with_capacity(self.segments.len() + 2 * gone.len());
        let mut bytes = 0;
        for segment in self.segments.drain(..) {
            let first = gone.partition_point(|range| range.end <= segment.range.start);
            let of_it: Vec<_> = gone[first..]
                .iter()
                .take_while(|range| range.start < segment.range.end)
                .map(|range| range.start.max(segment.range.start)..range.end.min(segment.range.end))
                .collect();
            if of_it.is_empty() || segment.file_size == 0 {
                segments.push(segment);
                continue;
            }
            let end = segment.range.end;
            let mut at = segment.range.start;
            for range in of_it.into_iter().chain([end..end]) {
                segments.extend(segment.piece(at..range.start, true));
                segments.extend(segment.piece(range.clone(), false));
                bytes += held(&segment.extents, &range);
                at = range.end;
            }
        }
        self.segments = segments;
        bytes
    }

    fn list(&mut self, mut gone: Vec<Range<u64>>, reason: &'static str, mappings: &[Mapping]) {
        maps::sort(&mut gone);
        let mut last: Option<Skipped> = None;
        for range in gone {
            let at = mappings.partition_point(|mapping| mapping.range.end <= range.start);
            let name = mappings.get(at).map_or(&[][..], |mapping| &mapping.name);
            let name = String::from_utf8_lossy(name);
            match &mut last {
                Some(last) if last.range.end == range.start && last.name == name => {
                    last.range.end = range.end;
                }
                _ => self.skipped.extend(last.replace(Skipped {
                    range: range.clone(),
                    name: name.into_owned(),
                    reason,
                })),
            }
        }
        self.skipped.extend(last);
    }
}

impl Segment {
    /// A part of it as a segment of its own; None where there is nothing of it.
    fn piece(&self, range: Range<u64>, has_bytes: bool) -> Option<Segment> {
        let extents: Vec<_> = match has_bytes {
            true => overlaps(&self.extents, &range).collect(),
            false => Vec::new(),
        };
        (range.start < range.end).then(|| Segment {
            file_size: match extents.is_empty() {
                true => 0,
                false => range.end - range.start,
            },
            flags: self.flags,
            offset: 0,
            extents,
            range,
        })
    }
}

/// So many bytes of the upper or the lower end of a range, or all of it.
fn part(range: &Range<u64>, bytes: u64, from_above: bool) -> Range<u64> {
    if range.end - range.start <= bytes {
        range.clone()
    } else if from_above {
        range.end - bytes..range.end
    } else {
        range.start..range.start + bytes
    }
}

fn candidates(segments: &[Segment], sources: &Sources<'_>) -> Vec<Candidate> {
    let stacks = stacks(sources);
    let mut found = Vec::new();
    for segment in segments.iter().filter(|segment| segment.file_size > 0) {
        let at = sources
            .mappings
            .partition_point(|mapping| mapping.range.end <= segment.range.start);
        let Some(mapping) = sources.mappings.get(at) else {
            continue;
        };
        let from_above = mapping.name == b"[heap]";
        let mut add = |rank, ranges: Vec<Range<u64>>| {
            for range in maps::subtract(&ranges, &stacks) {
                found.push(Candidate {
                    rank,
                    range,
                    from_above,
                });
            }
        };
        let runs = runs(&segment.extents);
        let whole = std::slice::from_ref(&segment.range);
        let mut rooms = maps::subtract(whole, &runs);
        rooms.retain(|room| room.end - room.start >= PIECE);
        add(Rank::Untouched, rooms);
        if mapping.has_file() {
            let start = mapping.range.start;
            let headers = match super::starts_as_elf(sources.memory, start) {
                true => start..start + page_size(),
                false => start..start,
            };
            add(Rank::OfFile, maps::subtract(&runs, &[headers]));
            continue;
        }
        let heap: Vec<_> = runs
            .iter()
            .flat_map(|run| overlaps(sources.heap, run))
            .collect();
        let native = maps::subtract(&runs, &heap);
        let (large, walked) = match from_above {
            true => chunks(sources.memory, &mapping.range),
            false => (Vec::new(), mapping.range.start),
        };
        // Chunk by chunk: what V8 has for a large object is one of its own.
        add(Rank::Heap, heap);
        for range in native {
            if range.end - range.start < PIECE {
                add(Rank::Native, vec![range]);
                continue;
            }
            let buffers = match walked > range.start {
                true => overlaps(&large, &range).collect(),
                false => blocks(sources.memory, &range),
            };
            for rest in maps::subtract(std::slice::from_ref(&range), &buffers) {
                let is_known = rest.end <= walked;
                let is_large = !is_known && rest.end - rest.start >= PIECE;
                let rank = if is_large { Rank::Large } else { Rank::Native };
                add(rank, vec![rest]);
            }
            for range in buffers {
                let is_large = range.end - range.start >= PIECE;
                let rank = if is_large { Rank::Buffer } else { Rank::Native };
                add(rank, vec![range]);
            }
        }
    }
    found
}

/// Where extents lie close to each other: what is between them is no room worth a header.
fn runs(extents: &[Range<u64>]) -> Vec<Range<u64>> {
    let mut runs: Vec<Range<u64>> = Vec::new();
    for extent in extents {
        match runs.last_mut() {
            Some(last) if extent.start - last.end < PIECE => last.end = extent.end,
            _ => runs.push(extent.clone()),
        }
    }
    runs
}

/// The large chunks of the heap of `brk`, page by page, and how far it could be walked: its chunks lie side by side,
/// each with its size, a multiple of 16, behind 8 bytes that may belong to the one before it.
fn chunks(memory: &File, heap: &Range<u64>) -> (Vec<Range<u64>>, u64) {
    const PREVIOUS_IN_USE: u64 = 1;
    let mut window = vec![0; 256 << 10];
    let mut held = 0..0;
    let mut large = Vec::new();
    let mut at = heap.start;
    while at < heap.end {
        if !(held.start <= at && at + 16 <= held.end) {
            let wanted = (heap.end - at).min(window.len() as u64) as usize;
            let Ok(length) = memory.read_at(&mut window[..wanted], at) else {
                break;
            };
            held = at..at + length as u64;
        }
        let place = (at - held.start) as usize + 8;
        let Some(word) = window[..(held.end - held.start) as usize].get(place..place + 8) else {
            break;
        };
        let word = u64::from_ne_bytes(word.try_into().unwrap_or_default());
        let (size, flags) = (word & !7, word & 7);
        let is_chunk = size >= 32
            && size.is_multiple_of(16)
            && flags & !PREVIOUS_IN_USE == 0
            && size <= heap.end - at;
        if !is_chunk {
            break;
        }
        let pages =
            (at + 16).next_multiple_of(page_size())..(at + size) / page_size() * page_size();
        if size >= PIECE {
            large.push(pages);
        }
        at += size;
    }
    (large, at)
}

/// What glibc's malloc got of the kernel for one allocation each: such a block begins a page with 0 and its size, a
/// multiple of the page with the flag IS_MMAPPED.
fn blocks(memory: &File, range: &Range<u64>) -> Vec<Range<u64>> {
    const IS_MMAPPED: u64 = 2;
    let mut blocks = Vec::new();
    let mut at = range.start;
    while at < range.end {
        let mut header = [0; 16];
        let is_read = memory.read_exact_at(&mut header, at).is_ok();
        let [before, size] = [0, 8].map(|place| {
            let mut word = [0; 8];
            word.copy_from_slice(&header[place..place + 8]);
            u64::from_ne_bytes(word)
        });
        let (length, flags) = (size & !7, size & 7);
        let is_block = is_read
            && before == 0
            && flags == IS_MMAPPED
            && length > 0
            && length.is_multiple_of(page_size())
            // The last pages of the last one may never have been touched.
            && length < range.end - at + PIECE;
        if is_block {
            let end = (at + length).min(range.end);
            blocks.push(at..end);
            at = end;
        } else {
            at += page_size();
        }
    }
    blocks
}

/// What the threads' stacks take, as far as that is known; sorted, without overlaps.
fn stacks(sources: &Sources<'_>) -> Vec<Range<u64>> {
    let mut stacks: Vec<Range<u64>> = Vec::new();
    let pointers = sources
        .threads
        .iter()
        .map(|thread| thread.registers.stack_pointer());
    for pointer in pointers {
        let at = sources
            .mappings
            .partition_point(|mapping| mapping.range.end <= pointer);
        let Some(mapping) = sources.mappings.get(at) else {
            continue;
        };
        let Range { start, end } = mapping.range;
        if pointer < start {
            continue;
        }
        if end - start <= 2 * STACK || mapping.name == b"[stack]" {
            stacks.push(start..end);
        } else {
            let from = start.max(pointer.saturating_sub(BELOW) / page_size() * page_size());
            let to = end.min((pointer + STACK).next_multiple_of(page_size()));
            stacks.push(from..to);
        }
    }
    maps::sort(&mut stacks);
    super::joined(stacks)
}

/// The parts of sorted ranges that lie in another one.
fn overlaps<'a>(
    ranges: &'a [Range<u64>],
    with: &Range<u64>,
) -> impl Iterator<Item = Range<u64>> + use<'a> {
    let first = ranges.partition_point(|range| range.end <= with.start);
    let with = with.clone();
    let end = with.end;
    ranges[first..]
        .iter()
        .take_while(move |range| range.start < end)
        .map(move |range| range.start.max(with.start)..range.end.min(with.end))
}

fn held(extents: &[Range<u64>], range: &Range<u64>) -> u64 {
    overlaps(extents, range)
        .map(|extent| extent.end - extent.start)
        .sum()
}
