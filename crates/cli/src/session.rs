//! A core that was opened for a command: the process in it, what it came in, and what is wrong with it.

use std::path::PathBuf;
use std::sync::Arc;

use stillcore_archive::{Files, Manifest, Opened, OpenedKind};
use stillcore_corefile::{
    Check, CoreFile, FileProvider, KernelDump, Module, Process, Source, Sysroot,
};

use crate::address::hex;
use crate::args::{CoreArgs, is_stdin, shown};
use crate::debuginfod::Debuginfod;
use crate::error::InFile;
use crate::escape::lossy;
use crate::opening::{kind_word, open_core};
use crate::problems::{Problems, check_core, check_files};

/// What a command that reads a core works with.
pub struct Session {
    /// The process.
    pub process: Process,
    /// What was given as CORE, as it is shown.
    pub name: String,
    /// What it came in.
    pub origin: Origin,
    /// What is wrong with the core and its files.
    pub problems: Problems,
}

/// What a core came in.
pub struct Origin {
    /// The file; none for standard input.
    pub path: Option<PathBuf>,
    /// `core`, or whose archive it is: see [`crate::opening::kind_word`].
    pub kind: &'static str,
    /// What lies around the core, from the outside: `gzip`, `tar`.
    pub layers: Vec<&'static str>,
    /// The manifest of an archive of ours.
    pub manifest: Option<Manifest>,
}

impl Session {
    /// Opens the core, looks for its files, and checks both.
    ///
    /// # Errors
    /// It cannot be read, or is none.
    pub fn open(args: &CoreArgs) -> anyhow::Result<Session> {
        Session::of(args, open_core(args)?)
    }

    /// The process of a core that was opened.
    ///
    /// # Errors
    /// It is no core.
    pub fn of(args: &CoreArgs, opened: Opened) -> anyhow::Result<Session> {
        let name = shown(&args.core);
        let in_core = |error| anyhow::Error::new(error).context(name.clone());
        if let Some(dump) = KernelDump::recognise(opened.core.clone()).map_err(in_core)? {
            let release = dump.release().map_or_else(String::new, |release| {
                format!(" (Linux {})", crate::escape::printable(release))
            });
            anyhow::bail!(
                "{name}: this is a crash dump of the kernel{release}, not the core of a process: `stillcore archive` packs it \
                 with its vmlinux and modules, and crash, drgn or sdb reads it"
            );
        }
        let core = CoreFile::open(opened.core.clone()).map_err(in_core)?;
        // What an archive holds is what was mapped. This machine's files are others, and would only be complained of.
        let holds_files = matches!(
            opened.kind,
            OpenedKind::Stillcore | OpenedKind::Gencore | OpenedKind::Savedump
        );
        let mut files = sysroot(args)?;
        // But of one that is cut off the files may be missing.
        files.no_host = holds_files && opened.damage.is_empty();
        if !opened.files.is_empty() {
            files.providers.push(Arc::new(ArchiveFiles {
                name: name.clone(),
                files: opened.files,
            }));
        }
        let process = Process::open(core, &files).map_err(in_core)?;
        let mut problems = Problems::default();
        for note in opened.notes {
            problems.note(note);
        }
        for what in opened.damage {
            problems.bad(format!("{name}: {what}"));
        }
        check_core(&process, &mut problems);
        check_files(&process, args.files.exe.as_deref(), &mut problems);
        Ok(Session {
            process,
            name,
            origin: Origin {
                path: (!is_stdin(&args.core)).then(|| args.core.clone()),
                kind: kind_word(opened.kind),
                layers: opened.layers.iter().map(|layer| layer.name()).collect(),
                manifest: opened.manifest,
            },
            problems,
        })
    }
}

/// Where the files of a core are looked for.
///
/// # Errors
/// Servers were asked for, and none is known; a file or folder that was named is not there.
pub fn sysroot(args: &CoreArgs) -> anyhow::Result<Sysroot> {
    let urls = args.files.debuginfod_urls()?;
    let mut servers: Vec<Arc<dyn FileProvider>> = Vec::new();
    if !urls.is_empty() {
        servers.push(Arc::new(Debuginfod::new(&urls)));
    }
    // What was named and is not there would only look like files that are not found.
    let named = &args.files;
    if let Some(exe) = &named.exe {
        let is_file = exe.metadata().in_file(exe)?.is_file();
        anyhow::ensure!(is_file, "{}: this is no plain file", exe.display());
    }
    for folder in named.sysroot.iter().chain(&named.debug_dir) {
        let is_folder = folder.metadata().in_file(folder)?.is_dir();
        anyhow::ensure!(is_folder, "{}: this is no folder", folder.display());
    }
    Ok(Sysroot {
        servers,
        exe: args.files.exe.clone(),
        roots: args.files.sysroot.clone(),
        debug_dirs: args.files.debug_dir.clone(),
        no_debug: args.files.no_debug,
        force: args.files.force,
        ..Sysroot::host()
    })
}

/// The files of an archive, by the paths that they had in the process.
struct ArchiveFiles {
    /// The archive, as it is shown.
    name: String,
    files: Files,
}

impl FileProvider for ArchiveFiles {
    fn open(&self, path: &[u8]) -> Option<(PathBuf, Arc<dyn Source>)> {
        match self.files.find(path) {
            Ok(found) => found.map(|source| {
                let shown = format!(
                    "{}:{}",
                    self.name,
                    lossy(path.strip_prefix(b"/").unwrap_or(path))
                );
                (PathBuf::from(shown), source)
            }),
            Err(error) => {
                tracing::warn!(path = ?lossy(path), %error, "a file of the archive cannot be read");
                None
            }
        }
    }

    fn by_build_id(&self, build_id: &[u8], debug: bool) -> Option<(PathBuf, Arc<dyn Source>)> {
        let id = hex(build_id);
        let (folder, rest) = id.split_at_checked(2).filter(|_| debug)?;
        self.open(format!("/usr/lib/debug/.build-id/{folder}/{rest}.debug").as_bytes())
    }
}

/// How a module's file was found, in a word: for tables and JSON.
pub fn match_word(module: &Module) -> &'static str {
    match &module.file {
        _ if module.kind == stillcore_corefile::ModuleKind::Vdso => "kernel",
        Some(found) => match found.check {
            Check::BuildId => "build-id",
            Check::Headers => "headers",
            Check::Crc => "crc",
            Check::Forced => "forced",
        },
        None if module.mismatches.iter().any(|other| !other.unchecked) => "differs",
        None if !module.mismatches.is_empty() => "unknown",
        None => "not found",
    }
}
