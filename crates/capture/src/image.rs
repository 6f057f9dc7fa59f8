//! The ELF core of a frozen copy: planned from its lists, then read page by page.
//!
//! The copy sleeps and never changes, so the whole layout (headers, notes, where each page will stand in the file) is known before the
//! first page is read: an archive can be streamed with the right size in its header.
//!
//! What is in it: all private memory that was ever written, and shared memory without a file (as it is when it is
//! read: sharing means that it goes on changing). What is not: pages that are the same in a file, since an
//! archive holds the file (but the first page of every ELF mapping is there, with its build-id); device memory and
//! io_uring's rings, never touched; and what the application marked MADV_DONTDUMP, as the kernel and gcore leave it out.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use crate::maps::{self, Mapping};
use crate::notes::{self, About, Thread};
use crate::sys::page_size;

mod elf;
mod pages;
mod shrink;

use elf::{
    EHDR, PHDR, PN_XNUM, PT_LOAD, PT_NOTE, SHDR, elf_header, program_header, section_header_zero,
};
use pages::{Kind, joined, populated};

/// A planned core.
#[derive(Debug)]
pub struct Image {
    /// ELF header, program headers, notes, and zeros up to a page.
    head: Vec<u8>,
    segments: Vec<Segment>,
    size: u64,
    /// Memory left out, with the reason.
    pub skipped: Vec<Skipped>,
    /// Bytes that hold something and are left out for the size that is wanted.
    pub left_out: u64,
    /// What is left out of mapped files and may be other than in the file: readers must not take it from there.
    not_as_in_file: Vec<Range<u64>>,
    /// Private memory that was never touched, and has no bytes in the core: zeros.
    untouched: Vec<Range<u64>>,
}

/// A mapping that is not in the core, or a part of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skipped {
    /// Addresses.
    pub range: Range<u64>,
    /// Name as in maps.
    pub name: String,
    /// Why.
    pub reason: &'static str,
}

/// One program header: a range of memory, and where its bytes stand.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Segment {
    range: Range<u64>,
    /// `rwx` as ELF flags.
    flags: u32,
    /// Bytes of it in the file, from its start; the rest is to be had from the mapped file, or was never touched.
    file_size: u64,
    offset: u64,
    /// What must be read; all else below `file_size` is zero.
    extents: Vec<Range<u64>>,
}

/// What a stretch of the core's bytes is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part<'a> {
    /// Headers and notes.
    Bytes(&'a [u8]),
    /// That many zeros.
    Zeros(u64),
    /// The copy's memory at these addresses.
    Memory(Range<u64>),
}

/// What the plan is made from.
pub(crate) struct Sources<'a> {
    pub(crate) mappings: &'a [Mapping],
    /// Ranges that are marked MADV_DONTDUMP; sorted.
    pub(crate) dont_dump: &'a [Range<u64>],
    /// Ranges whose untouched pages may have held something in the process: wiped by the fork, or filled by somebody else on
    /// demand; sorted. None where that is not known.
    pub(crate) not_told: Option<&'a [Range<u64>]>,
    /// The copy's page map.
    pub(crate) pages: &'a File,
    /// The page map of this process, for shared memory: a fork does not copy its entries.
    pub(crate) own_pages: Option<&'a File>,
    pub(crate) memory: &'a File,
    pub(crate) about: &'a About,
    pub(crate) threads: &'a [Thread],
    /// The vendor note.
    pub(crate) made_by: &'a str,
    /// V8's pages.
    pub(crate) heap: &'a [Range<u64>],
    pub(crate) wanted: &'a Wanted,
}

/// What a caller wants in a core.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// Also the pages that are the same in a file.
    pub files: bool,
    /// Also what is marked MADV_DONTDUMP.
    pub dont_dump: bool,
    /// The most bytes a core may have: what matters least is left out.
    pub max_size: Option<u64>,
}

impl Image {
    /// Lays out the core.
    pub(crate) fn plan(sources: &Sources<'_>) -> io::Result<Image> {
        let mut segments = Vec::new();
        let mut skipped = Vec::new();
        let mut not_as_in_file = Vec::new();
        let mut untouched = Vec::new();
        for mapping in sources.mappings {
            match left_out(mapping, sources) {
                Some(reason) => {
                    if mapping.has_file() && !mapping.is_shared() {
                        not_as_in_file.push(mapping.range.clone());
                    }
                    skipped.push(Skipped {
                        range: mapping.range.clone(),
                        name: String::from_utf8_lossy(&mapping.name).into_owned(),
                        reason,
                    });
                    segments.push(Segment::without_bytes(mapping));
                }
                None => {
                    plan_mapping(mapping, sources, &mut segments)?;
                    if let Some(segment) = segments.last()
                        && is_private(mapping)
                        && is_told(mapping, sources.not_told)
                    {
                        let rest = segment.range.start + segment.file_size..segment.range.end;
                        if rest.start < rest.end && untouched.len() < MOST_UNTOUCHED {
                            untouched.push(rest);
                        }
                    }
                }
            }
        }
        let mut image = Image {
            head: Vec::new(),
            segments,
            size: 0,
            skipped,
            left_out: 0,
            not_as_in_file,
            untouched: joined(untouched),
        };
        image.finish(sources);
        image.shrink(sources);
        Ok(image)
    }

    fn finish(&mut self, sources: &Sources<'_>) {
        let page = page_size();
        let mut notes = Vec::new();
        for (index, thread) in sources.threads.iter().enumerate() {
            notes::prstatus(&mut notes, sources.about, thread, 0);
            if index == 0 {
                // The kernel's order: what concerns the process stands after its first thread.
                notes::prpsinfo(&mut notes, sources.about);
                notes::siginfo(&mut notes);
                notes::auxv(&mut notes, sources.about);
                notes::file(&mut notes, sources.mappings, page);
            }
            notes::fpregset(&mut notes, thread);
        }
        let made_by = notes::with_ranges(sources.made_by, "leftOut", &self.not_as_in_file);
        let made_by = notes::with_ranges(&made_by, "untouched", &self.untouched);
        notes::made_by(&mut notes, &made_by);

        let count = self.segments.len() as u64 + 1;
        let many = count >= u64::from(PN_XNUM);
        let headers = EHDR + count * PHDR + if many { SHDR } else { 0 };
        let mut offset = (headers + notes.len() as u64).next_multiple_of(page);
        for segment in &mut self.segments {
            segment.offset = offset;
            offset += segment.file_size;
        }
        self.size = offset;

        let mut head = elf_header(count, many);
        program_header(&mut head, PT_NOTE, 0, headers, 0..0, notes.len() as u64, 4);
        for segment in &self.segments {
            let Segment {
                range,
                flags,
                file_size,
                offset,
                ..
            } = segment;
            program_header(
                &mut head,
                PT_LOAD,
                *flags,
                *offset,
                range.clone(),
                *file_size,
                page,
            );
        }
        if many {
            section_header_zero(&mut head, count);
        }
        head.extend(notes);
        head.resize(head.len().next_multiple_of(page as usize), 0);
        self.head = head;
    }

    /// Bytes of the core.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Bytes of memory that must be read.
    pub fn data_size(&self) -> u64 {
        self.segments
            .iter()
            .flat_map(|segment| &segment.extents)
            .map(|extent| extent.end - extent.start)
            .sum()
    }

    /// The core from its first byte to its last.
    pub fn parts(&self) -> impl Iterator<Item = Part<'_>> {
        let segments = self.segments.iter().flat_map(|segment| {
            let mut at = segment.range.start;
            let end = segment.range.start + segment.file_size;
            let mut parts = Vec::with_capacity(segment.extents.len() * 2 + 1);
            for extent in &segment.extents {
                parts.push(Part::Zeros(extent.start - at));
                parts.push(Part::Memory(extent.clone()));
                at = extent.end;
            }
            parts.push(Part::Zeros(end - at));
            parts
        });
        std::iter::once(Part::Bytes(&self.head))
            .chain(segments)
            .filter(|part| *part != Part::Zeros(0))
    }
}

impl Segment {
    fn without_bytes(mapping: &Mapping) -> Segment {
        Segment {
            range: mapping.range.clone(),
            flags: flags(mapping),
            file_size: 0,
            offset: 0,
            extents: Vec::new(),
        }
    }
}

fn flags(mapping: &Mapping) -> u32 {
    let bit = |index: usize, letter: u8, value: u32| {
        if mapping.permissions[index] == letter {
            value
        } else {
            0
        }
    };
    bit(0, b'r', 4) | bit(1, b'w', 2) | bit(2, b'x', 1)
}

/// Most stretches that are listed as never touched.
const MOST_UNTOUCHED: usize = 4096;

/// Memory of the program's own that it can read: what has no page there reads as zero.
fn is_private(mapping: &Mapping) -> bool {
    mapping.backing.inode == 0 && !mapping.is_shared() && mapping.permissions[0] == b'r'
}

/// Whether the copy's pages tell what the process had.
fn is_told(mapping: &Mapping, not_told: Option<&[Range<u64>]>) -> bool {
    not_told.is_some_and(|not_told| {
        let at = not_told.partition_point(|range| range.end <= mapping.range.start);
        not_told
            .get(at)
            .is_none_or(|range| range.start >= mapping.range.end)
    })
}

fn left_out(mapping: &Mapping, sources: &Sources<'_>) -> Option<&'static str> {
    let name = mapping.name.as_slice();
    let dont_dump = if sources.wanted.dont_dump {
        &[]
    } else {
        sources.dont_dump
    };
    let index = dont_dump.partition_point(|range| range.end <= mapping.range.start);
    if name.starts_with(b"[vvar") || name == b"[vsyscall]" {
        Some("the kernel's own")
    } else if name.starts_with(b"anon_inode:") {
        Some("a ring or device shared with the kernel")
    } else if name.starts_with(b"/dev/")
        && name != b"/dev/zero (deleted)"
        && !name.starts_with(b"/dev/shm/")
    {
        Some("device memory")
    } else if dont_dump
        .get(index)
        .is_some_and(|range| range.start < mapping.range.end)
        && name != b"[vdso]"
    {
        Some("MADV_DONTDUMP")
    } else if mapping.is_shared() && mapping.has_file() && !mapping.name.ends_with(b" (deleted)") {
        Some("shared with a file")
    } else {
        None
    }
}

fn plan_mapping(
    mapping: &Mapping,
    sources: &Sources<'_>,
    segments: &mut Vec<Segment>,
) -> io::Result<()> {
    if mapping.name == b"[vdso]" {
        segments.push(whole(mapping, vec![mapping.range.clone()]));
        return Ok(());
    }
    if mapping.is_shared() {
        let Some(own_pages) = sources.own_pages else {
            segments.push(Segment::without_bytes(mapping));
            return Ok(());
        };
        segments.push(whole(
            mapping,
            populated(own_pages, &mapping.range, Kind::Present)?,
        ));
        return Ok(());
    }
    let kind = if sources.wanted.files {
        Kind::Present
    } else {
        Kind::Anonymous
    };
    let mut extents = populated(sources.pages, &mapping.range, kind)?;
    if let (true, true, Some(own_pages)) =
        (sources.wanted.files, mapping.has_file(), sources.own_pages)
    {
        // A fork leaves out the entries of pages that can be had from the file again: this process has them.
        extents.extend(populated(own_pages, &mapping.range, Kind::Present)?);
        maps::sort(&mut extents);
        extents = joined(extents);
    }
    if mapping.backing.inode == 0 {
        segments.push(whole(mapping, extents));
        return Ok(());
    }
    // A private file mapping: a segment for every stretch that was written, one without bytes for
    // what is as in the file. A debugger takes what has no bytes from the file; zeros it would believe.
    let mut wanted = extents;
    if mapping.offset == 0
        && mapping.permissions[0] == b'r'
        && starts_as_elf(sources.memory, mapping.range.start)
    {
        let first = mapping.range.start..mapping.range.start + page_size();
        if wanted
            .first()
            .is_none_or(|extent| extent.start > first.start)
        {
            wanted.insert(0, first);
        }
    }
    let mut at = mapping.range.start;
    let mut add = |range: Range<u64>, has_bytes: bool| {
        if range.start < range.end {
            let length = range.end - range.start;
            segments.push(Segment {
                range: range.clone(),
                flags: flags(mapping),
                file_size: if has_bytes { length } else { 0 },
                offset: 0,
                extents: if has_bytes { vec![range] } else { Vec::new() },
            });
        }
    };
    for extent in joined(wanted) {
        add(at..extent.start, false);
        at = extent.end;
        add(extent, true);
    }
    add(at..mapping.range.end, false);
    Ok(())
}

/// A mapping as one segment whose gaps are zeros: memory that was never touched reads as zero. Its bytes end with
/// the last page that has any.
fn whole(mapping: &Mapping, extents: Vec<Range<u64>>) -> Segment {
    let file_size = extents
        .last()
        .map_or(0, |_| mapping.range.end - mapping.range.start);
    Segment {
        file_size,
        extents,
        ..Segment::without_bytes(mapping)
    }
}

fn starts_as_elf(memory: &File, address: u64) -> bool {
    let mut magic = [0; 4];
    memory.read_exact_at(&mut magic, address).is_ok() && magic == *b"\x7fELF"
}

#[cfg(test)]
mod tests;
