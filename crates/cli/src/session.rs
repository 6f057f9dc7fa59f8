//! A core that was opened for a command: the process in it, what it came in, and what is wrong with it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Serialize, Serializer};
use stillcore_archive::{
    CacheUse, Files, Manifest, OpenError, OpenOptions, Opened, OpenedKind, Progress, Step,
};
use stillcore_corefile::{
    Check, CoreFile, FileProvider, FileSource, KernelDump, Mismatch, Module, Process, Source,
    Sysroot,
};

use crate::args::{CoreArgs, LimitArgs, is_stdin, shown};
use crate::debuginfod::Debuginfod;
use crate::error::InFile;
use crate::escape::lossy;
use crate::progress::Bar;
use crate::size::size;

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
    /// `core`, or whose archive it is: see [`kind_word`].
    pub kind: &'static str,
    /// What lies around the core, from the outside: `gzip`, `tar`.
    pub layers: Vec<&'static str>,
    /// The manifest of an archive of ours.
    pub manifest: Option<Manifest>,
}

/// What should be known beside an answer.
#[derive(Debug, Clone, Default)]
pub struct Problems {
    /// A sentence or two each.
    pub warnings: Vec<String>,
    /// Whether one of them makes the answer bad: exit code 1.
    pub bad: bool,
}

impl Problems {
    /// Something that makes the answer bad.
    pub fn bad(&mut self, warning: String) {
        self.warnings.push(warning);
        self.bad = true;
    }

    /// Something that should be known.
    pub fn note(&mut self, warning: String) {
        self.warnings.push(warning);
    }
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

/// Opens what was given as CORE.
///
/// # Errors
/// It cannot be read, or is nothing that is known.
pub fn open_core(args: &CoreArgs) -> anyhow::Result<Opened> {
    let name = shown(&args.core);
    let cached = if args.files.no_cache {
        Cached::No
    } else {
        Cached::Yes
    };
    let options = open_options(&args.files.limits, cached, "unpacking")?;
    let opened = if is_stdin(&args.core) {
        stillcore_archive::open_stdin(&options)
    } else {
        stillcore_archive::open(&args.core, &options)
    };
    let opened = opened.map_err(|error| told(error, &name))?;
    tracing::info!(
        kind = kind_word(opened.kind),
        layers = ?opened.layers,
        indexed = opened.indexed,
        cached = ?opened.cached,
        "opened"
    );
    Ok(opened)
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

/// Whether what has to be unpacked may stay in the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cached {
    Yes,
    No,
}

/// How archives are opened, with a progress bar called `what`.
///
/// # Errors
/// The limits are wrong.
pub fn open_options(
    limits: &LimitArgs,
    cached: Cached,
    what: &'static str,
) -> anyhow::Result<OpenOptions> {
    Ok(OpenOptions {
        cache: match cached {
            Cached::Yes => CacheUse::Default,
            Cached::No => CacheUse::Never,
        },
        limits: limits.limits()?,
        progress: Some(progress(what)),
    })
}

/// A progress bar that opens with the first report.
pub fn progress(what: &'static str) -> Progress {
    let bar = Bar::new(what);
    Arc::new(move |step: Step| {
        bar.set(step.done, step.total);
        true
    })
}

/// Why an archive cannot be opened, with its name, and with what to do where there is something to do.
pub fn told(error: OpenError, name: &str) -> anyhow::Error {
    match error {
        OpenError::Limit { name: limit, .. } => {
            let error = anyhow::Error::new(error);
            anyhow::anyhow!("{name}: {error} (--limit {limit}=...)")
        }
        // `name: it could not be read: No such file` says the same twice.
        OpenError::Io(error) => anyhow::Error::new(error).context(name.to_owned()),
        error => anyhow::Error::new(error).context(name.to_owned()),
    }
}

/// Standard input as something that can be read anywhere: a temporary file without a name.
///
/// # Errors
/// It cannot be read, or not be written.
pub fn spooled_stdin() -> anyhow::Result<Arc<dyn Source>> {
    use anyhow::Context as _;
    let mut file = tempfile::tempfile().context("a temporary file")?;
    std::io::copy(&mut std::io::stdin().lock(), &mut file).context("standard input")?;
    Ok(Arc::new(FileSource::new(file).context("a temporary file")?))
}

/// What something is, in a word: for text and JSON.
pub fn kind_word(kind: OpenedKind) -> &'static str {
    match kind {
        OpenedKind::Core => "core",
        OpenedKind::KernelDump => "vmcore",
        OpenedKind::Stillcore => "stillcore",
        OpenedKind::Gencore => "gencore",
        OpenedKind::Savedump => "savedump",
        OpenedKind::CoreDumpHandler => "core-dump-handler",
        OpenedKind::Tar => "tar",
        OpenedKind::Zip => "zip",
    }
}

fn check_core(process: &Process, problems: &mut Problems) {
    let (promised, has) = (process.core.expected_size(), process.core.size());
    if has < promised {
        problems.bad(format!(
            "the core is cut off: its headers promise {}, and {} are there. The disk or a limit was full when it was \
             written (ulimit -c, LimitCORE=), or copying it ended early; what lay behind is missing.",
            size(promised),
            size(has)
        ));
    }
    for what in &process.about.unreadable {
        problems.note(format!("a note of the core cannot be read: {what}"));
    }
}

/// Says which files are not those that were mapped. `exe` is the one that was named as the executable: that is told of even
/// where the right one lay in its place.
fn check_files(process: &Process, exe: Option<&Path>, problems: &mut Problems) {
    let mut unchecked = Vec::new();
    for module in &process.modules {
        let believed = module.file.as_ref();
        for mismatch in &module.mismatches {
            let path = mismatch.path.display();
            if believed.is_some_and(|found| found.path == mismatch.path) {
                problems.note(if mismatch.unchecked {
                    format!("nothing in the core tells whether {path} is what was mapped; it is believed for --force")
                } else {
                    format!(
                        "{path} is not the file that was mapped ({}), and is believed for --force",
                        ids(mismatch)
                    )
                });
                continue;
            }
            if let Some(found) = believed
                && exe == Some(&mismatch.path)
            {
                problems.bad(format!(
                    "--exe {path} is not the executable that was mapped ({}), and is left out: {} is taken. --force believes it.",
                    ids(mismatch),
                    found.path.display()
                ));
                continue;
            }
            // One that was found elsewhere does not matter, whatever lies here.
            if believed.is_some() {
                tracing::info!(path = ?mismatch.path, "another file than the one that was mapped");
                continue;
            }
            if mismatch.unchecked {
                unchecked.push(mismatch.path.display().to_string());
                continue;
            }
            problems.bad(format!(
                "{path} is not the file that was mapped, and is left out: {}. Name a folder with the right one (--sysroot), \
                 or believe it nevertheless (--force).",
                ids(mismatch)
            ));
        }
    }
    tell_unchecked(&unchecked, problems);
}

/// Files that may be the ones that were mapped, and that nothing in the core tells of.
fn tell_unchecked(unchecked: &[String], problems: &mut Problems) {
    let Some((first, others)) = unchecked.split_first() else {
        return;
    };
    let more = match others.len() {
        0 => String::new(),
        number => format!(" and {} more", crate::size::count(number, "file")),
    };
    problems.note(format!(
        "{first}{more} may be what was mapped, but the core has neither headers nor build-id to tell (it is cut off, or was \
         written with a coredump_filter without ELF headers). What cannot be checked is left out; --force believes it."
    ));
}

/// Looks for the debug files of these modules, and says which lay in the right place and are others.
pub fn check_debug_files<'a>(
    modules: impl IntoIterator<Item = &'a Module>,
    problems: &mut Problems,
) {
    for module in modules {
        if module.debug_file().is_some() {
            continue;
        }
        for mismatch in module.debug_mismatches() {
            problems.bad(format!(
                "{} is not the debug file of {}, and is left out: {}",
                mismatch.path.display(),
                module_name(module),
                ids(mismatch)
            ));
        }
    }
}

fn ids(mismatch: &Mismatch) -> String {
    match (&mismatch.expected, &mismatch.found) {
        (Some(expected), Some(found)) => {
            format!(
                "the core has build-id {}, the file {}",
                hex(expected),
                hex(found)
            )
        }
        (Some(expected), None) => {
            format!("the core has build-id {}, the file none", hex(expected))
        }
        _ => "they are of different builds".to_owned(),
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

/// Bytes as hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// An address or the content of a register: `0x7f3a00401000` in text, and in JSON a string of that form, since numbers
/// of 64 bits do not survive JavaScript.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Address(pub u64);

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(&format!("{:#x}", self.0))
    }
}

impl Serialize for Address {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The name of a module in a frame or table: the last part of its path.
pub fn module_name(module: &Module) -> String {
    lossy(module.name())
}
