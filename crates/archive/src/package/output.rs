//! A file that is there when it is whole, and not before.
//!
//! Where the file system can, it is written without a name (`O_TMPFILE`): whatever ends the program, nothing is left.
//! Elsewhere it has a name of its own beside the final one, and is locked; what a killed program left there is swept
//! away by the next that writes the same archive.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};

/// A file on its way to its name. Dropping it leaves nothing.
pub(crate) struct Output {
    file: File,
    /// Held as long as a file with a name is written.
    _lock: Option<Flock<File>>,
    /// Where it will be.
    path: PathBuf,
    /// Where it is meanwhile; `None` for a file without a name.
    partial: Option<PathBuf>,
}

impl Output {
    /// Opens a new file that is to become `path`, for its owner only.
    pub(crate) fn create(path: &Path) -> io::Result<Output> {
        // Said before the work is done, and made sure of afterwards.
        if path.symlink_metadata().is_ok() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let folder = match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        if let Some(file) = unnamed(folder) {
            return Ok(Output {
                file,
                _lock: None,
                path: path.to_owned(),
                partial: None,
            });
        }
        let name = path
            .file_name()
            .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        let mut partial = OsString::from(".");
        partial.push(name);
        partial.push(".partial");
        let partial = folder.join(partial);
        let file = match create_new(&partial) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                sweep(&partial)?;
                create_new(&partial)?
            }
            created => created?,
        };
        Ok(Output {
            _lock: Some(lock(&file)?),
            file,
            path: path.to_owned(),
            partial: Some(partial),
        })
    }

    /// To write to.
    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// Syncs the file and gives it its name, never in place of another file.
    pub(crate) fn publish(mut self) -> io::Result<()> {
        self.file.sync_all()?;
        match &self.partial {
            // A second name: that never replaces. The first goes when this is dropped.
            Some(partial) => std::fs::hard_link(partial, &self.path)?,
            None => name(&self.file, &self.path)?,
        }
        if let Some(partial) = self.partial.take() {
            std::fs::remove_file(partial)?;
        }
        let folder = self
            .path
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty());
        // Not every file system can sync a folder; the file is there nevertheless.
        let _ = File::open(folder.unwrap_or(Path::new("."))).and_then(|folder| folder.sync_all());
        Ok(())
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        if let Some(partial) = &self.partial {
            // Nothing can be done about a folder that lets nobody remove.
            let _ = std::fs::remove_file(partial);
        }
    }
}

/// Removes what an earlier run left, unless it is still written.
fn sweep(partial: &Path) -> io::Result<()> {
    if !partial.symlink_metadata()?.is_file() {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    match lock(&File::open(partial)?) {
        Ok(_lock) => std::fs::remove_file(partial),
        Err(_) => Err(io::Error::other(format!(
            "{} is being written by somebody else",
            partial.display()
        ))),
    }
}

fn lock(file: &File) -> io::Result<Flock<File>> {
    Flock::lock(file.try_clone()?, FlockArg::LockExclusiveNonblock)
        .map_err(|(_, errno)| errno.into())
}

fn create_new(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
}

#[cfg(target_os = "linux")]
fn unnamed(folder: &Path) -> Option<File> {
    use nix::fcntl::OFlag;
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
    fn what_a_killed_run_left_is_swept_and_what_is_written_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let partial = folder.path().join(".archive.partial");
        std::fs::write(&partial, "left").unwrap();
        sweep(&partial).unwrap();
        assert!(!partial.exists());

        let busy = create_new(&partial).unwrap();
        let _lock = lock(&busy).unwrap();
        let error = sweep(&partial).unwrap_err();
        assert!(error.to_string().contains("by somebody else"), "{error}");
        assert!(partial.exists());
    }
}
