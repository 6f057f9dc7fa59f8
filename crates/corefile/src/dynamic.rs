//! The dynamic section of a module as it lies in the dumped memory: its symbols, where its file is gone.
//!
//! A core that holds the text of its modules (`coredump_filter` with file-private memory, files that were deleted) has
//! what the dynamic linker used: `.dynsym`, `.dynstr` and a hash table, all of them in loaded segments. No section
//! header is loaded, so they are found as the linker finds them.

use crate::Memory;
use crate::image::Image;

const DT_HASH: u64 = 4;
const DT_STRTAB: u64 = 5;
const DT_SYMTAB: u64 = 6;
const DT_STRSZ: u64 = 10;
const DT_SYMENT: u64 = 11;
const DT_GNU_HASH: u64 = 0x6fff_fef5;

/// Size of an `Elf64_Sym`.
const ENTRY: u64 = 24;

/// Most symbols that are believed: a Node has 100,000.
const MAX_SYMBOLS: u64 = 512 << 10;

/// Longest table of names.
const MAX_NAMES: u64 = 32 << 20;

/// Most entries of a dynamic section; linkers write about thirty.
const MAX_DYNAMIC: u64 = 4096;

/// The symbols for the dynamic linker, as they lie in memory.
pub(crate) struct DynamicTable {
    /// `Elf64_Sym` each.
    pub(crate) entries: Vec<u8>,
    /// NUL-terminated names.
    pub(crate) names: Vec<u8>,
}

impl DynamicTable {
    /// Reads them; `None` where they are not in memory, or make no sense.
    pub(crate) fn find(image: &Image, memory: &Memory) -> Option<DynamicTable> {
        let dynamic = Dynamic::read(image, memory)?;
        if dynamic.value(DT_SYMENT).is_some_and(|size| size != ENTRY) {
            return None;
        }
        let (symbols, strings) = (dynamic.address(DT_SYMTAB)?, dynamic.address(DT_STRTAB)?);
        let count = dynamic
            .address(DT_HASH)
            .and_then(|at| memory.read_u32(at.checked_add(4)?).ok())
            .map(u64::from)
            .or_else(|| gnu_count(memory, dynamic.address(DT_GNU_HASH)?))
            // Linkers write the names right behind the symbols.
            .or_else(|| Some(strings.checked_sub(symbols)? / ENTRY))?;
        let entries = read(memory, symbols, count.min(MAX_SYMBOLS) * ENTRY)?;
        let names = read(memory, strings, dynamic.value(DT_STRSZ)?.min(MAX_NAMES))?;
        Some(DynamicTable { entries, names })
    }
}

struct Dynamic<'a> {
    image: &'a Image,
    entries: Vec<(u64, u64)>,
}

impl<'a> Dynamic<'a> {
    fn read(image: &'a Image, memory: &Memory) -> Option<Dynamic<'a>> {
        let range = image.dynamic()?;
        let mut entries = Vec::new();
        let count = (range.end.checked_sub(range.start)? / 16).min(MAX_DYNAMIC);
        for index in 0..count {
            let at = range.start + 16 * index;
            let (kind, value) = (memory.read_u64(at).ok()?, memory.read_u64(at + 8).ok()?);
            if kind == 0 {
                break;
            }
            entries.push((kind, value));
        }
        Some(Dynamic { image, entries })
    }

    fn value(&self, wanted: u64) -> Option<u64> {
        let mut entries = self.entries.iter();
        entries
            .find(|(kind, _)| *kind == wanted)
            .map(|(_, value)| *value)
    }

    /// glibc writes the address in the process into the section; musl, and glibc on some processors, leave that of the
    /// file.
    fn address(&self, wanted: u64) -> Option<u64> {
        let value = self.value(wanted)?;
        let range = self.image.range()?;
        let placed = self.image.bias.wrapping_add(value);
        [value, placed]
            .into_iter()
            .find(|address| range.contains(address))
    }
}

/// How many symbols a GNU hash table counts: the last one of the last chain. Header: buckets, first symbol in the table,
/// words of the filter, shift; then the filter (8 bytes each), the buckets (4 each), the chains (4 for each symbol, the
/// lowest bit set at the end of a chain).
fn gnu_count(memory: &Memory, at: u64) -> Option<u64> {
    let [buckets, first, words] = [0, 4, 8].map(|place| memory.read_u32(at.wrapping_add(place)));
    let (buckets, first, words) = (
        u64::from(buckets.ok()?),
        u64::from(first.ok()?),
        u64::from(words.ok()?),
    );
    if buckets > MAX_SYMBOLS || words > MAX_SYMBOLS {
        return None;
    }
    let table = at.checked_add(16 + 8 * words)?;
    let bytes = read(memory, table, 4 * buckets)?;
    let (starts, _) = bytes.as_chunks::<4>();
    let last = starts
        .iter()
        .map(|start| u32::from_le_bytes(*start))
        .max()?;
    let mut last = u64::from(last);
    if last < first {
        // No bucket has a chain: none but the symbols in front, which are others'.
        return Some(first);
    }
    let chains = table.checked_add(4 * buckets)?;
    while last < MAX_SYMBOLS {
        let end = memory
            .read_u32(chains.checked_add(4 * (last - first))?)
            .ok()?;
        last += 1;
        if end & 1 == 1 {
            return Some(last);
        }
    }
    None
}

/// All of these bytes.
fn read(memory: &Memory, address: u64, size: u64) -> Option<Vec<u8>> {
    // Nothing is allocated for what is not stored: no page of a file is a hole.
    let share = memory.share(&(address..address.checked_add(size)?));
    if share.core + share.file < size {
        return None;
    }
    let mut bytes = vec![0; usize::try_from(size).ok()?];
    memory.read(address, &mut bytes).ok()?;
    Some(bytes)
}
