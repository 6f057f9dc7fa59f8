//! An ELF file put together again from the memory of the process that had it loaded.
//!
//! What the linker laid out to be loaded is there, as far as the core holds it; what it laid beside it (the table of
//! sections, debug information, the full table of symbols) never was in memory. Data are as they were when the core was
//! made, not as in the file. So that debuggers find the dynamic symbols and the unwind tables, a table of sections is
//! added that names what the headers tell.

use stillcore_corefile::{Memory, Module};

use crate::source::Part;

const PT_LOAD: u32 = 1;
const PT_DYNAMIC: u32 = 2;
const PT_NOTE: u32 = 4;
const PT_GNU_EH_FRAME: u32 = 0x6474_e550;

const SHT_PROGBITS: u32 = 1;
const SHT_STRTAB: u32 = 3;
const SHT_DYNAMIC: u32 = 6;
const SHT_NOTE: u32 = 7;
const SHT_DYNSYM: u32 = 11;
const SHT_GNU_HASH: u32 = 0x6fff_fff6;

const DT_STRTAB: u64 = 5;
const DT_SYMTAB: u64 = 6;
const DT_STRSZ: u64 = 10;
const DT_GNU_HASH: u64 = 0x6fff_fef5;

/// Longest file that is put together; beyond it the headers are not believed.
const MAX_SIZE: u64 = 16 << 30;

/// Most entries of a dynamic section.
const MAX_DYNAMIC: usize = 4096;

/// Most chains of the symbols' hash table that are followed.
const MAX_BUCKETS: u32 = 1 << 22;

/// Longest table of dynamic symbols that is corrected.
const MAX_SYMBOLS: u64 = 256 << 20;

/// Entries of the dynamic section that are addresses: `DT_PLTGOT`, `DT_HASH`, `DT_STRTAB`, `DT_SYMTAB`, `DT_RELA`,
/// `DT_REL`, `DT_JMPREL`, `DT_GNU_HASH`, `DT_VERSYM`. The dynamic linker of glibc replaces them.
const POINTERS: [u64; 9] = [
    3,
    4,
    DT_STRTAB,
    DT_SYMTAB,
    7,
    17,
    23,
    DT_GNU_HASH,
    0x6fff_fff0,
];

/// A file put together from memory.
pub(crate) struct Rebuilt {
    /// From its beginning to its end; reads are at addresses of the process.
    parts: Vec<Owned>,
    /// Bytes that were in the core, and bytes that the file had loaded.
    pub(crate) had: u64,
    /// See `had`.
    pub(crate) wanted: u64,
}

enum Owned {
    Bytes(Vec<u8>),
    Zeros(u64),
    Read { address: u64, len: u64 },
}

impl Rebuilt {
    /// Its parts, for a [`LiveImage`](crate::LiveImage).
    pub(crate) fn parts(&self) -> Vec<Part<'_>> {
        fn convert(part: &Owned) -> Part<'_> {
            match part {
                Owned::Bytes(bytes) => Part::Bytes(bytes),
                Owned::Zeros(n) => Part::Zeros(*n),
                Owned::Read { address, len } => Part::Read {
                    address: *address,
                    len: *len,
                },
            }
        }
        self.parts.iter().map(convert).collect()
    }
}

/// Puts the file of a module together, or gives `None` where the core has nothing of it but its headers.
pub(crate) fn rebuild(module: &Module, memory: &Memory) -> Option<Rebuilt> {
    let header = module.header_bytes();
    let mut head: Vec<u8> = header.get(..64)?.to_vec();
    let mut loads: Vec<_> = module
        .headers()
        .iter()
        .filter(|header| header.kind == PT_LOAD && header.file_size > 0)
        .collect();
    loads.sort_by_key(|load| load.offset);
    // Addresses that the core has, with their places in the file.
    let mut pieces: Vec<(u64, u64, u64)> = Vec::new();
    let (mut had, mut wanted, mut end) = (0, 0, 64);
    for load in loads {
        let start = module.bias.wrapping_add(load.address);
        let stop = start.checked_add(load.file_size)?;
        wanted += load.file_size;
        let upto = memory.ranges().partition_point(|range| range.end <= start);
        for range in memory.ranges()[upto..]
            .iter()
            .take_while(|range| range.start < stop)
        {
            let (from, to) = (range.start.max(start), range.end.min(stop));
            if matches!(range.backing, stillcore_corefile::Backing::Missing) {
                continue;
            }
            let offset = load.offset.checked_add(from - start)?;
            // Segments share pages of the file: what came first stays.
            let skip = end.max(offset) - offset;
            if skip < to - from {
                pieces.push((offset + skip, from + skip, to - from - skip));
                had += to - from - skip;
                end = offset.checked_add(to - from)?;
            }
        }
    }
    if pieces.is_empty() || end > MAX_SIZE {
        return None;
    }
    had += 64;
    let whole = end.next_multiple_of(8);
    let Sections {
        names,
        table,
        patches,
    } = sections(module, memory, whole);
    let at = whole + names.len().next_multiple_of(8) as u64;
    let count = (table.len() / 64) as u16;
    head[40..48].copy_from_slice(&at.to_le_bytes());
    head[58..60].copy_from_slice(&64_u16.to_le_bytes());
    head[60..62].copy_from_slice(&count.to_le_bytes());
    // The names are the last section.
    head[62..64].copy_from_slice(&(count - 1).to_le_bytes());
    let mut parts = vec![Owned::Bytes(head)];
    let mut reached = 64;
    for (offset, address, len) in pieces {
        if offset > reached {
            parts.push(Owned::Zeros(offset - reached));
        }
        push_patched(&mut parts, &patches, offset, address, len);
        reached = offset + len;
    }
    parts.push(Owned::Zeros(whole - reached));
    let mut tail = names;
    tail.resize(tail.len().next_multiple_of(8), 0);
    tail.extend_from_slice(&table);
    parts.push(Owned::Bytes(tail));
    Some(Rebuilt { parts, had, wanted })
}

/// Adds what lies in memory, with the patches in its place.
fn push_patched(
    parts: &mut Vec<Owned>,
    patches: &[(u64, Vec<u8>)],
    mut offset: u64,
    mut address: u64,
    mut len: u64,
) {
    let mut inside: Vec<_> = patches
        .iter()
        .filter(|(at, bytes)| *at >= offset && at + bytes.len() as u64 <= offset + len)
        .collect();
    inside.sort_by_key(|(at, _)| *at);
    for (at, bytes) in inside {
        let (Some(before), size) = (at.checked_sub(offset), bytes.len() as u64) else {
            // It overlaps the one before it.
            continue;
        };
        parts.push(Owned::Read {
            address,
            len: before,
        });
        parts.push(Owned::Bytes(bytes.clone()));
        let done = before + size;
        (offset, address, len) = (offset + done, address + done, len - done);
    }
    parts.push(Owned::Read { address, len });
}

/// What is added to the file.
struct Sections {
    /// Their names.
    names: Vec<u8>,
    /// Their table.
    table: Vec<u8>,
    /// What is otherwise in the file than in memory: offsets and bytes.
    patches: Vec<(u64, Vec<u8>)>,
}

/// A section as it is written.
struct Section {
    name: &'static str,
    kind: u32,
    flags: u64,
    address: u64,
    offset: u64,
    size: u64,
    link: u32,
    info: u32,
    entry: u64,
}

/// The names of the sections and their table; the names will lie at `at`.
fn sections(module: &Module, memory: &Memory, at: u64) -> Sections {
    let mut sections = vec![];
    let headers = module.headers();
    let place = |address: u64, size: u64| {
        let load = headers.iter().find(|load| {
            load.kind == PT_LOAD
                && address
                    .checked_sub(load.address)
                    .and_then(|from| from.checked_add(size))
                    .is_some_and(|to| to <= load.file_size)
        })?;
        Some(load.offset + (address - load.address))
    };
    // Only what is there: zeros in place of unwind tables would be believed.
    let present = |address: u64, size: u64| {
        let start = module.bias.wrapping_add(address);
        start.checked_add(size).is_some_and(|end| {
            let share = memory.share(&(start..end));
            share.core + share.file + share.zero == size
        })
    };
    let mut add = |name, kind, flags, address, size, link, info, entry| {
        if size > 0
            && present(address, size)
            && let Some(offset) = place(address, size)
        {
            sections.push(Section {
                name,
                kind,
                flags,
                address,
                offset,
                size,
                link,
                info,
                entry,
            });
        }
    };
    let (alloc, exec, write) = (2, 4, 1);
    let mut entries_in_memory = Vec::new();
    let dynamic = headers.iter().find(|header| header.kind == PT_DYNAMIC);
    if let Some(dynamic) = dynamic {
        let entries = entries(module, memory, dynamic.address, dynamic.file_size);
        // The dynamic linker writes the addresses of the process into it, or leaves those of the file.
        entries_in_memory.clone_from(&entries);
        let value = |tag| {
            let (_, value) = entries.iter().find(|(its, _)| *its == tag)?;
            let moved = value.wrapping_sub(module.bias);
            [moved, *value]
                .into_iter()
                .find(|&value| place(value, 1).is_some())
        };
        let size = entries.iter().find(|(tag, _)| *tag == DT_STRSZ);
        if let (Some(strings), Some((_, size)), Some(symbols)) =
            (value(DT_STRTAB), size, value(DT_SYMTAB))
        {
            let hash = value(DT_GNU_HASH);
            let count = hash.and_then(|hash| symbol_count(module, memory, hash));
            // Linkers lay the strings right behind the symbols; that tells as well how many there are.
            let count = count.or_else(|| Some(strings.checked_sub(symbols)? / 24));
            add(".dynstr", SHT_STRTAB, alloc, strings, *size, 0, 0, 0);
            add(
                ".dynsym",
                SHT_DYNSYM,
                alloc,
                symbols,
                count.unwrap_or(0).saturating_mul(24),
                1,
                1,
                24,
            );
            if let (Some(hash), Some(length)) =
                (hash, hash.and_then(|hash| symbols.checked_sub(hash)))
            {
                add(".gnu.hash", SHT_GNU_HASH, alloc, hash, length, 2, 0, 0);
            }
        }
        add(
            ".dynamic",
            SHT_DYNAMIC,
            alloc | write,
            dynamic.address,
            dynamic.file_size,
            1,
            0,
            16,
        );
    }
    for header in headers {
        match header.kind {
            PT_NOTE => add(
                ".note",
                SHT_NOTE,
                alloc,
                header.address,
                header.file_size,
                0,
                0,
                0,
            ),
            PT_GNU_EH_FRAME => {
                add(
                    ".eh_frame_hdr",
                    SHT_PROGBITS,
                    alloc,
                    header.address,
                    header.file_size,
                    0,
                    0,
                    0,
                );
                if let Some((start, size)) = eh_frame(module, memory, header.address) {
                    add(".eh_frame", SHT_PROGBITS, alloc, start, size, 0, 0, 0);
                }
            }
            PT_LOAD if header.flags & 1 == 1 => {
                add(
                    ".text",
                    SHT_PROGBITS,
                    alloc | exec,
                    header.address,
                    header.file_size,
                    0,
                    0,
                    0,
                );
            }
            PT_LOAD if header.flags & 2 == 2 => {
                add(
                    ".data",
                    SHT_PROGBITS,
                    alloc | write,
                    header.address,
                    header.file_size,
                    0,
                    0,
                    0,
                );
            }
            _ => {}
        }
    }
    // The links by number hold only when the strings are the first section.
    if sections.first().is_none_or(|first| first.name != ".dynstr") {
        sections.retain(|section| section.link == 0);
    }
    let patches = patches(module, memory, &sections, &entries_in_memory);
    let mut names = vec![0];
    let mut table = vec![0; 64];
    for section in &sections {
        write_section(&mut table, names.len(), section);
        names.extend_from_slice(section.name.as_bytes());
        names.push(0);
    }
    let own = names.len();
    names.extend_from_slice(b".shstrtab\0");
    let size = names.len() as u64;
    let last = Section {
        name: ".shstrtab",
        kind: SHT_STRTAB,
        flags: 0,
        address: 0,
        offset: at,
        size,
        link: 0,
        info: 0,
        entry: 0,
    };
    write_section(&mut table, own, &last);
    Sections {
        names,
        table,
        patches,
    }
}

/// Undoes what the dynamic linker did to its own tables, and lets the symbols refer to the sections that there are.
fn patches(
    module: &Module,
    memory: &Memory,
    sections: &[Section],
    entries: &[(u64, u64)],
) -> Vec<(u64, Vec<u8>)> {
    let mut patches = Vec::new();
    let named = |name| {
        let at = sections.iter().position(|section| section.name == name)?;
        Some((at, &sections[at]))
    };
    if let Some((_, dynamic)) = named(".dynamic") {
        let mut bytes = Vec::new();
        for (tag, value) in entries {
            let own = value.wrapping_sub(module.bias);
            let moved = module.bias != 0 && POINTERS.contains(tag) && module.contains(*value);
            bytes.extend_from_slice(&tag.to_le_bytes());
            bytes.extend_from_slice(&if moved { own } else { *value }.to_le_bytes());
        }
        if bytes.len() as u64 <= dynamic.size {
            patches.push((dynamic.offset, bytes));
        }
    }
    if let Some((_, symbols)) = named(".dynsym")
        && symbols.size <= MAX_SYMBOLS
    {
        let mut bytes = vec![0; symbols.size as usize];
        if memory
            .read(module.bias.wrapping_add(symbols.address), &mut bytes)
            .is_ok()
        {
            let text = named(".text");
            // The first section is the empty one.
            let number = |at: Option<usize>| at.map_or(0xfff1, |at| at as u16 + 1);
            let data = number(named(".data").or(text).map(|(at, _)| at));
            for symbol in bytes.chunks_exact_mut(24) {
                let section = u16::from_le_bytes([symbol[6], symbol[7]]);
                if section == 0 || section >= 0xff00 {
                    continue;
                }
                let value = u64::from_le_bytes(std::array::from_fn(|at| symbol[8 + at]));
                let in_text = text.is_some_and(|(_, text)| {
                    (text.address..text.address.saturating_add(text.size)).contains(&value)
                });
                let section = if in_text {
                    number(text.map(|(at, _)| at))
                } else {
                    data
                };
                symbol[6..8].copy_from_slice(&section.to_le_bytes());
            }
            patches.push((symbols.offset, bytes));
        }
    }
    patches
}

fn write_section(table: &mut Vec<u8>, name: usize, section: &Section) {
    table.extend_from_slice(&(name as u32).to_le_bytes());
    table.extend_from_slice(&section.kind.to_le_bytes());
    for word in [section.flags, section.address, section.offset, section.size] {
        table.extend_from_slice(&word.to_le_bytes());
    }
    table.extend_from_slice(&section.link.to_le_bytes());
    table.extend_from_slice(&section.info.to_le_bytes());
    table.extend_from_slice(&8_u64.to_le_bytes());
    table.extend_from_slice(&section.entry.to_le_bytes());
}

/// Tags and values of the dynamic section.
fn entries(module: &Module, memory: &Memory, address: u64, size: u64) -> Vec<(u64, u64)> {
    let start = module.bias.wrapping_add(address);
    (0..size / 16)
        .take(MAX_DYNAMIC)
        .map_while(|index| {
            let at = start.checked_add(index * 16)?;
            let entry = (memory.read_u64(at).ok()?, memory.read_u64(at + 8).ok()?);
            (entry.0 != 0).then_some(entry)
        })
        .collect()
}

/// How many dynamic symbols there are, by the last chain of the GNU hash table.
fn symbol_count(module: &Module, memory: &Memory, hash: u64) -> Option<u64> {
    let base = module.bias.wrapping_add(hash);
    let word = |index: u64| memory.read_u32(base.checked_add(index * 4)?).ok();
    let (buckets, first, bloom) = (word(0)?, word(1)?, word(2)?);
    if buckets > MAX_BUCKETS || bloom > MAX_BUCKETS {
        return None;
    }
    let table = 4 + u64::from(bloom) * 2;
    let mut last = 0;
    for bucket in 0..buckets {
        last = last.max(word(table + u64::from(bucket))?);
    }
    if last < first {
        return Some(u64::from(first));
    }
    let chains = table + u64::from(buckets);
    for step in 0..MAX_BUCKETS {
        let index = last.checked_add(step)?;
        if word(chains + u64::from(index - first))? & 1 == 1 {
            return Some(u64::from(index) + 1);
        }
    }
    None
}

/// Address and size of `.eh_frame`, by its header (Linux Standard Base, 10.6.2), whose pointer is relative to itself.
fn eh_frame(module: &Module, memory: &Memory, header: u64) -> Option<(u64, u64)> {
    const PCREL_SDATA4: u8 = 0x1b;
    let at = module.bias.wrapping_add(header);
    let head: [u8; 8] = memory.read_array(at).ok()?;
    if head[0] != 1 || head[1] != PCREL_SDATA4 {
        return None;
    }
    let offset = i64::from(i32::from_le_bytes([head[4], head[5], head[6], head[7]]));
    let start = header.wrapping_add(4).wrapping_add_signed(offset);
    let mut end = start;
    // Each entry begins with its length; a length of zero ends them.
    loop {
        let length = memory.read_u32(module.bias.wrapping_add(end)).ok()?;
        end = end.checked_add(4)?;
        match length {
            0 => return Some((start, end - start)),
            u32::MAX => return None,
            length => end = end.checked_add(u64::from(length))?,
        }
        if end - start > 1 << 30 {
            return None;
        }
    }
}
