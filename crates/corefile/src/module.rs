//! An executable or a library of the dumped process. What is known of it beyond its headers (symbols, lines, unwind
//! tables) is read when it is first asked for.

use std::ops::Range;
use std::sync::{Arc, OnceLock};

use crate::Memory;
use crate::anchor::Anchor;
use crate::call_sites::Function;
use crate::cfi::Cfi;
use crate::dynamic::DynamicTable;
use crate::elf_file::ElfFile;
use crate::image::Image;
use crate::lines::{Lines, Location};
use crate::source::Source;
use crate::symbol::Symbol;
use crate::symbols::SymbolTable;
use crate::sysroot::{Found, Mismatch, Sysroot, path_of};

/// What a module is to the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ModuleKind {
    /// The program.
    Executable,
    /// The dynamic linker, where the kernel loaded it (`AT_BASE`).
    Interpreter,
    /// A library or a `.node` addon.
    Library,
    /// What the kernel maps into every process; its image lies in the core.
    Vdso,
}

/// An ELF file that the process had loaded.
#[derive(Debug)]
pub struct Module {
    /// What it is.
    pub kind: ModuleKind,
    /// Its path as the core records it, without ` (deleted)`; `[vdso]` for the vdso. Empty where nothing tells it.
    pub path: Vec<u8>,
    /// Its name in the dynamic linker's list, where it is there: perhaps a relative path.
    pub link_name: Option<Vec<u8>>,
    /// Whether it was gone from the disk when the core was made.
    pub deleted: bool,
    /// From its first to behind its last segment.
    pub range: Range<u64>,
    /// What is mapped of its file: addresses, and the place in the file.
    pub mapped: Vec<(Range<u64>, u64)>,
    /// What must be added, modulo 2^64, to an address in the file (`st_value`) for the one in the process.
    pub bias: u64,
    /// The build-id as it lies in the dumped memory.
    pub build_id: Option<Vec<u8>>,
    /// The file, where one was found and believed.
    pub file: Option<Found>,
    /// Files that lay in the right place and are others.
    pub mismatches: Vec<Mismatch>,
    /// The headers as they lie in memory; `None` where the core lacks them, until the file is found.
    pub(crate) image: Option<Image>,
    /// What tells where it lies, where its headers do not.
    pub(crate) anchor: Option<Anchor>,
    pub(crate) lookup: Lookup,
}

/// What has been read of a module beyond its headers.
#[derive(Default)]
pub(crate) struct Lookup {
    pub(crate) files: Arc<Sysroot>,
    /// The image in the dumped memory, for modules that are in no file: the vdso.
    pub(crate) in_memory: Option<Arc<dyn Source>>,
    /// The dumped memory, where its file was not found.
    pub(crate) memory: Option<Memory>,
    elf: OnceLock<Option<ElfFile>>,
    debug: OnceLock<(Option<Found>, Vec<Mismatch>)>,
    debug_elf: OnceLock<Option<ElfFile>>,
    alternate: OnceLock<(Option<Found>, Vec<Mismatch>)>,
    package: OnceLock<Option<Found>>,
    full: OnceLock<Option<SymbolTable>>,
    dynamic: OnceLock<Option<SymbolTable>>,
    lines: OnceLock<Option<Lines>>,
    cfi: OnceLock<Cfi>,
}

impl Module {
    /// Whether one of its segments holds this address. Modules lie within each other where one is mapped into a gap
    /// of another.
    pub fn contains(&self, address: u64) -> bool {
        if !self.range.contains(&address) {
            return false;
        }
        match &self.image {
            Some(image) => image.load().any(|load| {
                image
                    .place(load)
                    .is_some_and(|range| range.contains(&address))
            }),
            None => true,
        }
    }

    /// The program headers as they lie in memory; none where the core lacks them.
    pub fn headers(&self) -> &[crate::Header] {
        self.image.as_ref().map_or(&[], |image| &image.headers)
    }

    /// ELF header (64 bytes) and program headers, byte for byte; empty where the core lacks them.
    pub fn header_bytes(&self) -> &[u8] {
        self.image.as_ref().map_or(&[], |image| &image.bytes)
    }

    /// The last part of the path.
    pub fn name(&self) -> &[u8] {
        self.path
            .rsplit(|&byte| byte == b'/')
            .next()
            .unwrap_or_default()
    }

    pub(crate) fn new(
        kind: ModuleKind,
        path: &[u8],
        range: Range<u64>,
        image: Option<Image>,
    ) -> Module {
        let plain = path.strip_suffix(b" (deleted)").unwrap_or(path);
        Module {
            kind,
            path: plain.to_vec(),
            link_name: None,
            deleted: plain.len() < path.len(),
            range,
            mapped: Vec::new(),
            bias: image.as_ref().map_or(0, |image| image.bias),
            build_id: None,
            file: None,
            mismatches: Vec::new(),
            image,
            anchor: None,
            lookup: Lookup::default(),
        }
    }

    /// The separate debug file, where one was found and believed.
    pub fn debug_file(&self) -> Option<&Found> {
        self.debug_search().0.as_ref()
    }

    /// Debug files that lay in the right place and belong to other builds.
    pub fn debug_mismatches(&self) -> &[Mismatch] {
        &self.debug_search().1
    }

    fn debug_search(&self) -> &(Option<Found>, Vec<Mismatch>) {
        self.lookup.debug.get_or_init(|| {
            let mut mismatches = Vec::new();
            let found = self.lookup.files.find_debug(
                self.build_id.as_deref(),
                &self.path,
                self.file.as_ref().zip(self.elf()),
                &mut mismatches,
            );
            (found, mismatches)
        })
    }

    /// Whether its own file has debug information, all of it or what leads to split DWARF.
    pub fn has_debug_info(&self) -> bool {
        self.elf()
            .is_some_and(|elf| elf.section(".debug_info").is_some())
    }

    /// The file with what the debug file shares with others (`.gnu_debugaltlink`), where there is such a link and the
    /// file was found.
    pub fn alternate_file(&self) -> Option<&Found> {
        let search = self.lookup.alternate.get_or_init(|| {
            let mut mismatches = Vec::new();
            let of_debug = self.debug_file().zip(self.debug_elf());
            let of_file = self.file.as_ref().zip(self.elf());
            let found = [of_debug, of_file]
                .into_iter()
                .flatten()
                .find_map(|(found, elf)| {
                    let link = elf.alternate_link()?;
                    self.lookup
                        .files
                        .find_alternate(&found.path, &link, &mut mismatches)
                });
            (found, mismatches)
        });
        search.0.as_ref()
    }

    /// The package of split DWARF (`.dwp`) beside the file, where there is one.
    pub fn package_file(&self) -> Option<&Found> {
        self.lookup
            .package
            .get_or_init(|| {
                let found = self.file.as_ref()?;
                if self.lookup.files.no_debug {
                    return None;
                }
                let mut recorded = self.path.clone();
                recorded.extend_from_slice(b".dwp");
                let mut beside = found.path.clone().into_os_string();
                beside.push(".dwp");
                let beside = crate::sysroot::open(beside.as_ref());
                let (path, source) = beside.or_else(|| {
                    self.lookup
                        .files
                        .find_split(&recorded, &path_of(&recorded))
                        .into_iter()
                        .next()
                })?;
                Some(Found {
                    path,
                    source,
                    build_id: None,
                    // Every unit in it is found by its own id.
                    check: crate::Check::BuildId,
                })
            })
            .as_ref()
    }

    /// The sections of its file.
    pub(crate) fn elf(&self) -> Option<&ElfFile> {
        self.lookup
            .elf
            .get_or_init(|| {
                let source = match &self.file {
                    Some(found) => found.source.clone(),
                    None => self.lookup.in_memory.clone()?,
                };
                ElfFile::open(source).ok()
            })
            .as_ref()
    }

    /// The sections of its debug file.
    pub(crate) fn debug_elf(&self) -> Option<&ElfFile> {
        self.lookup
            .debug_elf
            .get_or_init(|| ElfFile::open(self.debug_file()?.source.clone()).ok())
            .as_ref()
    }

    /// The table of all its symbols: its own, that of its debug file, or the small one that is packed into it.
    fn full(&self) -> Option<&SymbolTable> {
        let table = self.lookup.full.get_or_init(|| {
            let own = self.elf();
            own.and_then(|file| SymbolTable::of(file, false, self.bias))
                .or_else(|| SymbolTable::of(self.debug_elf()?, false, self.bias))
                .or_else(|| SymbolTable::of(&own?.mini_debug()?, false, self.bias))
        });
        table.as_ref()
    }

    /// The table for the dynamic linker. The small table packed into a file leaves out what is in this one.
    fn dynamic(&self) -> Option<&SymbolTable> {
        let table = self.lookup.dynamic.get_or_init(|| {
            let of_file = self
                .elf()
                .and_then(|file| SymbolTable::of(file, true, self.bias));
            of_file.or_else(|| dynamic_in_memory(self, self.lookup.memory.as_ref()?))
        });
        table.as_ref()
    }

    /// The symbol of the code at an address of the process.
    pub fn symbol_at(&self, address: u64) -> Option<Symbol> {
        self.full()
            .and_then(|table| table.at(address))
            .or_else(|| self.dynamic()?.at(address))
    }

    /// Reads its symbols and debug information, if nobody has yet.
    pub(crate) fn prepare(&self) {
        self.symbol_at(self.range.start);
        self.function(self.range.start);
    }

    /// The symbol with this name, as it stands in the file: mangled.
    pub fn symbol(&self, name: &str) -> Option<Symbol> {
        self.dynamic()
            .and_then(|table| table.named(name.as_bytes()))
            .or_else(|| self.full()?.named(name.as_bytes()))
    }

    /// All symbols whose name is wanted, such as those with one prefix. Some may come twice.
    pub fn symbols(&self, wanted: impl Fn(&[u8]) -> bool) -> Vec<Symbol> {
        [self.full(), self.dynamic()]
            .into_iter()
            .flatten()
            .flat_map(|table| table.filter(&wanted))
            .collect()
    }

    /// What the debug information says of an address of the process: the innermost inlined function first, the function
    /// itself last. Nothing where there is no debug information.
    pub fn locations(&self, address: u64) -> Vec<Location> {
        self.lines()
            .map(|lines| lines.at(address.wrapping_sub(self.bias)))
            .unwrap_or_default()
    }

    /// The debug information.
    fn lines(&self) -> Option<&Lines> {
        self.lookup.lines.get_or_init(|| self.load_lines()).as_ref()
    }

    /// Whether there is debug information, in its file or apart.
    pub(crate) fn has_lines(&self) -> bool {
        self.lines().is_some()
    }

    /// The function that holds an address of the process, and the calls in it.
    pub(crate) fn function(&self, address: u64) -> Option<Function> {
        self.lines()?.function(address.wrapping_sub(self.bias))
    }

    fn load_lines(&self) -> Option<Lines> {
        let own = self.file.as_ref().zip(self.elf());
        let debug = self.debug_file().zip(self.debug_elf());
        let (found, elf) = [own, debug]
            .into_iter()
            .flatten()
            .find(|(_, elf)| elf.section(".debug_info").is_some())?;
        let package = self
            .package_file()
            .and_then(|found| ElfFile::open(found.source.clone()).ok());
        Lines::load(
            elf,
            &found.path,
            self.alternate_file(),
            &self.lookup.files,
            package.as_ref(),
        )
    }

    /// Its unwind tables.
    pub(crate) fn cfi(&self, memory: &Memory) -> &Cfi {
        self.lookup
            .cfi
            .get_or_init(|| Cfi::of(self.elf(), self.image.as_ref(), self.debug_elf(), memory))
    }

    /// Size and alignment of its block of thread-local variables.
    pub fn thread_locals(&self) -> Option<(u64, u64)> {
        self.image.as_ref()?.tls()
    }
}

/// The table for the dynamic linker as it lies in memory, of a module that is in no file.
fn dynamic_in_memory(module: &Module, memory: &Memory) -> Option<SymbolTable> {
    let table = DynamicTable::find(module.image.as_ref()?, memory)?;
    SymbolTable::from_bytes(table.entries, table.names, module.bias)
}

impl std::fmt::Debug for Lookup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lookup").finish_non_exhaustive()
    }
}
