//! A core file: segments, notes, completeness, memory.

use std::ops::Range;
use std::sync::Arc;

use goblin::elf::header::ET_CORE;
use goblin::elf::program_header::{PT_LOAD, PT_NOTE};

use crate::CoreError;
use crate::elf::ElfHeaders;
use crate::notes::{Note, read_notes};
use crate::source::{IntoSource, Source, read_up_to, read_vec};

/// Longest note that is read: the list of files is by far the largest, and limited by `vm.max_map_count`.
const MAX_NOTE: u64 = 256 << 20;

/// A range of the dumped process's memory (`PT_LOAD`). The core holds its first `file_size` bytes, possibly none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// First address in the process.
    pub start: u64,
    /// First address behind the segment.
    pub end: u64,
    /// Where its bytes begin in the file.
    pub offset: u64,
    /// How many of its bytes the headers say are in the file; never more than `end - start`.
    pub file_size: u64,
    /// `PF_R` (4), `PF_W` (2), `PF_X` (1).
    pub flags: u32,
}

/// An open core file whose headers have been read and checked.
#[derive(Clone)]
pub struct CoreFile {
    source: Arc<dyn Source>,
    machine: u16,
    bits: u8,
    segments: Vec<Segment>,
    /// Note areas in the file with their alignment.
    note_areas: Vec<(Range<u64>, u64)>,
    expected: u64,
    /// Length of the file when it was opened.
    len: u64,
}

impl CoreFile {
    /// Reads and checks the headers of a core: ELF, little-endian, 32 or 64 bits.
    ///
    /// A core whose *content* is cut off opens (see [`CoreFile::check_whole`]); one whose headers are cut off does not.
    ///
    /// # Errors
    /// [`CoreError::NotElf`], [`CoreError::NotCore`], [`CoreError::Unsupported`], [`CoreError::Truncated`] when the
    /// headers are not all there, [`CoreError::Damaged`] when they are nonsense, [`CoreError::Io`].
    pub fn open(source: impl IntoSource) -> Result<CoreFile, CoreError> {
        let source = source.into_source()?;
        let elf = ElfHeaders::read(&*source)?;
        if elf.header.e_type != ET_CORE {
            return Err(CoreError::NotCore {
                e_type: elf.header.e_type,
            });
        }
        let headers = elf.program_headers(&*source)?;
        let mut segments = Vec::new();
        let mut note_areas = Vec::new();
        let mut expected = 0;
        for header in &headers {
            let file_end = header
                .p_offset
                .checked_add(header.p_filesz)
                .ok_or(CoreError::Damaged("a segment lies outside of any file"))?;
            expected = expected.max(file_end);
            match header.p_type {
                PT_LOAD => {
                    let end =
                        header
                            .p_vaddr
                            .checked_add(header.p_memsz)
                            .ok_or(CoreError::Damaged(
                                "a segment lies outside of any address space",
                            ))?;
                    if header.p_filesz > header.p_memsz {
                        return Err(CoreError::Damaged("a segment has more bytes than memory"));
                    }
                    segments.push(Segment {
                        start: header.p_vaddr,
                        end,
                        offset: header.p_offset,
                        file_size: header.p_filesz,
                        flags: header.p_flags,
                    });
                }
                PT_NOTE => note_areas.push((header.p_offset..file_end, header.p_align)),
                _ => {}
            }
        }
        segments.sort_by_key(|segment| (segment.start, segment.end));
        Ok(CoreFile {
            machine: elf.header.e_machine,
            bits: if elf.is_64() { 64 } else { 32 },
            source,
            segments,
            note_areas,
            expected,
            len: elf.len,
        })
    }

    /// The memory ranges of the process (`PT_LOAD`), sorted by address.
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// The file's bytes.
    pub fn source(&self) -> &Arc<dyn Source> {
        &self.source
    }

    /// The processor (`e_machine`): 62 is x86_64, 183 is aarch64.
    pub fn machine(&self) -> u16 {
        self.machine
    }

    /// 64 or 32 (`EI_CLASS`).
    pub fn bits(&self) -> u8 {
        self.bits
    }

    /// Bytes of the file.
    pub fn size(&self) -> u64 {
        self.len
    }

    /// The content of a note, at most 256 MiB of it.
    ///
    /// # Errors
    /// [`CoreError::Damaged`] for a note that is larger, [`CoreError::Truncated`] for one that is cut off,
    /// [`CoreError::Io`].
    pub fn note_content(&self, note: &Note) -> Result<Vec<u8>, CoreError> {
        let length = note.range.end.saturating_sub(note.range.start);
        if length > MAX_NOTE {
            return Err(CoreError::Damaged("a note is too long"));
        }
        let bytes = read_vec(&*self.source, note.range.start, length)?;
        if (bytes.len() as u64) < length {
            return Err(CoreError::Truncated {
                expected: note.range.end,
                actual: self.len,
            });
        }
        Ok(bytes)
    }

    /// All notes, in the file's order. Their content is not read.
    ///
    /// # Errors
    /// [`CoreError::Damaged`] or [`CoreError::Truncated`] for notes that do not fit their segment or the file,
    /// or that are more than a million; [`CoreError::Io`].
    pub fn notes(&self) -> Result<Vec<Note>, CoreError> {
        let mut notes = Vec::new();
        for (area, align) in &self.note_areas {
            read_notes(&*self.source, area.clone(), *align, &mut notes)?;
        }
        Ok(notes)
    }

    /// The notes up to the first that cannot be read, and why that one cannot.
    pub fn readable_notes(&self) -> (Vec<Note>, Option<CoreError>) {
        let mut notes = Vec::new();
        for (area, align) in &self.note_areas {
            if let Err(error) = read_notes(&*self.source, area.clone(), *align, &mut notes) {
                return (notes, Some(error));
            }
        }
        (notes, None)
    }

    /// The length in bytes that the headers promise: the largest end of any segment.
    pub fn expected_size(&self) -> u64 {
        self.expected
    }

    /// Checks that the file is as long as its headers promise and has what every core has.
    /// The kernel cuts a core off silently when the disk or a limit is full.
    ///
    /// # Errors
    /// [`CoreError::Truncated`] when it is shorter, [`CoreError::Damaged`] when it has no memory or no notes,
    /// or notes that do not fit, [`CoreError::Io`].
    pub fn check_whole(&self) -> Result<(), CoreError> {
        let actual = self.len;
        if actual < self.expected {
            return Err(CoreError::Truncated {
                expected: self.expected,
                actual,
            });
        }
        if self.segments.iter().all(|segment| segment.file_size == 0) {
            return Err(CoreError::Damaged("it holds no memory"));
        }
        if self.notes()?.is_empty() {
            return Err(CoreError::Damaged(
                "it holds no notes, so no thread and no registers",
            ));
        }
        Ok(())
    }

    /// The parts of these address ranges for which the file holds no bytes, sorted and joined. The ranges may come in
    /// any order and overlap. Bytes behind the end of a truncated file, and the part of a segment that has memory but
    /// no file content, are missing.
    pub fn missing(&self, ranges: &[Range<u64>]) -> Vec<Range<u64>> {
        let mut wanted: Vec<_> = ranges
            .iter()
            .filter(|range| !range.is_empty())
            .cloned()
            .collect();
        wanted.sort_by_key(|range| range.start);
        let mut missing: Vec<Range<u64>> = Vec::new();
        let mut lack = |range: Range<u64>| match missing.last_mut() {
            Some(last) if last.end == range.start => last.end = range.end,
            _ => missing.push(range),
        };
        let mut held = self
            .segments
            .iter()
            .map(|segment| self.held(segment))
            .peekable();
        let mut at = 0;
        for range in wanted {
            at = range.start.max(at);
            while at < range.end {
                while held.next_if(|held| held.end <= at).is_some() {}
                match held.peek() {
                    Some(held) if held.start <= at => at = held.end.min(range.end),
                    Some(held) if held.start < range.end => {
                        lack(at..held.start);
                        at = held.start;
                    }
                    _ => {
                        lack(at..range.end);
                        at = range.end;
                    }
                }
            }
        }
        missing
    }

    /// Reads memory at `address` and gives how many bytes were read: fewer than `buf` has when the core holds no more
    /// in one piece.
    ///
    /// # Errors
    /// [`CoreError::Missing`] when not even the first byte is held, [`CoreError::Io`].
    pub fn read_at(&self, address: u64, buf: &mut [u8]) -> Result<usize, CoreError> {
        let mut got = 0;
        while got < buf.len() {
            let Some(at) = address.checked_add(got as u64) else {
                break;
            };
            // Segments of one process do not overlap, so the last that starts at or before the address is the one.
            let upto = self.segments.partition_point(|segment| segment.start <= at);
            let Some(segment) = upto.checked_sub(1).map(|last| &self.segments[last]) else {
                break;
            };
            if !self.held(segment).contains(&at) {
                break;
            }
            let left = usize::try_from(self.held(segment).end - at).unwrap_or(usize::MAX);
            let now = left.min(buf.len() - got);
            let from = segment.offset + (at - segment.start);
            let read = read_up_to(&*self.source, &mut buf[got..got + now], from)?;
            got += read;
            if read < now {
                break;
            }
        }
        if got == 0 && !buf.is_empty() {
            return Err(CoreError::Missing { address });
        }
        Ok(got)
    }

    /// The addresses of a segment whose bytes are in the file.
    pub(crate) fn held(&self, segment: &Segment) -> Range<u64> {
        let size = segment
            .file_size
            .min(self.len.saturating_sub(segment.offset));
        segment.start..segment.start + size
    }
}

impl std::fmt::Debug for CoreFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CoreFile")
            .field("machine", &self.machine)
            .field("len", &self.len)
            .field("segments", &self.segments.len())
            .finish_non_exhaustive()
    }
}
