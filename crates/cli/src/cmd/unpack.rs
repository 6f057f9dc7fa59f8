use std::io;
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;
use stillcore_archive::{OpenError, UnpackOptions, Unpacked};

use crate::args::{LimitArgs, is_stdin, shown};
use crate::escape::lossy;
use crate::opening::{Cached, open_options, spooled_stdin, told};
use crate::output::{Answer, Text, YELLOW};
use crate::size::{count, size};

/// Unpacks an archive safely, or a compressed core
///
/// Nothing leaves DIR, and no link is followed out of it: entries that would are left out and named. Nothing is overwritten,
/// and nothing becomes executable that was not. Holes of the core stay holes.
///
///   $ stillcore unpack core_20261121.104512.1.001.tar.gz /tmp/evidence
///   /tmp/evidence/core_20261121.104512.1.001: 11 files, 603 MB
///
/// Of an archive that is cut off or damaged comes out what lies before that place; what there is of the file that it is in the
/// middle of is left out, since half a core looks like a whole one. --partial keeps it, as NAME.partial, and gdb and lldb
/// read it as a core that is cut off. The commands that take a CORE need no unpacking for that.
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

    /// Keep what can be read of the file in which the archive is cut off or damaged, as NAME.partial
    #[arg(long)]
    pub partial: bool,

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
    /// The file in which that was seen, which is not there under its name.
    pub partial: Option<Partial>,
}

/// The beginning of a file.
#[derive(Debug, Serialize)]
pub struct Partial {
    /// Where it is; where it would be with `--partial`.
    pub path: String,
    /// Bytes of it that could be read, holes included.
    pub bytes: u64,
    /// Bytes of the whole file, where that is known.
    pub of: Option<u64>,
    /// Whether they were kept.
    pub kept: bool,
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
            keep_partial: self.partial,
        };
        let name = shown(&self.archive);
        let unpacked = if is_stdin(&self.archive) {
            stillcore_archive::unpack_source(spooled_stdin()?, b"core", &self.directory, &options)
        } else {
            stillcore_archive::unpack(&self.archive, &self.directory, &options)
        };
        let unpacked = unpacked.map_err(|error| {
            // Nothing came out, but something may.
            let hint = match error {
                OpenError::Damaged(_) if !self.partial => {
                    ". What is there of it: --partial keeps it, and `stillcore info` tells about it"
                }
                _ => "",
            };
            match hint {
                "" => told(error, &name),
                hint => anyhow::anyhow!("{:#}{hint}", told(error, &name)),
            }
        })?;
        Ok(Outcome::new(&self.directory, unpacked))
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
            partial: unpacked.partial.map(|partial| Partial {
                path: partial.path.display().to_string(),
                bytes: partial.there,
                of: partial.size,
                kept: partial.kept,
            }),
        }
    }
}

impl Partial {
    fn sentence(&self) -> String {
        let there = match self.of {
            Some(of) => format!("the first {} of {}", size(self.bytes), size(of)),
            None => format!("the first {}", size(self.bytes)),
        };
        match self.kept {
            true => format!("{}: {there} of the file, the rest is missing", self.path),
            false => {
                let name = self.path.strip_suffix(".partial").unwrap_or(&self.path);
                format!(
                    "left out: {name}: {there} are there; --partial keeps them, and the commands that take a CORE read them \
                     in the archive"
                )
            }
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
        if let Some(partial) = self.partial.as_ref().filter(|partial| partial.bytes > 0) {
            out.styled(YELLOW, partial.sentence())?;
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
