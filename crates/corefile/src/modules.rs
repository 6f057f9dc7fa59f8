//! All executables and libraries of the dumped process, and the vdso: from the list of mapped files, the auxiliary vector
//! and the dynamic linker's list.

use std::collections::HashSet;
use std::ops::Range;

use crate::about::{About, MappedFile};
use crate::anchor::Anchor;
use crate::image::Image;
use crate::module::{Module, ModuleKind};
use crate::source::read_vec;
use crate::{CoreError, Memory};

const AT_PHDR: u64 = 3;
const AT_PHNUM: u64 = 5;
const AT_BASE: u64 = 7;
const AT_ENTRY: u64 = 9;
const AT_EXECFN: u64 = 31;
const AT_SYSINFO_EHDR: u64 = 33;

const DT_DEBUG: u64 = 21;

/// Most entries of a dynamic section that are read; linkers write about thirty.
const MAX_DYNAMIC: usize = 4096;

/// Most modules that a process is believed to have.
const MAX_MODULES: usize = 1 << 13;

/// Most mappings of one module. The linker makes five, mprotect a few more.
const MAX_PIECES: usize = 1 << 12;

/// Most namespaces of the dynamic linker; glibc has 16.
const MAX_NAMESPACES: usize = 64;

/// All modules by address, from the list of mapped files, the kernel's auxiliary vector and the dynamic linker's list.
/// `find_file` finds a module's file, and with it what the core lacks.
pub(crate) fn modules(
    about: &About,
    memory: &Memory,
    find_file: impl Fn(&mut Module),
) -> Vec<Module> {
    let mut modules = mapped(&about.files, memory);
    from_auxiliary(about, memory, &mut modules);
    // The list is found by the program's dynamic section: where the core lacks its headers, its file must be found first.
    if let Some(program) = modules
        .iter_mut()
        .find(|module| module.kind == ModuleKind::Executable && module.image.is_none())
    {
        find_file(program);
    }
    from_linker(about, memory, &mut modules);
    name_interpreter(&mut modules);
    for module in &mut modules {
        module.build_id = module
            .image
            .as_ref()
            .and_then(|image| image.build_id_in_memory(memory));
    }
    modules.sort_by_key(|module| (module.range.start, module.range.end));
    modules
}

/// The ELF images among the mapped files. One begins where the start of a file is mapped; it has all mappings of that file up
/// to the next such.
fn mapped(files: &[MappedFile], memory: &Memory) -> Vec<Module> {
    let mut rows: Vec<&MappedFile> = files.iter().collect();
    rows.sort_by_key(|row| row.range.start);
    let mut modules: Vec<Module> = Vec::new();
    let mut at = 0;
    while at < rows.len() && modules.len() < MAX_MODULES {
        let first = rows[at];
        at += 1;
        if first.offset != 0 {
            continue;
        }
        let image = match Image::in_memory(memory, first.range.start) {
            Ok(image) => Some(image),
            // A file that is mapped but is none of ELF; or the core lacks the page: then the file may tell.
            Err(CoreError::Missing { .. }) => None,
            Err(_) => continue,
        };
        let end = match &image {
            Some(image) => match image.range() {
                Some(range) => range.end,
                None => continue,
            },
            None => u64::MAX,
        };
        let mut pieces = vec![(first.range.clone(), 0)];
        for row in rows[at..].iter().take(MAX_PIECES) {
            // Another file's mapping may lie in a gap.
            if row.range.start >= end || (row.path == first.path && row.offset == 0) {
                break;
            }
            if row.path == first.path {
                pieces.push((row.range.clone(), row.offset));
            } else if image.is_none() {
                break;
            }
        }
        let range = match &image {
            // A file that somebody has mapped as data has its segments elsewhere.
            Some(image) if !is_loaded(image, &pieces) => continue,
            Some(image) => match image.range() {
                Some(range) => range,
                None => continue,
            },
            None if pieces.len() < 2 => continue,
            None => first.range.start..pieces.last().map_or(first.range.end, |last| last.0.end),
        };
        let mut module = Module::new(ModuleKind::Library, &first.path, range, image);
        if module.image.is_none() {
            module.bias = first.range.start;
        }
        module.mapped = pieces;
        modules.push(module);
    }
    modules
}

/// Whether every piece of code in the file lies where the headers want it.
fn is_loaded(image: &Image, pieces: &[(Range<u64>, u64)]) -> bool {
    image
        .load()
        .filter(|load| load.flags & 1 == 1 && load.file_size > 0)
        .all(|load| {
            let address = image.bias.wrapping_add(load.address);
            pieces.iter().any(|(range, offset)| {
                range.contains(&address)
                    && offset.checked_add(address - range.start) == Some(load.offset)
            })
        })
}

/// What the kernel told the process: its program headers, entry point, interpreter and vdso.
fn from_auxiliary(about: &About, memory: &Memory, modules: &mut Vec<Module>) {
    if let Some(base) = about.auxiliary(AT_SYSINFO_EHDR)
        && let Ok(image) = Image::in_memory(memory, base)
        && let Some(range) = image.range()
    {
        modules.push(Module::new(ModuleKind::Vdso, b"[vdso]", range, Some(image)));
    }
    let named = |address: Option<u64>| address.filter(|&address| address != 0);
    let entry = named(about.auxiliary(AT_PHDR)).or(named(about.auxiliary(AT_ENTRY)));
    if let Some(address) = entry {
        let known = modules
            .iter_mut()
            .find(|module| module.range.contains(&address));
        match known {
            Some(module) => {
                module.kind = ModuleKind::Executable;
                // Tools that put something into a program move its headers to where no core has them (postject, patchelf).
                if module.image.is_none() {
                    module.anchor = program(about);
                }
            }
            None => modules.extend(executable(about, memory, address)),
        }
    }
    if let Some(base) = named(about.auxiliary(AT_BASE)) {
        match modules
            .iter_mut()
            .find(|module| module.range.contains(&base))
        {
            Some(module) if module.kind == ModuleKind::Library => {
                module.kind = ModuleKind::Interpreter;
            }
            Some(_) => {}
            None => {
                if let Ok(image) = Image::in_memory(memory, base)
                    && let Some(range) = image.range()
                {
                    modules.push(Module::new(
                        ModuleKind::Interpreter,
                        b"",
                        range,
                        Some(image),
                    ));
                }
            }
        }
    }
}

/// The program, where no list of files names it: its headers lie in the page of its program headers. QEMU leaves that page
/// out of its cores; then the file tells, if it is found.
fn executable(about: &About, memory: &Memory, address: u64) -> Option<Module> {
    let named = about
        .auxiliary(AT_EXECFN)
        .and_then(|address| memory.read_string(address, 4096).ok());
    let path = named.unwrap_or_else(|| {
        let mut words = about.arguments.split(|&byte| byte == b' ');
        words.next().unwrap_or_default().to_vec()
    });
    if let Ok(image) = Image::in_memory(memory, address & !0xfff) {
        let range = image.range()?;
        return Some(Module::new(
            ModuleKind::Executable,
            &path,
            range,
            Some(image),
        ));
    }
    let end = address.checked_add(1)?;
    let mut module = Module::new(ModuleKind::Executable, &path, address..end, None);
    module.anchor = Some(program(about)?);
    Some(module)
}

/// What the kernel told the program of itself.
fn program(about: &About) -> Option<Anchor> {
    Some(Anchor::Program {
        headers: about.auxiliary(AT_PHDR)?,
        count: about.auxiliary(AT_PHNUM),
        entry: about.auxiliary(AT_ENTRY),
    })
}

/// The dynamic linker's own list (`struct r_debug`, `struct link_map` of `link.h`), found by DT_DEBUG of the program.
fn from_linker(about: &About, memory: &Memory, modules: &mut Vec<Module>) {
    let interpreter = about.auxiliary(AT_BASE);
    let Some(dynamic) = modules
        .iter()
        .find(|module| module.kind == ModuleKind::Executable)
        .and_then(|module| module.image.as_ref()?.dynamic())
    else {
        return;
    };
    let Some(mut debug) = dynamic_entry(memory, dynamic, DT_DEBUG) else {
        return;
    };
    let mut seen = HashSet::new();
    for _ in 0..MAX_NAMESPACES {
        if debug == 0 || !seen.insert(debug) {
            break;
        }
        let (Ok(version), Ok(first)) = (
            memory.read_u32(debug),
            memory.read_u64(debug.wrapping_add(8)),
        ) else {
            break;
        };
        let mut at = first;
        while at != 0 && seen.len() < MAX_MODULES && seen.insert(at) {
            let Ok(next) = link(memory, at, interpreter, modules) else {
                break;
            };
            at = next;
        }
        // r_debug_extended: what dlmopen made has lists of its own.
        if version < 2 {
            break;
        }
        debug = memory.read_u64(debug.wrapping_add(40)).unwrap_or(0);
    }
}

/// The interpreter's name stands in the program, which the core may lack: then it is in the program's file.
fn name_interpreter(modules: &mut [Module]) {
    let named = modules.iter().find_map(|module| {
        let found = module.file.as_ref()?;
        let program = module.kind == ModuleKind::Executable;
        let (at, size) = module.image.as_ref().filter(|_| program)?.interpreter()?;
        let bytes = read_vec(&*found.source, at, size.min(4096)).ok()?;
        bytes.split(|&byte| byte == 0).next().map(<[u8]>::to_vec)
    });
    if let Some(named) = named
        && let Some(module) = modules
            .iter_mut()
            .find(|module| module.kind == ModuleKind::Interpreter && module.path.is_empty())
    {
        module.path = named;
    }
}

/// Takes one entry in and gives the next.
fn link(
    memory: &Memory,
    at: u64,
    interpreter: Option<u64>,
    modules: &mut Vec<Module>,
) -> Result<u64, CoreError> {
    let word = |index: u64| memory.read_u64(at.wrapping_add(8 * index));
    let (bias, name, dynamic, next) = (word(0)?, word(1)?, word(2)?, word(3)?);
    let name = memory.read_string(name, 4096).unwrap_or_default();
    let room = modules.len() < MAX_MODULES;
    let known = modules
        .iter_mut()
        .find(|module| module.range.contains(&dynamic));
    match known {
        Some(module) => {
            if module.path.is_empty() {
                module.path.clone_from(&name);
            }
            module.link_name = Some(name);
        }
        None if room => {
            let kind = if interpreter == Some(bias) {
                ModuleKind::Interpreter
            } else {
                ModuleKind::Library
            };
            // Libraries begin at their bias; one that was prelinked does not, and is then in the list of files only.
            let image = Image::in_memory(memory, bias).ok();
            let range = image
                .as_ref()
                .and_then(Image::range)
                .filter(|range| range.contains(&dynamic));
            let mut module = match range {
                Some(range) => Module::new(kind, &name, range, image),
                None => {
                    let end = dynamic
                        .checked_add(1)
                        .ok_or(CoreError::Missing { address: at })?;
                    let mut module = Module::new(kind, &name, dynamic..end, None);
                    module.anchor = Some(Anchor::Linked {
                        bias,
                        dynamic,
                        entries: dynamic_entries(memory, dynamic..u64::MAX),
                    });
                    module
                }
            };
            module.link_name = Some(name);
            modules.push(module);
        }
        None => {}
    }
    Ok(next)
}

/// The value of an entry of a dynamic section.
fn dynamic_entry(memory: &Memory, section: Range<u64>, wanted: u64) -> Option<u64> {
    dynamic_entries(memory, section)
        .into_iter()
        .find(|(kind, _)| *kind == wanted)
        .map(|(_, value)| value)
}

/// The entries of a dynamic section up to its end mark, as far as they are there.
fn dynamic_entries(memory: &Memory, section: Range<u64>) -> Vec<(u64, u64)> {
    let mut entries = Vec::new();
    let mut at = section.start;
    while entries.len() < MAX_DYNAMIC && at < section.end {
        let (Ok(kind), Ok(value)) = (memory.read_u64(at), memory.read_u64(at.wrapping_add(8)))
        else {
            break;
        };
        if kind == 0 {
            break;
        }
        entries.push((kind, value));
        at = at.saturating_add(16);
    }
    entries
}
