//! The files of an archive, by their paths.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use stillcore_corefile::Source;

use super::error::OpenError;
use super::path;
use crate::Manifest;
use crate::manifest::lossy;

/// Gives the content of a file; what it costs depends on the archive.
pub(crate) type Content = Arc<dyn Fn() -> Result<Arc<dyn Source>, OpenError> + Send + Sync>;

/// Gives the first bytes of a file, no more than asked for, without unpacking the others.
pub(crate) type Head = Arc<dyn Fn(u64) -> Result<Vec<u8>, OpenError> + Send + Sync>;

/// What is at a path.
#[derive(Clone)]
pub(crate) enum Node {
    Folder,
    File {
        size: u64,
        content: Content,
        head: Head,
    },
    /// The target as it is written.
    Symlink(Vec<u8>),
    /// A path in the archive.
    HardLink(Vec<u8>),
}

/// What an entry of an archive is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    /// A plain file.
    File,
    /// A folder.
    Folder,
    /// A symbolic or hard link.
    Link,
}

/// An entry of an archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileInfo<'a> {
    /// Its path in the archive, without `/` at either end.
    pub path: &'a [u8],
    /// What it is.
    pub kind: FileKind,
    /// Length of a file in bytes, otherwise 0.
    pub size: u64,
}

/// The files of an archive. Empty where there is no archive but a core.
#[derive(Default, Clone)]
pub struct Files {
    nodes: BTreeMap<Vec<u8>, Node>,
    top: Vec<u8>,
    /// From the paths of the process, as the manifest writes them, to paths below the top folder.
    recorded: HashMap<String, Vec<u8>>,
}

impl Files {
    /// A later entry with a path takes the place of an earlier one, as when they are unpacked.
    pub(crate) fn new(nodes: BTreeMap<Vec<u8>, Node>) -> Files {
        let mut tops = nodes
            .keys()
            .map(|path| path.split(|&byte| byte == b'/').next().unwrap_or_default());
        let first = tops.next().unwrap_or_default();
        let one = tops.all(|top| top == first);
        // A single file is no folder.
        let top = match nodes.get(first) {
            Some(Node::Folder) | None if one => first.to_vec(),
            _ => Vec::new(),
        };
        Files {
            nodes,
            top,
            recorded: HashMap::new(),
        }
    }

    pub(crate) fn nodes(&self) -> &BTreeMap<Vec<u8>, Node> {
        &self.nodes
    }

    /// Makes the paths of the manifest known.
    pub(crate) fn record(&mut self, manifest: &Manifest) {
        for file in &manifest.files {
            if let Some(place) = file.archive_path.as_ref().filter(|_| file.included) {
                self.recorded
                    .insert(file.path.clone(), unescaped(place.as_bytes()));
            }
        }
    }

    /// The folder in which everything lies; empty when there is none.
    pub fn top(&self) -> &[u8] {
        &self.top
    }

    /// All entries, by path.
    pub fn iter(&self) -> impl Iterator<Item = FileInfo<'_>> {
        self.nodes.iter().map(|(path, node)| {
            let (kind, size) = match node {
                Node::Folder => (FileKind::Folder, 0),
                Node::File { size, .. } => (FileKind::File, *size),
                Node::Symlink(_) | Node::HardLink(_) => (FileKind::Link, 0),
            };
            FileInfo { path, kind, size }
        })
    }

    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// The file at a path of the archive. Links in the archive are followed, never out of it.
    ///
    /// # Errors
    /// Why the content cannot be had; that there is no such file is none.
    pub fn open(&self, path: &[u8]) -> Result<Option<Arc<dyn Source>>, OpenError> {
        match self.file(path) {
            Some((_, content)) => content().map(Some),
            None => Ok(None),
        }
    }

    /// The file that the process had at `path`: by the manifest, or else at that path below the top folder.
    ///
    /// # Errors
    /// As [`Files::open`].
    pub fn find(&self, path: &[u8]) -> Result<Option<Arc<dyn Source>>, OpenError> {
        let below = |place: &[u8]| {
            let whole = [self.top.as_slice(), b"/", place].concat();
            self.file(&whole).map(|(_, content)| content)
        };
        let recorded = self.recorded.get(&lossy(path));
        let found = recorded
            .and_then(|place| below(place))
            .or_else(|| below(path))
            // Where our archives keep what would be taken for their own entries.
            .or_else(|| below(&[b"rootfs/", path].concat()));
        match found {
            Some(content) => content().map(Some),
            None => Ok(None),
        }
    }

    /// Size and content of the file at a path.
    pub(crate) fn file(&self, path: &[u8]) -> Option<(u64, &Content)> {
        let mut place = self.follow(path)?;
        // A hard link to a hard link, and so on; no chain is longer than this.
        for _ in 0..8 {
            match self.nodes.get(&place)? {
                Node::File { size, content, .. } => return Some((*size, content)),
                Node::HardLink(target) => place = path::parts(target).ok()?.join(&b'/'),
                Node::Folder | Node::Symlink(_) => return None,
            }
        }
        None
    }

    fn follow(&self, path: &[u8]) -> Option<Vec<u8>> {
        path::follow(path, &self.top, |path| match self.nodes.get(path) {
            Some(Node::Symlink(target)) => Some(target.as_slice()),
            _ => None,
        })
    }
}

impl std::fmt::Debug for Files {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Files")
            .field("top", &path::printable(&self.top))
            .field("entries", &self.nodes.len())
            .finish_non_exhaustive()
    }
}

/// Undoes what [`lossy`] does with bytes that are not UTF-8. A file whose name really has a `\xNN` in it is not found.
pub(crate) fn unescaped(text: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut at = 0;
    while at < text.len() {
        let byte = match text.get(at..at + 4) {
            Some([b'\\', b'x', high, low]) => hex_digit(*high).zip(hex_digit(*low)),
            _ => None,
        };
        match byte {
            Some((high, low)) if high >= 8 => {
                bytes.push(high << 4 | low);
                at += 4;
            }
            _ => {
                bytes.push(text[at]);
                at += 1;
            }
        }
    }
    bytes
}

fn hex_digit(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).map(|digit| digit as u8)
}
