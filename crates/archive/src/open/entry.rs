//! An entry of an archive, of tar or zip, and where its content goes.

use std::sync::Arc;

use super::error::OpenError;
use super::view::Extent;

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    File,
    Folder,
    /// The target as it is written.
    Symlink(Vec<u8>),
    /// The path of another entry.
    HardLink(Vec<u8>),
    /// A device, a pipe, or something unknown; what, in words.
    Other(&'static str),
}

/// An entry of an archive.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    /// As it is written, of any form.
    pub(crate) path: Vec<u8>,
    pub(crate) kind: Kind,
    /// Bytes of content, holes included.
    pub(crate) size: u64,
    /// Where the stored bytes begin, in the archive.
    pub(crate) start: u64,
    /// How many there are.
    pub(crate) stored: u64,
    /// For a file with holes.
    pub(crate) extents: Option<Arc<[Extent]>>,
    pub(crate) mode: u32,
    pub(crate) mtime: u64,
}

/// Content of a file, in order.
pub(crate) trait Sink {
    fn bytes(&mut self, bytes: &[u8]) -> Result<(), OpenError>;
    /// A hole.
    fn zeros(&mut self, n: u64) -> Result<(), OpenError>;
}
