//! The GNU build-id: the name under which a linker's output is found on symbol servers.

use std::ops::Range;

use goblin::elf::program_header::PT_NOTE;
use goblin::elf::section_header::SHT_NOTE;

use crate::CoreError;
use crate::elf::ElfHeaders;
use crate::notes::read_notes;
use crate::source::{Source, read_up_to};

const NT_GNU_BUILD_ID: u32 = 3;

/// Longest build-id that is believed; linkers write 16 or 20 bytes.
const MAX_BUILD_ID: u64 = 64;

/// Note areas larger than this are not those of an executable or a library.
const MAX_AREA: u64 = 1 << 20;

/// Most note areas that are looked into.
const MAX_AREAS: usize = 64;

/// The GNU build-id of an ELF file (executable, shared library, `.node`), or `None` when it has none.
///
/// Only headers and notes are read, by `pread`: the file's position does not change.
///
/// # Errors
/// [`CoreError::NotElf`], [`CoreError::Unsupported`], [`CoreError::Truncated`] and [`CoreError::Damaged`] when the
/// headers or notes cannot be read, [`CoreError::Io`].
pub fn build_id(file: &dyn Source) -> Result<Option<Vec<u8>>, CoreError> {
    let elf = ElfHeaders::read(file)?;
    let headers = elf.program_headers(file)?;
    let segments = headers
        .iter()
        .filter(|header| header.p_type == PT_NOTE)
        .map(|header| (header.p_offset, header.p_filesz, header.p_align));
    if let Some(id) = first_id(file, segments)? {
        return Ok(Some(id));
    }
    // Sections are the last resort: a stripped or damaged section table must not hide what the segments said.
    let sections = elf.section_headers(file).unwrap_or_default();
    let sections = sections
        .iter()
        .filter(|section| section.sh_type == SHT_NOTE)
        .map(|section| (section.sh_offset, section.sh_size, section.sh_addralign));
    first_id(file, sections)
}

fn first_id(
    file: &dyn Source,
    areas: impl Iterator<Item = (u64, u64, u64)>,
) -> Result<Option<Vec<u8>>, CoreError> {
    for (start, size, align) in areas.take(MAX_AREAS) {
        let Some(end) = start.checked_add(size).filter(|_| size <= MAX_AREA) else {
            continue;
        };
        let mut notes = Vec::new();
        // What precedes a damaged note still counts.
        let read = read_notes(file, start..end, align, &mut notes);
        let found = notes.iter().find(|note| {
            note.name == "GNU" && note.kind == NT_GNU_BUILD_ID && !note.range.is_empty()
        });
        match (found, read) {
            (Some(note), _) => return content(file, &note.range).map(Some),
            (None, Err(error)) => return Err(error),
            (None, Ok(())) => {}
        }
    }
    Ok(None)
}

fn content(file: &dyn Source, range: &Range<u64>) -> Result<Vec<u8>, CoreError> {
    let size = range.end - range.start;
    if size > MAX_BUILD_ID {
        return Err(CoreError::Damaged("the build-id is too long"));
    }
    let mut bytes = vec![0; size as usize];
    let got = read_up_to(file, &mut bytes, range.start)?;
    if got < bytes.len() {
        return Err(CoreError::Truncated {
            expected: range.end,
            actual: range.start + got as u64,
        });
    }
    Ok(bytes)
}
