//! A core that was opened for a command: the process in it, how it was found, and what is wrong with it.

use std::fs::File;
use std::path::PathBuf;

use serde::{Serialize, Serializer};
use stillcore_corefile::{Check, CoreFile, Module, Process, Sysroot};

use crate::args::CoreArgs;
use crate::error::InFile;
use crate::escape::lossy;
use crate::size::size;

/// What a command that reads a core works with.
pub struct Session {
    /// The process.
    pub process: Process,
    /// What was given as CORE.
    pub path: PathBuf,
    /// What is wrong with the core and its files.
    pub problems: Problems,
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
        let path = args.core.clone();
        let file = File::open(&path).in_file(&path)?;
        let core = CoreFile::open(file).in_file(&path)?;
        let files = Sysroot {
            exe: args.files.exe.clone(),
            roots: args.files.sysroot.clone(),
            debug_dirs: args.files.debug_dir.clone(),
            no_debug: args.files.no_debug,
            force: args.files.force,
            ..Sysroot::host()
        };
        let process = Process::open(core, &files).in_file(&path)?;
        let mut problems = Problems::default();
        check_core(&process, &mut problems);
        check_files(&process, &mut problems);
        Ok(Session {
            process,
            path,
            problems,
        })
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

fn check_files(process: &Process, problems: &mut Problems) {
    for module in &process.modules {
        let believed = module.file.as_ref();
        for mismatch in &module.mismatches {
            // One that was found elsewhere does not matter, whatever lies here.
            if believed.is_some_and(|found| found.check != Check::Forced) {
                tracing::info!(path = ?mismatch.path, "another file than the one that was mapped");
                continue;
            }
            let ids = match (&mismatch.expected, &mismatch.found) {
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
                _ => "their headers differ".to_owned(),
            };
            let path = mismatch.path.display();
            if believed.is_some() {
                problems.note(format!(
                    "{path} is not the file that was mapped ({ids}), and is believed for --force"
                ));
            } else {
                problems.bad(format!(
                    "{path} is not the file that was mapped, and is left out: {ids}. Name a folder with the right one \
                     (--sysroot), or believe it nevertheless (--force)."
                ));
            }
        }
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
        None if !module.mismatches.is_empty() => "differs",
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
