//! A name in place of nothing: what is there already is never replaced.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
use nix::libc;

use crate::calls::Call;

/// Gives a folder its name.
pub(super) fn rename_folder(from: &Path, to: &Path) -> io::Result<()> {
    match rename_no_replace(from, to) {
        Err(errno) if cannot_exclude(errno) => {
            // An empty folder of our own may be replaced; making it is what fails if the name is taken.
            DirBuilder::new().mode(0o700).create(to)?;
            fs::rename(from, to).inspect_err(|_| drop(fs::remove_dir(to)))
        }
        done => done.map_err(io::Error::from),
    }
}

/// Gives a file its name.
pub(super) fn rename_file(from: &Path, to: &Path) -> io::Result<()> {
    match rename_no_replace(from, to) {
        Err(errno) if cannot_exclude(errno) => match fs::hard_link(from, to) {
            Ok(()) => Ok(()),
            Err(error) if is_taken(&error) => Err(error),
            // No links either (exFAT): an empty file of our own is replaced.
            Err(_) => {
                File::options()
                    .write(true)
                    .create_new(true)
                    .mode(0o600)
                    .open(to)?;
                fs::rename(from, to).inspect_err(|_| drop(fs::remove_file(to)))
            }
        },
        done => done.map_err(io::Error::from),
    }
}

fn rename_no_replace(from: &Path, to: &Path) -> nix::Result<()> {
    if Call::RenameNoReplace.is_deadly() {
        return Err(Errno::ENOSYS);
    }
    renameat2(AT_FDCWD, from, AT_FDCWD, to, RenameFlags::RENAME_NOREPLACE)
}

/// Whether the name is somebody else's.
pub(super) fn is_taken(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EEXIST | libc::ENOTEMPTY))
}

/// File systems without RENAME_NOREPLACE (NFS, some FUSE) say EINVAL, old kernels ENOSYS, old seccomp filters EPERM.
fn cannot_exclude(errno: Errno) -> bool {
    matches!(
        errno,
        Errno::EINVAL | Errno::ENOSYS | Errno::EOPNOTSUPP | Errno::EPERM
    )
}
