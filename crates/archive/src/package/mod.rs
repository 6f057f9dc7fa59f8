//! Makes any core self-contained: packs it with the executable, the libraries and their debug information, so that a
//! debugger on another machine finds everything in the unpacked folder.
//!
//! Every file lies under its own path, symbolic links on the way to it are kept, and separate debug files lie where
//! debuggers look for them: below `usr/lib/debug/.build-id`.

mod debug;
mod dwp;
mod kernel;
mod links;
mod output;
mod rebuild;
mod tree;

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use stillcore_corefile::{Check, Found, Module, ModuleKind, Process, Source};

use crate::collect::path_text;
use crate::error::PackError;
use crate::manifest::{FileEntry, Manifest, ManifestHead, hex, lossy};
use crate::script::ScriptPlan;
use crate::source::{CoreSource, LiveImage, Part};
use crate::stream::PackOptions;

pub use kernel::package_kernel;
use links::parts;
use output::Output;
use tree::{Content, Tree};

/// How an archive is made of a core, be it a process's ([`package`]) or a kernel's ([`package_kernel`]).
pub struct PackageJob<'a> {
    /// The core's name: the top folder is `archive-` and this.
    pub name: &'a str,
    /// The core as an open file, where it is one: its holes are neither read nor compressed.
    pub core_file: Option<&'a File>,
    /// When the core was written.
    pub core_mtime: SystemTime,
    /// Where the archive is to be. Nothing may be there yet.
    pub output: &'a Path,
    /// What the caller knows for the manifest.
    pub manifest: ManifestHead,
    /// Threads and compression.
    pub options: PackOptions,
    /// Told how many bytes of input were taken in since the last call; `false` stops the packing.
    pub progress: &'a dyn Fn(u64) -> bool,
}

/// What [`package`] has done.
#[derive(Debug, Clone, PartialEq)]
pub struct Packaged {
    /// Length of the archive in bytes.
    pub output_bytes: u64,
    /// The manifest as it is in the archive.
    pub manifest: Manifest,
    /// Files that were left out because they belong to another build, a sentence each.
    pub left_out: Vec<String>,
    /// What else should be known: what was not found, what was rebuilt.
    pub notes: Vec<String>,
}

/// Why an archive could not be made. Nothing is left of it.
#[derive(Debug, thiserror::Error)]
pub enum PackageError {
    /// There is a file where the archive should go.
    #[error("{} is there already; choose another name with -o", .0.display())]
    Exists(PathBuf),
    /// The archive's file could not be made or named.
    #[error("{}: {source}", path.display())]
    Output {
        /// The archive.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A crash dump of the kernel was recognised, and there is no kernel for it.
    #[error("{what}. {advice}")]
    NoKernel {
        /// What was looked for, and what was found instead.
        what: String,
        /// What to do.
        advice: String,
    },
    /// Packing failed.
    #[error(transparent)]
    Pack(#[from] PackError),
}

/// Packs the core of a process, whose files have been looked for, with all that belongs to it, and names the archive
/// when it is whole.
///
/// Nothing of what is packed is run, and no file is opened that is not a plain file.
///
/// # Errors
/// See [`PackageError`]. A file that cannot be had is none: the manifest says why it is missing.
pub fn package(process: &Process, job: &PackageJob<'_>) -> Result<Packaged, PackageError> {
    let output = create(job.output)?;
    let top = format!("archive-{}", job.name);
    let mut tree = Tree::start(
        output.file(),
        &top,
        job.core_mtime,
        &job.options,
        job.progress,
    )?;
    let core_name = core_name(process, job.name);
    tree.reserve(core_name.as_bytes());
    for module in &process.modules {
        tree.plan_links(module, process.sysroot());
    }
    tree.write_links()?;
    let whole = WholeSource(process.core.source().clone());
    let core: &dyn CoreSource = match job.core_file {
        Some(file) => file,
        None => &whole,
    };
    tree.core(core_name.as_bytes(), core)?;
    let mut plan = ScriptPlan::new(core_name.as_bytes());
    for module in &process.modules {
        if module.kind != ModuleKind::Vdso {
            add_module(&mut tree, &mut plan, module, process)?;
        }
    }
    list_others(&mut tree, process);
    let (output_bytes, manifest, left_out, notes) = tree.finish(&job.manifest, &plan.scripts())?;
    output
        .publish()
        .map_err(|source| failed(job.output, source))?;
    Ok(Packaged {
        output_bytes,
        manifest,
        left_out,
        notes,
    })
}

fn create(path: &Path) -> Result<Output, PackageError> {
    Output::create(path).map_err(|source| failed(path, source))
}

fn failed(path: &Path, source: io::Error) -> PackageError {
    if source.kind() == io::ErrorKind::AlreadyExists {
        PackageError::Exists(path.to_owned())
    } else {
        PackageError::Output {
            path: path.to_owned(),
            source,
        }
    }
}

/// The core keeps its name, unless something else in the archive has it.
fn core_name(process: &Process, name: &str) -> String {
    let modules = &process.modules;
    usable_name(name, |name| {
        let taken = |path: &[u8]| parts(path).next().as_deref() == Some(name.as_bytes());
        modules.iter().any(|module| taken(&module.path))
    })
}

fn usable_name(name: &str, taken: impl Fn(&str) -> bool) -> String {
    let usable = !name.is_empty()
        && !name.starts_with('.')
        && !name.contains('/')
        && ![
            "manifest.json",
            "stillcore.index",
            "usr",
            "lib",
            "boot",
            "rootfs",
        ]
        .contains(&name)
        && !name.starts_with("run-")
        && !name.starts_with("rootfs-")
        && !taken(name);
    if usable { name } else { "core" }.to_owned()
}

/// The module's file, or what can be had of it, and its debug information.
fn add_module(
    tree: &mut Tree<'_>,
    plan: &mut ScriptPlan,
    module: &Module,
    process: &Process,
) -> Result<(), PackError> {
    let place = match &module.file {
        Some(found) => Some(add_found(tree, module, found)?),
        None => add_missing(tree, module, process)?,
    };
    if let Some(place) = &place {
        if module.kind == ModuleKind::Executable {
            plan.executable = Some(place.clone());
        } else {
            tell_debuggers(tree, plan, module, place);
        }
    }
    if !process.sysroot().no_debug {
        debug::add(tree, plan, module, place.as_deref())?;
    }
    Ok(())
}

fn add_found(tree: &mut Tree<'_>, module: &Module, found: &Found) -> Result<Vec<u8>, PackError> {
    let recorded = recorded_path(module, found);
    let mut entry = FileEntry {
        path: lossy(&recorded),
        build_id: found.build_id.as_deref().map(hex),
        kind: Some(kind(module).to_owned()),
        ..FileEntry::default()
    };
    if found.check == Check::Forced {
        entry.reason = Some(format!(
            "it may not be the file that was mapped: {}",
            difference(module.build_id.as_deref(), found.build_id.as_deref())
        ));
    }
    let content = Content::found(found, 0o755);
    tree.file(&recorded, content, entry)
}

/// The path that the file gets: the one that the process had for it.
fn recorded_path(module: &Module, found: &Found) -> Vec<u8> {
    use std::os::unix::ffi::OsStrExt;
    if module.path.starts_with(b"/") {
        return module.path.clone();
    }
    match &module.link_name {
        Some(name) if name.starts_with(b"/") => name.clone(),
        _ => found.path.as_os_str().as_bytes().to_vec(),
    }
}

/// Puts together from the core what is gone from the disk, or says why there is nothing.
fn add_missing(
    tree: &mut Tree<'_>,
    module: &Module,
    process: &Process,
) -> Result<Option<Vec<u8>>, PackError> {
    let name = lossy(&module.path);
    let mut entry = FileEntry {
        path: name.clone(),
        build_id: module.build_id.as_deref().map(hex),
        kind: Some(kind(module).to_owned()),
        ..FileEntry::default()
    };
    let unchecked = module.mismatches.first().filter(|other| other.unchecked);
    if let Some(other) = unchecked {
        entry.reason = Some(format!(
            "nothing in the core tells whether {} is what was mapped",
            path_text(&other.path)
        ));
        tree.list(entry);
        return Ok(None);
    }
    let replaced = module.mismatches.first().map(|other| {
        format!(
            "another build lies at {}: {}",
            path_text(&other.path),
            difference(other.expected.as_deref(), other.found.as_deref())
        )
    });
    // One that was replaced while the process ran is gone from the disk as one that was removed is.
    let gone = (module.deleted || replaced.is_none()) && !module.path.is_empty();
    let rebuilt = match gone {
        true => rebuild::rebuild(module, &process.memory),
        false => None,
    };
    let Some(rebuilt) = rebuilt else {
        entry.reason = Some(replaced.unwrap_or_else(|| {
            tree.note(format!("{name}: not found, and not in the core"));
            "not found, and not in the core".to_owned()
        }));
        tree.list(entry);
        return Ok(None);
    };
    let why = format!(
        "{}, and rebuilt from the core: {} of {} loaded bytes; data are as they were in memory",
        replaced.as_deref().unwrap_or("gone from the disk"),
        rebuilt.had.min(rebuilt.wanted),
        rebuilt.wanted
    );
    tree.note(format!("{name}: {why}"));
    entry.reason = Some(why);
    entry.rebuilt = true;
    let parts = rebuilt.parts();
    let read = |address: u64, buf: &mut [u8]| {
        let got = process
            .memory
            .read_some(address, buf)
            .map_err(io::Error::other)?;
        Ok(got)
    };
    let image = LiveImage::new(&parts, &read, &|| {});
    let content = Content {
        size: parts.iter().map(Part::size).sum(),
        source: &image,
        mode: 0o755,
        mtime: None,
        key: None,
    };
    tree.file(&module.path.clone(), content, entry).map(Some)
}

/// A debugger knows a library by its name in the dynamic linker's list, which may be relative, or lead elsewhere here.
fn tell_debuggers(tree: &mut Tree<'_>, plan: &mut ScriptPlan, module: &Module, place: &[u8]) {
    let folder = folder(place);
    let Some(name) = &module.link_name else {
        return;
    };
    if !name.starts_with(b"/") {
        match tree.base(name, place) {
            Some(base) => plan.search(&base),
            // Then by its last part alone.
            None => {
                let last = name.rsplit(|&byte| byte == b'/').next().unwrap_or(name);
                let beside = [folder, b"/", last].concat();
                if tree.resolve(&beside) != place {
                    tree.link(&beside, place);
                }
            }
        }
        plan.search(folder);
    } else if tree.resolve(name) != place && !tree.link(name, place) {
        plan.search(folder);
    }
}

/// Mapped files that are no modules.
fn list_others(tree: &mut Tree<'_>, process: &Process) {
    let mut seen: Vec<&[u8]> = process
        .modules
        .iter()
        .map(|module| module.path.as_slice())
        .collect();
    seen.sort_unstable();
    let mut others: Vec<&[u8]> = Vec::new();
    for file in &process.about.files {
        let path = file.path.strip_suffix(b" (deleted)").unwrap_or(&file.path);
        if seen.binary_search(&path).is_err() {
            others.push(path);
        }
    }
    others.sort_unstable();
    others.dedup();
    for path in others {
        tree.list(FileEntry {
            path: lossy(path),
            reason: Some("mapped as data, not loaded as a program or library".to_owned()),
            ..FileEntry::default()
        });
    }
}

fn kind(module: &Module) -> &'static str {
    match module.kind {
        ModuleKind::Executable => "executable",
        ModuleKind::Interpreter => "interpreter",
        ModuleKind::Library | ModuleKind::Vdso => "library",
    }
}

fn difference(expected: Option<&[u8]>, found: Option<&[u8]>) -> String {
    let text = |id: Option<&[u8]>| id.map_or_else(|| "none".to_owned(), hex);
    match expected {
        Some(_) => format!(
            "the core has build-id {}, the file {}",
            text(expected),
            text(found)
        ),
        None => "the headers in the core are others".to_owned(),
    }
}

/// All but the last part of a path.
fn folder(path: &[u8]) -> &[u8] {
    path.iter()
        .rposition(|&byte| byte == b'/')
        .map_or(&b""[..], |slash| &path[..slash])
}

/// Bytes that can be read anywhere, as one part.
struct WholeSource(Arc<dyn Source>);

impl CoreSource for WholeSource {
    fn size(&self) -> io::Result<u64> {
        Ok(self.0.len())
    }

    fn parts(&self) -> Box<dyn Iterator<Item = Part<'_>> + '_> {
        let len = self.0.len();
        Box::new(std::iter::once(Part::Read { address: 0, len }))
    }

    fn read(&self, address: u64, buf: &mut [u8]) -> io::Result<usize> {
        self.0.read_at(address, buf)
    }
}
