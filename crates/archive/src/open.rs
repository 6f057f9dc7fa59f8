//! From a path, or standard input, to a core that can be read: whatever it is packed in.
//!
//! What something is, is told by its content. A core is read where it lies, and so is one in a tar archive that is not
//! compressed, in a zip archive that stores it, or in an archive of ours, whose index says where each block lies.
//! Everything else is decompressed once, into the [`Cache`].

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use stillcore_corefile::{FileSource, Source};

mod blocks;
mod cache;
mod decode;
mod error;
mod limits;
pub(crate) mod path;
mod tar;
mod tree;
mod unpack;
mod verify;
mod view;
mod walk;
mod zip;

pub use cache::{CACHE_SIZE_VARIABLE, Cache, CacheEntry, Cleared, parse_size};
pub use decode::Format;
pub use error::OpenError;
pub use limits::{Limits, Progress, Step};
pub use path::printable;
pub use tree::{FileInfo, FileKind, Files};
pub use unpack::{Refused, UnpackOptions, Unpacked, unpack, unpack_source};
pub use verify::{Problem, ProblemKind, Verified, verify, verify_source};

use self::blocks::Blocks;
use self::cache::{Key, spool, temporary};
use self::decode::HEAD;
use self::path::parts;
use self::tar::{Kind as EntryKind, Walk};
use self::tree::{Head, Node};
use self::view::{Cursor, Holed, Stretch, read_exact_at};
use self::zip::Zip;
use crate::{Compression, Manifest};

/// Longest manifest that is read.
const MAX_MANIFEST: u64 = 64 << 20;

/// Files that are unpacked into memory rather than into the cache.
const SMALL: u64 = 1 << 20;

/// Where things are unpacked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum CacheUse {
    /// In the cache that the environment names ([`Cache::from_env`]).
    #[default]
    Default,
    /// In this one.
    At(Cache),
    /// In temporary files without a name (in `TMPDIR`, else in `/var/tmp`), which are gone when the program ends.
    Never,
}

/// How to open something.
#[derive(Clone, Default)]
pub struct OpenOptions {
    /// Where to unpack.
    pub cache: CacheUse,
    /// How far to trust.
    pub limits: Limits,
    /// Told while something is unpacked.
    pub progress: Option<Progress>,
}

impl std::fmt::Debug for OpenOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OpenOptions")
            .field("cache", &self.cache)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

/// What was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OpenedKind {
    /// A core by itself, perhaps compressed.
    Core,
    /// A kernel dump in makedumpfile's format, by itself.
    KernelDump,
    /// An archive with our manifest.
    Stillcore,
    /// An archive of gencore: `core_.../core`.
    Gencore,
    /// An archive of savedump: everything in `archive-...`.
    Savedump,
    /// A zip archive of IBM's core-dump-handler: `...-dump-info.json`.
    CoreDumpHandler,
    /// Another tar archive.
    Tar,
    /// Another zip archive.
    Zip,
}

/// A core that can be read, and what came with it.
pub struct Opened {
    /// The core.
    pub core: Arc<dyn Source>,
    /// What it came in.
    pub kind: OpenedKind,
    /// What lies around the core, from the outside: gzip, tar ... Empty for a plain core.
    pub layers: Vec<Format>,
    /// The core's path in the archive, where there is one.
    pub core_path: Option<Vec<u8>>,
    /// The files of the archive, the core among them.
    pub files: Files,
    /// The manifest of an archive of ours.
    pub manifest: Option<Manifest>,
    /// Files in the cache that are read now. Empty when nothing had to be unpacked, or not into the cache.
    pub cached: Vec<PathBuf>,
    /// Whether an archive is read by its index.
    pub indexed: bool,
    /// Things a user should know, as sentences.
    pub notes: Vec<String>,
}

impl std::fmt::Debug for Opened {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Opened")
            .field("kind", &self.kind)
            .field("layers", &self.layers)
            .field("core_len", &self.core.len())
            .field("files", &self.files)
            .finish_non_exhaustive()
    }
}

/// Opens what is at `path`.
///
/// # Errors
/// [`OpenError`] says why there is no core to read. That a core is cut off or nonsense inside is not seen here.
pub fn open(path: &Path, options: &OpenOptions) -> Result<Opened, OpenError> {
    let file = File::open(path).map_err(OpenError::Io)?;
    let metadata = file.metadata().map_err(OpenError::Io)?;
    if metadata.is_dir() {
        return Err(OpenError::Unsupported("it is a folder".to_owned()));
    }
    if !metadata.is_file() {
        // A pipe, such as <(zcat core.gz); a device.
        return open_stream(file, options);
    }
    let source = FileSource::new(file).map_err(OpenError::Io)?;
    let key = Key::of(path, &metadata, &source).map_err(OpenError::Io)?;
    Opener::new(options).open(Arc::new(source), Some(key))
}

/// Opens what a stream gives, standard input for instance. It is written to a temporary file without a name first,
/// unless it is standard input and that is a file.
///
/// # Errors
/// As [`open`].
pub fn open_stream(mut stream: impl Read, options: &OpenOptions) -> Result<Opened, OpenError> {
    let (file, folder) = temporary()?;
    let read = AtomicU64::new(0);
    let mut counted = Counted {
        inner: &mut stream,
        count: &read,
    };
    let done = || Step {
        done: read.load(Ordering::Relaxed),
        total: None,
    };
    spool(
        &mut counted,
        &file,
        &folder,
        &options.limits,
        options.progress.as_ref(),
        &done,
    )?;
    let source = FileSource::new(file).map_err(OpenError::Io)?;
    Opener::new(options).open(Arc::new(source), None)
}

/// Opens standard input: where it is a file (`< core`), that file; else as [`open_stream`].
///
/// # Errors
/// As [`open`].
pub fn open_stdin(options: &OpenOptions) -> Result<Opened, OpenError> {
    use std::os::fd::AsFd;
    let stdin = io::stdin();
    let file: File = stdin
        .as_fd()
        .try_clone_to_owned()
        .map_err(OpenError::Io)?
        .into();
    let metadata = file.metadata().map_err(OpenError::Io)?;
    if !metadata.is_file() {
        return open_stream(file, options);
    }
    let source = FileSource::new(file).map_err(OpenError::Io)?;
    let key = Key::of(Path::new("-"), &metadata, &source).map_err(OpenError::Io)?;
    Opener::new(options).open(Arc::new(source), Some(key))
}

/// Opens what any source gives. What has to be unpacked goes into temporary files.
///
/// # Errors
/// As [`open`].
pub fn open_source(source: Arc<dyn Source>, options: &OpenOptions) -> Result<Opened, OpenError> {
    Opener::new(options).open(source, None)
}

/// Counts what is read.
struct Counted<'a, R> {
    inner: R,
    count: &'a AtomicU64,
}

impl<R: Read> Read for Counted<'_, R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buf)?;
        self.count.fetch_add(n as u64, Ordering::Relaxed);
        Ok(n)
    }
}

/// Unpacks what has to be unpacked.
#[derive(Clone)]
struct Unpacker {
    options: OpenOptions,
    /// Files of the cache that are in use.
    cached: Arc<Mutex<Vec<PathBuf>>>,
}

impl Unpacker {
    fn cache(&self) -> Option<Cache> {
        match &self.options.cache {
            CacheUse::Default => Cache::from_env(),
            CacheUse::At(cache) => Some(cache.clone()),
            CacheUse::Never => None,
        }
    }

    /// Decompresses a stream into the cache, or into a temporary file.
    fn stream(
        &self,
        source: &Arc<dyn Source>,
        format: Format,
        key: Option<&Key>,
    ) -> Result<Arc<dyn Source>, OpenError> {
        let key = key.map(|key| key.inside(format.name().as_bytes()));
        let total = Some(source.len());
        self.file(key.as_ref(), &|file, folder| {
            let read = AtomicU64::new(0);
            let input = Counted {
                inner: Cursor::new(Arc::clone(source)),
                count: &read,
            };
            let mut decoder = format
                .decoder(input)?
                .ok_or_else(|| OpenError::Unsupported(format.name().to_owned()))?;
            let done = || Step {
                done: read.load(Ordering::Relaxed),
                total,
            };
            self.spool(&mut decoder, file, folder, &done)
        })
    }

    fn spool(
        &self,
        reader: &mut dyn Read,
        file: &File,
        folder: &Path,
        done: &dyn Fn() -> Step,
    ) -> Result<(), OpenError> {
        let OpenOptions {
            limits, progress, ..
        } = &self.options;
        spool(reader, file, folder, limits, progress.as_ref(), done)
    }

    fn file(
        &self,
        key: Option<&Key>,
        fill: &dyn Fn(&File, &Path) -> Result<(), OpenError>,
    ) -> Result<Arc<dyn Source>, OpenError> {
        if let Some((cache, key)) = self.cache().zip(key) {
            match cache.get(key, self.options.progress.as_ref(), fill) {
                Ok((file, path)) => {
                    if let Some(path) = path {
                        self.cached
                            .lock()
                            .unwrap_or_else(PoisonError::into_inner)
                            .push(path);
                    }
                    let source = FileSource::new(file).map_err(OpenError::Io)?;
                    return Ok(Arc::new(source));
                }
                // A home that is read-only or full; there may be room elsewhere.
                Err(OpenError::Write { .. } | OpenError::NoSpace { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        let (file, folder) = temporary()?;
        fill(&file, &folder)?;
        let source = FileSource::new(file).map_err(OpenError::Io)?;
        Ok(Arc::new(source))
    }

    /// A file of a zip archive.
    fn zipped(
        &self,
        zip: &Zip,
        number: usize,
        size: u64,
        key: Option<&Key>,
    ) -> Result<Arc<dyn Source>, OpenError> {
        let mut zip = zip.clone();
        if let Some(stored) = zip.stored(number)? {
            return Ok(Arc::new(stored));
        }
        if size <= SMALL {
            let mut bytes = Vec::with_capacity(size as usize);
            zip.read(number)?
                .read_to_end(&mut bytes)
                .map_err(OpenError::from)?;
            return Ok(Arc::new(bytes));
        }
        let zip = Mutex::new(zip);
        self.file(key, &|file, folder| {
            let mut zip = zip.lock().unwrap_or_else(PoisonError::into_inner);
            let read = AtomicU64::new(0);
            let mut input = Counted {
                inner: zip.read(number)?,
                count: &read,
            };
            let done = || Step {
                done: read.load(Ordering::Relaxed),
                total: Some(size),
            };
            self.spool(&mut input, file, folder, &done)
        })
    }
}

/// Goes through the layers, from the outside.
struct Opener<'a> {
    options: &'a OpenOptions,
    unpacker: Unpacker,
    layers: Vec<Format>,
    indexed: bool,
    notes: Vec<String>,
}

/// The last archive that was gone through.
struct Archive {
    files: Files,
    manifest: Option<Manifest>,
    kind: OpenedKind,
    core_path: Vec<u8>,
}

impl<'a> Opener<'a> {
    fn new(options: &'a OpenOptions) -> Opener<'a> {
        Opener {
            options,
            unpacker: Unpacker {
                options: options.clone(),
                cached: Arc::default(),
            },
            layers: Vec::new(),
            indexed: false,
            notes: Vec::new(),
        }
    }

    fn open(mut self, source: Arc<dyn Source>, key: Option<Key>) -> Result<Opened, OpenError> {
        let (mut source, mut key) = (source, key);
        let mut archive: Option<Archive> = None;
        loop {
            let format = Format::of_source(&*source)?;
            let kind = match format {
                Format::Core => Some(OpenedKind::Core),
                Format::KernelDump => Some(OpenedKind::KernelDump),
                _ => None,
            };
            if let Some(kind) = kind {
                return Ok(self.finish(source, kind, archive));
            }
            self.layers.push(format);
            self.options.limits.check_layers(self.layers.len() as u64)?;
            match format {
                Format::Tar => {
                    let files = self.tar(&source)?;
                    let (found, inside) = self.choose(files, format)?;
                    key = key.map(|key| key.inside(&found.core_path));
                    archive = Some(found);
                    source = inside;
                }
                Format::Zip => {
                    let files = self.zip(&source, key.as_ref())?;
                    let (found, inside) = self.choose(files, format)?;
                    key = key.map(|key| key.inside(&found.core_path));
                    archive = Some(found);
                    source = inside;
                }
                _ => {
                    source = self.decompressed(&source, format, key.as_ref())?;
                    key = key.map(|key| key.inside(format.name().as_bytes()));
                }
            }
        }
    }

    fn finish(self, core: Arc<dyn Source>, kind: OpenedKind, archive: Option<Archive>) -> Opened {
        let cached = self.unpacker.cached.lock();
        let cached = cached.unwrap_or_else(PoisonError::into_inner).clone();
        let mut opened = Opened {
            core,
            kind,
            layers: self.layers,
            core_path: None,
            files: Files::default(),
            manifest: None,
            cached,
            indexed: self.indexed,
            notes: self.notes,
        };
        if let Some(archive) = archive {
            opened.kind = archive.kind;
            opened.core_path = Some(archive.core_path);
            opened.files = archive.files;
            opened.manifest = archive.manifest;
        }
        opened
    }

    /// What is in a compressed stream: by its index, where it has one.
    fn decompressed(
        &mut self,
        source: &Arc<dyn Source>,
        format: Format,
        key: Option<&Key>,
    ) -> Result<Arc<dyn Source>, OpenError> {
        let compression = match format {
            Format::Gzip => Some(Compression::Gzip),
            Format::Zstd => Some(Compression::Zstd),
            _ => None,
        };
        if let Some(compression) = compression {
            let (unpacker, whole, key) = (self.unpacker.clone(), Arc::clone(source), key.cloned());
            let fallback = move || unpacker.stream(&whole, format, key.as_ref());
            if let Some(blocks) = Blocks::open(source, compression, Box::new(fallback))? {
                self.indexed = true;
                return Ok(Arc::new(blocks));
            }
        }
        self.unpacker.stream(source, format, key)
    }

    /// The files of a tar archive, found by leaping from header to header.
    fn tar(&mut self, source: &Arc<dyn Source>) -> Result<Files, OpenError> {
        let mut walk = Walk::new(Cursor::new(Arc::clone(source)), &self.options.limits);
        let mut nodes = BTreeMap::new();
        while let Some(entry) = walk.next()? {
            let path = match parts(&entry.path) {
                Ok(parts) if parts.is_empty() => continue,
                Ok(parts) => parts.join(&b'/'),
                Err(why) => {
                    self.passed_over(&entry.path, why);
                    continue;
                }
            };
            let node = match entry.kind {
                EntryKind::Folder => Node::Folder,
                EntryKind::Symlink(target) => Node::Symlink(target),
                EntryKind::HardLink(target) => Node::HardLink(target),
                EntryKind::Other(_) => continue,
                EntryKind::File => {
                    let cut = || {
                        let path = printable(&path);
                        OpenError::damaged(format!("the tar archive ends in the middle of {path}"))
                    };
                    let stored = Stretch::new(Arc::clone(source), entry.start, entry.stored)
                        .ok_or_else(cut)?;
                    let content: Arc<dyn Source> = match entry.extents {
                        Some(extents) => Arc::new(Holed::new(stored, extents, entry.size)),
                        None => Arc::new(stored),
                    };
                    let same = Arc::clone(&content);
                    Node::File {
                        size: entry.size,
                        content: Arc::new(move || Ok(Arc::clone(&content))),
                        head: Arc::new(move |n| read_head(Cursor::new(Arc::clone(&same)), n)),
                    }
                }
            };
            nodes.insert(path, node);
        }
        if !walk.ended() {
            self.notes.push(
                "The tar archive does not end as it should: perhaps its last files are missing."
                    .to_owned(),
            );
        }
        Ok(Files::new(nodes))
    }

    fn zip(&mut self, source: &Arc<dyn Source>, key: Option<&Key>) -> Result<Files, OpenError> {
        let limits = &self.options.limits;
        let mut zip = Zip::open(Arc::clone(source), limits)?;
        let mut nodes = BTreeMap::new();
        for number in 0..zip.len() {
            let entry = zip.entry(number, limits)?;
            let path = match parts(&entry.path) {
                Ok(parts) if parts.is_empty() => continue,
                Ok(parts) => parts.join(&b'/'),
                Err(why) => {
                    self.passed_over(&entry.path, why);
                    continue;
                }
            };
            let node = match entry.kind {
                EntryKind::Folder => Node::Folder,
                EntryKind::Symlink(target) => Node::Symlink(target),
                EntryKind::HardLink(_) => continue,
                EntryKind::Other(what) => {
                    self.passed_over(&path, what);
                    continue;
                }
                EntryKind::File => {
                    let (unpacker, zip) = (self.unpacker.clone(), zip.clone());
                    let same = zip.clone();
                    let key = key.map(|key| key.inside(&path));
                    let size = entry.size;
                    Node::File {
                        size,
                        content: Arc::new(move || {
                            unpacker.zipped(&zip, number, size, key.as_ref())
                        }),
                        head: Arc::new(move |n| read_head(same.clone().read(number)?, n)),
                    }
                }
            };
            nodes.insert(path, node);
        }
        Ok(Files::new(nodes))
    }

    /// Notes an entry that will not be there; only the first few.
    fn passed_over(&mut self, path: &[u8], why: &str) {
        if self.notes.len() < 10 {
            self.notes.push(format!(
                "An entry of the archive is passed over, {}: {why}.",
                printable(path)
            ));
        }
    }

    /// The core among the files, or what it is packed in.
    fn choose(
        &mut self,
        mut files: Files,
        format: Format,
    ) -> Result<(Archive, Arc<dyn Source>), OpenError> {
        let (manifest, named) = self.manifest(&files)?;
        if let Some(manifest) = &manifest {
            files.record(manifest);
        }
        let core_path = match named {
            Some(path) => path,
            None => find_core(&files)?,
        };
        let content = files.open(&core_path)?.ok_or(OpenError::NoCore)?;
        let archive = Archive {
            kind: match manifest.is_some() {
                true => OpenedKind::Stillcore,
                false => kind_of(&files, &core_path, format),
            },
            files,
            manifest,
            core_path,
        };
        Ok((archive, content))
    }

    /// The manifest of an archive of ours, and the path of the core that it names.
    fn manifest(
        &mut self,
        files: &Files,
    ) -> Result<(Option<Manifest>, Option<Vec<u8>>), OpenError> {
        let path = below(files.top(), b"manifest.json");
        let Some((size, content)) = files.file(&path).filter(|(size, _)| *size <= MAX_MANIFEST)
        else {
            return Ok((None, None));
        };
        let mut text = vec![0; size as usize];
        read_exact_at(&*content()?, 0, &mut text).map_err(OpenError::from)?;
        let manifest: Manifest = match serde_json::from_slice(&text) {
            Ok(manifest) => manifest,
            Err(error) => {
                self.notes
                    .push(format!("The manifest cannot be read: {error}."));
                return Ok((None, None));
            }
        };
        let core = below(files.top(), manifest.core.path.as_bytes());
        let named = match files.open(&core)? {
            Some(content) if is_core(&*content) => Some(core),
            _ => None,
        };
        Ok((Some(manifest), named))
    }
}

fn below(top: &[u8], name: &[u8]) -> Vec<u8> {
    match top {
        [] => name.to_vec(),
        top => [top, b"/", name].concat(),
    }
}

fn is_core(source: &dyn Source) -> bool {
    matches!(
        Format::of_source(source),
        Ok(Format::Core | Format::KernelDump)
    )
}

/// The one core of an archive, or else the one thing in it that has a core or an archive in it.
fn find_core(files: &Files) -> Result<Vec<u8>, OpenError> {
    let (mut cores, mut packed) = (Vec::new(), Vec::new());
    let mut trouble = None;
    for (path, node) in files.nodes() {
        // Less is no core, nor one that is compressed.
        let Node::File {
            head, size: 32.., ..
        } = node
        else {
            continue;
        };
        let head_bytes = match head(HEAD as u64) {
            Ok(bytes) => bytes,
            Err(error @ OpenError::Io(_)) => return Err(error),
            // Another file that cannot be read is no reason not to read the core.
            Err(error) => {
                trouble.get_or_insert(error);
                continue;
            }
        };
        match Format::of(&head_bytes) {
            Ok(Format::Core | Format::KernelDump) => cores.push(path),
            Ok(format) if holds_core(format, head) => packed.push(path),
            Ok(_) | Err(OpenError::Unknown(_) | OpenError::Unsupported(_)) => {}
            Err(error) => return Err(error),
        }
    }
    let found = match cores.is_empty() {
        true => packed,
        false => cores,
    };
    match found.as_slice() {
        [] => Err(trouble.unwrap_or(OpenError::NoCore)),
        [one] => Ok((*one).clone()),
        several => {
            let some = several.iter().take(10).map(|path| printable(path));
            Err(OpenError::SeveralCores(some.collect()))
        }
    }
}

/// Whether the beginning of what is packed is that of a core, or of an archive.
fn holds_core(format: Format, head: &Head) -> bool {
    /// The largest block of any of the formats, which may have to be whole before anything comes out of it: lz4's.
    const BLOCK: u64 = (4 << 20) + 1024;
    match format {
        Format::Tar | Format::Zip => true,
        Format::Core | Format::KernelDump => false,
        Format::Gzip | Format::Zstd | Format::Xz | Format::Lz4 => {
            let Ok(packed) = head(BLOCK) else {
                return false;
            };
            let Ok(Some(mut decoder)) = format.decoder(packed.as_slice()) else {
                return false;
            };
            let mut plain = Vec::with_capacity(HEAD);
            // What can be decoded before an error is enough to tell.
            let _ = (&mut decoder).take(HEAD as u64).read_to_end(&mut plain);
            matches!(
                Format::of(&plain),
                Ok(Format::Core | Format::KernelDump | Format::Tar)
            )
        }
    }
}

fn read_head(reader: impl Read, n: u64) -> Result<Vec<u8>, OpenError> {
    let mut head = Vec::new();
    reader
        .take(n)
        .read_to_end(&mut head)
        .map_err(OpenError::from)?;
    Ok(head)
}

/// Whose archive without a manifest it is.
fn kind_of(files: &Files, core: &[u8], format: Format) -> OpenedKind {
    let top = files.top();
    if format == Format::Zip {
        let handler = files
            .nodes()
            .keys()
            .any(|path| path.ends_with(b"-dump-info.json"));
        return match handler {
            true => OpenedKind::CoreDumpHandler,
            false => OpenedKind::Zip,
        };
    }
    if top.starts_with(b"core_") && core == below(top, b"core") {
        OpenedKind::Gencore
    } else if top.starts_with(b"archive-") {
        OpenedKind::Savedump
    } else {
        OpenedKind::Tar
    }
}
