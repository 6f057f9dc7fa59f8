use std::cell::Cell;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::Context as _;
use chrono::{DateTime, Local, SecondsFormat};
use clap::{Args, ValueEnum};
use serde::Serialize;
use stillcore_archive::{
    Compression, FileEntry, ManifestHead, PackError, PackOptions, PackageError, PackageJob, Tool,
    package, package_kernel,
};
use stillcore_corefile::{Arch, KernelDump};

use crate::args::{CoreArgs, is_stdin};
use crate::argv;
use crate::error::Usage;
use crate::escape::lossy;
use crate::node;
use crate::opening::open_core;
use crate::output::{Answer, Text, YELLOW};
use crate::problems::Problems;
use crate::progress::Bar;
use crate::session::{Session, sysroot};
use crate::size::{count, size};

/// Packs a core with all it takes to read it on another machine
///
/// The executable, every library in use and their debug information go with it, each under its own path, and with it
/// run-gdb.sh and run-lldb.sh: unpacked anywhere, they open the core with these files alone, and run nothing of them.
/// run-autopsy.sh does the same for the JavaScript of a Node core: sh run-autopsy.sh -e jsstack.
/// Files of another build are left out and named (--force takes them); files that are gone from the disk are rebuilt
/// from the core as far as it has them.
///
///   $ stillcore archive core.1234
///   archive-core.1234.tar.gz: 8.2 MB, 11 files
///   $ tar xzf archive-core.1234.tar.gz && sh archive-core.1234/run-gdb.sh -batch -ex bt
///
/// A crash dump of the kernel (ELF, or makedumpfile's compressed format) is packed with its vmlinux and the modules that
/// were loaded, and with run-drgn.sh, run-sdb.sh and run-crash.sh.
///
/// Exit code 1 where a file was left out because it belongs to another build, or the core is cut off. Debug files that
/// are nowhere to be found are only noted.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub struct Archive {
    #[command(flatten)]
    pub core: CoreArgs,

    /// The archive; nothing may be there yet [default: archive-<name of the core>.tar.gz, here]
    #[arg(short, long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub output: Option<PathBuf>,

    /// How it is packed [default: as the name of FILE says, or tar.gz]
    #[arg(long, value_enum)]
    pub format: Option<Format>,

    /// 1 is fast; 9 (tar.gz) or 4 (tar.zst) is small [default: 1]
    #[arg(long, value_name = "N")]
    pub level: Option<u32>,
}

/// How an archive is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Every program opens it
    #[value(name = "tar.gz")]
    TarGz,
    /// Faster, and smaller
    #[value(name = "tar.zst")]
    TarZst,
}

/// What came of it.
#[derive(Debug, Serialize)]
pub struct Outcome {
    /// The archive.
    pub archive: String,
    /// Its length in bytes.
    pub bytes: u64,
    /// What is in it besides the core.
    pub files: Vec<Entry>,
    /// What should be known beside it.
    pub warnings: Vec<String>,
    #[serde(skip)]
    bad: bool,
}

/// A file of the process.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    /// Its path as the core, or whoever found it, has it.
    pub path: String,
    /// Its path below the top folder; null where it is not in the archive.
    pub archive_path: Option<String>,
    /// `executable`, `interpreter`, `library`, `debug`, `debug-shared`, `dwo`, `dwp`, `vmlinux`, `module`; null for a
    /// file that was mapped as data.
    pub kind: Option<String>,
    /// Its build-id.
    pub build_id: Option<String>,
    /// Whether it was put together from the core's memory.
    pub rebuilt: bool,
    /// Why it is not in the archive, or what is wrong with it.
    pub reason: Option<String>,
}

impl Archive {
    pub fn run(&self) -> anyhow::Result<Outcome> {
        let compression = self.compression()?;
        if self.output.as_deref().is_some_and(is_stdin) {
            return Err(Usage(
                "-o -: an archive becomes a file, which is there when it is whole; name it, or -o ./- if that is its name".to_owned(),
            )
            .into());
        }
        let opened = open_core(&self.core)?;
        let path = (!is_stdin(&self.core.core)).then_some(self.core.core.as_path());
        let stem = stem(path, !opened.layers.is_empty());
        let output = match &self.output {
            Some(output) => output.clone(),
            None => PathBuf::from(format!("archive-{stem}.{}", compression.extension())),
        };
        let plain = path
            .filter(|_| opened.layers.is_empty())
            .and_then(|path| plain_file(path, opened.core.len()));
        let modified = path.and_then(|path| path.metadata().ok()?.modified().ok());
        let core_mtime = modified.unwrap_or_else(SystemTime::now);
        let options = PackOptions {
            compression,
            level: self.level,
            ..PackOptions::default()
        };
        let bar = Bar::new("packing");
        let (done, total) = (Cell::new(0_u64), opened.core.len());
        let progress = |bytes| {
            done.set(done.get() + bytes);
            bar.set(done.get(), Some(total.max(done.get())));
            true
        };
        let source = opened.core.clone();
        let dump = KernelDump::recognise(source.clone())
            .with_context(|| crate::args::shown(&self.core.core))?;
        let mut job = PackageJob {
            name: &stem,
            core_file: plain.as_ref(),
            core_mtime,
            output: &output,
            manifest: ManifestHead::default(),
            options,
            progress: &progress,
        };
        let (packaged, mut problems) = if let Some(dump) = dump {
            job.manifest = kernel_head(&dump, core_mtime);
            let packaged = package_kernel(&dump, &source, &sysroot(&self.core)?, &job);
            (packaged, Problems::default())
        } else {
            let session = Session::of(&self.core, opened)?;
            job.manifest = head(&session, core_mtime);
            (package(&session.process, &job), session.problems)
        };
        drop(bar);
        let packaged = packaged.map_err(|error| match error {
            error @ PackageError::NoKernel { .. } => {
                anyhow::Error::new(error).context(crate::args::shown(&self.core.core))
            }
            // The archive, and the name that it has meanwhile, if any, are gone.
            error @ PackageError::Pack(PackError::Output(_)) => {
                anyhow::Error::new(error).context(output.display().to_string())
            }
            error @ PackageError::Pack(PackError::Core(_)) => {
                anyhow::Error::new(error).context(crate::args::shown(&self.core.core))
            }
            error => anyhow::Error::new(error),
        })?;
        for what in packaged.left_out {
            problems.bad(what);
        }
        for note in packaged.notes {
            problems.note(note);
        }
        Ok(Outcome {
            archive: output.display().to_string(),
            bytes: packaged.output_bytes,
            files: packaged.manifest.files.into_iter().map(entry).collect(),
            warnings: problems.warnings,
            bad: problems.bad,
        })
    }

    fn compression(&self) -> Result<Compression, Usage> {
        let named = self.output.as_deref().map(Path::as_os_str);
        let ends = |end: &str| named.is_some_and(|name| name.to_string_lossy().ends_with(end));
        let compression = match self.format {
            Some(Format::TarGz) => Compression::Gzip,
            Some(Format::TarZst) => Compression::Zstd,
            None if ends(".zst") || ends(".tzst") => Compression::Zstd,
            None => Compression::Gzip,
        };
        let levels = compression.levels();
        match self.level {
            Some(level) if !levels.contains(&level) => Err(Usage(format!(
                "--level of {} is {} to {}",
                compression.extension(),
                levels.start(),
                levels.end()
            ))),
            _ => Ok(compression),
        }
    }
}

/// The core itself, where it is a plain file: then its holes are known.
fn plain_file(path: &Path, len: u64) -> Option<File> {
    let file = File::open(path).ok()?;
    let metadata = file.metadata().ok()?;
    (metadata.is_file() && metadata.len() == len).then_some(file)
}

fn kernel_head(dump: &KernelDump, core_mtime: SystemTime) -> ManifestHead {
    let crashed = dump
        .info("CRASHTIME")
        .and_then(|text| DateTime::from_timestamp(text.parse().ok()?, 0));
    let time = crashed.map_or_else(|| DateTime::<Local>::from(core_mtime), DateTime::into);
    ManifestHead {
        tool: tool(),
        time: time.to_rfc3339_opts(SecondsFormat::Millis, false),
        arch: match dump.machine() {
            Some(62) => "x64",
            Some(183) => "arm64",
            _ => "",
        }
        .to_owned(),
        platform: "linux".to_owned(),
        method: "kernel crash dump".to_owned(),
        ..ManifestHead::default()
    }
}

fn tool() -> Tool {
    Tool {
        name: "stillcore".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
    }
}

/// The core's name: that of its file, without what says how it was compressed.
fn stem(path: Option<&Path>, packed: bool) -> String {
    let name = path
        .and_then(Path::file_name)
        .map(|name| name.to_string_lossy());
    let Some(mut name) = name.as_deref() else {
        return "core".to_owned();
    };
    if packed {
        for end in [".gz", ".tgz", ".zst", ".xz", ".lz4", ".zip", ".tar"] {
            // The last, `.tar`, is what is left of `.tar.gz`.
            name = name
                .strip_suffix(end)
                .filter(|name| !name.is_empty())
                .unwrap_or(name);
        }
    }
    name.chars()
        .map(|char| if char.is_control() { '_' } else { char })
        .collect()
}

fn head(session: &Session, core_mtime: SystemTime) -> ManifestHead {
    let about = &session.process.about;
    let capture = about.capture.clone().unwrap_or_default();
    let (node, v8) = node::versions(&session.process).unzip();
    let pid = capture.pid.or(about.pid.map(i64::from));
    let mut head = ManifestHead {
        time: capture.time.clone().unwrap_or_else(|| {
            DateTime::<Local>::from(core_mtime).to_rfc3339_opts(SecondsFormat::Millis, false)
        }),
        pid: pid.and_then(|pid| u32::try_from(pid).ok()).unwrap_or(0),
        node: node
            .or(capture.node)
            .unwrap_or_default()
            .trim_start_matches('v')
            .to_owned(),
        v8: v8.unwrap_or_default(),
        arch: match session.process.arch {
            Arch::X86_64 => "x64",
            Arch::Aarch64 => "arm64",
        }
        .to_owned(),
        platform: "linux".to_owned(),
        method: capture.method.clone().unwrap_or_default(),
        command: argv::of(&session.process).map_or_else(
            || {
                let cut = lossy(&about.arguments);
                cut.split_ascii_whitespace().map(str::to_owned).collect()
            },
            |arguments| arguments.iter().map(|argument| lossy(argument)).collect(),
        ),
        ..ManifestHead::default()
    };
    // Whoever took the core knew more.
    if let Some(manifest) = session.origin.manifest.clone() {
        head = ManifestHead {
            time: manifest.time,
            pid: manifest.pid,
            node: manifest.node,
            v8: manifest.v8,
            arch: manifest.arch,
            platform: manifest.platform,
            method: manifest.method,
            command: manifest.command,
            notes: manifest.notes,
            extra: manifest.extra,
            ..head
        };
    }
    head.tool = tool();
    head
}

fn entry(file: FileEntry) -> Entry {
    Entry {
        path: lossy(file.path.as_bytes()),
        archive_path: file.archive_path.map(|path| lossy(path.as_bytes())),
        kind: file.kind,
        build_id: file.build_id,
        rebuilt: file.rebuilt,
        reason: file.reason.map(|reason| lossy(reason.as_bytes())),
    }
}

impl Answer for Outcome {
    fn text(&self, out: &mut Text<'_>) -> io::Result<()> {
        let included = self.files.iter().filter(|file| file.archive_path.is_some());
        out.line(format!(
            "{}: {}, the core and {}",
            self.archive,
            size(self.bytes),
            count(included.count(), "file")
        ))?;
        for file in self.files.iter().filter(|file| file.rebuilt) {
            out.styled(YELLOW, format!("rebuilt from the core: {}", file.path))?;
        }
        Ok(())
    }

    fn is_bad(&self) -> bool {
        self.bad
    }

    fn warnings(&self) -> &[String] {
        &self.warnings
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_is_named_after_the_core() {
        for (path, packed, name) in [
            ("/var/core.1234", false, "core.1234"),
            ("core.node.0.zst", true, "core.node.0"),
            ("core_1.tar.gz", true, "core_1"),
            ("core.gz", false, "core.gz"),
            ("a\nb", false, "a_b"),
        ] {
            assert_eq!(stem(Some(Path::new(path)), packed), name);
        }
        assert_eq!(stem(None, true), "core");
    }
}
