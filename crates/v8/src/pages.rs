//! The pages of V8's heap, found by looking at every address where one could begin.
//!
//! Pages begin at multiples of 256 KiB on x86-64 in all four versions. What their headers look like: V8's
//! `heap/basic-memory-chunk.h` (11.3), `heap/memory-chunk-metadata.h` (12.4 and later), checked by finding every page
//! of cores of the official binaries.

use std::ops::Range;
use std::sync::atomic::AtomicBool;

use crate::memory::Memory;
use crate::parallel::parallel_in;

/// Log2 of the page size.
pub const UNIT_SHIFT: u32 = 18;
/// Bytes of a unit.
pub const UNIT: u64 = 1 << UNIT_SHIFT;

/// A part of the heap with its own way of allocating.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum Space {
    ReadOnly,
    New,
    Old,
    Code,
    Shared,
    Trusted,
    SharedTrusted,
    NewLarge,
    Large,
    CodeLarge,
    SharedLarge,
    TrustedLarge,
    SharedTrustedLarge,
    Unknown,
}

/// The spaces in the order of their numbers in V8 (`AllocationSpace` in `common/globals.h`), the name that
/// `v8.getHeapSpaceStatistics` gives each, and the first layout that has it: 0 to 3 for Node 20, 22, 24, 26.
const SPACES: [(Space, &str, usize); 13] = [
    (Space::ReadOnly, "read_only_space", 0),
    (Space::New, "new_space", 0),
    (Space::Old, "old_space", 0),
    (Space::Code, "code_space", 0),
    (Space::Shared, "shared_space", 0),
    (Space::Trusted, "trusted_space", 1),
    (Space::SharedTrusted, "shared_trusted_space", 2),
    (Space::NewLarge, "new_large_object_space", 0),
    (Space::Large, "large_object_space", 0),
    (Space::CodeLarge, "code_large_object_space", 0),
    (Space::SharedLarge, "shared_large_object_space", 0),
    (
        Space::SharedTrustedLarge,
        "shared_trusted_large_object_space",
        2,
    ),
    (Space::TrustedLarge, "trusted_large_object_space", 1),
];

impl Space {
    /// V8's name.
    pub fn name(self) -> &'static str {
        SPACES
            .iter()
            .find(|(space, _, _)| *space == self)
            .map_or("unknown_space", |(_, name, _)| name)
    }

    /// The space of Node 18 whose number this one has in Node 20: read-only, old, code, maps, large, large code, large new,
    /// new.
    fn of_node_18(self) -> Space {
        match self {
            Space::New | Space::Code => Space::Old,
            Space::Old => Space::Code,
            Space::Shared => Space::Large,
            Space::NewLarge => Space::CodeLarge,
            Space::Large => Space::NewLarge,
            Space::CodeLarge => Space::New,
            other => other,
        }
    }

    /// From the number in the space object.
    fn of(id: u32, column: usize) -> Space {
        SPACES
            .iter()
            .filter(|(_, _, since)| *since <= column)
            .nth(id as usize)
            .map_or(Space::Unknown, |(space, _, _)| *space)
    }
}

/// One page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Page {
    /// Where it begins.
    pub base: u64,
    /// Its bytes, header included. A page of one large object may have any multiple of 4 KiB.
    pub size: u64,
    /// Objects are between here …
    pub area_start: u64,
    /// … and here.
    pub area_end: u64,
    /// The `Heap` it belongs to; 0 for read-only pages, which all isolates share.
    pub heap: u64,
    /// The space.
    pub space: Space,
    /// The object of V8's that is the space; 0 for read-only pages.
    pub(crate) owner: u64,
    /// Where the rest of the header is: at the beginning of the page, or in native memory.
    pub(crate) metadata: u64,
    /// It holds one object and nothing else.
    pub large: bool,
    /// It holds copies that the garbage collector has left behind.
    pub from: bool,
    /// The garbage collector chose it to be emptied: its objects have been moved away, or will be.
    pub candidate: bool,
}

impl Page {
    /// Whether objects leave it: a scavenge comes from it, or it was chosen to be emptied.
    pub(crate) fn is_left(&self) -> bool {
        self.from || self.candidate
    }
}

/// Where the fields of the header are.
struct Header {
    flags: u64,
    size: u64,
    heap: u64,
    area_start: u64,
    area_end: u64,
    owner: u64,
    large_bit: u32,
    read_only_bit: u32,
    candidate_bit: u32,
}

/// How pages are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageLayout {
    /// Which of the four layouts: 0 to 3 for Node 20, 22, 24, 26.
    pub column: usize,
    /// The spaces have the numbers of Node 18, whose pages are else those of Node 20.
    pub node_18: bool,
}

/// Finds all pages in these ranges of memory, sorted by address. Each header is a read of its own, a quarter of a megabyte
/// from the last: a disk that has to be asked for them answers many at once in the time of one.
pub(crate) fn find(memory: &Memory, layout: PageLayout, ranges: &[Range<u64>]) -> Vec<Page> {
    /// Threads that wait for the disk, and bytes of the process that each looks through at a time.
    const THREADS: usize = 16;
    const PART: u64 = 128 * UNIT;
    let mut parts: Vec<Range<u64>> = Vec::new();
    for range in ranges {
        // A unit may begin in one range and go on in the next.
        let mut next = range.start.checked_next_multiple_of(UNIT);
        while let Some(at) = next.filter(|at| *at < range.end) {
            let end = range.end.min(at.saturating_add(PART));
            parts.push(at..end);
            next = end.checked_next_multiple_of(UNIT);
        }
    }
    let never = AtomicBool::new(false);
    let found = parallel_in(THREADS, parts.len(), &never, Vec::new, |pages, part| {
        let units = parts[part].clone().step_by(UNIT as usize);
        pages.extend(units.filter_map(|at| page_at(memory, layout, at)));
    });
    let mut pages: Vec<Page> = found.into_iter().flatten().collect();
    pages.sort_by_key(|page| page.base);
    // Segments of a hostile core may lie over each other.
    pages.dedup_by_key(|page| page.base);
    pages
}

/// The words at an address. Not by way of the cache of blocks: this asks once for each 256 KiB of the process.
fn words<const N: usize>(memory: &Memory, at: u64) -> Option<[u64; N]> {
    let mut bytes = [0; 88];
    let bytes = bytes.get_mut(..8 * N)?;
    memory.target().read(at, bytes).ok()?;
    let mut words = [0; N];
    for (word, bytes) in words.iter_mut().zip(bytes.chunks_exact(8)) {
        *word = u64::from_le_bytes(bytes.try_into().unwrap_or_default());
    }
    Some(words)
}

/// The page that begins at an address, if one does.
pub(crate) fn page_at(memory: &Memory, layout: PageLayout, base: u64) -> Option<Page> {
    let column = layout.column;
    let first: [u64; 2] = words(memory, base)?;
    let far = column >= 2;
    // Cheap refusals first: this runs on every 256 KiB of the process.
    let metadata = match column {
        0 => base,
        1 if first[1] == base => base,
        2.. if first[1] & 7 == 0 && first[1] > 0x1000 && first[0] < 1 << 32 => first[1],
        _ => return None,
    };
    let words: [u64; 11] = words(memory, metadata)?;
    let header = match column {
        0 => Header {
            flags: words[1],
            size: words[0],
            heap: words[2],
            area_start: words[3],
            area_end: words[4],
            owner: words[8],
            large_bit: 7,
            read_only_bit: 6,
            candidate_bit: 8,
        },
        1 => Header {
            flags: words[0],
            size: words[2],
            heap: words[3],
            area_start: words[4],
            area_end: words[5],
            owner: words[9],
            large_bit: 7,
            read_only_bit: 6,
            candidate_bit: 8,
        },
        _ => Header {
            flags: first[0],
            size: words[6],
            heap: words[8],
            area_start: words[9],
            area_end: words[7],
            owner: words[10],
            large_bit: if column == 2 { 10 } else { 7 },
            read_only_bit: if column == 2 { 6 } else { 10 },
            // In 24 bit 8 says that the page has old objects only.
            candidate_bit: if column == 2 { 11 } else { 8 },
        },
    };
    let end = base.checked_add(header.size)?;
    let sane = header.size.is_multiple_of(4096)
        && header.size > 0
        && header.size < 1 << 40
        && header.flags < 1 << 32
        && header.area_start > base
        && header.area_start < base + 0x4000
        && header.area_start < header.area_end
        && header.area_end <= end
        && header.heap & 7 == 0
        && header.owner & 7 == 0;
    if !sane || (far && words[1] != base && words[0] == 0 && header.heap == 0 && header.owner != 0)
    {
        return None;
    }
    let bit = |bit: u32| header.flags >> bit & 1 == 1;
    let read_only = header.heap == 0 || bit(header.read_only_bit) && header.owner == 0;
    let space = if read_only {
        Space::ReadOnly
    } else {
        let space = Space::of(memory.u32(header.owner.checked_add(16)?).ok()?, column);
        if layout.node_18 {
            space.of_node_18()
        } else {
            space
        }
    };
    // The bit means something else in Node 18.
    let large = !layout.node_18 && bit(header.large_bit)
        || matches!(
            space,
            Space::Large
                | Space::NewLarge
                | Space::CodeLarge
                | Space::SharedLarge
                | Space::TrustedLarge
                | Space::SharedTrustedLarge
        );
    Some(Page {
        base,
        size: header.size,
        area_start: header.area_start,
        area_end: header.area_end,
        heap: if read_only { 0 } else { header.heap },
        space,
        owner: if read_only { 0 } else { header.owner },
        metadata,
        large,
        from: bit(3),
        candidate: bit(header.candidate_bit),
    })
}
