//! The names in an archive, each given once.

use std::collections::HashSet;

/// Names given out below the top folder. Two files can claim one path: a deleted library and its successor.
#[derive(Debug, Default)]
pub(crate) struct Names {
    files: HashSet<Vec<u8>>,
    folders: HashSet<Vec<u8>>,
}

impl Names {
    /// Takes a name for a file: `path`, or if that is taken the same path below a folder of its own.
    pub(crate) fn free(&mut self, path: Vec<u8>) -> Vec<u8> {
        let mut name = path.clone();
        let mut number = 1;
        while !self.is_free(&name) {
            name = [format!("rootfs-{number}/").as_bytes(), path.as_slice()].concat();
            number += 1;
        }
        self.files.insert(name.clone());
        name
    }

    /// Takes exactly this name, for a file or a link; `false` when it is not free.
    #[cfg(feature = "package")]
    pub(crate) fn take(&mut self, path: &[u8]) -> bool {
        self.is_free(path) && self.files.insert(path.to_vec())
    }

    fn is_free(&self, path: &[u8]) -> bool {
        let mut above = (0..path.len())
            .filter(|&at| path[at] == b'/')
            .map(|end| &path[..end]);
        !self.files.contains(path)
            && !self.folders.contains(path)
            && above.all(|folder| !self.files.contains(folder))
    }

    /// Takes a folder; `false` when it is in the archive already.
    pub(super) fn take_folder(&mut self, path: &[u8]) -> bool {
        !self.folders.contains(path) && self.folders.insert(path.to_vec())
    }
}
