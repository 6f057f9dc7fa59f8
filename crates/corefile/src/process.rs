//! A dumped process: memory, modules and threads of a core, with the files that belong to it.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex};

use crate::about::{About, Signal};
use crate::module::{Module, ModuleKind};
use crate::modules::modules;
use crate::notes::Note;
use crate::source::Source;
use crate::symbol::Symbol;
use crate::sysroot::{Sysroot, Wanted, file_dynamic, file_headers};
use crate::thread::{Thread, threads};
use crate::written::Written;
use crate::{Arch, CoreError, CoreFile, Location, Memory, Mismatch};

/// A dumped process.
pub struct Process {
    /// The core.
    pub core: CoreFile,
    /// Its notes.
    pub notes: Vec<Note>,
    /// Who it was, and what befell it.
    pub about: About,
    /// The processor.
    pub arch: Arch,
    /// Its address space, with what the files fill in.
    pub memory: Memory,
    /// The executable and libraries, by address.
    pub modules: Vec<Module>,
    /// The threads; the one that died is the first.
    pub threads: Vec<Thread>,
    pub(crate) files: Arc<Sysroot>,
}

impl Process {
    /// Reads a core of x86_64 or aarch64: notes, modules, threads; and looks for the mapped files. Debug files and
    /// symbols are looked for when they are asked for.
    ///
    /// # Errors
    /// [`CoreError::Unsupported`] for another processor, [`CoreError::Io`]. Notes that are cut off or damaged are left out and
    /// listed in [`About::unreadable`].
    pub fn open(core: CoreFile, files: &Sysroot) -> Result<Process, CoreError> {
        let arch = Arch::of(&core).ok_or(CoreError::Unsupported(
            "only cores of x86_64 and aarch64 are read",
        ))?;
        let (notes, damage) = core.readable_notes();
        let mut about = About::read(&core, &notes)?;
        match damage {
            Some(error @ CoreError::Io(_)) => return Err(error),
            Some(error) => about.unreadable.push(format!("the notes: {error}")),
            None => {}
        }
        let mut threads = threads(&core, &notes)?;
        name_threads(&about, &mut threads);
        if about.signal.is_none()
            && about.capture.is_none()
            && let Some(first) = threads.first().filter(|first| first.signal != 0)
        {
            // Old kernels and QEMU write no siginfo.
            about.signal = Some(Signal {
                number: first.signal,
                ..Signal::default()
            });
        }
        let ranges: Vec<_> = about.files.iter().map(|file| file.range.clone()).collect();
        let mut memory = Memory::with_mappings(&core, &ranges);
        memory.zero(
            about
                .capture
                .as_ref()
                .map_or(&[], |capture| &capture.untouched),
        );
        let files = Arc::new(files.clone());
        let mut modules = modules(&about, &memory, |module| find_file(module, &files));
        let written = Written::of(&core, &about);
        for module in &mut modules {
            module.lookup.files = files.clone();
            if module.kind == ModuleKind::Vdso {
                module.lookup.in_memory = whole_pages(&memory, module);
                continue;
            }
            if module.file.is_none() {
                module.mismatches.clear();
                find_file(module, &files);
            }
            if let Some(found) = &module.file {
                memory.fill(
                    &found.path,
                    &found.source,
                    &module.mapped,
                    [written.everywhere(), &written.of_module(module)],
                );
            }
        }
        memory.settle();
        for module in &mut modules {
            if module.file.is_none() && module.kind != ModuleKind::Vdso {
                module.lookup.memory = Some(memory.shared());
            }
        }
        // Where the core lacks a module's headers its range is known now.
        modules.sort_by_key(|module| (module.range.start, module.range.end));
        Ok(Process {
            core,
            notes,
            about,
            arch,
            memory,
            modules,
            threads,
            files,
        })
    }

    /// The module that has a segment at this address.
    pub fn module_at(&self, address: u64) -> Option<&Module> {
        self.module_index(address).map(|index| &self.modules[index])
    }

    /// Its place in [`Process::modules`].
    pub fn module_index(&self, address: u64) -> Option<usize> {
        let upto = self
            .modules
            .partition_point(|module| module.range.start <= address);
        // Nearly always the last one that begins before the address; a few may lie within each other.
        (0..upto)
            .rev()
            .take(64)
            .find(|&index| self.modules[index].contains(address))
    }

    /// The program.
    pub fn executable(&self) -> Option<&Module> {
        self.modules
            .iter()
            .find(|module| module.kind == ModuleKind::Executable)
    }

    /// Reads symbols and debug information of these modules beside each other, so that who asks for them afterwards need not
    /// wait for one after the other.
    pub fn prepare(&self, modules: impl IntoIterator<Item = usize>) {
        let modules: BTreeSet<usize> = modules.into_iter().collect();
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let threads = threads.min(modules.len());
        let modules = Mutex::new(modules.into_iter());
        let next = || modules.lock().ok()?.next();
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    while let Some(index) = next() {
                        if let Some(module) = self.modules.get(index) {
                            module.prepare();
                        }
                    }
                });
            }
        });
    }

    /// The symbol of the code at an address, and the module it is in.
    pub fn symbol_at(&self, address: u64) -> Option<(&Module, Symbol)> {
        let module = self.module_at(address)?;
        Some((module, module.symbol_at(address)?))
    }

    /// The symbol with this name, as it stands in the files (mangled): that of the program, or else of the first library
    /// that has one.
    pub fn symbol(&self, name: &str) -> Option<Symbol> {
        let program = self.executable();
        program.and_then(|module| module.symbol(name)).or_else(|| {
            self.modules
                .iter()
                .filter(|module| module.kind != ModuleKind::Executable)
                .find_map(|module| module.symbol(name))
        })
    }

    /// Source file, line and inlined functions at an address, innermost first; see [`Module::locations`]. For a return
    /// address give [`crate::Frame::lookup`].
    pub fn locations(&self, address: u64) -> Vec<Location> {
        self.module_at(address)
            .map(|module| module.locations(address))
            .unwrap_or_default()
    }

    /// The address of a thread-local variable of the program, whose symbol has `offset` as its address
    /// ([`crate::SymbolKind::ThreadLocal`]). The program's block lies at a fixed place from the thread pointer (variants I
    /// and II of the ELF specification of TLS).
    pub fn thread_local(&self, thread: &Thread, offset: u64) -> Option<u64> {
        let pointer = thread.registers.tls()?;
        let (size, align) = self.executable()?.thread_locals()?;
        let align = align.max(1);
        match self.arch {
            Arch::X86_64 => pointer
                .checked_sub(size.checked_next_multiple_of(align)?)?
                .checked_add(offset),
            Arch::Aarch64 => pointer
                .checked_add(16_u64.checked_next_multiple_of(align)?)?
                .checked_add(offset),
        }
    }

    /// Files that lay in the right place and are others than those that were mapped.
    pub fn mismatches(&self) -> impl Iterator<Item = &Mismatch> {
        self.modules.iter().flat_map(|module| &module.mismatches)
    }

    /// Where its files are looked for.
    pub fn sysroot(&self) -> &Sysroot {
        &self.files
    }
}

fn name_threads(about: &About, threads: &mut [Thread]) {
    let noted: HashMap<i64, &str> = about
        .capture
        .iter()
        .flat_map(|capture| &capture.threads)
        .map(|(tid, name)| (*tid, name.as_str()))
        .collect();
    for thread in threads {
        let noted = noted
            .get(&i64::from(thread.tid))
            .map(|name| name.as_bytes().to_vec());
        // The kernel writes the name of the group's leader, which is the thread with the process's id.
        let leader = || {
            (about.pid == Some(thread.tid) && !about.name.is_empty()).then(|| about.name.clone())
        };
        thread.name = noted.or_else(leader);
    }
}

/// The image of a module that is in no file, with what lies behind its segments up to the next page: the vdso has its
/// table of sections there.
fn whole_pages(memory: &Memory, module: &Module) -> Option<Arc<dyn Source>> {
    /// The vdso has two pages.
    const MAX: u64 = 1 << 20;
    let end = module.range.end.checked_next_multiple_of(4096)?;
    let size = (end - module.range.start).min(MAX);
    let mut bytes = vec![0; size as usize];
    let got = memory.read_some(module.range.start, &mut bytes).ok()?;
    bytes.truncate(got);
    Some(Arc::new(bytes))
}

/// Looks for the module's file. Where the core lacks the module's headers, the file's are taken.
fn find_file(module: &mut Module, files: &Sysroot) {
    let wanted = Wanted {
        path: &module.path,
        build_id: module.build_id.as_deref(),
        headers: module.image.as_ref().map(|image| image.bytes.as_slice()),
        anchor: module.anchor.as_ref(),
        is_executable: module.kind == ModuleKind::Executable,
    };
    module.file = files.find(&wanted, &mut module.mismatches);
    if module.image.is_none()
        && let Some(found) = &module.file
        && let Ok(mut image) = file_headers(&*found.source)
    {
        let first = image
            .load()
            .find(|load| load.offset == 0)
            .map_or(0, |load| load.address);
        let anchored = module
            .anchor
            .as_ref()
            .and_then(|anchor| anchor.fits(&image, &file_dynamic(&*found.source, &image)));
        image.bias = anchored.unwrap_or_else(|| module.range.start.wrapping_sub(first));
        if module.anchor.is_some()
            && let Some(range) = image.range()
        {
            module.range = range;
        }
        module.bias = image.bias;
        module.image = Some(image);
    }
    if module.mapped.is_empty()
        && module.file.is_some()
        && let Some(image) = &module.image
    {
        // No list of files: the headers say what was mapped.
        module.mapped = image
            .load()
            .filter(|load| load.file_size > 0)
            .filter_map(|load| {
                let start = image.bias.wrapping_add(load.address);
                Some((start..start.checked_add(load.file_size)?, load.offset))
            })
            .collect();
    }
}

impl std::fmt::Debug for Process {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Process")
            .field("arch", &self.arch)
            .field("modules", &self.modules.len())
            .field("threads", &self.threads.len())
            .finish_non_exhaustive()
    }
}
