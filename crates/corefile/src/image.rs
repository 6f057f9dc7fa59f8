//! An ELF file as it lies in the dumped memory: headers, segments, build-id.

use std::ops::Range;

use crate::words::{word16, word32, word64};
use crate::{CoreError, Memory};

const PT_LOAD: u32 = 1;
const PT_DYNAMIC: u32 = 2;
const PT_INTERP: u32 = 3;
const PT_NOTE: u32 = 4;
const PT_TLS: u32 = 7;
const PT_GNU_EH_FRAME: u32 = 0x6474_e550;
const NT_GNU_BUILD_ID: u32 = 3;

/// Most program headers that an executable or a library is believed to have; linkers write about ten.
const MAX_HEADERS: u16 = 256;

/// Longest note segment that is read for a build-id.
const MAX_NOTES: u64 = 1 << 16;

/// Longest build-id that is believed; linkers write 16 or 20 bytes.
const MAX_BUILD_ID: usize = 64;

/// A program header of a 64-bit ELF file; addresses are those of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// `p_type`.
    pub kind: u32,
    /// `p_flags`.
    pub flags: u32,
    /// `p_offset`: where it begins in the file.
    pub offset: u64,
    /// `p_vaddr`: its address as it was linked.
    pub address: u64,
    /// `p_filesz`: bytes in the file.
    pub file_size: u64,
    /// `p_memsz`: bytes in memory.
    pub size: u64,
    /// `p_align`.
    pub align: u64,
}

/// The headers of a mapped ELF file.
#[derive(Debug, Clone)]
pub(crate) struct Image {
    /// Added to the addresses in the file, modulo 2^64, it gives those in the process.
    pub(crate) bias: u64,
    pub(crate) entry: u64,
    /// Where the program headers stand in the file.
    headers_at: u64,
    pub(crate) headers: Vec<Header>,
    /// ELF header and program headers, byte for byte.
    pub(crate) bytes: Vec<u8>,
}

impl Image {
    /// The image whose ELF header lies at `base`.
    ///
    /// # Errors
    /// [`CoreError::Missing`], [`CoreError::NotElf`], [`CoreError::Damaged`], [`CoreError::Io`].
    pub(crate) fn in_memory(memory: &Memory, base: u64) -> Result<Image, CoreError> {
        let head: [u8; 64] = memory.read_array(base)?;
        let mut image = Image::parse(&head, |at, buf| {
            let address = base
                .checked_add(at)
                .ok_or(CoreError::Missing { address: base })?;
            memory.read(address, buf)
        })?;
        let first = image
            .headers
            .iter()
            .find(|header| header.kind == PT_LOAD && header.offset == 0)
            .or_else(|| image.load().next())
            .ok_or(CoreError::Damaged("an image in memory has no segments"))?;
        image.bias = base.wrapping_sub(first.address.wrapping_sub(first.offset));
        Ok(image)
    }

    /// Parses the headers of a 64-bit little-endian file; `read` reads all of a buffer from a place in the file.
    pub(crate) fn parse(
        head: &[u8; 64],
        read: impl Fn(u64, &mut [u8]) -> Result<(), CoreError>,
    ) -> Result<Image, CoreError> {
        if !head.starts_with(b"\x7fELF") {
            return Err(CoreError::NotElf);
        }
        if head[4] != 2 || head[5] != 1 {
            return Err(CoreError::Unsupported("not 64-bit little-endian"));
        }
        let half = |at| word16(head, at).unwrap_or(0);
        let long = |at| word64(head, at).unwrap_or(0);
        let (count, entry_size) = (half(56), half(54));
        if entry_size != 56 || count == 0 || count > MAX_HEADERS {
            return Err(CoreError::Damaged("an image has no sound program headers"));
        }
        let mut table = vec![0; 56 * usize::from(count)];
        read(long(32), &mut table)?;
        let headers = table
            .chunks_exact(56)
            .map(|bytes| {
                let short = |at| word32(bytes, at).unwrap_or(0);
                let long = |at| word64(bytes, at).unwrap_or(0);
                Header {
                    kind: short(0),
                    flags: short(4),
                    offset: long(8),
                    address: long(16),
                    file_size: long(32),
                    size: long(40),
                    align: long(48),
                }
            })
            .collect();
        let mut bytes = head.to_vec();
        bytes.extend_from_slice(&table);
        Ok(Image {
            bias: 0,
            entry: long(24),
            headers_at: long(32),
            headers,
            bytes,
        })
    }

    /// The segments that are loaded.
    pub(crate) fn load(&self) -> impl Iterator<Item = &Header> {
        self.headers
            .iter()
            .filter(|header| header.kind == PT_LOAD && header.size > 0)
    }

    fn first(&self, kind: u32) -> Option<&Header> {
        self.headers.iter().find(|header| header.kind == kind)
    }

    /// Addresses in the process from its first to behind its last segment.
    pub(crate) fn range(&self) -> Option<Range<u64>> {
        let start = self.load().map(|load| load.address).min()?;
        let end = self
            .load()
            .filter_map(|load| load.address.checked_add(load.size))
            .max()?;
        let start = self.bias.wrapping_add(start);
        let end = self.bias.wrapping_add(end);
        (start < end).then_some(start..end)
    }

    /// The addresses of a segment in the process.
    pub(crate) fn place(&self, header: &Header) -> Option<Range<u64>> {
        let start = self.bias.wrapping_add(header.address);
        Some(start..start.checked_add(header.size)?)
    }

    /// The dynamic section.
    pub(crate) fn dynamic(&self) -> Option<Range<u64>> {
        self.place(self.first(PT_DYNAMIC)?)
    }

    /// The address of the dynamic section, without bias.
    pub(crate) fn dynamic_address(&self) -> Option<u64> {
        self.first(PT_DYNAMIC).map(|dynamic| dynamic.address)
    }

    /// The dynamic section in the file: place and size.
    pub(crate) fn dynamic_in_file(&self) -> Option<(u64, u64)> {
        self.first(PT_DYNAMIC)
            .map(|dynamic| (dynamic.offset, dynamic.file_size))
    }

    /// The path of the interpreter in the file: place and size.
    pub(crate) fn interpreter(&self) -> Option<(u64, u64)> {
        self.first(PT_INTERP)
            .map(|name| (name.offset, name.file_size))
    }

    /// The address of the program headers, without bias.
    pub(crate) fn headers_address(&self) -> Option<u64> {
        let load = self.load().find(|load| {
            load.offset <= self.headers_at && self.headers_at - load.offset < load.file_size
        })?;
        load.address.checked_add(self.headers_at - load.offset)
    }

    /// `.eh_frame_hdr`.
    pub(crate) fn eh_frame_header(&self) -> Option<Range<u64>> {
        self.place(self.first(PT_GNU_EH_FRAME)?)
    }

    /// The template of thread-local storage: size and alignment.
    pub(crate) fn tls(&self) -> Option<(u64, u64)> {
        self.first(PT_TLS).map(|tls| (tls.size, tls.align))
    }

    /// The build-id in the image's note segments. `read` reads some of a buffer from an address of the file's (without
    /// bias) or a place in it, whichever the caller has.
    pub(crate) fn build_id(
        &self,
        read: impl Fn(&Header, &mut [u8]) -> Result<usize, CoreError>,
    ) -> Option<Vec<u8>> {
        for header in self.headers.iter().filter(|header| header.kind == PT_NOTE) {
            let size = header.file_size.min(MAX_NOTES) as usize;
            let mut bytes = vec![0; size];
            let Ok(got) = read(header, &mut bytes) else {
                continue;
            };
            let align = if header.align == 8 { 8 } else { 4 };
            if let Some(id) = note(&bytes[..got], align) {
                return Some(id);
            }
        }
        None
    }

    /// The build-id as it lies in memory.
    pub(crate) fn build_id_in_memory(&self, memory: &Memory) -> Option<Vec<u8>> {
        self.build_id(|header, buf| memory.read_some(self.bias.wrapping_add(header.address), buf))
    }
}

/// The build-id among these notes.
fn note(bytes: &[u8], align: usize) -> Option<Vec<u8>> {
    let mut at = 0_usize;
    // Every turn moves on by twelve bytes at least.
    loop {
        let name_size = word32(bytes, at)? as usize;
        let size = word32(bytes, at + 4)? as usize;
        let kind = word32(bytes, at + 8)?;
        let name = at + 12;
        let content = name
            .checked_add(name_size)?
            .checked_next_multiple_of(align)?;
        let end = content.checked_add(size)?;
        if kind == NT_GNU_BUILD_ID && bytes.get(name..name + 4) == Some(b"GNU\0") && name_size == 4
        {
            let id = bytes.get(content..end)?;
            return (!id.is_empty() && id.len() <= MAX_BUILD_ID).then(|| id.to_vec());
        }
        at = end.checked_next_multiple_of(align)?;
    }
}
