//! Entries of a tar archive, written one after the other in one pass: compressed, and hashed beside it.

use std::io::{self, Write};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tar::EntryType;

use crate::block::Block;
use crate::error::PackError;
use crate::hash::HashThread;
use crate::index::INDEX_NAME;
use crate::manifest::{CoreEntry, Manifest, ScriptEntry, hex, lossy};
use crate::source::{BytesSource, CoreSource, Part};
use crate::stream::{MIN_ZEROS, PackOptions, StreamWriter};

mod header;
mod names;

pub(crate) use names::Names;

#[cfg(feature = "package")]
use header::link_header;
use header::{Attributes, header, seconds};

/// Holes are passed in steps of this many bytes, to stay near the hashing thread and to notice a stop.
const HOLE_STEP: u64 = 64 << 20;

/// How long to wait for the last checksums before asking whether to go on.
const PATIENCE: Duration = Duration::from_millis(50);

/// Writes the entries of an archive. Their checksums come out of [`Packer::digest`] later, in the order of the contents.
pub(crate) struct Packer<'a, W: Write> {
    stream: StreamWriter<W>,
    hash: HashThread,
    progress: &'a dyn Fn(u64) -> bool,
    pub(crate) names: Names,
    top: &'a [u8],
    folder_mtime: u64,
    input: u64,
}

impl<'a, W: Write> Packer<'a, W> {
    /// Begins with the top folder. `mtime` is the time of all that has none of its own.
    pub(crate) fn new(
        out: W,
        options: &PackOptions,
        top: &'a str,
        mtime: SystemTime,
        progress: &'a dyn Fn(u64) -> bool,
    ) -> Result<Packer<'a, W>, PackError> {
        let mut packer = Packer {
            stream: StreamWriter::new(out, options),
            hash: HashThread::start(options.thread_start),
            progress,
            names: Names::default(),
            top: top.as_bytes(),
            folder_mtime: seconds(mtime),
            input: 0,
        };
        packer.folder(b"")?;
        Ok(packer)
    }

    /// Bytes of content taken in, holes included.
    pub(crate) fn input_bytes(&self) -> u64 {
        self.input
    }

    /// Packs the core as `path`, which lies in the top folder. Its checksum is filled in later.
    pub(crate) fn core(
        &mut self,
        path: &[u8],
        source: &dyn CoreSource,
    ) -> Result<CoreEntry, PackError> {
        let size = source.size().map_err(PackError::Core)?;
        let content = self.file(path, source, size, 0o600, None, Loss::Fatal)?;
        Ok(CoreEntry {
            path: lossy(path),
            size,
            data_size: content.data_size,
            sha256: String::new(),
        })
    }

    /// Packs `size` bytes as `path`, with the folders above it that are not there yet.
    pub(crate) fn file(
        &mut self,
        path: &[u8],
        source: &dyn CoreSource,
        size: u64,
        mode: u32,
        mtime: Option<SystemTime>,
        loss: Loss,
    ) -> Result<Content, PackError> {
        self.folders(path)?;
        let mtime = mtime.map_or(self.folder_mtime, seconds);
        self.header(path, EntryType::Regular, Attributes { size, mode, mtime })?;
        self.content(source, size, loss)
    }

    /// Packs a symbolic link. Its name has been taken.
    #[cfg(feature = "package")]
    pub(crate) fn link(&mut self, path: &[u8], target: &[u8]) -> Result<(), PackError> {
        self.folders(path)?;
        let attributes = Attributes {
            size: 0,
            mode: 0o777,
            mtime: self.folder_mtime,
        };
        let bytes = link_header(self.top, path, target, attributes);
        self.stream.write_all(&bytes).map_err(PackError::output)
    }

    /// Packs a script into the top folder. Its checksum is filled in later.
    pub(crate) fn script(&mut self, name: &str, text: &[u8]) -> Result<ScriptEntry, PackError> {
        let size = text.len() as u64;
        let source = BytesSource(text);
        self.file(name.as_bytes(), &source, size, 0o755, None, Loss::Fatal)?;
        Ok(ScriptEntry {
            path: name.to_owned(),
            size,
            sha256: String::new(),
        })
    }

    /// Packs the manifest, and ends the archive. Gives the bytes written in all.
    pub(crate) fn finish(mut self, manifest: &Manifest) -> Result<u64, PackError> {
        let mut text = serde_json::to_vec_pretty(manifest)
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
        Ok(output_bytes)
    }

    /// The checksum of the next content, in hexadecimal.
    pub(crate) fn digest(&mut self) -> Result<String, PackError> {
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
    pub(crate) fn step(&mut self, n: u64) -> Result<(), PackError> {
        self.input += n;
        if (self.progress)(n) {
            Ok(())
        } else {
            Err(PackError::Stopped)
        }
    }

    /// The folders above `path` that are not in the archive yet.
    fn folders(&mut self, path: &[u8]) -> Result<(), PackError> {
        for end in (0..path.len()).filter(|&at| path[at] == b'/') {
            if self.names.take_folder(&path[..end]) {
                self.folder(&path[..end])?;
            }
        }
        Ok(())
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

/// What becomes of a content that cannot be had as it was promised.
pub(crate) enum Loss {
    /// It is an error.
    Fatal,
    /// Zeros take the place of what is missing.
    Zeros,
}

/// How packing a content went.
pub(crate) struct Content {
    /// Bytes read, so without holes.
    pub(crate) data_size: u64,
    pub(crate) wrong: Option<Wrong>,
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
pub(crate) enum Wrong {
    #[error("it could not be read to its end, the rest is zeros: {0}")]
    Read(io::Error),
    #[error("it was cut to {0} bytes while it was packed, the rest is zeros")]
    Shrank(u64),
    #[error("it grew while it was packed, what was added is not here")]
    Grew,
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
