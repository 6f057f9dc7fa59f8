//! The modules that were loaded into the kernel: its list `modules`, followed through its own page tables.

use std::collections::HashSet;

use super::KernelDump;
use crate::CoreError;

const EM_X86_64: u16 = 62;

/// Where the kernel's image is mapped on x86_64.
const START_KERNEL_MAP: u64 = 0xffff_ffff_8000_0000;

/// Bits of a page table entry that are an address.
const ADDRESS: u64 = 0x000f_ffff_ffff_f000;
const PRESENT: u64 = 1;
const LARGE: u64 = 1 << 7;

/// `struct module` begins with its state, its place in the list, and its name, since Linux 2.6.
const LIST: u64 = 8;
const NAME: usize = 24;
const NAME_LENGTH: usize = 56;

/// How much of `struct module` is looked at: behind the name there are the build-id (20 bytes, where the kernel keeps it)
/// and pointers to strings.
const HEAD: usize = 1024;

/// Most modules that a kernel is believed to have.
const MAX_MODULES: usize = 1 << 14;

/// Most memory of a module that is searched for its notes.
const MAX_MODULE_SIZE: u64 = 32 << 20;

/// Longest string that a pointer in `struct module` may lead to.
const MAX_STRING: usize = 64;

/// A module that was loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadedModule {
    /// Its name, with underscores.
    pub name: String,
    /// The beginning of its `struct module`, name included.
    head: Vec<u8>,
    /// The strings that pointers in there lead to.
    strings: Vec<Vec<u8>>,
    /// The build-ids in its notes, which lie in its memory with it.
    notes: Vec<Vec<u8>>,
}

impl LoadedModule {
    /// Whether it was loaded from the file with this build-id.
    pub fn has_build_id(&self, id: &[u8]) -> bool {
        let in_head = || {
            self.head[NAME + NAME_LENGTH..]
                .windows(id.len())
                .any(|window| window == id)
        };
        id.len() >= 8 && (self.notes.iter().any(|its| its == id) || in_head())
    }

    /// Whether its own build-id is known.
    pub fn tells_build_id(&self) -> bool {
        !self.notes.is_empty()
    }

    /// Whether it was loaded from the file with this source version (`modinfo -F srcversion`).
    pub fn has_source_version(&self, version: &[u8]) -> bool {
        !version.is_empty() && self.strings.iter().any(|text| text == version)
    }
}

impl KernelDump {
    /// The modules that were loaded. `list` is the address of the kernel's symbol `modules` as it was linked.
    ///
    /// # Errors
    /// [`CoreError::Unsupported`] where page tables cannot be followed: other processors than x86_64, and dumps that do
    /// not say where the tables are. [`CoreError::Missing`] where the dump lacks a page of them or of the list.
    pub fn loaded_modules(&self, list: u64) -> Result<Vec<LoadedModule>, CoreError> {
        let offset = self.hexadecimal("KERNELOFFSET").unwrap_or(0);
        let start = list.wrapping_add(offset);
        let tables = Tables::of(self)?;
        let mut modules = Vec::new();
        let mut seen = HashSet::new();
        let mut node = tables.word(self, start)?;
        while node != start {
            if !seen.insert(node) || modules.len() == MAX_MODULES {
                return Err(CoreError::Damaged(
                    "the kernel's list of modules has no end",
                ));
            }
            modules.push(self.module(&tables, node.wrapping_sub(LIST))?);
            node = tables.word(self, node)?;
        }
        Ok(modules)
    }

    fn module(&self, tables: &Tables, address: u64) -> Result<LoadedModule, CoreError> {
        let mut head = vec![0; HEAD];
        let got = tables.read_some(self, address, &mut head);
        if got < NAME + NAME_LENGTH {
            return Err(CoreError::Missing { address });
        }
        head.truncate(got);
        let name = &head[NAME..NAME + NAME_LENGTH];
        let end = name.iter().position(|&byte| byte == 0).unwrap_or(0);
        let name = &name[..end];
        if name.is_empty() || !name.iter().all(u8::is_ascii_graphic) {
            return Err(CoreError::Damaged("a module of the kernel has no name"));
        }
        let strings = head[NAME + NAME_LENGTH..]
            .chunks_exact(8)
            .map(|word| u64::from_le_bytes(std::array::from_fn(|at| word[at])))
            .filter(|&word| word >= 1 << 63)
            .filter_map(|pointer| tables.string(self, pointer))
            .collect();
        let notes = notes(tables, self, address, &head);
        Ok(LoadedModule {
            notes,
            name: String::from_utf8_lossy(name).replace('-', "_"),
            head,
            strings,
        })
    }
}

/// The build-ids in the notes of a module: they lie between the beginning of its memory, which a pointer in `struct module`
/// leads to, and the structure.
fn notes(tables: &Tables, dump: &KernelDump, address: u64, head: &[u8]) -> Vec<Vec<u8>> {
    // Lengths of name and content, and the type, of such a note: `struct elf64_note`.
    const NOTE: [u8; 16] = *b"\x04\0\0\0\x14\0\0\0\x03\0\0\0GNU\0";
    let base = head[NAME + NAME_LENGTH..]
        .chunks_exact(8)
        .map(|word| u64::from_le_bytes(std::array::from_fn(|at| word[at])))
        .filter(|word| word % 4096 == 0 && *word <= address && address - *word <= MAX_MODULE_SIZE)
        .min();
    let Some(base) = base else {
        return Vec::new();
    };
    let mut found = Vec::new();
    let mut bytes = vec![0; 4096 + 36];
    let mut page = base;
    while page <= address {
        // Some of the next page, for a note that reaches into it.
        let got = tables.read_some(dump, page, &mut bytes);
        let read = &bytes[..got];
        for at in memchr::memmem::find_iter(read, &NOTE) {
            if at < 4096
                && let Some(id) = read.get(at + 16..at + 36)
            {
                found.push(id.to_vec());
            }
        }
        page += 4096;
    }
    found
}

/// The page tables of the kernel.
struct Tables {
    /// Physical address of the first.
    top: u64,
    levels: u32,
}

impl Tables {
    fn of(dump: &KernelDump) -> Result<Tables, CoreError> {
        if dump.machine() != Some(EM_X86_64) {
            return Err(CoreError::Unsupported(
                "page tables of another processor than x86_64",
            ));
        }
        let (Some(top), Some(base)) = (
            dump.hexadecimal("SYMBOL(swapper_pg_dir)"),
            dump.number("NUMBER(phys_base)"),
        ) else {
            return Err(CoreError::Unsupported(
                "a dump that does not say where its page tables are",
            ));
        };
        let five = dump.number("NUMBER(pgtable_l5_enabled)") == Some(1);
        Ok(Tables {
            top: top.wrapping_sub(START_KERNEL_MAP).wrapping_add(base),
            levels: if five { 5 } else { 4 },
        })
    }

    /// The physical address.
    fn translate(&self, dump: &KernelDump, address: u64) -> Result<u64, CoreError> {
        let mut table = self.top;
        for level in (0..self.levels).rev() {
            let shift = 12 + 9 * level;
            let index = address >> shift & 0x1ff;
            let mut entry = [0; 8];
            dump.read_physical(table.wrapping_add(index * 8), &mut entry)?;
            let entry = u64::from_le_bytes(entry);
            if entry & PRESENT == 0 {
                return Err(CoreError::Missing { address });
            }
            let inside = (1_u64 << shift) - 1;
            if level == 0 || (level < 3 && entry & LARGE != 0) {
                return Ok((entry & ADDRESS & !inside) | (address & inside));
            }
            table = entry & ADDRESS;
        }
        Err(CoreError::Missing { address })
    }

    /// Reads as much as there is.
    fn read_some(&self, dump: &KernelDump, address: u64, buf: &mut [u8]) -> usize {
        let mut done = 0;
        while done < buf.len() {
            let Some(at) = address.checked_add(done as u64) else {
                break;
            };
            let now = (4096 - (at % 4096) as usize).min(buf.len() - done);
            let read = self
                .translate(dump, at)
                .and_then(|at| dump.read_physical(at, &mut buf[done..done + now]));
            if read.is_err() {
                break;
            }
            done += now;
        }
        done
    }

    fn word(&self, dump: &KernelDump, address: u64) -> Result<u64, CoreError> {
        let mut word = [0; 8];
        match self.read_some(dump, address, &mut word) {
            8 => Ok(u64::from_le_bytes(word)),
            _ => Err(CoreError::Missing { address }),
        }
    }

    /// A short string of plain characters.
    fn string(&self, dump: &KernelDump, address: u64) -> Option<Vec<u8>> {
        let mut bytes = [0; MAX_STRING];
        let got = self.read_some(dump, address, &mut bytes);
        let end = bytes[..got].iter().position(|&byte| byte == 0)?;
        let text = &bytes[..end];
        (!text.is_empty() && text.iter().all(u8::is_ascii_graphic)).then(|| text.to_vec())
    }
}
