//! The free space of a disk that is written to.

use std::path::{Path, PathBuf};

use super::error::OpenError;

/// The most that is left free on a disk, and which part of a small one.
const RESERVE: u64 = 256 << 20;
const RESERVE_PART: u64 = 20;

/// How much is written before the free space is asked for again: at most, and at least.
const ASK_AGAIN: u64 = 64 << 20;
const ASK_SOON: u64 = 256 << 10;

/// Watches the free space of a disk while something is written to it.
pub(crate) struct Room {
    folder: PathBuf,
    /// Bytes written up to which it need not be asked again.
    until: u64,
    asked: bool,
}

impl Room {
    pub(crate) fn new(folder: &Path) -> Room {
        Room {
            folder: folder.to_owned(),
            until: 0,
            asked: false,
        }
    }

    /// Before so many bytes have been written in all.
    pub(crate) fn check(&mut self, written: u64) -> Result<(), OpenError> {
        if self.asked && written < self.until {
            return Ok(());
        }
        self.asked = true;
        // Where that cannot be told, writing will tell.
        let Ok(disk) = nix::sys::statvfs::statvfs(&self.folder) else {
            self.until = written + ASK_AGAIN;
            return Ok(());
        };
        #[allow(clippy::useless_conversion)] // narrower elsewhere
        let bytes = |blocks| u64::from(blocks).saturating_mul(u64::from(disk.fragment_size()));
        let reserve = RESERVE.min(bytes(disk.blocks()) / RESERVE_PART);
        let free = bytes(disk.blocks_available()).saturating_sub(reserve);
        if free == 0 {
            return Err(OpenError::NoSpace {
                folder: self.folder.clone(),
                free,
            });
        }
        self.until = written + (free / 2).clamp(ASK_SOON, ASK_AGAIN);
        Ok(())
    }
}
