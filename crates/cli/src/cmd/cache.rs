use std::io;

use clap::{Args, Subcommand};
use serde::Serialize;
use stillcore_archive::{CACHE_SIZE_VARIABLE, Cache};

use crate::error::InFile;
use crate::output::{Answer, DIM, Text};
use crate::size::{count, readable_time, rfc3339, size};
use crate::table::{Align, Table};

/// Lists what is unpacked in the cache, where, and how big; `cache clear` removes it
///
/// Compressed cores, and archives that cannot be read in place, are unpacked once. The cache is private (0700), and
/// what was used longest ago goes when it holds more than STILLCORE_CACHE_SIZE (20G unless set). It is
/// $XDG_CACHE_HOME/stillcore, by default ~/.cache/stillcore.
///
///   $ stillcore cache
///   /home/me/.cache/stillcore: 1.2 GB of at most 20 GB
///
///      SIZE  ON DISK  LAST USED                FROM
///    1.4 GB   1.2 GB  2026-11-21 14:02:11 UTC  /var/lib/systemd/coredump/core.node.zst
///   $ stillcore cache clear
///   removed 1 file, 1.2 GB
#[derive(Debug, Args)]
#[command(verbatim_doc_comment, args_conflicts_with_subcommands = true)]
pub struct CacheCommand {
    #[command(subcommand)]
    pub action: Option<Action>,
}

#[derive(Debug, Clone, Subcommand)]
pub enum Action {
    /// Removes everything that no process is just unpacking
    Clear,
}

/// What the cache holds.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Contents {
    /// The folder; null where neither XDG_CACHE_HOME nor HOME says one.
    pub folder: Option<String>,
    /// Bytes on the disk that it may hold.
    pub limit: Option<u64>,
    /// Bytes on the disk that it holds.
    pub bytes: u64,
    /// What is in it, that used last first.
    pub entries: Vec<Entry>,
}

/// A file in the cache.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    /// The file.
    pub path: String,
    /// What it was unpacked from, as far as it is known.
    pub origin: Option<String>,
    /// Its length, holes included.
    pub size: u64,
    /// Bytes on the disk.
    pub bytes: u64,
    /// When it was used last (RFC 3339).
    pub used: String,
    /// Not whole: a process is unpacking it, or was killed meanwhile.
    pub partial: bool,
}

/// What `clear` did.
#[derive(Debug, Serialize)]
pub struct Cleared {
    /// Files that were removed.
    pub files: usize,
    /// Bytes on the disk that they took.
    pub bytes: u64,
    /// Files that are just being unpacked, and stay.
    pub busy: usize,
}

impl CacheCommand {
    pub fn list(&self) -> anyhow::Result<Contents> {
        let Some(cache) = Cache::from_env() else {
            return Ok(Contents {
                folder: None,
                limit: None,
                bytes: 0,
                entries: Vec::new(),
            });
        };
        let entries: Vec<Entry> = cache
            .entries()
            .in_file(cache.folder())?
            .into_iter()
            .map(|entry| Entry {
                path: entry.path.display().to_string(),
                origin: entry.origin,
                size: entry.len,
                bytes: entry.bytes,
                used: rfc3339(entry.used),
                partial: entry.partial,
            })
            .collect();
        Ok(Contents {
            folder: Some(cache.folder().display().to_string()),
            limit: Some(cache.size()),
            bytes: entries.iter().map(|entry| entry.bytes).sum(),
            entries,
        })
    }

    pub fn clear(&self) -> anyhow::Result<Cleared> {
        let Some(cache) = Cache::from_env() else {
            return Ok(Cleared {
                files: 0,
                bytes: 0,
                busy: 0,
            });
        };
        let cleared = cache.clear().in_file(cache.folder())?;
        Ok(Cleared {
            files: cleared.files,
            bytes: cleared.bytes,
            busy: cleared.busy,
        })
    }
}

impl Answer for Contents {
    fn text(&self, out: &mut Text<'_>) -> io::Result<()> {
        let (Some(folder), Some(limit)) = (&self.folder, self.limit) else {
            return out.line(
                "no cache: neither XDG_CACHE_HOME nor HOME names a folder; temporary files are used",
            );
        };
        out.line(format!(
            "{folder}: {} of at most {}",
            size(self.bytes),
            size(limit)
        ))?;
        if self.entries.is_empty() {
            return out.styled(
                DIM,
                format!("nothing is in it ({CACHE_SIZE_VARIABLE} sets its size)"),
            );
        }
        out.line("")?;
        let mut table = Table::new(&[
            ("SIZE", Align::Right),
            ("ON DISK", Align::Right),
            ("LAST USED", Align::Left),
            ("FROM", Align::Left),
            ("FILE", Align::Left),
        ]);
        for entry in &self.entries {
            let partial = if entry.partial { " (not whole)" } else { "" };
            table.row([
                size(entry.size),
                size(entry.bytes),
                readable_time(&entry.used),
                format!("{}{partial}", entry.origin.as_deref().unwrap_or("unknown")),
                entry.path.clone(),
            ]);
        }
        table.print(out)
    }
}

impl Answer for Cleared {
    fn text(&self, out: &mut Text<'_>) -> io::Result<()> {
        let busy = match self.busy {
            0 => String::new(),
            busy => format!("; {} just being unpacked stays", count(busy, "file")),
        };
        out.line(format!(
            "removed {}, {}{busy}",
            count(self.files, "file"),
            size(self.bytes)
        ))
    }
}
