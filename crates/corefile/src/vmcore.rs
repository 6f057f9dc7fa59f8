//! Crash dumps of the kernel: ELF with a `VMCOREINFO` note (kdump, `/proc/vmcore`, QEMU), and makedumpfile's compressed
//! format, also flattened as it is sent over a network.
//!
//! From a dump come the release and build-id of the kernel, and, where its page tables can be followed, the list of the
//! modules that were loaded. Formats as in makedumpfile's `diskdump_mod.h` and `makedumpfile.h` and in the kernel's
//! `Documentation/admin-guide/kdump/vmcoreinfo.rst`.

mod flat;
mod kdump;
mod modules;

use std::collections::BTreeMap;
use std::sync::Arc;

use goblin::elf::header::ET_CORE;
use goblin::elf::program_header::PT_LOAD;

use crate::elf::ElfHeaders;
use crate::source::{Source, read_up_to, read_vec};
use crate::{CoreError, CoreFile};

use self::flat::FlatSource;
use self::kdump::Kdump;
pub use self::modules::LoadedModule;

/// Longest `VMCOREINFO` that is read; the kernel's is a page or two.
const MAX_INFO: u64 = 1 << 20;

/// In which form a dump is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DumpFormat {
    /// An ELF core with physical addresses.
    Elf,
    /// makedumpfile's compressed format.
    Compressed,
}

/// A crash dump of the kernel.
pub struct KernelDump {
    format: DumpFormat,
    flattened: bool,
    /// `VMCOREINFO`, by key.
    info: BTreeMap<String, String>,
    machine: Option<u16>,
    physical: Physical,
}

/// Where physical memory lies.
enum Physical {
    /// Segments of a file: first physical address, bytes, place in the file.
    Elf(Arc<dyn Source>, Vec<(u64, u64, u64)>),
    Compressed(Kdump),
}

impl KernelDump {
    /// Reads the headers of a dump. `None` where it is none: an ELF core without `VMCOREINFO`, or something else.
    ///
    /// # Errors
    /// [`CoreError::Damaged`], [`CoreError::Truncated`] and [`CoreError::Unsupported`] for a dump that cannot be read,
    /// [`CoreError::Io`].
    pub fn recognise(source: Arc<dyn Source>) -> Result<Option<KernelDump>, CoreError> {
        let mut magic = [0; 16];
        let got = read_up_to(&*source, &mut magic, 0)?;
        let magic = &magic[..got];
        if magic.starts_with(b"makedumpfile\0") {
            let inner: Arc<dyn Source> = Arc::new(FlatSource::open(source)?);
            let mut head = [0; 8];
            let got = read_up_to(&*inner, &mut head, 0)?;
            // Flattened twice is nobody's.
            let dump = if head[..got].starts_with(b"\x7fELF") {
                KernelDump::elf(inner)?
            } else {
                Some(KernelDump::compressed(inner)?)
            };
            return dump
                .map(|dump| {
                    Some(KernelDump {
                        flattened: true,
                        ..dump
                    })
                })
                .ok_or(CoreError::Damaged(
                    "it is flattened by makedumpfile, and has no VMCOREINFO",
                ));
        }
        if magic.starts_with(b"KDUMP   ") || magic.starts_with(b"DISKDUMP") {
            return KernelDump::compressed(source).map(Some);
        }
        if magic.starts_with(b"\x7fELF") {
            return KernelDump::elf(source);
        }
        Ok(None)
    }

    fn elf(source: Arc<dyn Source>) -> Result<Option<KernelDump>, CoreError> {
        let Ok(core) = CoreFile::open(source.clone()) else {
            return Ok(None);
        };
        // What precedes a damaged note would be lost with it; a process's core is not spoiled by that here.
        let Ok(notes) = core.notes() else {
            return Ok(None);
        };
        let Some(note) = notes.iter().find(|note| note.name == "VMCOREINFO") else {
            return Ok(None);
        };
        let size = note.range.end - note.range.start;
        let text = read_vec(&*source, note.range.start, size.min(MAX_INFO))?;
        let elf = ElfHeaders::read(&*source)?;
        if elf.header.e_type != ET_CORE {
            return Ok(None);
        }
        let segments = elf
            .program_headers(&*source)?
            .iter()
            .filter(|header| header.p_type == PT_LOAD)
            .map(|header| (header.p_paddr, header.p_filesz, header.p_offset))
            .collect();
        Ok(Some(KernelDump {
            format: DumpFormat::Elf,
            flattened: false,
            info: parse_info(&text),
            machine: Some(elf.header.e_machine),
            physical: Physical::Elf(source, segments),
        }))
    }

    fn compressed(source: Arc<dyn Source>) -> Result<KernelDump, CoreError> {
        let dump = Kdump::open(source)?;
        Ok(KernelDump {
            format: DumpFormat::Compressed,
            flattened: false,
            info: parse_info(&dump.vmcoreinfo()?),
            machine: dump.machine(),
            physical: Physical::Compressed(dump),
        })
    }

    /// In which form it is.
    pub fn format(&self) -> DumpFormat {
        self.format
    }

    /// Whether it is flattened: `makedumpfile -R` makes it what most programs read.
    pub fn is_flattened(&self) -> bool {
        self.flattened
    }

    /// A line of `VMCOREINFO`.
    pub fn info(&self, key: &str) -> Option<&str> {
        self.info.get(key).map(String::as_str)
    }

    /// The kernel's release (`uname -r`), where it is one that can be part of a path.
    pub fn release(&self) -> Option<&str> {
        let text = match (self.info("OSRELEASE"), &self.physical) {
            (Some(text), _) => text,
            (None, Physical::Compressed(dump)) => dump.release(),
            (None, Physical::Elf(..)) => return None,
        };
        let sound = !text.is_empty()
            && text.len() < 128
            && !text.starts_with('.')
            && text
                .chars()
                .all(|char| char.is_ascii_alphanumeric() || "._+~-".contains(char));
        sound.then_some(text)
    }

    /// The build-id of the kernel; kernels before 5.9 do not tell it.
    pub fn build_id(&self) -> Option<Vec<u8>> {
        let text = self.info("BUILD-ID")?;
        if text.is_empty() || text.len() % 2 != 0 || text.len() > 128 || !text.is_ascii() {
            return None;
        }
        (0..text.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&text[at..at + 2], 16).ok())
            .collect()
    }

    /// `e_machine` of the kernel.
    pub fn machine(&self) -> Option<u16> {
        self.machine
    }

    /// Reads physical memory; what the dump leaves out is an error.
    pub(crate) fn read_physical(&self, address: u64, buf: &mut [u8]) -> Result<(), CoreError> {
        match &self.physical {
            Physical::Elf(source, segments) => {
                let held = segments.iter().find_map(|&(start, size, offset)| {
                    let from = address.checked_sub(start)?;
                    (from.checked_add(buf.len() as u64)? <= size)
                        .then(|| offset.checked_add(from))?
                });
                let at = held.ok_or(CoreError::Missing { address })?;
                if read_up_to(&**source, buf, at)? < buf.len() {
                    return Err(CoreError::Missing { address });
                }
                Ok(())
            }
            Physical::Compressed(dump) => dump.read(address, buf),
        }
    }

    fn number(&self, key: &str) -> Option<u64> {
        let text = self.info(key)?;
        let signed = text.parse::<i64>().ok().map(|number| number as u64);
        signed.or_else(|| text.parse().ok())
    }

    fn hexadecimal(&self, key: &str) -> Option<u64> {
        let text = self.info(key)?;
        u64::from_str_radix(text.trim_start_matches("0x"), 16).ok()
    }
}

/// The lines `KEY=VALUE`.
fn parse_info(text: &[u8]) -> BTreeMap<String, String> {
    String::from_utf8_lossy(text)
        .trim_end_matches('\0')
        .lines()
        .filter_map(|line| line.split_once('='))
        .map(|(key, value)| (key.to_owned(), value.trim().to_owned()))
        .collect()
}

impl std::fmt::Debug for KernelDump {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KernelDump")
            .field("format", &self.format)
            .field("flattened", &self.flattened)
            .field("release", &self.release())
            .finish_non_exhaustive()
    }
}
