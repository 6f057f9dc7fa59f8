//! The sections of an ELF file: what symbols and debug information are made of.

use std::io::Read;
use std::sync::Arc;

use goblin::elf::section_header::{SHF_COMPRESSED, SHT_NOBITS, SectionHeader};

use crate::CoreError;
use crate::elf::ElfHeaders;
use crate::source::{Source, read_vec};
use crate::words::{word32, word64};

/// Longest section, unpacked, that is read. The debug information of browsers is below it.
const MAX_SECTION: u64 = 4 << 30;

/// Longest table of section names.
const MAX_NAMES: u64 = 16 << 20;

/// Most that `.gnu_debugdata` may unpack to.
const MAX_MINI: u64 = 256 << 20;

/// More links between section and name than this are nobody's.
const SHN_XINDEX: u16 = 0xffff;

const ELFCOMPRESS_ZLIB: u32 = 1;
const ELFCOMPRESS_ZSTD: u32 = 2;

/// An ELF file of 64 bits whose sections have been listed.
pub(crate) struct ElfFile {
    source: Arc<dyn Source>,
    sections: Vec<(Vec<u8>, SectionHeader)>,
}

impl ElfFile {
    /// Lists the sections.
    pub(crate) fn open(source: Arc<dyn Source>) -> Result<ElfFile, CoreError> {
        let elf = ElfHeaders::read(&*source)?;
        if !elf.is_64() {
            return Err(CoreError::Unsupported("not 64-bit"));
        }
        let headers = elf.section_headers(&*source)?;
        let names = match elf.header.e_shstrndx {
            SHN_XINDEX => headers.first().map_or(0, |first| first.sh_link as usize),
            index => usize::from(index),
        };
        let names = match headers.get(names) {
            Some(names) if names.sh_type != SHT_NOBITS => {
                read_vec(&*source, names.sh_offset, names.sh_size.min(MAX_NAMES))?
            }
            _ => Vec::new(),
        };
        let sections = headers
            .into_iter()
            .map(|header| (text(&names, header.sh_name).to_vec(), header))
            .collect();
        Ok(ElfFile { source, sections })
    }

    /// The file's bytes.
    pub(crate) fn source(&self) -> &Arc<dyn Source> {
        &self.source
    }

    /// The header of the first section with this name that has bytes in the file.
    pub(crate) fn section(&self, name: &str) -> Option<&SectionHeader> {
        self.sections
            .iter()
            .find(|(known, header)| known == name.as_bytes() && header.sh_type != SHT_NOBITS)
            .map(|(_, header)| header)
    }

    /// The first section of this type.
    pub(crate) fn section_of_type(&self, kind: u32) -> Option<&SectionHeader> {
        self.sections
            .iter()
            .find(|(_, header)| header.sh_type == kind)
            .map(|(_, header)| header)
    }

    /// The section with this number.
    pub(crate) fn section_at(&self, index: usize) -> Option<&SectionHeader> {
        self.sections
            .get(index)
            .map(|(_, header)| header)
            .filter(|header| header.sh_type != SHT_NOBITS)
    }

    /// The content of a section, unpacked where it is compressed.
    pub(crate) fn data(&self, header: &SectionHeader) -> Result<Vec<u8>, CoreError> {
        if header.sh_size > MAX_SECTION {
            return Err(CoreError::Damaged("a section is too long"));
        }
        let bytes = read_vec(&*self.source, header.sh_offset, header.sh_size)?;
        if header.sh_flags & u64::from(SHF_COMPRESSED) == 0 {
            return Ok(bytes);
        }
        unpack(&bytes)
    }

    /// The content of the section with this name; nothing where there is none or it cannot be read.
    pub(crate) fn named(&self, name: &str) -> Option<Vec<u8>> {
        self.data(self.section(name)?).ok()
    }

    /// The file inside `.gnu_debugdata`: symbols that the outer file was stripped of.
    pub(crate) fn mini_debug(&self) -> Option<ElfFile> {
        let packed = self.named(".gnu_debugdata")?;
        let reader = lzma_rust2::XzReader::new(packed.as_slice(), true);
        let mut bytes = Vec::new();
        let read = reader.take(MAX_MINI + 1).read_to_end(&mut bytes).ok()?;
        if read as u64 > MAX_MINI {
            return None;
        }
        ElfFile::open(Arc::new(bytes)).ok()
    }

    /// `.gnu_debuglink`: the name of the separate debug file, and the CRC-32 of its bytes.
    pub(crate) fn debug_link(&self) -> Option<(Vec<u8>, u32)> {
        let content = self.named(".gnu_debuglink")?;
        let name = text(&content, 0);
        let crc = word32(&content, (name.len() + 1).next_multiple_of(4))?;
        (!name.is_empty()).then(|| (name.to_vec(), crc))
    }

    /// `.gnu_debugaltlink`: the path of the file with what several debug files share, and its build-id.
    pub(crate) fn alternate_link(&self) -> Option<(Vec<u8>, Vec<u8>)> {
        let content = self.named(".gnu_debugaltlink")?;
        let name = text(&content, 0);
        let id = content.get(name.len() + 1..)?;
        (!name.is_empty() && !id.is_empty()).then(|| (name.to_vec(), id.to_vec()))
    }
}

/// The content of a section of an ELF file of 64 bits; `None` where there is none, or it cannot be read.
pub fn file_section(source: &Arc<dyn Source>, name: &str) -> Option<Vec<u8>> {
    ElfFile::open(source.clone()).ok()?.named(name)
}

/// The value of a symbol of an ELF file of 64 bits (`st_value`), whatever it is of; `None` where there is none.
pub fn file_symbol(source: &Arc<dyn Source>, name: &str) -> Option<u64> {
    const ENTRY: usize = 24;
    let file = ElfFile::open(source.clone()).ok()?;
    let table = file.section(".symtab")?;
    let strings = file.data(file.section_at(table.sh_link as usize)?).ok()?;
    let symbols = file.data(table).ok()?;
    symbols.chunks_exact(ENTRY).find_map(|symbol| {
        let at = word32(symbol, 0)? as usize;
        let defined = symbol[6..8] != [0, 0];
        (defined && text(&strings, at) == name.as_bytes()).then(|| word64(symbol, 8))?
    })
}

/// A section that begins with an `Elf64_Chdr`.
fn unpack(bytes: &[u8]) -> Result<Vec<u8>, CoreError> {
    const HEADER: usize = 24;
    let damaged = || CoreError::Damaged("a compressed section cannot be unpacked");
    let (Some(kind), Some(size)) = (word32(bytes, 0), word64(bytes, 8)) else {
        return Err(damaged());
    };
    if size > MAX_SECTION {
        return Err(CoreError::Damaged("a section is too long"));
    }
    let packed = bytes.get(HEADER..).ok_or_else(damaged)?;
    // What it unpacks to is not believed before it is there: what is allocated in advance is a few times the packed.
    const USUAL: usize = 4;
    let usual = packed.len().saturating_mul(USUAL) as u64;
    let mut unpacked = Vec::with_capacity(size.min(usual) as usize);
    let read = match kind {
        ELFCOMPRESS_ZLIB => flate2::read::ZlibDecoder::new(packed)
            .take(size)
            .read_to_end(&mut unpacked),
        ELFCOMPRESS_ZSTD => zstd::stream::read::Decoder::new(packed)
            .and_then(|decoder| decoder.take(size).read_to_end(&mut unpacked)),
        _ => {
            return Err(CoreError::Unsupported(
                "an unknown kind of compressed section",
            ));
        }
    };
    match read {
        Ok(read) if read as u64 == size => Ok(unpacked),
        _ => Err(damaged()),
    }
}

/// The bytes from `at` up to a NUL.
pub(crate) fn text(bytes: &[u8], at: usize) -> &[u8] {
    let rest = bytes.get(at..).unwrap_or_default();
    let end = memchr::memchr(0, rest).unwrap_or(rest.len());
    &rest[..end]
}
