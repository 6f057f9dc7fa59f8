//! A file that is there when it is whole, and not before.
//!
//! Where the file system can, it is written without a name (`O_TMPFILE`): whatever ends the program, nothing is left.
//! Elsewhere it is called `.stillcore-archive-PID.N` meanwhile, beside the final name, and is locked; what a killed program
//! left there is swept away by the next that packs into the same folder, whatever archive.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg, OFlag};

use crate::rename::rename_new;

/// How the name meanwhile begins.
const PREFIX: &str = ".stillcore-archive-";

/// How often another name is taken in place of one that is in use, or was swept before it was locked.
const TRIES: u32 = 100;

/// A file on its way to its name. Dropping it leaves nothing.
pub(crate) struct Output {
    file: File,
    /// Where it will be.
    path: PathBuf,
    /// Where it is meanwhile; `None` for a file without a name.
    partial: Option<Partial>,
}

/// A file with a name of its own.
struct Partial {
    path: PathBuf,
    /// `None` on a file system that has no locks: there nobody can tell what is left from what is written, and nothing is
    /// swept.
    _lock: Option<Flock<File>>,
}

impl Output {
    /// Opens a new file that is to become `path`, for its owner only.
    pub(crate) fn create(path: &Path) -> io::Result<Output> {
        // Said before the work is done, and made sure of afterwards.
        if path.symlink_metadata().is_ok() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        if path.file_name().is_none() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let folder = folder_of(path);
        sweep(folder);
        let (file, partial) = match unnamed(folder) {
            Some(file) => (file, None),
            None => {
                let (file, partial) = named(folder)?;
                (file, Some(partial))
            }
        };
        Ok(Output {
            file,
            path: path.to_owned(),
            partial,
        })
    }

    /// To write to.
    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// Syncs the file and gives it its name, never in place of another file.
    pub(crate) fn publish(mut self) -> io::Result<()> {
        self.file.sync_all()?;
        let folder = folder_of(&self.path);
        match &self.partial {
            Some(partial) => {
                let folder = File::open(folder)?;
                let name = |path: &Path| path.file_name().unwrap_or_default().as_bytes().to_vec();
                rename_new(&folder, &name(&partial.path), &folder, &name(&self.path))?;
                self.partial = None;
            }
            None => name(&self.file, &self.path)?,
        }
        // Not every file system can sync a folder; the file is there nevertheless.
        let _ = File::open(folder).and_then(|folder| folder.sync_all());
        Ok(())
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        if let Some(partial) = &self.partial {
            // Nothing can be done about a folder that lets nobody remove.
            let _ = std::fs::remove_file(&partial.path);
        }
    }
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// A new file with a name of its own, locked.
fn named(folder: &Path) -> io::Result<(File, Partial)> {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    for _ in 0..TRIES {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = folder.join(format!("{PREFIX}{}.{number}", std::process::id()));
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path);
        let file = match file {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
            file => file?,
        };
        let lock = match lock(&file) {
            // Somebody took it for a leftover.
            Err(Errno::EWOULDBLOCK) => continue,
            lock => lock.ok(),
        };
        if !is_at(&file, &path) {
            continue;
        }
        return Ok((file, Partial { path, _lock: lock }));
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

/// Removes what nobody writes any more. What cannot be removed is left for another run.
fn sweep(folder: &Path) {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return;
    };
    for entry in entries.flatten() {
        if !entry.file_name().as_bytes().starts_with(PREFIX.as_bytes()) {
            continue;
        }
        let path = entry.path();
        let plain = path.symlink_metadata().is_ok_and(|found| found.is_file());
        let file = OpenOptions::new()
            .read(true)
            .custom_flags((OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK).bits())
            .open(&path);
        if let (true, Ok(file)) = (plain, file)
            && let Ok(_lock) = lock(&file)
            && is_at(&file, &path)
        {
            let _ = std::fs::remove_file(&path);
        }
    }
}

/// Whether a file still has this path.
fn is_at(file: &File, path: &Path) -> bool {
    let (Ok(open), Ok(there)) = (file.metadata(), path.symlink_metadata()) else {
        return false;
    };
    (open.dev(), open.ino()) == (there.dev(), there.ino())
}

fn lock(file: &File) -> Result<Flock<File>, Errno> {
    let file = file.try_clone().map_err(|_| Errno::EMFILE)?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| errno)
}

#[cfg(target_os = "linux")]
fn unnamed(folder: &Path) -> Option<File> {
    // A file that could not be named in the end is worth nothing.
    if !Path::new("/proc/self/fd").is_dir() {
        return None;
    }
    OpenOptions::new()
        .write(true)
        .mode(0o600)
        .custom_flags(OFlag::O_TMPFILE.bits())
        .open(folder)
        .ok()
}

#[cfg(not(target_os = "linux"))]
fn unnamed(_folder: &Path) -> Option<File> {
    None
}

#[cfg(target_os = "linux")]
fn name(file: &File, path: &Path) -> io::Result<()> {
    use std::os::fd::AsRawFd;

    use nix::fcntl::{AT_FDCWD, AtFlags};
    let link = format!("/proc/self/fd/{}", file.as_raw_fd());
    nix::unistd::linkat(
        AT_FDCWD,
        link.as_str(),
        AT_FDCWD,
        path,
        AtFlags::AT_SYMLINK_FOLLOW,
    )
    .map_err(io::Error::from)
}

#[cfg(not(target_os = "linux"))]
fn name(_file: &File, _path: &Path) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::fs::MetadataExt;

    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<_> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_is_there_when_it_is_whole_and_replaces_none() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("archive");
        drop(Output::create(&path).unwrap());
        assert_eq!(names(folder.path()), [""; 0]);

        let output = Output::create(&path).unwrap();
        output.file().write_all(b"whole").unwrap();
        assert!(!path.exists());
        output.publish().unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"whole");
        assert_eq!(path.metadata().unwrap().mode() & 0o7777, 0o600);
        let error = Output::create(&path).err().unwrap();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);

        // Somebody else was faster.
        let late = folder.path().join("late");
        let output = Output::create(&late).unwrap();
        std::fs::write(&late, "theirs").unwrap();
        let error = output.publish().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(std::fs::read(&late).unwrap(), b"theirs");
        assert_eq!(names(folder.path()), ["archive", "late"]);
    }

    #[test]
    fn where_files_have_names_it_is_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let output = |name: &str| {
            let (file, partial) = named(folder.path()).unwrap();
            Output {
                file,
                path: folder.path().join(name),
                partial: Some(partial),
            }
        };
        let (whole, dropped) = (output("whole"), output("dropped"));
        whole.file().write_all(b"whole").unwrap();
        drop(dropped);
        assert_eq!(names(folder.path()).len(), 1);
        whole.publish().unwrap();
        assert_eq!(names(folder.path()), ["whole"]);
        let path = folder.path().join("whole");
        assert_eq!(std::fs::read(&path).unwrap(), b"whole");
        assert_eq!(path.metadata().unwrap().mode() & 0o7777, 0o600);

        let error = output("whole").publish().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(names(folder.path()), ["whole"]);
    }

    #[test]
    fn what_killed_runs_left_is_swept_by_any_later_one_and_what_is_written_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let left = |name: &str| folder.path().join(format!("{PREFIX}{name}"));
        std::fs::write(left("99999999.0"), "left").unwrap();
        std::fs::write(left("99999999.1"), "left").unwrap();
        // Not ours: another kind, or another name.
        std::os::unix::fs::symlink("whole", left("link")).unwrap();
        std::fs::create_dir(left("folder")).unwrap();
        std::fs::write(folder.path().join(".other.partial"), "theirs").unwrap();
        let (_file, busy) = named(folder.path()).unwrap();

        Output::create(&folder.path().join("archive"))
            .unwrap()
            .publish()
            .unwrap();
        let mut expected = vec![
            ".other.partial".to_owned(),
            format!("{PREFIX}folder"),
            format!("{PREFIX}link"),
            "archive".to_owned(),
            busy.path.file_name().unwrap().to_str().unwrap().to_owned(),
        ];
        expected.sort();
        assert_eq!(names(folder.path()), expected);
    }
}
