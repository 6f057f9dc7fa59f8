//! Where the files of the dumped process are looked for, and when one is believed to be the right one.

use std::fs::File;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use crate::anchor::Anchor;
use crate::image::Image;
use crate::source::{FileSource, Source, read_up_to, read_vec};
use crate::words::{word16, word64};
use crate::{CoreError, build_id};

/// Most symbolic links that are followed for one path, as the kernel has it.
const MAX_LINKS: usize = 40;

/// Gives files by the path that they had in the process: an opened archive is one.
pub trait FileProvider: Send + Sync {
    /// The file that had this path (absolute, as the core records it), and where it was found, to be shown to people.
    fn open(&self, path: &[u8]) -> Option<(PathBuf, Arc<dyn Source>)>;

    /// The file with this build-id: the separate debug file where `debug` is true, else the executable or library.
    fn by_build_id(&self, build_id: &[u8], debug: bool) -> Option<(PathBuf, Arc<dyn Source>)> {
        let _ = (build_id, debug);
        None
    }
}

/// Where files are looked for, and how strictly they are checked.
#[derive(Clone, Default)]
pub struct Sysroot {
    /// The executable, whatever path the core has for it (`--exe`).
    pub exe: Option<PathBuf>,
    /// Folders that stand for `/` (`--sysroot`), in this order, before `/` itself.
    pub roots: Vec<PathBuf>,
    /// Folders of separate debug files (`--debug-dir`), before `/usr/lib/debug`.
    pub debug_dirs: Vec<PathBuf>,
    /// Folders in the layout of debuginfod's cache: `<build-id>/debuginfo` and `<build-id>/executable`.
    pub debuginfod: Vec<PathBuf>,
    /// Look for no separate debug files (`--no-debug`).
    pub no_debug: bool,
    /// Believe files whose build-id differs (`--force`).
    pub force: bool,
    /// Do not look at the paths of this machine: only at the roots and the providers.
    pub no_host: bool,
    /// What gives files before anything else is looked at.
    pub providers: Vec<Arc<dyn FileProvider>>,
    /// Who is asked by build-id when nothing else has a file: servers (`--debuginfod`).
    pub servers: Vec<Arc<dyn FileProvider>>,
}

/// Why a file is believed to be the one that was mapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Check {
    /// Its build-id is the one in the dumped memory.
    BuildId,
    /// There is no build-id to compare; ELF header and program headers are the same, byte for byte. Where the core lacks
    /// even those: entry point, number of headers and addresses are those that the kernel told the program, or the
    /// dynamic section lies where the linker has it and says the same sizes.
    Headers,
    /// The CRC in `.gnu_debuglink` is right (debug files only).
    Crc,
    /// Nothing could be compared, or it differed: it was asked for by name, or with [`Sysroot::force`].
    Forced,
}

/// A file that was found and believed.
#[derive(Clone)]
pub struct Found {
    /// Where it was found.
    pub path: PathBuf,
    /// Its bytes.
    pub source: Arc<dyn Source>,
    /// Its build-id.
    pub build_id: Option<Vec<u8>>,
    /// Why it is believed.
    pub check: Check,
}

/// A file that was found in the right place and is another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mismatch {
    /// Where it lies.
    pub path: PathBuf,
    /// The build-id in the dumped memory; `None` where the headers differ and there is no build-id.
    pub expected: Option<Vec<u8>>,
    /// The file's.
    pub found: Option<Vec<u8>>,
    /// Nothing is known of the file that was mapped: it may be this one. The core lacks its headers, since it is cut off or
    /// was written without them (`coredump_filter`).
    pub unchecked: bool,
}

/// What a file must be.
pub(crate) struct Wanted<'a> {
    pub(crate) path: &'a [u8],
    pub(crate) build_id: Option<&'a [u8]>,
    /// ELF header and program headers as they lie in memory.
    pub(crate) headers: Option<&'a [u8]>,
    /// What must fit where there is neither.
    pub(crate) anchor: Option<&'a Anchor>,
    /// Whether [`Sysroot::exe`] is meant.
    pub(crate) is_executable: bool,
}

impl Sysroot {
    /// The paths of this machine, checked.
    pub fn host() -> Sysroot {
        Sysroot::default()
    }

    /// Looks for a mapped file. Files that are not it are added to `mismatches`.
    pub(crate) fn find(
        &self,
        wanted: &Wanted<'_>,
        mismatches: &mut Vec<Mismatch>,
    ) -> Option<Found> {
        let mut cut = None;
        self.find_whole(wanted, mismatches, &mut cut).or(cut)
    }

    /// The same; one that is cut off goes to `cut`, for another place may have all of it: an archive that is cut off has
    /// half of one library, and the machine where it is read may have that library too.
    fn find_whole(
        &self,
        wanted: &Wanted<'_>,
        mismatches: &mut Vec<Mismatch>,
        cut: &mut Option<Found>,
    ) -> Option<Found> {
        let mut tried: Vec<PathBuf> = Vec::new();
        let mut consider = |candidate: Option<(PathBuf, Arc<dyn Source>)>, named: bool| {
            let (path, source) = candidate?;
            if tried.contains(&path) {
                return None;
            }
            tried.push(path.clone());
            let checked = self.check(wanted, &path, &source, named);
            // One that is believed all the same is told of too.
            if let Ok((_, other)) = &checked {
                mismatches.extend(other.clone());
            }
            match checked.map(|(found, _)| found) {
                Ok(found) if named || is_whole(&*found.source) => Some(found),
                Ok(found) => {
                    cut.get_or_insert(found);
                    None
                }
                Err(mismatch) => {
                    mismatches.extend(mismatch);
                    None
                }
            }
        };
        if wanted.is_executable
            && let Some(exe) = &self.exe
            && let Some(found) = consider(open(exe), true)
        {
            return Some(found);
        }
        // The kernel marks files that are gone. Another file may lie there by now: the build-id tells.
        let path = wanted
            .path
            .strip_suffix(b" (deleted)")
            .unwrap_or(wanted.path);
        for provider in &self.providers {
            let found = consider(provider.open(wanted.path), false)
                .or_else(|| consider(provider.open(path), false))
                .or_else(|| consider(provider.by_build_id(wanted.build_id?, false), false));
            if found.is_some() {
                return found;
            }
        }
        if path.starts_with(b"/") {
            for root in &self.roots {
                let inside = resolve_inside(root, path).and_then(|path| open(&path));
                if let Some(found) = consider(inside, false) {
                    return Some(found);
                }
            }
            if !self.no_host
                && let Some(found) = consider(open(&path_of(path)), false)
            {
                return Some(found);
            }
        }
        // Where no list of files tells more than how the program was called.
        if wanted.is_executable
            && !path.starts_with(b"/")
            && !self.no_host
            && let Some(found) = consider(open(&path_of(path)), false)
        {
            return Some(found);
        }
        let id = wanted.build_id?;
        for cache in &self.debuginfod {
            let cached = cache.join(hex(id)).join("executable");
            if let Some(found) = consider(open(&cached), false) {
                return Some(found);
            }
        }
        for server in &self.servers {
            if let Some(found) = consider(server.by_build_id(id, false), false) {
                return Some(found);
            }
        }
        None
    }

    /// Whether a file is the one that is wanted; with the mismatch, where it is believed nevertheless. A file that is no ELF file
    /// at all is no mismatch, only not found.
    fn check(
        &self,
        wanted: &Wanted<'_>,
        path: &Path,
        source: &Arc<dyn Source>,
        named: bool,
    ) -> Result<(Found, Option<Mismatch>), Option<Mismatch>> {
        let headers = file_headers(&**source).map_err(|_| None)?;
        // A damaged note area is as good as none.
        let id = build_id(&**source).unwrap_or(None);
        let check = match (wanted.build_id, &id) {
            (Some(expected), Some(found)) if expected == found.as_slice() => Some(Check::BuildId),
            (None, _) if wanted.headers.is_some_and(|wanted| wanted == headers.bytes) => {
                Some(Check::Headers)
            }
            (None, _)
                if wanted.headers.is_none()
                    && wanted.anchor.is_some_and(|anchor| {
                        anchor
                            .fits(&headers, &file_dynamic(&**source, &headers))
                            .is_some()
                    }) =>
            {
                Some(Check::Headers)
            }
            (None, _) if wanted.headers.is_none() && named => Some(Check::Forced),
            _ => None,
        };
        let mismatch = || Mismatch {
            path: path.to_owned(),
            expected: wanted.build_id.map(<[u8]>::to_vec),
            found: id.clone(),
            unchecked: wanted.build_id.is_none()
                && wanted.headers.is_none()
                && wanted.anchor.is_none(),
        };
        let (check, other) = match check {
            Some(check) => (check, None),
            None if self.force => (Check::Forced, Some(mismatch())),
            None => return Err(Some(mismatch())),
        };
        let found = Found {
            path: path.to_owned(),
            source: source.clone(),
            build_id: id.clone(),
            check,
        };
        Ok((found, other))
    }
}

/// Whether a file has all that its headers name: the table of sections lies at the end. One that has none, or whose headers
/// cannot be read, passes for whole.
pub(crate) fn is_whole(source: &dyn Source) -> bool {
    let mut head = [0; 64];
    if !matches!(read_up_to(source, &mut head, 0), Ok(64)) {
        return true;
    }
    let sections = (|| {
        let size = u64::from(word16(&head, 0x3a)?) * u64::from(word16(&head, 0x3c)?);
        word64(&head, 0x28)?.checked_add(size)
    })();
    sections.is_none_or(|end| end <= source.len())
}

/// The entries of a file's dynamic section.
pub(crate) fn file_dynamic(source: &dyn Source, headers: &Image) -> Vec<(u64, u64)> {
    /// Linkers write about thirty entries.
    const MAX: u64 = 64 << 10;
    let Some((at, size)) = headers.dynamic_in_file() else {
        return Vec::new();
    };
    let bytes = read_vec(source, at, size.min(MAX)).unwrap_or_default();
    bytes
        .chunks_exact(16)
        .filter_map(|entry| Some((word64(entry, 0)?, word64(entry, 8)?)))
        .take_while(|(kind, _)| *kind != 0)
        .collect()
}

/// The headers of an ELF file.
pub(crate) fn file_headers(source: &dyn Source) -> Result<Image, CoreError> {
    let exact = |at, buf: &mut [u8]| {
        if read_up_to(source, buf, at)? < buf.len() {
            return Err(CoreError::Truncated {
                expected: at.saturating_add(buf.len() as u64),
                actual: source.len(),
            });
        }
        Ok(())
    };
    let mut head = [0; 64];
    exact(0, &mut head)?;
    Image::parse(&head, exact)
}

/// Opens a plain file.
pub(crate) fn open(path: &Path) -> Option<(PathBuf, Arc<dyn Source>)> {
    // Opening a FIFO would wait, and a device may do anything.
    if !std::fs::metadata(path).ok()?.is_file() {
        return None;
    }
    let source = FileSource::new(File::open(path).ok()?).ok()?;
    Some((path.to_owned(), Arc::new(source)))
}

/// The path below `root` that `path` (absolute) leads to, symbolic links being those of a system whose `/` is `root`:
/// none leads out of it. `None` where there is nothing.
pub(crate) fn resolve_inside(root: &Path, path: &[u8]) -> Option<PathBuf> {
    let mut left: Vec<_> = components(&path_of(path));
    left.reverse();
    let mut resolved = PathBuf::new();
    let mut links = 0;
    while let Some(name) = left.pop() {
        if name == ".." {
            resolved.pop();
            continue;
        }
        let next = root.join(&resolved).join(&name);
        let kind = std::fs::symlink_metadata(&next).ok()?.file_type();
        if !kind.is_symlink() {
            resolved.push(name);
            continue;
        }
        links += 1;
        if links > MAX_LINKS {
            return None;
        }
        let target = std::fs::read_link(&next).ok()?;
        if target.has_root() {
            resolved = PathBuf::new();
        }
        left.extend(components(&target).into_iter().rev());
    }
    Some(root.join(resolved))
}

/// Names and `..`; what makes a path absolute is gone.
fn components(path: &Path) -> Vec<std::ffi::OsString> {
    path.components()
        .filter_map(|component| match component {
            Component::Normal(name) => Some(name.to_owned()),
            Component::ParentDir => Some("..".into()),
            _ => None,
        })
        .collect()
}

/// A path as the core records it, as one of this system.
#[cfg(unix)]
pub(crate) fn path_of(bytes: &[u8]) -> PathBuf {
    use std::os::unix::ffi::OsStrExt;
    std::ffi::OsStr::from_bytes(bytes).into()
}

/// A path as the core records it, as one of this system.
#[cfg(not(unix))]
pub(crate) fn path_of(bytes: &[u8]) -> PathBuf {
    String::from_utf8_lossy(bytes).into_owned().into()
}

/// A build-id as people write it.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl std::fmt::Debug for Found {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Found")
            .field("path", &self.path)
            .field("check", &self.check)
            .finish_non_exhaustive()
    }
}
