use std::io;
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;
use stillcore_archive::{UnpackOptions, Unpacked};

use crate::args::{LimitArgs, is_stdin, shown};
use crate::escape::lossy;
use crate::output::{Answer, Text, YELLOW};
use crate::session::{Cached, open_options, spooled_stdin, told};
use crate::size::{count, size};

/// Unpacks an archive safely, or a compressed core
///
/// Nothing leaves DIR, and no link is followed out of it: entries that would are left out and named. Nothing is overwritten,
/// and nothing becomes executable that was not. Holes of the core stay holes.
///
///   $ stillcore unpack core_20261121.104512.1.001.tar.gz /tmp/evidence
///   /tmp/evidence/core_20261121.104512.1.001: 11 files, 603 MB
///
/// Exit code 1 where entries were left out, or the archive is damaged.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub struct Unpack {
    /// The archive, or - for standard input
    #[arg(value_name = "ARCHIVE", value_hint = clap::ValueHint::FilePath)]
    pub archive: PathBuf,

    /// Where to; it is made where it is not there
    #[arg(value_name = "DIR", default_value = ".", value_hint = clap::ValueHint::DirPath)]
    pub directory: PathBuf,

    #[command(flatten)]
    pub limits: LimitArgs,
}

/// What came of it.
#[derive(Debug, Serialize)]
pub struct Outcome {
    /// The folder.
    pub directory: String,
    /// What lies directly in it now, and was not there before.
    pub tops: Vec<String>,
    /// Plain files.
    pub files: u64,
    /// Folders.
    pub folders: u64,
    /// Symbolic links.
    pub links: u64,
    /// Bytes of all files, holes included.
    pub bytes: u64,
    /// Entries that were left out.
    pub refused: Vec<Refused>,
    /// Why the rest is missing, where the archive is damaged.
    pub damaged: Option<String>,
}

/// An entry that was left out.
#[derive(Debug, Serialize)]
pub struct Refused {
    /// Its path in the archive.
    pub path: String,
    /// Why.
    pub why: String,
}

impl Unpack {
    pub fn run(&self) -> anyhow::Result<Outcome> {
        let options = open_options(&self.limits, Cached::No, "unpacking")?;
        let options = UnpackOptions {
            limits: options.limits,
            progress: options.progress,
        };
        let name = shown(&self.archive);
        let unpacked = if is_stdin(&self.archive) {
            stillcore_archive::unpack_source(spooled_stdin()?, b"core", &self.directory, &options)
        } else {
            stillcore_archive::unpack(&self.archive, &self.directory, &options)
        };
        Ok(Outcome::new(
            &self.directory,
            unpacked.map_err(|error| told(error, &name))?,
        ))
    }
}

impl Outcome {
    fn new(directory: &Path, unpacked: Unpacked) -> Outcome {
        Outcome {
            directory: directory.display().to_string(),
            tops: unpacked
                .tops
                .iter()
                .map(|path| path.display().to_string())
                .collect(),
            files: unpacked.files,
            folders: unpacked.folders,
            links: unpacked.links,
            bytes: unpacked.bytes,
            refused: unpacked
                .refused
                .into_iter()
                .map(|refused| Refused {
                    path: lossy(&refused.path),
                    why: refused.reason,
                })
                .collect(),
            damaged: unpacked.damaged,
        }
    }
}

impl Answer for Outcome {
    fn text(&self, out: &mut Text<'_>) -> io::Result<()> {
        let whereto = match self.tops.as_slice() {
            [top] => top,
            _ => &self.directory,
        };
        let links = match self.links {
            0 => String::new(),
            links => format!("{}, ", count(links as usize, "link")),
        };
        out.line(format!(
            "{whereto}: {}, {links}{}",
            count(self.files as usize, "file"),
            size(self.bytes)
        ))?;
        for refused in &self.refused {
            out.styled(
                YELLOW,
                format!("left out: {}: {}", refused.path, refused.why),
            )?;
        }
        if let Some(damage) = &self.damaged {
            out.styled(YELLOW, format!("the rest is missing: {damage}"))?;
        }
        Ok(())
    }

    fn is_bad(&self) -> bool {
        self.damaged.is_some() || !self.refused.is_empty()
    }
}
