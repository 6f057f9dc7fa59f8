//! How much an archive may unpack to, and how far the unpacking has come.

use std::sync::Arc;

use super::error::OpenError;

/// Absolute limits, so that nothing in an archive can fill the disk or the memory. Never a ratio: zeros in a core
/// compress a thousandfold.
///
/// Beside these the disk itself is a limit: unpacking stops before it is full.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Most bytes that one stream or archive may unpack to, holes included. 1 TiB.
    pub unpacked: u64,
    /// Most entries of an archive. A quarter of a million.
    pub entries: u64,
    /// Longest path of an entry, in bytes. 4096.
    pub name: u64,
    /// Most folders above an entry. 128.
    pub folders: u64,
    /// Most layers: a zstd-compressed core in a gzip-compressed tar has three. 6.
    pub layers: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            unpacked: 1 << 40,
            entries: 250_000,
            name: 4096,
            folders: 128,
            layers: 6,
        }
    }
}

impl Limits {
    pub(crate) fn check_unpacked(&self, bytes: u64) -> Result<(), OpenError> {
        check(bytes, self.unpacked, "unpacked", || {
            "what it unpacks to, in bytes,".to_owned()
        })
    }

    pub(crate) fn check_entries(&self, count: u64) -> Result<(), OpenError> {
        check(count, self.entries, "entries", || {
            "the number of entries".to_owned()
        })
    }

    pub(crate) fn check_name(&self, len: u64) -> Result<(), OpenError> {
        check(len, self.name, "name", || "the length of a path".to_owned())
    }

    pub(crate) fn check_layers(&self, count: u64) -> Result<(), OpenError> {
        check(count, self.layers, "layers", || {
            "the number of archives and compressions inside each other".to_owned()
        })
    }
}

fn check(
    value: u64,
    limit: u64,
    name: &'static str,
    what: impl FnOnce() -> String,
) -> Result<(), OpenError> {
    if value <= limit {
        return Ok(());
    }
    Err(OpenError::Limit {
        what: what(),
        limit,
        name,
    })
}

/// How far long work has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// Bytes read of what is worked on.
    pub done: u64,
    /// Bytes in all, where that is known.
    pub total: Option<u64>,
}

/// Told how far long work has come, a few times a second and more; `false` stops it.
pub type Progress = Arc<dyn Fn(Step) -> bool + Send + Sync>;

pub(crate) fn step(progress: Option<&Progress>, step: Step) -> Result<(), OpenError> {
    match progress {
        Some(progress) if !progress(step) => Err(OpenError::Stopped),
        _ => Ok(()),
    }
}
