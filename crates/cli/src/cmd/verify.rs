use std::io;
use std::path::PathBuf;

use clap::Args;
use serde::Serialize;
use stillcore_archive::{ProblemKind, Verified};

use crate::args::{LimitArgs, is_stdin, shown};
use crate::escape::lossy;
use crate::opening::{Cached, kind_word, open_options, told};
use crate::output::{Answer, GREEN, RED, Text};
use crate::size::count;
use crate::table::{Align, Table};

/// Checks every checksum and build-id of an archive again, and that it is whole
///
/// Everything is read, as other programs would read it, and once more by the index where there is one. Archives that are not
/// stillcore's have no checksums; those of gzip, zip and the others are checked, and that nothing is cut off.
///
///   $ stillcore verify core_20261121.104512.1.001.tar.gz
///   core_20261121.104512.1.001.tar.gz: good; archive of stillcore, 11 files, 10 checksums, 9 build-ids, index
///
/// Exit code 1, and a list, if anything is off.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub struct Verify {
    /// The archive, or - for standard input
    #[arg(value_name = "ARCHIVE", value_hint = clap::ValueHint::FilePath)]
    pub archive: PathBuf,

    #[command(flatten)]
    pub limits: LimitArgs,

    /// Unpack into a temporary file that goes away, not into the cache
    #[arg(long)]
    pub no_cache: bool,
}

/// What was found.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Verdict {
    /// What was given as ARCHIVE.
    pub file: String,
    /// Whether nothing is off.
    pub good: bool,
    /// `core`, `stillcore`, `gencore`, `savedump`, `core-dump-handler`, `tar`, `zip`, `vmcore`; null when it is too damaged to tell.
    pub kind: Option<&'static str>,
    /// What lies around the core, from the outside: `gzip`, `tar`.
    pub layers: Vec<&'static str>,
    /// Plain files that were read.
    pub files: u64,
    /// Files whose SHA-256 is the one in the manifest.
    pub checksums: u64,
    /// Files whose build-id is the one in the manifest.
    pub build_ids: u64,
    /// Whether there is an index, and every block is what it says.
    pub index: bool,
    /// Everything that is off.
    pub problems: Vec<Problem>,
    /// What could not be checked, and why.
    pub warnings: Vec<String>,
}

/// Something that is off.
#[derive(Debug, Serialize)]
pub struct Problem {
    /// `damaged`: the archive itself; `wrong`: a file is not what the manifest says; `missing`; `unexpected`.
    pub kind: &'static str,
    /// The path in the archive, where it is about one file.
    pub path: Option<String>,
    /// What, in words.
    pub what: String,
}

impl Verify {
    pub fn run(&self) -> anyhow::Result<Verdict> {
        let options = open_options(
            &self.limits,
            if self.no_cache {
                Cached::No
            } else {
                Cached::Yes
            },
            "verifying",
        )?;
        let name = shown(&self.archive);
        let verified = if is_stdin(&self.archive) {
            let opened = crate::opening::spooled_stdin()?;
            stillcore_archive::verify_source(opened, &options)
        } else {
            stillcore_archive::verify(&self.archive, &options)
        };
        Ok(Verdict::new(
            &name,
            verified.map_err(|error| told(error, &name))?,
        ))
    }
}

impl Verdict {
    fn new(name: &str, verified: Verified) -> Verdict {
        Verdict {
            file: name.to_owned(),
            good: verified.is_good(),
            kind: verified.kind.map(kind_word),
            layers: verified.layers.iter().map(|layer| layer.name()).collect(),
            files: verified.files,
            checksums: verified.checksums,
            build_ids: verified.build_ids,
            index: verified.index,
            problems: verified
                .problems
                .into_iter()
                .map(|problem| Problem {
                    kind: match problem.kind {
                        ProblemKind::Damaged => "damaged",
                        ProblemKind::Wrong => "wrong",
                        ProblemKind::Missing => "missing",
                        ProblemKind::Unexpected => "unexpected",
                    },
                    path: problem.path.as_deref().map(lossy),
                    what: problem.text,
                })
                .collect(),
            warnings: verified.notes,
        }
    }

    fn in_words(&self) -> String {
        let mut words = vec![match self.kind {
            Some("core") => "a core".to_owned(),
            Some("vmcore") => "a kernel dump".to_owned(),
            Some("tar" | "zip") => format!("{} archive", self.kind.unwrap_or_default()),
            Some(kind) => format!("archive of {kind}"),
            None => "too damaged to tell what it is".to_owned(),
        }];
        words.push(count(self.files as usize, "file"));
        if self.checksums > 0 {
            words.push(count(self.checksums as usize, "checksum"));
        }
        if self.build_ids > 0 {
            words.push(count(self.build_ids as usize, "build-id"));
        }
        if self.index {
            words.push("index".to_owned());
        }
        words.join(", ")
    }
}

impl Answer for Verdict {
    fn text(&self, out: &mut Text<'_>) -> io::Result<()> {
        let (style, word) = if self.good {
            (GREEN, "good")
        } else {
            (RED, "BAD")
        };
        out.styled(style, format!("{}: {word}; {}", self.file, self.in_words()))?;
        if self.problems.is_empty() {
            return Ok(());
        }
        out.line("")?;
        let mut table = Table::new(&[
            ("WHAT", Align::Left),
            ("PATH", Align::Left),
            ("", Align::Left),
        ]);
        for problem in &self.problems {
            table.row([
                problem.kind.to_owned(),
                problem.path.clone().unwrap_or_default(),
                problem.what.clone(),
            ]);
        }
        table.print(out)
    }

    fn is_bad(&self) -> bool {
        !self.good
    }

    fn warnings(&self) -> &[String] {
        &self.warnings
    }
}
