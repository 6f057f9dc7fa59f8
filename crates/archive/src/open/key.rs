//! What something that is unpacked is named by.

use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use sha2::{Digest, Sha256};
use stillcore_corefile::Source;

use crate::manifest::hex;

/// Bytes of both ends that are part of a key.
const ENDS: u64 = 64 * 1024;

/// Under which name something is kept, and what it is, for people.
#[derive(Debug, Clone)]
pub(crate) struct Key {
    pub(super) hash: String,
    pub(super) origin: String,
}

impl Key {
    /// That of an open file.
    pub(crate) fn of(path: &Path, metadata: &Metadata, source: &dyn Source) -> io::Result<Key> {
        let mut sha = Sha256::new();
        sha.update(b"stillcore cache 1");
        let numbers = [
            metadata.dev(),
            metadata.ino(),
            metadata.len(),
            metadata.mtime() as u64,
            metadata.mtime_nsec() as u64,
        ];
        for number in numbers {
            sha.update(number.to_le_bytes());
        }
        let mut end = vec![0; ENDS as usize];
        for at in [0, source.len().saturating_sub(ENDS)] {
            let n = source.read_at(at, &mut end)?;
            sha.update(&end[..n]);
        }
        let path = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        Ok(Key {
            hash: hex(&sha.finalize()[..16]),
            origin: path.display().to_string(),
        })
    }

    /// That of something inside.
    pub(crate) fn inside(&self, name: &[u8]) -> Key {
        let mut sha = Sha256::new();
        sha.update(&self.hash);
        sha.update(name);
        Key {
            hash: hex(&sha.finalize()[..16]),
            origin: format!("{}: {}", self.origin, super::path::printable(name)),
        }
    }
}
