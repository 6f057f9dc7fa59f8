//! Unpacks an archive into a folder, and nowhere else.
//!
//! Whatever the archive says: nothing is written outside of the folder, nothing that was there before is changed, no link
//! is followed, and no device or pipe is made. Every part of a path is opened by itself, and must be a folder that was
//! made here. Symbolic links are made last, and only those that lead to a place in the archive; hard links only to files
//! that came out of it. Files are for their owner only. Runs of zeros become holes. Nothing has its name before everything
//! is there ([`Staging`]).

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::fs::{DirBuilder, File};
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat, renameat};
use nix::sys::stat::{Mode, mkdirat};
use nix::unistd::{UnlinkatFlags, linkat, symlinkat, unlinkat};
use stillcore_corefile::{FileSource, Source};

use super::decode::Format;
use super::entry::{Entry, Kind, Sink};
use super::error::OpenError;
use super::limits::{Limits, Progress};
use super::path::{folder, follow, name, parts, printable};
use super::room::Room;
use super::staging::Staging;
use super::walk::{Content, Visitor, walk};
use crate::sparse::SparseWriter;

/// How to unpack.
#[derive(Clone, Default)]
pub struct UnpackOptions {
    /// How far to trust.
    pub limits: Limits,
    /// Told how far it has come.
    pub progress: Option<Progress>,
    /// Whether what is there of a file that is cut off, or damaged further on, is kept, as `NAME.partial`: half a core can
    /// be read by a debugger too.
    pub keep_partial: bool,
}

impl std::fmt::Debug for UnpackOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UnpackOptions")
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

/// An entry that was not unpacked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// Its path as it is in the archive.
    pub path: Vec<u8>,
    /// Why.
    pub reason: String,
}

/// The file in which damage was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partial {
    /// Where what is there of it lies now, or would lie: the file's own path and `.partial`.
    pub path: PathBuf,
    /// Bytes of it that could be read, holes included.
    pub there: u64,
    /// Its whole length; `None` where that is not known.
    pub size: Option<u64>,
    /// Whether they were kept ([`UnpackOptions::keep_partial`]).
    pub kept: bool,
}

/// What came of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Unpacked {
    /// What lies directly in the folder now, and was not there before.
    pub tops: Vec<PathBuf>,
    /// Plain files, hard links and a kept partial one among them.
    pub files: u64,
    /// Folders, those that only their content implies too.
    pub folders: u64,
    /// Symbolic links.
    pub links: u64,
    /// Length of all files, holes included.
    pub bytes: u64,
    /// Entries that were not unpacked, in their order; links last.
    pub refused: Vec<Refused>,
    /// Why the rest is missing, where the archive turned out to be damaged on the way.
    pub damaged: Option<String>,
    /// The file in which that was seen, which is not there under its name.
    pub partial: Option<Partial>,
}

/// Unpacks what is at `path` into the folder `into`, which is made where it is not there. A compressed core becomes a file
/// without the ending of its name.
///
/// # Errors
/// [`OpenError::Unknown`], [`OpenError::Unsupported`]; [`OpenError::Write`], also when something of the same name lies in
/// the folder already; [`OpenError::Limit`], [`OpenError::NoSpace`]. Nothing is left then. Refused entries are no error, nor
/// is damage once something was unpacked: see [`Unpacked`].
pub fn unpack(path: &Path, into: &Path, options: &UnpackOptions) -> Result<Unpacked, OpenError> {
    let file = File::open(path).map_err(OpenError::Io)?;
    let source = FileSource::new(file).map_err(OpenError::Io)?;
    let stem = path.file_stem().unwrap_or(OsStr::new("core"));
    unpack_source(Arc::new(source), stem.as_bytes(), into, options)
}

/// As [`unpack`]; a core becomes a file called `core_name`.
///
/// # Errors
/// As [`unpack`].
pub fn unpack_source(
    source: Arc<dyn Source>,
    core_name: &[u8],
    into: &Path,
    options: &UnpackOptions,
) -> Result<Unpacked, OpenError> {
    // Nothing is made for what is nothing.
    Format::of_source(&*source)?;
    let is_new = !into.exists();
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(into)
        .map_err(OpenError::write(into))?;
    let unpacked = unpack_into(&source, core_name, into, options);
    if unpacked.is_err() && is_new {
        // Only if it is empty.
        let _ = std::fs::remove_dir(into);
    }
    unpacked
}

fn unpack_into(
    source: &Arc<dyn Source>,
    core_name: &[u8],
    into: &Path,
    options: &UnpackOptions,
) -> Result<Unpacked, OpenError> {
    let staging = Staging::new(into)?;
    let mut unpacker = Unpacker {
        root: staging.folder().map_err(OpenError::write(into))?,
        staging,
        into: into.to_owned(),
        folders_most: options.limits.folders,
        made: HashMap::new(),
        tops: HashSet::new(),
        links: Vec::new(),
        keep_partial: options.keep_partial,
        room: Room::new(into),
        written: 0,
        result: Unpacked::default(),
    };
    let walked = walk(
        source,
        core_name,
        &options.limits,
        options.progress.as_ref(),
        &mut unpacker,
    );
    let empty = unpacker.made.is_empty();
    match walked {
        Err(OpenError::Damaged(why)) if !empty => unpacker.result.damaged = Some(why),
        Err(error) => return Err(error),
        Ok(_) => {}
    }
    unpacker.make_links()?;
    unpacker.publish()
}

/// What was made at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Made {
    Folder,
    File,
    /// With its target; not made yet.
    Link(Vec<u8>),
}

struct Unpacker {
    /// The folder of `staging`.
    root: OwnedFd,
    staging: Staging,
    into: PathBuf,
    folders_most: u64,
    made: HashMap<Vec<u8>, Made>,
    /// First parts of the paths, which were made here.
    tops: HashSet<Vec<u8>>,
    /// Paths of the links, in their order.
    links: Vec<Vec<u8>>,
    keep_partial: bool,
    room: Room,
    written: u64,
    result: Unpacked,
}

/// Why an entry is not unpacked, or why nothing is any more.
enum Stop {
    Refuse(String),
    Fail(OpenError),
}

impl From<OpenError> for Stop {
    fn from(error: OpenError) -> Stop {
        Stop::Fail(error)
    }
}

fn refuse<T>(why: impl Into<String>) -> Result<T, Stop> {
    Err(Stop::Refuse(why.into()))
}

impl Visitor for Unpacker {
    fn entry(&mut self, entry: &Entry, content: &mut Content<'_>) -> Result<(), OpenError> {
        match self.unpack(entry, content) {
            Ok(()) => Ok(()),
            Err(Stop::Refuse(reason)) => {
                self.refuse(&entry.path, reason);
                Ok(())
            }
            Err(Stop::Fail(error)) => Err(error),
        }
    }
}

impl Unpacker {
    fn refuse(&mut self, path: &[u8], reason: String) {
        self.result.refused.push(Refused {
            path: path.to_vec(),
            reason,
        });
    }

    fn unpack(&mut self, entry: &Entry, content: &mut Content<'_>) -> Result<(), Stop> {
        if entry.path.starts_with(b"/") {
            return refuse("its path is absolute");
        }
        let parts = match parts(&entry.path) {
            Ok(parts) => parts,
            Err(why) => return refuse(why),
        };
        let Some((last, above)) = parts.split_last() else {
            // The folder itself, as `tar c .` writes it.
            return match entry.kind {
                Kind::Folder => Ok(()),
                _ => refuse("it has no name"),
            };
        };
        if above.len() as u64 > self.folders_most {
            return refuse(format!(
                "it lies below more than {} folders",
                self.folders_most
            ));
        }
        if parts.iter().any(|part| part.len() > 255) {
            return refuse("a part of its path is longer than 255 bytes");
        }
        let path = parts.join(&b'/');
        match (&entry.kind, self.made.get(&path)) {
            (Kind::Other(what), _) => return refuse(format!("it is {what}")),
            (Kind::Folder, Some(Made::Folder)) => return Ok(()),
            (_, Some(_)) => return refuse("there was an entry with its name before it"),
            _ => {}
        }
        let folder = self.folder(above)?;
        self.claim(&parts)?;
        match &entry.kind {
            Kind::Folder => {
                self.make_folder(&folder, last, &path)?;
            }
            Kind::File => {
                self.file(&folder, last, &path, entry, content)?;
            }
            Kind::Symlink(target) => {
                self.links.push(path.clone());
                self.made.insert(path, Made::Link(target.clone()));
            }
            Kind::HardLink(target) => {
                self.hard_link(&folder, last, &path, target)?;
            }
            Kind::Other(_) => {}
        }
        Ok(())
    }

    /// Whatever is to lie directly in the folder must not be there yet.
    fn claim(&mut self, parts: &[&[u8]]) -> Result<(), Stop> {
        let Some(first) = parts.first().filter(|first| !self.tops.contains(**first)) else {
            return Ok(());
        };
        if Staging::is_reserved(first) {
            return refuse("its name is one of those that are used while unpacking");
        }
        match self.staging.is_taken(first) {
            Ok(false) => {
                self.tops.insert(first.to_vec());
                self.result.tops.push(self.at(first));
                Ok(())
            }
            Ok(true) => Err(self.fail(first, Errno::EEXIST)),
            Err(errno) => Err(self.fail(first, errno)),
        }
    }

    /// Gives everything its name.
    fn publish(mut self) -> Result<Unpacked, OpenError> {
        let names: Vec<Vec<u8>> = self.tops.iter().cloned().collect();
        for name in names {
            match self.staging.publish(&name) {
                Ok(()) => {}
                // Of what was to lie in there everything was refused.
                Err(Errno::ENOENT) => {
                    let path = self.at(&name);
                    self.result.tops.retain(|top| *top != path);
                }
                Err(errno) => {
                    return Err(OpenError::Write {
                        path: self.at(&name),
                        error: errno.into(),
                    });
                }
            }
        }
        Ok(self.result)
    }

    fn at(&self, path: &[u8]) -> PathBuf {
        self.into.join(OsStr::from_bytes(path))
    }

    fn fail(&self, path: &[u8], errno: Errno) -> Stop {
        Stop::Fail(OpenError::Write {
            path: self.at(path),
            error: errno.into(),
        })
    }

    /// The folder with this path, made where it is not there.
    fn folder(&mut self, parts: &[&[u8]]) -> Result<OwnedFd, Stop> {
        let mut folder = self.open(&self.root, b".", b".")?;
        for (index, part) in parts.iter().enumerate() {
            let path = parts[..=index].join(&b'/');
            match self.made.get(&path) {
                Some(Made::Folder) => {}
                Some(Made::File) => return refuse(format!("{} is a file", printable(&path))),
                Some(Made::Link(_)) => {
                    return refuse(format!(
                        "{} is a link, and nothing is unpacked through links",
                        printable(&path)
                    ));
                }
                None => {
                    self.claim(parts)?;
                    self.make_folder(&folder, part, &path)?;
                }
            }
            folder = self.open(&folder, part, &path)?;
        }
        Ok(folder)
    }

    fn open(&self, above: &OwnedFd, name: &[u8], path: &[u8]) -> Result<OwnedFd, Stop> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        openat(above, name, flags, Mode::empty()).map_err(|errno| self.fail(path, errno))
    }

    fn make_folder(&mut self, above: &OwnedFd, name: &[u8], path: &[u8]) -> Result<(), Stop> {
        mkdirat(above, name, Mode::S_IRWXU).map_err(|errno| self.fail(path, errno))?;
        self.made.insert(path.to_vec(), Made::Folder);
        self.result.folders += 1;
        Ok(())
    }

    fn file(
        &mut self,
        folder: &OwnedFd,
        name: &[u8],
        path: &[u8],
        entry: &Entry,
        content: &mut Content<'_>,
    ) -> Result<(), Stop> {
        let flags =
            OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        // Programs and scripts stay executable, for their owner.
        let mode = match entry.mode & 0o100 {
            0 => Mode::S_IRUSR | Mode::S_IWUSR,
            _ => Mode::S_IRWXU,
        };
        let file = openat(folder, name, flags, mode).map_err(|errno| self.fail(path, errno))?;
        let file = File::from(file);
        let whole = self.at(path);
        let mut sink = FileSink {
            writer: SparseWriter::new(&file),
            path: &whole,
            room: &mut self.room,
            before: self.written,
        };
        let written =
            content(&mut sink).and_then(|()| sink.writer.flush().map_err(OpenError::write(&whole)));
        let at_end = sink.writer.flush();
        let (len, data) = (sink.writer.position(), sink.writer.data_bytes());
        self.written += data;
        if let Err(error) = written {
            if let OpenError::Damaged(_) = error {
                at_end.map_err(OpenError::write(&whole))?;
                self.partial(folder, name, path, entry, len)?;
            }
            // Half a core looks like a whole one; it may have another name by now.
            let _ = unlinkat(folder, name, UnlinkatFlags::NoRemoveDir);
            return Err(error.into());
        }
        if entry.mtime > 0 {
            let time = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(entry.mtime));
            // A file without its time is better than none.
            let _ = time.map(|time| file.set_modified(time));
        }
        self.made.insert(path.to_vec(), Made::File);
        self.result.files += 1;
        self.result.bytes += len;
        Ok(())
    }

    /// Notes that only the beginning of a file is there, and keeps it under another name where that is wanted.
    fn partial(
        &mut self,
        folder: &OwnedFd,
        name: &[u8],
        path: &[u8],
        entry: &Entry,
        there: u64,
    ) -> Result<(), Stop> {
        const ENDING: &[u8] = b".partial";
        // As long as a name may be.
        let kept_name =
            |name: &[u8]| [&name[..name.len().min(255 - ENDING.len())], ENDING].concat();
        let mut kept_path = folder_of(path);
        kept_path.extend(kept_name(name));
        let kept = self.keep_partial && there > 0 && !self.made.contains_key(&kept_path);
        if kept {
            // A name of its own directly in the folder must be free, as any.
            let parts: Vec<&[u8]> = kept_path.split(|&byte| byte == b'/').collect();
            self.claim(&parts)?;
            renameat(folder, name, folder, kept_name(name).as_slice())
                .map_err(|errno| self.fail(path, errno))?;
            self.made.insert(kept_path.clone(), Made::File);
            self.result.files += 1;
            self.result.bytes += there;
        }
        self.result.partial = Some(Partial {
            path: self.at(&kept_path),
            there,
            size: (entry.size > 0).then_some(entry.size),
            kept,
        });
        Ok(())
    }

    fn hard_link(
        &mut self,
        folder: &OwnedFd,
        name: &[u8],
        path: &[u8],
        target: &[u8],
    ) -> Result<(), Stop> {
        let to = format!("it is a hard link to {}", printable(target));
        if target.starts_with(b"/") {
            return refuse(format!("{to}, an absolute path"));
        }
        let Ok(target) = parts(target) else {
            return refuse(format!("{to}, which leads out of the archive"));
        };
        if self.made.get(&target.join(&b'/')) != Some(&Made::File) {
            return refuse(format!("{to}, which is no file that was unpacked before"));
        }
        let Some((file, above)) = target.split_last() else {
            return refuse(to);
        };
        let from = self.folder(above)?;
        linkat(from, *file, folder, name, AtFlags::empty())
            .map_err(|errno| self.fail(path, errno))?;
        self.made.insert(path.to_vec(), Made::File);
        self.result.files += 1;
        Ok(())
    }

    /// Makes the symbolic links, when everything else is there and nothing more is written.
    fn make_links(&mut self) -> Result<(), OpenError> {
        let mut good = Vec::new();
        let mut bad = Vec::new();
        for path in &self.links {
            let Some(Made::Link(target)) = self.made.get(path) else {
                continue;
            };
            match self.leads_out(path, target) {
                Some(why) => bad.push((
                    path.clone(),
                    format!("it is a link to {}, {why}", printable(target)),
                )),
                None => good.push((path.clone(), target.clone())),
            }
        }
        for (path, reason) in bad {
            self.refuse(&path, reason);
        }
        for (path, target) in good {
            let made = parts(folder(&path))
                .map_err(|why| Stop::Refuse(why.to_owned()))
                .and_then(|above| self.folder(&above))
                .and_then(|above| {
                    symlinkat(target.as_slice(), above.as_fd(), name(&path))
                        .map_err(|errno| self.fail(&path, errno))
                });
            match made {
                Ok(()) => self.result.links += 1,
                Err(Stop::Refuse(reason)) => self.refuse(&path, reason),
                Err(Stop::Fail(error)) => return Err(error),
            }
        }
        Ok(())
    }

    /// Why a link must not be made, if it must not.
    fn leads_out(&self, path: &[u8], target: &[u8]) -> Option<&'static str> {
        if target.is_empty() || target.contains(&0) {
            return Some("which is no path");
        }
        if target.starts_with(b"/") {
            return Some("an absolute path");
        }
        // Through the other links, as the system will go. Absolute ones are not made.
        let place = follow(path, b"", |path| match self.made.get(path) {
            Some(Made::Link(target)) if !target.starts_with(b"/") => Some(target.as_slice()),
            _ => None,
        });
        let Some(place) = place else {
            return Some("which leads out of the archive, or in a circle");
        };
        let first = place.split(|&byte| byte == b'/').next().unwrap_or_default();
        // What lies beside the archive's own things is none of its business.
        match self.tops.contains(first) {
            true => None,
            false => Some("which is not in the archive"),
        }
    }
}

/// The folder of a path, with a `/` behind it; nothing where it lies in none.
fn folder_of(path: &[u8]) -> Vec<u8> {
    match folder(path) {
        [] => Vec::new(),
        folder => [folder, b"/"].concat(),
    }
}

/// A file that is written with its holes.
struct FileSink<'a> {
    writer: SparseWriter<'a>,
    path: &'a Path,
    room: &'a mut Room,
    /// Bytes written before it.
    before: u64,
}

impl Sink for FileSink<'_> {
    fn bytes(&mut self, bytes: &[u8]) -> Result<(), OpenError> {
        let written = self.before + self.writer.data_bytes() + bytes.len() as u64;
        self.room.check(written)?;
        self.writer
            .write_all(bytes)
            .map_err(OpenError::write(self.path))
    }

    fn zeros(&mut self, n: u64) -> Result<(), OpenError> {
        self.writer.skip(n);
        Ok(())
    }
}
