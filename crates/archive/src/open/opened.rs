//! What was opened: the core, and what it came in.

use std::path::PathBuf;
use std::sync::Arc;

use stillcore_corefile::Source;

use super::decode::Format;
use super::tree::Files;
use crate::Manifest;

/// What was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OpenedKind {
    /// A core by itself, perhaps compressed.
    Core,
    /// A kernel dump in makedumpfile's format, by itself.
    KernelDump,
    /// An archive with our manifest.
    Stillcore,
    /// An archive of gencore: `core_.../core`.
    Gencore,
    /// An archive of savedump: everything in `archive-...`.
    Savedump,
    /// A zip archive of IBM's core-dump-handler: `...-dump-info.json`.
    CoreDumpHandler,
    /// Another tar archive.
    Tar,
    /// Another zip archive.
    Zip,
}

/// A core that can be read, and what came with it.
pub struct Opened {
    /// The core.
    pub core: Arc<dyn Source>,
    /// What it came in.
    pub kind: OpenedKind,
    /// What lies around the core, from the outside: gzip, tar ... Empty for a plain core.
    pub layers: Vec<Format>,
    /// The core's path in the archive, where there is one.
    pub core_path: Option<Vec<u8>>,
    /// The files of the archive, the core among them.
    pub files: Files,
    /// The manifest of an archive of ours.
    pub manifest: Option<Manifest>,
    /// Files in the cache that are read now. Empty when nothing had to be unpacked, or not into the cache.
    pub cached: Vec<PathBuf>,
    /// Whether an archive is read by its index.
    pub indexed: bool,
    /// Things a user should know, as sentences.
    pub notes: Vec<String>,
    /// What is cut off, as parts of sentences: what is there of it can be read nevertheless.
    pub damage: Vec<String>,
}

impl std::fmt::Debug for Opened {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Opened")
            .field("kind", &self.kind)
            .field("layers", &self.layers)
            .field("core_len", &self.core.len())
            .field("files", &self.files)
            .finish_non_exhaustive()
    }
}
