//! Packs a core and the ELF files of its process into one tar archive, in one pass.

use std::collections::HashSet;
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tar::{EntryType, Header};

use crate::block::Block;
use crate::collect::{Elf, MappedFile, archive_path, open_elf, path_text};
use crate::hash::HashThread;
use crate::index::{INDEX_NAME, RECORD};
use crate::manifest::{CoreEntry, FileEntry, Manifest, ManifestHead, hex, lossy};
use crate::source::{CoreSource, Part};
use crate::stream::{MIN_ZEROS, PackOptions, StreamWriter, WorkerDied};

/// Holes are passed in steps of this many bytes, to stay near the hashing thread and to notice a stop.
const HOLE_STEP: u64 = 64 << 20;

/// How long to wait for the last checksums before asking whether to go on.
const PATIENCE: Duration = Duration::from_millis(50);

/// Everything that [`pack`] needs.
pub struct PackJob<'a> {
    /// Name of the top folder: the archive's name without [`Compression::extension`](crate::Compression::extension).
    pub top: &'a str,
    /// The core: an open, verified file, or a [`LiveImage`](crate::LiveImage).
    pub core: &'a dyn CoreSource,
    /// When the core was written; the folders and the manifest get this time too.
    pub core_mtime: SystemTime,
    /// The files that the process had mapped, from [`mapped_files`](crate::mapped_files).
    pub files: &'a [MappedFile],
    /// What the caller knows about the capture.
    pub manifest: ManifestHead,
    /// Threads and compression; one more thread computes checksums.
    pub options: PackOptions,
    /// Told how many bytes of input were taken in since the last call (0 while waiting); `false` stops the packing.
    /// It is called in the thread that calls [`pack`], at least once for every block; not while a write to the output
    /// blocks.
    pub progress: &'a dyn Fn(u64) -> bool,
}

/// What [`pack`] has done.
#[derive(Debug, Clone, PartialEq)]
pub struct Packed {
    /// Bytes taken in, holes included.
    pub input_bytes: u64,
    /// Bytes written to the output.
    pub output_bytes: u64,
    /// Bytes of the core that could not be read and are zeros in the archive.
    pub unreadable: u64,
    /// The manifest as it is in the archive.
    pub manifest: Manifest,
}

/// Why an archive could not be made. What was written of it is worthless.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// Writing the archive failed; the operating system's error is kept.
    #[error("the archive could not be written: {0}")]
    Output(#[source] io::Error),
    /// Reading the core failed; the operating system's error is kept.
    #[error("the core could not be read: {0}")]
    Core(#[source] io::Error),
    /// The progress function said to stop.
    #[error("packing was stopped")]
    Stopped,
    /// A thread ended by a panic.
    #[error(transparent)]
    Worker(#[from] WorkerDied),
}

impl PackError {
    /// The operating system's error number, where there is one.
    pub fn errno(&self) -> Option<i32> {
        match self {
            PackError::Output(error) | PackError::Core(error) => error.raw_os_error(),
            PackError::Stopped | PackError::Worker(_) => None,
        }
    }

    /// An error of the compressed stream.
    fn output(error: io::Error) -> PackError {
        match error.get_ref() {
            Some(inner) if inner.is::<WorkerDied>() => PackError::Worker(WorkerDied),
            _ => PackError::Output(error),
        }
    }
}

/// Writes the archive: the top folder, the core, every mapped ELF file under its own path, the manifest, and
/// the index of the compressed blocks.
///
/// The archive holds plain files and folders. It is complete when this returns; to sync and to name the file is the
/// caller's.
///
/// `out` is written to by the calling thread alone, and may be slow: when a write blocks, everything waits, the reading
/// of the core too, and memory does not grow. A limit on how long is for `out` to set: an error that it gives ends the
/// packing. Wrapped in a [`SparseWriter`](crate::SparseWriter), an uncompressed archive has holes where the core has.
///
/// # Errors
/// [`PackError::Output`] and [`PackError::Core`]; [`PackError::Stopped`] when `progress` said so. A mapped file that
/// cannot be read is no error: the manifest says why it is missing.
pub fn pack(out: impl Write, job: &PackJob<'_>) -> Result<Packed, PackError> {
    let mut packing = Packing::start(out, job.top, job.core_mtime, &job.options, job.progress)?;
    packing.core(job.core)?;
    packing.files(job.files)?;
    packing.finish(&job.manifest)
}

/// An archive as it is written, for whoever has its parts one after another: the mapped files while the kernel is
/// still at the core, for instance. The parts may come in any order; [`pack`] does all of it.
pub struct Packing<'a, W: Write> {
    packer: Packer<'a, W>,
    core: Option<CoreEntry>,
    files: Vec<FileEntry>,
    /// Whose checksums are awaited, in the order of the archive.
    hashed: Vec<Hashed>,
    unreadable: u64,
}

/// What a checksum is of.
#[derive(Clone, Copy)]
enum Hashed {
    Core,
    /// Which of the files.
    File(usize),
}

impl<'a, W: Write> Packing<'a, W> {
    /// Begins with the top folder. For the arguments see [`PackJob`].
    ///
    /// # Errors
    /// Those of [`pack`], here and in each of the following.
    pub fn start(
        out: W,
        top: &'a str,
        core_mtime: SystemTime,
        options: &PackOptions,
        progress: &'a dyn Fn(u64) -> bool,
    ) -> Result<Self, PackError> {
        let mut packer = Packer {
            stream: StreamWriter::new(out, options),
            hash: HashThread::start(options.thread_start),
            progress,
            names: Names::default(),
            top: top.as_bytes(),
            folder_mtime: seconds(core_mtime),
            input: 0,
        };
        packer.folder(b"")?;
        Ok(Packing {
            packer,
            core: None,
            files: Vec::new(),
            hashed: Vec::new(),
            unreadable: 0,
        })
    }

    /// Packs the core: once.
    ///
    /// # Errors
    /// See [`Packing::start`].
    pub fn core(&mut self, core: &dyn CoreSource) -> Result<(), PackError> {
        self.core = Some(self.packer.core(core)?);
        self.hashed.push(Hashed::Core);
        self.unreadable = core.unreadable();
        Ok(())
    }

    /// Packs those of the files that are ELF files, and remembers why another is missing.
    ///
    /// # Errors
    /// See [`Packing::start`].
    pub fn files(&mut self, files: &[MappedFile]) -> Result<(), PackError> {
        for file in files {
            self.packer.step(0)?;
            let entry = self.packer.mapped(file)?;
            if entry.included {
                self.hashed.push(Hashed::File(self.files.len()));
            }
            self.files.push(entry);
        }
        Ok(())
    }

    /// Writes the manifest and ends the archive.
    ///
    /// # Errors
    /// See [`Packing::start`]; without a core [`PackError::Core`].
    pub fn finish(mut self, head: &ManifestHead) -> Result<Packed, PackError> {
        let Some(mut core) = self.core else {
            return Err(PackError::Core(io::ErrorKind::NotFound.into()));
        };
        for hashed in self.hashed {
            let digest = self.packer.next_digest()?;
            match hashed {
                Hashed::Core => core.sha256 = digest,
                Hashed::File(at) => self.files[at].sha256 = Some(digest),
            }
        }
        let mut manifest = Manifest::new(head, core, self.files);
        if self.unreadable > 0 {
            manifest.notes.push(format!(
                "{} bytes of the core could not be read and are zeros in it.",
                self.unreadable
            ));
        }
        self.packer.finish(manifest, self.unreadable)
    }
}

struct Packer<'a, W: Write> {
    stream: StreamWriter<W>,
    hash: HashThread,
    progress: &'a dyn Fn(u64) -> bool,
    names: Names,
    top: &'a [u8],
    folder_mtime: u64,
    input: u64,
}

impl<W: Write> Packer<'_, W> {
    fn core(&mut self, source: &dyn CoreSource) -> Result<CoreEntry, PackError> {
        let size = source.size().map_err(PackError::Core)?;
        self.header(
            b"core",
            EntryType::Regular,
            Attributes {
                size,
                mode: 0o600,
                mtime: self.folder_mtime,
            },
        )?;
        let content = self.content(source, size, Loss::Fatal)?;
        Ok(CoreEntry {
            path: "core".to_owned(),
            size,
            data_size: content.data_size,
            sha256: String::new(),
        })
    }

    /// Packs a mapped file if it is an ELF file. Its checksum is filled in later.
    fn mapped(&mut self, mapped: &MappedFile) -> Result<FileEntry, PackError> {
        let mut entry = FileEntry {
            path: path_text(&mapped.path),
            archive_path: None,
            size: None,
            sha256: None,
            build_id: None,
            included: false,
            reason: None,
        };
        let elf = match open_elf(mapped) {
            Ok(elf) => elf,
            Err(reason) => {
                entry.reason = Some(reason);
                return Ok(entry);
            }
        };
        entry.path = path_text(&elf.path);
        let Some(path) = archive_path(&elf.path).map(|path| self.names.free(path)) else {
            entry.reason = Some("it has no path".to_owned());
            return Ok(entry);
        };
        // A build-id that cannot be read is no reason to leave the file out.
        entry.build_id = stillcore_corefile::build_id(&elf.file)
            .ok()
            .flatten()
            .map(|id| hex(&id));
        let size = elf.metadata.len();
        let wrong = self.elf(&path, &elf)?;
        entry.archive_path = Some(lossy(&path));
        entry.size = Some(size);
        entry.included = true;
        entry.reason = wrong.map(|wrong| wrong.to_string());
        Ok(entry)
    }

    fn elf(&mut self, path: &[u8], elf: &Elf) -> Result<Option<Wrong>, PackError> {
        for end in (0..path.len()).filter(|&at| path[at] == b'/') {
            if self.names.take_folder(&path[..end]) {
                self.folder(&path[..end])?;
            }
        }
        let size = elf.metadata.len();
        let mode = 0o644 | (elf.metadata.mode() & 0o111);
        let mtime = elf.metadata.modified().map_or(self.folder_mtime, seconds);
        self.header(path, EntryType::Regular, Attributes { size, mode, mtime })?;
        Ok(self.content(&elf.file, size, Loss::Zeros)?.wrong)
    }

    fn finish(mut self, manifest: Manifest, unreadable: u64) -> Result<Packed, PackError> {
        let mut text = serde_json::to_vec_pretty(&manifest)
            .map_err(|error| PackError::Output(io::Error::other(error)))?;
        text.push(b'\n');
        let attributes = Attributes {
            size: text.len() as u64,
            mode: 0o600,
            mtime: self.folder_mtime,
        };
        self.header(b"manifest.json", EntryType::Regular, attributes)?;
        self.stream.write_all(&text).map_err(PackError::output)?;
        self.pad(text.len() as u64)?;
        let (top, mtime) = (self.top, self.folder_mtime);
        let index = |size| {
            let attributes = Attributes {
                size,
                mode: 0o600,
                mtime,
            };
            header(top, INDEX_NAME, EntryType::Regular, attributes)
        };
        let (_, output_bytes) = self.stream.finish_tar(index).map_err(PackError::output)?;
        Ok(Packed {
            input_bytes: self.input,
            output_bytes,
            unreadable,
            manifest,
        })
    }

    fn next_digest(&mut self) -> Result<String, PackError> {
        loop {
            if let Some(sha) = self.hash.digest(PATIENCE)? {
                return Ok(hex(&sha));
            }
            self.step(0)?;
        }
    }

    /// Writes `size` bytes of content and the padding behind it, whatever happens to the source meanwhile, unless that
    /// is fatal.
    fn content(
        &mut self,
        source: &dyn CoreSource,
        size: u64,
        loss: Loss,
    ) -> Result<Content, PackError> {
        let mut content = Content {
            data_size: 0,
            wrong: None,
        };
        let mut block = self.stream.block();
        let mut at = 0;
        let mut parts = source.parts();
        while at < size {
            let Some(part) = parts.next() else {
                content.wrong = Some(Wrong::Shrank(at));
                break;
            };
            let len = part.size().min(size - at);
            match part {
                Part::Zeros(_) => block = self.hole(block, len)?,
                Part::Bytes(mut bytes) => {
                    bytes = &bytes[..len as usize];
                    content.data_size += len;
                    while !bytes.is_empty() {
                        let room = block.room();
                        let (now, later) = bytes.split_at(bytes.len().min(room.len()));
                        room[..now.len()].copy_from_slice(now);
                        block.advance(now.len());
                        bytes = later;
                        block = self.send_full(block)?;
                    }
                }
                Part::Read { address, .. } => {
                    let mut done = 0;
                    while done < len {
                        match read_some(source, address + done, len - done, block.room()) {
                            Ok(0) => content.wrong = Some(Wrong::Shrank(at + done)),
                            Ok(n) => {
                                block.advance(n);
                                done += n as u64;
                                content.data_size += n as u64;
                            }
                            Err(error) => content.wrong = Some(Wrong::Read(error)),
                        }
                        if content.wrong.is_some() {
                            break;
                        }
                        block = self.send_full(block)?;
                    }
                    if content.wrong.is_some() {
                        at += done;
                        break;
                    }
                }
            }
            at += len;
        }
        if content.wrong.is_none() {
            // Behind the end of a file that shrank there seems to be a hole.
            content.wrong = match source.size() {
                Ok(now) if now < size => Some(Wrong::Shrank(now)),
                Ok(now) if now > size => Some(Wrong::Grew),
                _ => None,
            };
        }
        if let Loss::Fatal = loss {
            content.check()?;
        }
        block = self.hole(block, size - at)?;
        self.send(block)?;
        self.hash.end()?;
        self.pad(size)?;
        Ok(content)
    }

    /// Appends `n` zeros behind the block's bytes: in it when they are few, otherwise in place of further blocks.
    fn hole(&mut self, mut block: Block, n: u64) -> Result<Block, PackError> {
        let mut left = n;
        if n >= MIN_ZEROS {
            block = self.send(block)?;
            while left > 0 {
                let now = left.min(HOLE_STEP);
                self.hash.zeros(now)?;
                self.stream.zeros(now).map_err(PackError::output)?;
                self.step(now)?;
                left -= now;
            }
        }
        while left > 0 {
            let room = block.room();
            let now = usize::try_from(left).map_or(room.len(), |left| left.min(room.len()));
            room[..now].fill(0);
            block.advance(now);
            left -= now as u64;
            if block.is_full() {
                block = self.send(block)?;
            }
        }
        Ok(block)
    }

    /// Gives an empty block in place of a full one.
    fn send_full(&mut self, block: Block) -> Result<Block, PackError> {
        match block.is_full() {
            true => self.send(block),
            false => Ok(block),
        }
    }

    /// Hashes and compresses a block, and gives an empty one.
    fn send(&mut self, block: Block) -> Result<Block, PackError> {
        if block.is_empty() {
            return Ok(block);
        }
        let n = block.filled().len() as u64;
        let block = Arc::new(block);
        self.hash.bytes(Arc::clone(&block))?;
        self.stream.write_block(block).map_err(PackError::output)?;
        self.step(n)?;
        Ok(self.stream.block())
    }

    /// Reports progress, and stops when told to.
    fn step(&mut self, n: u64) -> Result<(), PackError> {
        self.input += n;
        if (self.progress)(n) {
            Ok(())
        } else {
            Err(PackError::Stopped)
        }
    }

    fn folder(&mut self, path: &[u8]) -> Result<(), PackError> {
        let mode = if path.is_empty() { 0o700 } else { 0o755 };
        self.header(
            path,
            EntryType::Directory,
            Attributes {
                size: 0,
                mode,
                mtime: self.folder_mtime,
            },
        )
    }

    /// Writes the header of an entry; `path` is below the top folder.
    fn header(
        &mut self,
        path: &[u8],
        kind: EntryType,
        attributes: Attributes,
    ) -> Result<(), PackError> {
        self.stream
            .write_all(&header(self.top, path, kind, attributes))
            .map_err(PackError::output)
    }

    /// Fills the last record of an entry of `size` bytes.
    fn pad(&mut self, size: u64) -> Result<(), PackError> {
        let over = (size % 512) as usize;
        let zeros = [0; 512];
        let pad = if over == 0 { &[] } else { &zeros[over..] };
        self.stream.write_all(pad).map_err(PackError::output)
    }
}

/// The header of an entry, with an entry before it for a long name; `path` is below the top folder.
fn header(top: &[u8], path: &[u8], kind: EntryType, attributes: Attributes) -> Vec<u8> {
    let mut name = top.to_vec();
    if !path.is_empty() {
        name.push(b'/');
        name.extend_from_slice(path);
    }
    if kind == EntryType::Directory {
        name.push(b'/');
    }
    let mut bytes = Vec::with_capacity(RECORD);
    let mut header = Header::new_gnu();
    let room = header.as_old().name.len();
    if name.len() > room {
        // GNU's way for long names: an entry of its own before, with the name and a NUL as content.
        let mut long = Header::new_gnu();
        set_name(&mut long, b"././@LongLink");
        long.set_entry_type(EntryType::GNULongName);
        long.set_size(name.len() as u64 + 1);
        long.set_mode(0o644);
        set_common(&mut long, 0);
        bytes.extend_from_slice(long.as_bytes());
        bytes.extend_from_slice(&name);
        bytes.resize((bytes.len() + 1).next_multiple_of(RECORD), 0);
    }
    set_name(&mut header, &name[..name.len().min(room)]);
    header.set_entry_type(kind);
    header.set_size(attributes.size);
    header.set_mode(attributes.mode);
    set_common(&mut header, attributes.mtime);
    bytes.extend_from_slice(header.as_bytes());
    bytes
}

/// What the header of an entry says besides its name and kind.
struct Attributes {
    /// Bytes of content.
    size: u64,
    /// Permission bits.
    mode: u32,
    /// Seconds since 1970.
    mtime: u64,
}

/// What becomes of a content that cannot be had as it was promised.
enum Loss {
    /// It is an error.
    Fatal,
    /// Zeros take the place of what is missing.
    Zeros,
}

/// How packing a content went.
struct Content {
    /// Bytes read, so without holes.
    data_size: u64,
    wrong: Option<Wrong>,
}

impl Content {
    /// Gives what went wrong as an error; more than was promised is none.
    fn check(&mut self) -> Result<(), PackError> {
        match self.wrong.take() {
            Some(Wrong::Read(error)) => Err(PackError::Core(error)),
            Some(Wrong::Shrank(_)) => Err(PackError::Core(io::ErrorKind::UnexpectedEof.into())),
            Some(Wrong::Grew) | None => Ok(()),
        }
    }
}

/// What happened to a file while it was packed.
#[derive(Debug, thiserror::Error)]
enum Wrong {
    #[error("it could not be read to its end, the rest is zeros: {0}")]
    Read(io::Error),
    #[error("it was cut to {0} bytes while it was packed, the rest is zeros")]
    Shrank(u64),
    #[error("it grew while it was packed, what was added is not here")]
    Grew,
}

/// Names given out below the top folder. Two files can claim one path: a deleted library and its successor.
#[derive(Debug, Default)]
struct Names {
    files: HashSet<Vec<u8>>,
    folders: HashSet<Vec<u8>>,
}

impl Names {
    /// Takes a name for a file: `path`, or if that is taken the same path below a folder of its own.
    fn free(&mut self, path: Vec<u8>) -> Vec<u8> {
        let mut name = path.clone();
        let mut number = 1;
        while !self.is_free(&name) {
            name = [format!("rootfs-{number}/").as_bytes(), path.as_slice()].concat();
            number += 1;
        }
        self.files.insert(name.clone());
        name
    }

    fn is_free(&self, path: &[u8]) -> bool {
        let mut above = (0..path.len())
            .filter(|&at| path[at] == b'/')
            .map(|end| &path[..end]);
        !self.files.contains(path)
            && !self.folders.contains(path)
            && above.all(|folder| !self.files.contains(folder))
    }

    /// Takes a folder; `false` when it is in the archive already.
    fn take_folder(&mut self, path: &[u8]) -> bool {
        !self.folders.contains(path) && self.folders.insert(path.to_vec())
    }
}

/// Reads at most `len` bytes to the start of `room`.
pub(crate) fn read_some(
    source: &dyn CoreSource,
    address: u64,
    len: u64,
    room: &mut [u8],
) -> io::Result<usize> {
    let wanted = usize::try_from(len).map_or(room.len(), |len| len.min(room.len()));
    loop {
        match source.read(address, &mut room[..wanted]) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

/// Puts a name in a header as it is; it must fit.
fn set_name(header: &mut Header, name: &[u8]) {
    let field = &mut header.as_old_mut().name;
    for (to, from) in field.iter_mut().zip(name) {
        *to = *from;
    }
}

/// Fills what all headers have alike, and the checksum: last.
fn set_common(header: &mut Header, mtime: u64) {
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(mtime);
    header.set_cksum();
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}
