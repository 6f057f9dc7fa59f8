//! The folder where a result would go.

use std::fs;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags};
use nix::libc;
use nix::sys::statvfs::statvfs;
use nix::unistd::{AccessFlags, access, faccessat, getegid, geteuid, getgid, getuid};

use super::whom::Whom;
use crate::plan;

/// Where the result would go.
#[derive(Debug, Clone, Default)]
pub struct Directory {
    pub path: PathBuf,
    /// Why nothing can be made there.
    pub problem: Option<Errno>,
    /// Bytes free for everybody.
    pub free: Option<u64>,
    /// The same with what is reserved for root, if that is who this is. In a container root may be somebody
    /// else, so between the two nothing is sure.
    pub free_at_most: Option<u64>,
    /// Its type: `ext4`, `overlay`, `tmpfs`.
    pub file_system: Option<String>,
}

impl Directory {
    /// Looks at one as that process sees it.
    pub(super) fn of(whom: Whom, named: &Path) -> Directory {
        // Another process may have another root. Only those who may look into it see that.
        let inside =
            PathBuf::from(whom.file("root")).join(named.strip_prefix("/").unwrap_or(named));
        let directory = match whom {
            Whom::Process(_) if fs::metadata(whom.file("root")).is_ok() => &inside,
            _ => named,
        };
        let problem = match fs::metadata(directory) {
            Err(error) => Some(Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO))),
            Ok(file) if !file.is_dir() => Some(Errno::ENOTDIR),
            Ok(_) => {
                // Asking for the effective ids takes a newer system call, which filters may not know.
                let needed = AccessFlags::W_OK | AccessFlags::X_OK;
                if getuid() == geteuid() && getgid() == getegid() {
                    access(directory, needed).err()
                } else {
                    faccessat(AT_FDCWD, directory, needed, AtFlags::AT_EACCESS).err()
                }
            }
        };
        let mounts = fs::read_to_string(whom.file("mountinfo")).unwrap_or_default();
        let real = if directory == named {
            fs::canonicalize(directory).ok()
        } else {
            // Links in there would be followed here.
            Some(named.to_owned())
        };
        let file_system = real.and_then(|path| file_system(&path, &mounts));
        // To root these say that everything may be written, and then take no file.
        let problem = problem.or_else(|| {
            let kind = file_system.as_deref()?;
            let imaginary =
                kind.starts_with("cgroup") || matches!(kind, "proc" | "sysfs" | "devpts");
            imaginary.then_some(Errno::EPERM)
        });
        let free = statvfs(directory)
            .ok()
            .filter(|numbers| numbers.blocks() != 0)
            .map(|numbers| {
                numbers
                    .blocks_available()
                    .saturating_mul(numbers.fragment_size())
            });
        let exists = !matches!(problem, Some(Errno::ENOENT | Errno::ENOTDIR));
        Directory {
            path: named.to_owned(),
            problem,
            free: free.filter(|_| exists),
            free_at_most: plan::free_space(directory).filter(|_| exists),
            file_system,
        }
    }
}

/// The type of the file system under `path`, from the text of `/proc/self/mountinfo`.
fn file_system(path: &Path, mounts: &str) -> Option<String> {
    let mut best: Option<(usize, &str)> = None;
    for line in mounts.lines() {
        let Some((fixed, rest)) = line.split_once(" - ") else {
            continue;
        };
        let (Some(point), Some(kind)) = (fixed.split(' ').nth(4), rest.split(' ').next()) else {
            continue;
        };
        let point = point.replace("\\040", " ");
        // Of two on the same place the later one is on top.
        if path.starts_with(&point) && best.is_none_or(|(length, _)| point.len() >= length) {
            best = Some((point.len(), kind));
        }
    }
    best.map(|(_, kind)| kind.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_system_is_that_of_the_nearest_mount_on_top() {
        let mounts = "24 1 254:0 / / rw - ext4 /dev/vda rw\n\
            30 24 0:30 / /data rw shared:1 - xfs /dev/b rw\n\
            31 24 0:31 / /data rw - tmpfs none rw\n\
            32 24 0:32 / /my\\040disk rw - nfs4 host:/x rw\n";
        let kind = |path: &str| file_system(Path::new(path), mounts).unwrap();
        assert_eq!(kind("/var"), "ext4");
        assert_eq!(kind("/data/x"), "tmpfs");
        assert_eq!(kind("/database"), "ext4");
        assert_eq!(kind("/my disk/x"), "nfs4");
    }
}
