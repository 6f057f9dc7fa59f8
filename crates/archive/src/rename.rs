//! Renaming that replaces nothing.

use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::fcntl::{AtFlags, renameat};
use nix::sys::stat::fstatat;

/// Whether something of this name, be it a link to nowhere, is in a folder.
pub(crate) fn is_taken(folder: impl AsFd, name: &[u8]) -> Result<bool, Errno> {
    match fstatat(folder, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
        Err(Errno::ENOENT) => Ok(false),
        Ok(_) => Ok(true),
        Err(errno) => Err(errno),
    }
}

/// Moves `from` to `to`, another name, in place of nothing: [`Errno::EEXIST`]. Where the file system cannot promise that,
/// it is looked for first.
pub(crate) fn rename_new(
    from_folder: impl AsFd,
    from: &[u8],
    to_folder: impl AsFd,
    to: &[u8],
) -> Result<(), Errno> {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        use nix::fcntl::{RenameFlags, renameat2};
        let flags = RenameFlags::RENAME_NOREPLACE;
        match renameat2(&from_folder, from, &to_folder, to, flags) {
            // A file system that cannot.
            Err(Errno::EINVAL | Errno::ENOSYS) => {}
            result => return result,
        }
    }
    if is_taken(&to_folder, to)? {
        return Err(Errno::EEXIST);
    }
    renameat(from_folder, from, to_folder, to)
}
