//! Where compressed cores and archives of others are unpacked, once: a private folder of bounded size.
//!
//! `$XDG_CACHE_HOME/stillcore`, else `~/.cache/stillcore`; 0700, its files 0600. A file there is one decompressed
//! stream (a core, a tar archive, a file of a zip archive) with its holes, named by what it came from: device, inode,
//! size, time and both ends of the compressed file. It grows under another name, `KEY.partial`, locked with flock as
//! long as somebody works on it, and gets its own when it is whole and on the disk: what was left half done by a kill
//! is never believed, and two that want the same wait for each other. `KEY.json` says where it came from, for people.

use std::fs::{DirBuilder, File, Metadata, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use nix::fcntl::{Flock, FlockArg, OFlag};
use serde_json::json;

use super::error::OpenError;
use super::key::Key;
use super::limits::{Progress, Step, step};
use super::size::parse_size;

/// The variable that says how much the cache may hold, such as `50G`.
pub const CACHE_SIZE_VARIABLE: &str = "STILLCORE_CACHE_SIZE";

/// What it may hold unless that says otherwise.
const DEFAULT_SIZE: u64 = 20 << 30;

/// Pause while another process unpacks the same.
const WAIT: Duration = Duration::from_millis(50);

const PARTIAL: &str = "partial";

/// The folder of unpacked files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cache {
    folder: PathBuf,
    size: u64,
}

/// A file in the cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheEntry {
    /// The file.
    pub path: PathBuf,
    /// What it was unpacked from, as far as that is known: a path, and what in it.
    pub origin: Option<String>,
    /// Its length, holes included.
    pub len: u64,
    /// What it takes on the disk.
    pub bytes: u64,
    /// When it was last used.
    pub used: SystemTime,
    /// It is not whole: somebody is at work on it, or was killed.
    pub partial: bool,
}

/// What [`Cache::clear`] has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Cleared {
    /// Files removed, those that were not whole too.
    pub files: usize,
    /// What they took on the disk, in bytes.
    pub bytes: u64,
    /// Files that somebody is at work on, and that are still there.
    pub busy: usize,
}

/// Whether a file of the cache is all of what it came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Filled {
    Whole,
    /// As far as it goes.
    CutOff,
}

/// A file of the cache, open.
pub(crate) struct Cached {
    pub(crate) file: File,
    /// Where it is; `None` when the cache has no room for it.
    pub(crate) path: Option<PathBuf>,
    pub(crate) filled: Filled,
}

impl Cache {
    /// The folder and size that the environment says; `None` where it names no folder (neither `XDG_CACHE_HOME`, which
    /// must be absolute, nor `HOME`).
    pub fn from_env() -> Option<Cache> {
        let absolute = |name: &str| {
            let path = std::env::var_os(name).map(PathBuf::from)?;
            path.is_absolute().then_some(path)
        };
        let folder = absolute("XDG_CACHE_HOME")
            .or_else(|| absolute("HOME").map(|home| home.join(".cache")))?
            .join("stillcore");
        let size = std::env::var(CACHE_SIZE_VARIABLE)
            .ok()
            .and_then(|text| parse_size(&text))
            .unwrap_or(DEFAULT_SIZE);
        Some(Cache { folder, size })
    }

    /// A folder of your own, that may hold `size` bytes.
    pub fn at(folder: impl Into<PathBuf>, size: u64) -> Cache {
        Cache {
            folder: folder.into(),
            size,
        }
    }

    /// Where it is.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// What it may hold, in bytes on the disk.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// What is in it, the file used last first. A folder that is not there is empty.
    ///
    /// # Errors
    /// Those of reading the folder.
    pub fn entries(&self) -> io::Result<Vec<CacheEntry>> {
        let mut entries = Vec::new();
        let list = match std::fs::read_dir(&self.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(entries),
            list => list?,
        };
        for file in list {
            let path = file?.path();
            let partial = path.extension().is_some_and(|end| end == PARTIAL);
            let Some(key) = key_of(&path).filter(|_| partial || path.extension().is_none()) else {
                continue;
            };
            // It may go while we look.
            let Ok(metadata) = std::fs::symlink_metadata(&path) else {
                continue;
            };
            entries.push(CacheEntry {
                origin: self.origin(&key),
                len: metadata.len(),
                bytes: on_disk(&metadata),
                used: metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH),
                partial,
                path,
            });
        }
        entries.sort_by(|a, b| b.used.cmp(&a.used).then_with(|| a.path.cmp(&b.path)));
        Ok(entries)
    }

    /// Removes everything that nobody is at work on. Files in use stay readable for those who use them.
    ///
    /// # Errors
    /// Those of reading the folder and of removing a file.
    pub fn clear(&self) -> io::Result<Cleared> {
        let mut cleared = Cleared::default();
        for entry in self.entries()? {
            if entry.partial && !remove_abandoned(&entry.path)? {
                cleared.busy += 1;
                continue;
            }
            remove(&entry.path)?;
            cleared.files += 1;
            cleared.bytes += entry.bytes;
        }
        if let Ok(list) = std::fs::read_dir(&self.folder) {
            for path in list.flatten().map(|file| file.path()) {
                if path.extension().is_some_and(|end| end == "json") && key_of(&path).is_some() {
                    remove(&path)?;
                }
            }
        }
        Ok(cleared)
    }

    fn origin(&self, key: &str) -> Option<String> {
        let file = File::open(self.file(key, Some("json"))).ok()?;
        let about: serde_json::Value = serde_json::from_reader(file.take(1 << 16)).ok()?;
        about.get("origin")?.as_str().map(str::to_owned)
    }

    fn file(&self, key: &str, extension: Option<&str>) -> PathBuf {
        match extension {
            Some(extension) => self.folder.join(format!("{key}.{extension}")),
            None => self.folder.join(key),
        }
    }

    /// Makes the folder, for its owner only.
    fn prepare(&self) -> io::Result<()> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.folder)?;
        let metadata = std::fs::symlink_metadata(&self.folder)?;
        if !metadata.is_dir() || metadata.uid() != nix::unistd::geteuid().as_raw() {
            return Err(io::Error::other(
                "it is not a folder that belongs to this user alone",
            ));
        }
        if metadata.mode() & 0o077 != 0 {
            std::fs::set_permissions(&self.folder, PermissionsExt::from_mode(0o700))?;
        }
        Ok(())
    }

    /// The file of this key: the one that is there, or one that `fill` writes. What is only the beginning of it, since
    /// what it came from is cut off, has a key of its own.
    ///
    /// # Errors
    /// Those of `fill`, and [`OpenError::Write`] where the cache cannot be used; [`OpenError::Stopped`] while waiting for
    /// another process.
    pub(crate) fn get(
        &self,
        key: &Key,
        progress: Option<&Progress>,
        fill: impl FnOnce(&File, &Path) -> Result<Filled, OpenError>,
    ) -> Result<Cached, OpenError> {
        self.prepare().map_err(OpenError::write(&self.folder))?;
        let cut_key = key.inside(b"cut off");
        let places = [
            (self.file(&key.hash, None), Filled::Whole),
            (self.file(&cut_key.hash, None), Filled::CutOff),
        ];
        let known = || {
            places.iter().find_map(|(path, filled)| {
                let (path, filled) = (Some(path.clone()), *filled);
                let file = open_whole(path.as_deref()?)?;
                Some(Cached { file, path, filled })
            })
        };
        let partial = self.file(&key.hash, Some(PARTIAL));
        let writing = || OpenError::write(&partial);
        let locked = loop {
            if let Some(cached) = known() {
                // What was used last goes last. It is no harm if that cannot be noted.
                let _ = cached.file.set_modified(SystemTime::now());
                return Ok(cached);
            }
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .custom_flags(OFlag::O_NOFOLLOW.bits())
                .open(&partial)
                .map_err(writing())?;
            match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                // It may have got its name, or have been removed, before it was locked.
                Ok(locked) if is_at(&locked, &partial) => {
                    if known().is_none() {
                        break locked;
                    }
                    // Made anew in the moment in which the other one had got its name.
                    let _ = std::fs::remove_file(&partial);
                }
                Ok(_) => {}
                Err((_, nix::errno::Errno::EWOULDBLOCK)) => {
                    let waiting = Step {
                        done: 0,
                        total: None,
                    };
                    step(progress, waiting)?;
                    std::thread::sleep(WAIT);
                }
                Err((_, errno)) => return Err(writing()(errno.into())),
            }
        };
        let filled = match self.fill(key, &cut_key, &locked, fill) {
            Ok(filled) => filled,
            Err(error) => {
                let _ = std::fs::remove_file(&partial);
                return Err(error);
            }
        };
        let [(whole, _), (cut_off, _)] = &places;
        let path = match filled {
            Filled::Whole => whole.clone(),
            Filled::CutOff => cut_off.clone(),
        };
        // Somebody may have removed it by hand and begun another one, which is not whole.
        if !is_at(&locked, &partial) {
            return Err(writing()(io::Error::other("it was replaced meanwhile")));
        }
        std::fs::rename(&partial, &path).map_err(writing())?;
        let kept = self.evict(&path).unwrap_or(true);
        let file = locked
            .unlock()
            .map_err(|(_, errno)| writing()(errno.into()))?;
        let path = kept.then_some(path);
        Ok(Cached { file, path, filled })
    }

    fn fill(
        &self,
        key: &Key,
        cut_key: &Key,
        file: &File,
        fill: impl FnOnce(&File, &Path) -> Result<Filled, OpenError>,
    ) -> Result<Filled, OpenError> {
        // What a killed process left.
        file.set_len(0).map_err(OpenError::write(&self.folder))?;
        let filled = fill(file, &self.folder)?;
        let key = match filled {
            Filled::Whole => key,
            Filled::CutOff => cut_key,
        };
        let about = self.file(&key.hash, Some("json"));
        let text = json!({ "origin": key.origin }).to_string();
        let written = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .custom_flags(OFlag::O_NOFOLLOW.bits())
            .open(&about)
            .and_then(|mut about| about.write_all(text.as_bytes()));
        written.map_err(OpenError::write(about))?;
        // A name that outlives its content in a power failure would be a core full of zeros.
        file.sync_all().map_err(OpenError::write(&self.folder))?;
        Ok(filled)
    }

    /// Removes what was not used for longest until the rest fits; `false` when `newest` alone does not, and is gone.
    fn evict(&self, newest: &Path) -> io::Result<bool> {
        let entries = self.entries()?;
        let mut sum = 0_u64;
        let mut kept = true;
        // Its own time may be older than that of one that was used meanwhile; it stays nevertheless.
        let (own, others): (Vec<_>, Vec<_>) =
            entries.into_iter().partition(|entry| entry.path == newest);
        for entry in own.into_iter().chain(others) {
            if entry.partial {
                remove_abandoned(&entry.path)?;
                continue;
            }
            sum = sum.saturating_add(entry.bytes);
            if sum > self.size {
                remove(&entry.path)?;
                remove(&entry.path.with_extension("json"))?;
                sum -= entry.bytes;
                kept &= entry.path != newest;
            }
        }
        Ok(kept)
    }
}

/// Removes a file that is not whole and that nobody works on; `false` when somebody does. It is locked meanwhile, so that
/// nobody begins.
fn remove_abandoned(partial: &Path) -> io::Result<bool> {
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(OFlag::O_NOFOLLOW.bits())
        .open(partial);
    let locked = match file {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
        file => Flock::lock(file?, FlockArg::LockExclusiveNonblock),
    };
    match locked {
        Ok(locked) if is_at(&locked, partial) => remove(partial).map(|()| true),
        _ => Ok(false),
    }
}

/// The key in the name of one of our files.
fn key_of(path: &Path) -> Option<String> {
    let stem = path.file_stem()?.to_str()?;
    let is_key = stem.len() == 32 && stem.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_key.then(|| stem.to_owned())
}

/// A whole file of the cache, unless it is not ours.
fn open_whole(path: &Path) -> Option<File> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(OFlag::O_NOFOLLOW.bits())
        .open(path)
        .ok()?;
    let metadata = file.metadata().ok()?;
    let private = metadata.mode() & 0o077 == 0;
    let own = metadata.uid() == nix::unistd::geteuid().as_raw();
    (metadata.is_file() && private && own).then_some(file)
}

fn is_at(file: &File, path: &Path) -> bool {
    match (file.metadata(), std::fs::symlink_metadata(path)) {
        (Ok(open), Ok(there)) => (open.dev(), open.ino()) == (there.dev(), there.ino()),
        _ => false,
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

fn on_disk(metadata: &Metadata) -> u64 {
    // POSIX counts in these, whatever the disk does.
    metadata.blocks().saturating_mul(512)
}
