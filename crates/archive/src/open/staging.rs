//! Where an archive is unpacked before its files get their names: a hidden folder beside them.
//!
//! Half a core looks like a whole one. So everything is unpacked into `.stillcore-unpack-PID.N`, which is locked, and moved
//! out of it at the end. What a killed run left is swept by the next one that unpacks into the same folder.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg, OFlag, openat};
use nix::sys::stat::{Mode, mkdirat};

use super::error::OpenError;
use crate::rename::{is_taken, rename_new};

/// How its name begins.
const PREFIX: &[u8] = b".stillcore-unpack-";

/// How often a new one is made in place of one that was swept before it was locked.
const TRIES: u32 = 100;

/// The folder. Dropping it removes what is still in it.
pub(crate) struct Staging {
    /// What it lies in: where everything is to be in the end.
    target: OwnedFd,
    name: Vec<u8>,
    path: PathBuf,
    folder: Flock<File>,
}

impl Staging {
    /// Makes it in `into`, and sweeps what killed runs left there.
    pub(crate) fn new(into: &Path) -> Result<Staging, OpenError> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        sweep(into);
        let failed = |error: io::Error| OpenError::write(into)(error);
        let target: OwnedFd = File::open(into).map_err(failed)?.into();
        for _ in 0..TRIES {
            let number = NUMBER.fetch_add(1, Ordering::Relaxed);
            let mut name = PREFIX.to_vec();
            name.extend(format!("{}.{number}", std::process::id()).bytes());
            match mkdirat(&target, name.as_slice(), Mode::S_IRWXU) {
                Ok(()) => {}
                Err(Errno::EEXIST) => continue,
                Err(errno) => return Err(failed(errno.into())),
            }
            let path = into.join(OsStr::from_bytes(&name));
            let Some(folder) = lock(&path) else {
                continue; // somebody took it for a leftover
            };
            return Ok(Staging {
                target,
                name,
                path,
                folder,
            });
        }
        Err(failed(io::ErrorKind::AlreadyExists.into()))
    }

    /// Whether a name in an archive is one that a later run would sweep away.
    pub(crate) fn is_reserved(name: &[u8]) -> bool {
        name.starts_with(PREFIX)
    }

    /// The folder itself.
    pub(crate) fn folder(&self) -> io::Result<OwnedFd> {
        Ok(self.folder.try_clone()?.into())
    }

    /// Whether something of this name is where it is to be in the end.
    pub(crate) fn is_taken(&self, name: &[u8]) -> Result<bool, Errno> {
        is_taken(&self.target, name)
    }

    /// Moves this out of it, in place of nothing.
    pub(crate) fn publish(&self, name: &[u8]) -> Result<(), Errno> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let from = openat(&self.target, self.name.as_slice(), flags, Mode::empty())?;
        rename_new(&from, name, &self.target, name)
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        // What cannot be removed now, the next run will sweep.
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

/// Opens and locks a folder of ours, if nobody else has and it is still there.
fn lock(path: &Path) -> Option<Flock<File>> {
    let before = std::fs::symlink_metadata(path).ok()?;
    if !before.is_dir() || before.uid() != nix::unistd::geteuid().as_raw() {
        return None;
    }
    let locked = Flock::lock(File::open(path).ok()?, FlockArg::LockExclusiveNonblock).ok()?;
    let (open, there) = (
        locked.metadata().ok()?,
        std::fs::symlink_metadata(path).ok()?,
    );
    let same = |other: &std::fs::Metadata| (open.dev(), open.ino()) == (other.dev(), other.ino());
    (same(&before) && same(&there)).then_some(locked)
}

/// Removes what nobody works on any more.
fn sweep(into: &Path) {
    let Ok(entries) = std::fs::read_dir(into) else {
        return;
    };
    for entry in entries.flatten() {
        if Staging::is_reserved(entry.file_name().as_bytes())
            && let Some(_locked) = lock(&entry.path())
        {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}
