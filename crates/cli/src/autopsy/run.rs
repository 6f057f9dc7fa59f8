//! The command `stillcore autopsy`.

use std::path::PathBuf;

use clap::Args;

use super::{Autopsy as Session, prompt};
use crate::args::{CoreArgs, FileArgs};
use crate::error::{BAD, DONE, InFile, Usage};
use crate::output;

/// The JavaScript inside a core of Node.js: a prompt, or commands with -e or from a pipe
///
/// Nothing else is needed but the core and the node binary: it is found by the path that the core names, below a --sysroot,
/// or named as NODE.
///
///   $ stillcore autopsy core.1234
///   > jsstack
///   > findjsobjects -c Request
///   > jsprint 0x1438073d9a79 -d 3
///   > 1438073d9a79::jsprint headers | ::jsprint host
///
/// Each command of the prompt is also one of this program: stillcore jsstack core.1234. help lists them.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub struct Autopsy {
    /// [NODE] CORE: the node binary, where it is not found by itself, and the core
    #[arg(value_name = "FILE", num_args = 0..=2, value_hint = clap::ValueHint::FilePath)]
    pub given: Vec<PathBuf>,

    /// The core, as debuggers take it: NODE -c CORE
    #[arg(short, long, value_name = "CORE", value_hint = clap::ValueHint::FilePath)]
    pub core: Option<PathBuf>,

    /// Run this command and end [may be repeated]; all are run, and the exit code is that of the first that failed
    #[arg(short, long = "eval", visible_alias = "ex", value_name = "COMMAND")]
    pub eval: Vec<String>,

    /// Look at one isolate alone: its number in isolates
    #[arg(long, value_name = "N")]
    pub isolate: Option<usize>,

    #[command(flatten)]
    pub files: FileArgs,
}

impl Autopsy {
    /// Opens the core and runs commands; gives the exit code.
    ///
    /// # Errors
    /// The core cannot be read.
    pub fn run(&self, json: bool) -> anyhow::Result<u8> {
        let (node, core) = match (&self.given[..], &self.core) {
            ([core], None) => (None, core.clone()),
            ([node, core], None) => (Some(node.clone()), core.clone()),
            ([node], Some(core)) => (Some(node.clone()), core.clone()),
            ([], Some(core)) => (None, core.clone()),
            _ => {
                return Err(
                    Usage("autopsy [NODE] CORE, or autopsy NODE -c CORE".to_owned()).into(),
                );
            }
        };
        if let Some(node) = &node {
            std::fs::File::open(node).in_file(node)?;
        }
        let mut files = self.files.clone();
        let force = files.force;
        files.exe = node.clone().or(files.exe);
        let mut session = Session::open(&CoreArgs { core, files })?;
        // Its own binary may have been found where the core names it; the one that was named is wrong all the same.
        let executable = session.target.process().executable();
        if let Some(node) = node
            && !force
            && executable.is_some_and(|module| {
                module
                    .mismatches
                    .iter()
                    .any(|mismatch| mismatch.path == node)
            })
        {
            anyhow::bail!(
                "{} is not the binary that the core is of: their build-ids differ (--force believes it)",
                node.display()
            );
        }
        session.isolate = self.isolate;
        session.check_isolate()?;
        for warning in &session.problems.warnings {
            output::warn(warning);
        }
        let bad = session.problems.bad;
        let code = if self.eval.is_empty() {
            prompt::prompt(session, json)?
        } else {
            prompt::lines(&mut session, self.eval.iter().cloned().map(Ok), json)?
        };
        Ok(if code == DONE && bad { BAD } else { code })
    }
}
