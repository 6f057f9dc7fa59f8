//! Where a file with holes has its data.

use std::sync::Arc;

use super::super::error::OpenError;
use super::super::view::Extent;

/// Most stretches of data in one file with holes.
pub(super) const MAX_EXTENTS: usize = 1 << 20;

/// The stretches of data of a sparse file.
#[derive(Default)]
pub(super) struct Map {
    extents: Vec<Extent>,
    end: u64,
    stored: u64,
}

impl Map {
    /// The next stretch.
    pub(super) fn add(&mut self, at: u64, len: u64) -> Result<(), OpenError> {
        let bad = || OpenError::damaged("the map of a sparse file in the tar archive");
        if at < self.end || self.extents.len() >= MAX_EXTENTS {
            return Err(bad());
        }
        self.end = at.checked_add(len).ok_or_else(bad)?;
        if len > 0 {
            self.extents.push(Extent {
                at,
                len,
                stored: self.stored,
            });
        }
        self.stored = self.stored.checked_add(len).ok_or_else(bad)?;
        Ok(())
    }

    /// All of them, if they fit the file and what is stored of it.
    pub(super) fn finish(self, size: u64, stored: u64) -> Result<Arc<[Extent]>, OpenError> {
        if self.end > size || self.stored != stored {
            return Err(OpenError::damaged(
                "the map of a sparse file in the tar archive does not match its size",
            ));
        }
        Ok(self.extents.into())
    }
}
