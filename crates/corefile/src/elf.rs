//! The tables at the start of an ELF file, read with bounds.

use goblin::container::{Container, Ctx};
use goblin::elf::header::{EI_CLASS, EI_DATA, ELFCLASS64, ELFDATA2LSB, ELFMAG, Header};
use goblin::elf::program_header::ProgramHeader;
use goblin::elf::section_header::SectionHeader;

use crate::CoreError;
use crate::source::{Source, read_up_to};

/// Most program or section headers that are read. The kernel writes one program header per mapping, and
/// `vm.max_map_count` is 65530 unless raised.
const MAX_HEADERS: u64 = 4 << 20;

/// Headers are parsed in slices of this many, so that a file claiming millions of them costs what it holds.
const HEADERS_PER_READ: u64 = 1024;

/// `e_phnum` when the real number is in `sh_info` of the first section header.
const PN_XNUM: u16 = 0xffff;

/// An ELF file's header with what is needed to read its tables.
pub(crate) struct ElfHeaders {
    pub(crate) header: Header,
    ctx: Ctx,
    /// Length of the file in bytes when it was opened.
    pub(crate) len: u64,
}

impl ElfHeaders {
    /// Reads and checks the ELF header at the start of `file`.
    pub(crate) fn read(file: &dyn Source) -> Result<ElfHeaders, CoreError> {
        let len = file.len();
        let mut bytes = [0_u8; 64];
        let got = read_up_to(file, &mut bytes, 0)?;
        if got < ELFMAG.len() || got <= EI_DATA {
            return if bytes[..got].starts_with(&ELFMAG[..got.min(ELFMAG.len())]) {
                Err(CoreError::Truncated {
                    expected: 64,
                    actual: len,
                })
            } else {
                Err(CoreError::NotElf)
            };
        }
        if !bytes.starts_with(ELFMAG) {
            return Err(CoreError::NotElf);
        }
        if bytes[EI_DATA] != ELFDATA2LSB {
            return Err(CoreError::Unsupported("it is not little-endian"));
        }
        let wanted = if bytes[EI_CLASS] == ELFCLASS64 {
            64
        } else {
            52
        };
        if got < wanted {
            return Err(CoreError::Truncated {
                expected: wanted as u64,
                actual: len,
            });
        }
        let header = goblin::elf::Elf::parse_header(&bytes)
            .map_err(|_| CoreError::Damaged("the ELF header cannot be parsed"))?;
        let container = if wanted == 64 {
            Container::Big
        } else {
            Container::Little
        };
        let ctx = Ctx::new(container, goblin::container::Endian::Little);
        Ok(ElfHeaders { header, ctx, len })
    }

    /// Whether its addresses have 64 bits.
    pub(crate) fn is_64(&self) -> bool {
        self.ctx.container == Container::Big
    }

    /// All program headers, in the file's order; their number may be in the first section header (`PN_XNUM`).
    pub(crate) fn program_headers(
        &self,
        file: &dyn Source,
    ) -> Result<Vec<ProgramHeader>, CoreError> {
        let count = if self.header.e_phnum == PN_XNUM {
            let first = self.sections(file, 1)?;
            u64::from(first.first().map_or(0, |section| section.sh_info))
        } else {
            u64::from(self.header.e_phnum)
        };
        self.table(
            file,
            Table {
                start: self.header.e_phoff,
                count,
                entry: self.header.e_phentsize,
            },
            ProgramHeader::size(self.ctx),
            |bytes, count| ProgramHeader::parse(bytes, 0, count, self.ctx),
        )
    }

    /// All section headers; none when the file has none.
    pub(crate) fn section_headers(
        &self,
        file: &dyn Source,
    ) -> Result<Vec<SectionHeader>, CoreError> {
        if self.header.e_shoff == 0 {
            return Ok(Vec::new());
        }
        // A number that does not fit is in sh_size of the first header, as for program headers.
        let count = match self.header.e_shnum {
            0 => self
                .sections(file, 1)?
                .first()
                .map_or(0, |section| section.sh_size),
            count => u64::from(count),
        };
        self.sections(file, count)
    }

    fn sections(&self, file: &dyn Source, count: u64) -> Result<Vec<SectionHeader>, CoreError> {
        if self.header.e_shoff == 0 {
            return Err(CoreError::Damaged(
                "the section header it refers to is absent",
            ));
        }
        self.table(
            file,
            Table {
                start: self.header.e_shoff,
                count,
                entry: self.header.e_shentsize,
            },
            SectionHeader::size(self.ctx),
            |bytes, count| SectionHeader::parse_from(bytes, 0, count, self.ctx),
        )
    }

    fn table<T>(
        &self,
        file: &dyn Source,
        table: Table,
        size: usize,
        parse: impl Fn(&[u8], usize) -> goblin::error::Result<Vec<T>>,
    ) -> Result<Vec<T>, CoreError> {
        let Table {
            start,
            count,
            entry,
        } = table;
        if count == 0 {
            return Ok(Vec::new());
        }
        if usize::from(entry) != size {
            return Err(CoreError::Damaged(
                "an entry of the header table has the wrong size",
            ));
        }
        if count > MAX_HEADERS {
            return Err(CoreError::Damaged("it has too many headers"));
        }
        let end = (size as u64)
            .checked_mul(count)
            .and_then(|bytes| bytes.checked_add(start))
            .ok_or(CoreError::Damaged(
                "the header table lies outside of any file",
            ))?;
        if end > self.len {
            return Err(CoreError::Truncated {
                expected: end,
                actual: self.len,
            });
        }
        let mut entries = Vec::with_capacity(usize::try_from(count).unwrap_or(0));
        let mut bytes = vec![0_u8; size * HEADERS_PER_READ.min(count) as usize];
        let mut done = 0;
        while done < count {
            let now = HEADERS_PER_READ.min(count - done) as usize;
            let slice = &mut bytes[..now * size];
            let at = start + done * size as u64;
            let got = read_up_to(file, slice, at)?;
            if got < slice.len() {
                return Err(CoreError::Truncated {
                    expected: end,
                    actual: at + got as u64,
                });
            }
            entries.extend(
                parse(slice, now).map_err(|_| CoreError::Damaged("a header cannot be parsed"))?,
            );
            done += now as u64;
        }
        Ok(entries)
    }
}

/// Where a table of headers lies, as the ELF header says.
struct Table {
    start: u64,
    count: u64,
    entry: u16,
}
