//! The working folder of a capture, and the name its result gets.
//!
//! Everything a capture writes lies in one private folder, `.core_<time>.<pid>.<seq>.partial`, beside the
//! place of the result. It holds a lock (flock) that dies with this process: a folder that can be locked
//! belongs to nobody any more and is removed by the next capture, whatever pid it names. Pods that share
//! a volume all have the same pid, so a pid proves nothing.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use chrono::Local;
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::libc;

use crate::error::Failure;

mod rename;
mod title;

pub use title::Title;

use rename::{is_taken, rename_file, rename_folder};

const PREFIX: &str = ".core_";
const SUFFIX: &str = ".partial";

/// The extensions of finished archives.
const ARCHIVES: [&str; 3] = [".tar.gz", ".tar.zst", ".tar"];

/// A locked working folder. Dropping it removes the folder with all that is in it.
#[derive(Debug)]
pub struct Folder {
    directory: PathBuf,
    title: Title,
    lock: Option<Flock<File>>,
    path: PathBuf,
}

impl Folder {
    /// Makes a folder in `directory`, under the next name that neither a result nor another capture has.
    pub(crate) fn create(directory: &Path) -> Result<Folder, Failure> {
        let time = Local::now();
        // More names than anybody can hold in one second; only a directory that answers EEXIST to
        // everything ends this.
        for _ in 0..10_000 {
            let title = Title::next(time);
            let name = &title.name;
            let taken = |name: &str| fs::symlink_metadata(directory.join(name)).is_ok();
            if taken(name)
                || ARCHIVES
                    .iter()
                    .any(|extension| taken(&format!("{name}{extension}")))
            {
                continue;
            }
            let path = directory.join(format!("{PREFIX}{}{SUFFIX}", &name["core_".len()..]));
            match DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                Err(error) => {
                    let shown = if error.raw_os_error() == Some(libc::ENOSPC) {
                        &path
                    } else {
                        directory
                    };
                    return Err(Failure::io(&error, "mkdir", Some(shown)));
                }
            }
            // Another process's sweep may have found it before it was locked: then it is gone, or about to be.
            match lock(&path) {
                Ok(Some(lock)) => {
                    return Ok(Folder {
                        directory: directory.to_owned(),
                        title,
                        lock: Some(lock),
                        path,
                    });
                }
                Ok(None) => {}
                Err(error) => {
                    let _ = fs::remove_dir(&path);
                    return Err(Failure::io(&error, "open", Some(&path)));
                }
            }
        }
        Err(Failure::system(
            Errno::EEXIST,
            "mkdir",
            Some(directory),
            "No free name was found for a core.",
        ))
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The name of the result.
    pub fn title(&self) -> &Title {
        &self.title
    }

    pub(crate) fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.lock.as_ref().map(|lock| lock.as_fd())
    }

    /// Gives the folder its final name. Returns the path of the core in it.
    pub fn publish(mut self) -> Result<PathBuf, Failure> {
        let mut name = self.title.name.clone();
        loop {
            let path = self.directory.join(&name);
            match rename_folder(&self.path, &path) {
                Ok(()) => {
                    self.lock = None;
                    self.path = PathBuf::new();
                    return Ok(path.join("core"));
                }
                Err(error) if is_taken(&error) => name = self.next_name(),
                Err(error) => return Err(Failure::io(&error, "rename", Some(&path))),
            }
        }
    }

    /// Gives `file`, written in this folder, its final name with `extension` and removes the folder.
    pub fn publish_archive(self, file: &Path, extension: &str) -> Result<PathBuf, Failure> {
        let mut name = self.title.name.clone();
        loop {
            let path = self.directory.join(format!("{name}{extension}"));
            match rename_file(file, &path) {
                Ok(()) => {
                    // The name too shall survive a power cut.
                    if let Ok(directory) = File::open(&self.directory) {
                        let _ = directory.sync_all();
                    }
                    return Ok(path);
                }
                Err(error) if is_taken(&error) => name = self.next_name(),
                Err(error) => return Err(Failure::io(&error, "rename", Some(&path))),
            }
        }
    }

    fn next_name(&self) -> String {
        Title::next(self.title.time).name
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if self.lock.is_some() {
            // While the lock is still held, or a sweep would race with it.
            if fs::remove_dir_all(&self.path).is_err() {
                // Listing a folder takes a descriptor, and none may be free; removing what is known takes none.
                for name in ["core", ARCHIVE] {
                    let _ = fs::remove_file(self.path.join(name));
                }
                let _ = fs::remove_dir(&self.path);
            }
        }
    }
}

/// The name of an archive in the working folder until it is published. No core_pattern in use gives such a one.
pub const ARCHIVE: &str = "archive";

/// The one file that the kernel left in a working folder, whatever `core_pattern` named it, as `core`.
pub(crate) fn core_in(folder: &Path) -> io::Result<Option<PathBuf>> {
    let mut found = None;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_name() != ARCHIVE {
            found = Some(entry.path());
        }
    }
    let Some(found) = found else { return Ok(None) };
    let core = folder.join("core");
    if found != core {
        fs::rename(&found, &core)?;
    }
    fs::set_permissions(&core, fs::Permissions::from_mode(0o600))?;
    Ok(Some(core))
}

/// Bytes and blocks of what lies in a working folder: grows as long as the kernel gets on.
pub(crate) fn progress(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let sizes = entries.filter_map(|entry| entry.metadata().ok());
    sizes
        .map(|metadata| metadata.len() + metadata.blocks() * 512)
        .sum()
}

/// The locked folder; None when somebody else has it, or when it is gone.
fn lock(path: &Path) -> io::Result<Option<Flock<File>>> {
    let folder = match File::options()
        .read(true)
        .custom_flags(libc::O_DIRECTORY | libc::O_NOFOLLOW)
        .open(path)
    {
        Ok(folder) => folder,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let lock = match Flock::lock(folder, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => lock,
        Err((_, Errno::EWOULDBLOCK)) => return Ok(None),
        Err((_, errno)) => return Err(errno.into()),
    };
    let held = lock.metadata()?;
    Ok(match fs::symlink_metadata(path) {
        Ok(found) if (found.dev(), found.ino()) == (held.dev(), held.ino()) => Some(lock),
        _ => None,
    })
}

/// Removes what captures of dead processes left in `directory`. Never what is locked, nor what cannot be
/// locked (a file system without locks): better a leftover than somebody's core.
pub(crate) fn sweep(directory: &Path) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        if !is_working_name(name) {
            continue;
        }
        if let Ok(Some(lock)) = lock(&entry.path()) {
            let _ = fs::remove_dir_all(entry.path());
            drop(lock);
        }
    }
}

/// Exactly what [`Folder::create`] makes: digits in four groups.
fn is_working_name(name: &str) -> bool {
    let middle = name
        .strip_prefix(PREFIX)
        .and_then(|rest| rest.strip_suffix(SUFFIX));
    middle.is_some_and(|middle| {
        let groups: Vec<&str> = middle.split('.').collect();
        groups.len() == 4
            && groups[0].len() == 8
            && groups[1].len() == 6
            && groups
                .iter()
                .all(|group| !group.is_empty() && group.bytes().all(|byte| byte.is_ascii_digit()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_exists_takes_the_next_number_and_nothing_is_overwritten() {
        let root = tempfile::tempdir().unwrap();
        let first = Folder::create(root.path()).unwrap();
        let second = Folder::create(root.path()).unwrap();
        assert_ne!(first.title().name, second.title().name);
        let first_name = first.title().name.clone();
        // Somebody else takes the name meanwhile.
        fs::create_dir(root.path().join(&first_name)).unwrap();
        fs::write(root.path().join(&first_name).join("theirs"), "x").unwrap();
        fs::write(first.path().join("core"), "ours").unwrap();
        let path = first.publish().unwrap();
        assert_ne!(
            path.parent()
                .unwrap()
                .file_name()
                .unwrap()
                .to_str()
                .unwrap(),
            first_name
        );
        assert_eq!(fs::read_to_string(path).unwrap(), "ours");
        assert_eq!(
            fs::read_to_string(root.path().join(&first_name).join("theirs")).unwrap(),
            "x"
        );
        let left = second.path().to_owned();
        drop(second);
        assert!(!left.exists());
    }

    #[test]
    fn an_archive_never_replaces_a_file() {
        let root = tempfile::tempdir().unwrap();
        let folder = Folder::create(root.path()).unwrap();
        let theirs = root.path().join(format!("{}.tar.gz", folder.title().name));
        fs::write(&theirs, "theirs").unwrap();
        let file = folder.path().join(ARCHIVE);
        fs::write(&file, "ours").unwrap();
        let path = folder.publish_archive(&file, ".tar.gz").unwrap();
        assert_eq!(fs::read_to_string(theirs).unwrap(), "theirs");
        assert_eq!(fs::read_to_string(path).unwrap(), "ours");
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 2);
    }

    #[test]
    fn sweeping_takes_only_what_nobody_holds() {
        let root = tempfile::tempdir().unwrap();
        let held = Folder::create(root.path()).unwrap();
        let dead = root.path().join(".core_20260101.000000.1.001.partial");
        fs::create_dir(&dead).unwrap();
        fs::write(dead.join("core"), "x").unwrap();
        let foreign = root.path().join(".core_notes.partial");
        fs::create_dir(&foreign).unwrap();
        sweep(root.path());
        assert!(held.path().exists());
        assert!(!dead.exists());
        assert!(foreign.exists());
    }

    #[test]
    fn private() {
        let root = tempfile::tempdir().unwrap();
        let folder = Folder::create(root.path()).unwrap();
        assert_eq!(
            fs::metadata(folder.path()).unwrap().permissions().mode() & 0o777,
            0o700
        );
    }
}
