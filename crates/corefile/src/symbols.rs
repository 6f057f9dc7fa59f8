//! Names of addresses, and addresses of names.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};

use goblin::elf::section_header::{SHT_DYNSYM, SHT_SYMTAB};

use crate::elf_file::{ElfFile, text};
use crate::gnu_hash::GnuHash;
use crate::source::{Source, read_vec};
use crate::symbol::{Symbol, SymbolKind};
use crate::words::{word16, word32, word64};

/// Size of an `Elf64_Sym`: name (4), type and binding (1), other (1), section (2), value (8), size (8).
const ENTRY: usize = 24;

/// Most symbols of a table.
const MAX_SYMBOLS: usize = 64 << 20;

/// Longest name; those of C++ templates have thousands of characters.
const MAX_NAME: usize = 1 << 20;

/// How many names are looked for in a table before an index over all of them pays.
const SEARCHES: u32 = 8;

/// Most symbols that are looked at for one address.
const MAX_STEPS: usize = 4096;

/// A table of symbols as it stands in a file. Indexes over it are made when they are first needed.
pub(crate) struct SymbolTable {
    entries: Vec<u8>,
    names: Names,
    bias: u64,
    /// The dynamic linker's own index over the names, where the file has one.
    index: Option<GnuHash>,
    /// Those that may be code, by address.
    code: OnceLock<Vec<u32>>,
    /// How often a name was looked for without an index.
    searches: AtomicU32,
    /// Those with a name, by its hash.
    hashes: OnceLock<Vec<(u32, u32)>>,
}

/// The names of a table. Those of a large program take ten megabytes: a backtrace needs a few of them, and reads those.
struct Names {
    source: Arc<dyn Source>,
    range: Range<u64>,
    all: OnceLock<Vec<u8>>,
}

impl Names {
    /// All of them.
    fn all(&self) -> &[u8] {
        self.all.get_or_init(|| {
            let size = self.range.end.saturating_sub(self.range.start);
            read_vec(&*self.source, self.range.start, size).unwrap_or_default()
        })
    }

    /// The name that begins there; nothing where it cannot be read.
    fn at(&self, offset: u32) -> Cow<'_, [u8]> {
        if let Some(all) = self.all.get() {
            return Cow::Borrowed(text(all, offset as usize));
        }
        let mut name = Vec::new();
        let mut at = self.range.start.saturating_add(u64::from(offset));
        while at < self.range.end && name.len() < MAX_NAME {
            let part = read_vec(&*self.source, at, (self.range.end - at).min(256));
            let part = part.unwrap_or_default();
            let end = memchr::memchr(0, &part);
            name.extend_from_slice(&part[..end.unwrap_or(part.len())]);
            if end.is_some() || part.is_empty() {
                break;
            }
            at += part.len() as u64;
        }
        Cow::Owned(name)
    }
}

/// The fields of an entry that matter.
#[derive(Clone, Copy)]
struct Entry {
    name: u32,
    kind: u8,
    binding: u8,
    value: u64,
    size: u64,
}

impl SymbolTable {
    /// The full table of a file (`.symtab`), or that for the dynamic linker.
    pub(crate) fn of(file: &ElfFile, dynamic: bool, bias: u64) -> Option<SymbolTable> {
        let header = file.section_of_type(if dynamic { SHT_DYNSYM } else { SHT_SYMTAB })?;
        let names = file.section_at(header.sh_link as usize)?;
        let names = Names {
            source: file.source().clone(),
            range: names.sh_offset..names.sh_offset.checked_add(names.sh_size)?,
            all: OnceLock::new(),
        };
        let mut table = SymbolTable::new(file.data(header).ok()?, names, bias)?;
        table.index = dynamic.then(|| GnuHash::of(file)).flatten();
        Some(table)
    }

    /// A table that was read already, with its names.
    pub(crate) fn from_bytes(entries: Vec<u8>, names: Vec<u8>, bias: u64) -> Option<SymbolTable> {
        let names = Names {
            range: 0..names.len() as u64,
            source: Arc::new(names),
            all: OnceLock::new(),
        };
        SymbolTable::new(entries, names, bias)
    }

    fn new(mut entries: Vec<u8>, names: Names, bias: u64) -> Option<SymbolTable> {
        entries.truncate(entries.len().min(MAX_SYMBOLS * ENTRY) / ENTRY * ENTRY);
        (!entries.is_empty()).then(|| SymbolTable {
            entries,
            names,
            bias,
            index: None,
            code: OnceLock::new(),
            searches: AtomicU32::new(0),
            hashes: OnceLock::new(),
        })
    }

    fn entry(&self, index: u32) -> Option<Entry> {
        let at = index as usize * ENTRY;
        let bytes = self.entries.get(at..at + ENTRY)?;
        // SHN_UNDEF: somebody else's.
        if word16(bytes, 6)? == 0 {
            return None;
        }
        Some(Entry {
            name: word32(bytes, 0)?,
            kind: bytes[4] & 15,
            binding: bytes[4] >> 4,
            value: word64(bytes, 8)?,
            size: word64(bytes, 16)?,
        })
    }

    fn count(&self) -> u32 {
        (self.entries.len() / ENTRY) as u32
    }

    fn name(&self, entry: Entry) -> Cow<'_, [u8]> {
        self.names.at(entry.name)
    }

    fn symbol(&self, entry: Entry) -> Symbol {
        let kind = match entry.kind {
            // STT_FUNC, STT_GNU_IFUNC
            2 | 10 => SymbolKind::Function,
            1 => SymbolKind::Object,
            6 => SymbolKind::ThreadLocal,
            _ => SymbolKind::Untyped,
        };
        Symbol {
            name: self.name(entry).into_owned(),
            address: match kind {
                SymbolKind::ThreadLocal => entry.value,
                _ => self.bias.wrapping_add(entry.value),
            },
            size: entry.size,
            kind,
        }
    }

    /// The code symbol that an address lies in, as gdb chooses: the last that begins at or before it. One that says
    /// its size and ends before the address is not it, nor is one without a size before such a one.
    pub(crate) fn at(&self, address: u64) -> Option<Symbol> {
        let wanted = address.wrapping_sub(self.bias);
        let code = self.code.get_or_init(|| self.by_address());
        let value = |index: &u32| self.entry(*index).map_or(0, |entry| entry.value);
        let upto = code.partition_point(|index| value(index) <= wanted);
        let mut best: Option<Entry> = None;
        let mut sized_ended = false;
        for index in code[..upto].iter().rev().take(MAX_STEPS) {
            let Some(entry) = self.entry(*index) else {
                continue;
            };
            if let Some(best) = best
                && best.value != entry.value
            {
                break;
            }
            let covers = match entry.size {
                0 => !sized_ended,
                size => wanted - entry.value < size,
            };
            if !covers {
                sized_ended |= entry.size != 0;
                continue;
            }
            // The marks between code and data on aarch64 ($x, $d) name nothing.
            if matches!(self.name(entry).first(), None | Some(b'$')) {
                continue;
            }
            if best.is_none_or(|best| self.rank(entry) > self.rank(best)) {
                best = Some(entry);
            }
        }
        best.map(|entry| self.symbol(entry))
    }

    /// Which of several names of one address is shown, as gdb chooses: one with a size, and of those the last by name.
    fn rank(&self, entry: Entry) -> (bool, Cow<'_, [u8]>) {
        (entry.size != 0, self.name(entry))
    }

    fn by_address(&self) -> Vec<u32> {
        let mut code: Vec<(u64, u32)> = (0..self.count())
            .filter_map(|index| {
                let entry = self.entry(index)?;
                // STT_NOTYPE, STT_FUNC, STT_GNU_IFUNC.
                let code = matches!(entry.kind, 0 | 2 | 10) && entry.value != 0 && entry.name != 0;
                code.then_some((entry.value, index))
            })
            .collect();
        code.sort_unstable();
        code.into_iter().map(|(_, index)| index).collect()
    }

    /// The symbol with this name: a global one where there are several.
    pub(crate) fn named(&self, name: &[u8]) -> Option<Symbol> {
        if let Some(index) = &self.index {
            return self.first_global(index.with_hash_of(name), name);
        }
        if self.searches.fetch_add(1, Ordering::Relaxed) < SEARCHES {
            return self.first_global(self.search(name), name);
        }
        let hashes = self.hashes.get_or_init(|| self.by_name());
        let wanted = hash(name);
        let from = hashes.partition_point(|(hash, _)| *hash < wanted);
        let same = hashes[from..]
            .iter()
            .take_while(|(known, _)| *known == wanted);
        self.first_global(same.map(|(_, index)| *index), name)
    }

    /// The numbers of the symbols with this name, by a look at all of them. It may be the end of another's name: linkers store
    /// such once.
    fn search(&self, name: &[u8]) -> impl Iterator<Item = u32> {
        let all = self.names.all();
        let ends = |at: &usize| all.get(at + name.len()) == Some(&0);
        let places: Vec<u32> = memchr::memmem::find_iter(all, name)
            .filter(ends)
            .take(MAX_STEPS)
            .filter_map(|at| u32::try_from(at).ok())
            .collect();
        (0..self.count()).filter(move |index| {
            self.entries
                .get(*index as usize * ENTRY..)
                .and_then(|entry| word32(entry, 0))
                .is_some_and(|name| places.binary_search(&name).is_ok())
        })
    }

    /// Of these, the symbol with this name.
    fn first_global(&self, among: impl Iterator<Item = u32>, name: &[u8]) -> Option<Symbol> {
        let mut best: Option<Entry> = None;
        for index in among.take(MAX_STEPS) {
            let Some(entry) = self.entry(index) else {
                continue;
            };
            // STB_GLOBAL (1), STB_WEAK (2), STB_LOCAL (0): the first wins.
            let rank = |entry: Entry| entry.binding == 1;
            // STT_SECTION, STT_FILE
            if matches!(entry.kind, 3 | 4) || *self.name(entry) != *name {
                continue;
            }
            if best.is_none_or(|best| rank(entry) && !rank(best)) {
                best = Some(entry);
            }
        }
        best.map(|entry| self.symbol(entry))
    }

    fn by_name(&self) -> Vec<(u32, u32)> {
        self.names.all();
        let mut hashes: Vec<_> = (0..self.count())
            .filter_map(|index| {
                let entry = self.entry(index)?;
                let name = self.name(entry);
                // STT_SECTION, STT_FILE
                let named = !name.is_empty() && !matches!(entry.kind, 3 | 4);
                named.then(|| (hash(&name), index))
            })
            .collect();
        hashes.sort_unstable();
        hashes
    }

    /// All symbols whose name is wanted.
    pub(crate) fn filter(&self, wanted: &dyn Fn(&[u8]) -> bool) -> Vec<Symbol> {
        self.names.all();
        (0..self.count())
            .filter_map(|index| {
                let entry = self.entry(index)?;
                wanted(&self.name(entry)).then(|| self.symbol(entry))
            })
            .collect()
    }
}

/// FNV-1a.
fn hash(name: &[u8]) -> u32 {
    name.iter().fold(0x811c_9dc5, |hash, &byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    })
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};

    use super::*;
    use crate::source::FileSource;

    #[test]
    fn the_linker_s_index_and_ours_find_the_same() {
        let maps = fs::read_to_string("/proc/self/maps").unwrap_or_default();
        let path = maps.lines().find_map(|line| {
            line.split_whitespace()
                .last()
                .filter(|path| path.contains("libc.so"))
        });
        let Some(path) = path else {
            println!("skipped: no libc is mapped here, or there is no list of what is");
            return;
        };
        let source = FileSource::new(File::open(path).unwrap()).unwrap();
        let file = ElfFile::open(Arc::new(source)).unwrap();
        let table = || SymbolTable::of(&file, true, 0).unwrap();
        let (theirs, mut ours, mut searched) = (table(), table(), table());
        assert!(theirs.index.is_some(), "{path} has no .gnu.hash");
        (ours.index, searched.index) = (None, None);
        ours.searches = AtomicU32::new(SEARCHES);
        let names: Vec<Vec<u8>> = (0..ours.count())
            .filter_map(|index| Some(ours.name(ours.entry(index)?).into_owned()))
            .collect();
        assert!(names.len() > 1000, "{} names in {path}", names.len());
        for name in names.iter().filter(|name| !name.is_empty()) {
            let (found, wanted) = (theirs.named(name), ours.named(name));
            assert!(wanted.is_some());
            assert_eq!(
                found.map(|symbol| symbol.name),
                wanted.map(|symbol| symbol.name)
            );
        }
        assert_eq!(theirs.named(b"no such name"), None);
        for name in names.iter().take(SEARCHES as usize) {
            assert_eq!(searched.named(name), ours.named(name));
        }
        assert!(searched.hashes.get().is_none());
    }
}
