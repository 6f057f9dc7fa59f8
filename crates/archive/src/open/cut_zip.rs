//! A zip archive that was cut off: the list of its files, at its end, is missing, and so perhaps is the end of a file.
//!
//! IBM's core-dump-handler leaves such archives where the node goes down or its own time is up while it writes. Each file
//! has a header of its own in front of it, so they are found by going from one to the next. A header that was written
//! before its file does not say how long that is (all zeros, or sizes behind the content): then the content tells where
//! it ends, as long as it is compressed.

use std::io::{self, BufRead, BufReader, Read};
use std::sync::Arc;

use flate2::{Decompress, FlushDecompress, Status};
use stillcore_corefile::Source;

use super::error::OpenError;
use super::limits::Limits;
use super::view::{Cursor, Stretch, within};

const LOCAL: [u8; 4] = *b"PK\x03\x04";
const DESCRIPTOR: [u8; 4] = *b"PK\x07\x08";

/// Bytes of a local header before name and extra fields: signature, version (2), flags (2), method (2), time (4), CRC (4),
/// stored size (4), size (4), lengths of name and extra fields (2 each).
const HEADER: usize = 30;

const STORED: u16 = 0;
const DEFLATED: u16 = 8;

const ENCRYPTED: u16 = 1;
/// The sizes stand behind the content.
const BEHIND: u16 = 8;

/// A file of the archive.
#[derive(Debug, Clone)]
pub(crate) struct Local {
    pub(crate) path: Vec<u8>,
    pub(crate) method: u16,
    pub(crate) is_encrypted: bool,
    /// Where its bytes begin, and how many of them are there.
    pub(crate) start: u64,
    pub(crate) stored: u64,
    /// Its length; where that is not told, at least so many.
    pub(crate) size: u64,
    /// Of its content; `None` where it is not told.
    pub(crate) crc: Option<u32>,
    /// Whether its end is missing.
    pub(crate) is_cut: bool,
}

/// Finds the files by their headers.
///
/// # Errors
/// Those of reading, and of limits. What makes no sense ends the search.
pub(crate) fn locals(source: &Arc<dyn Source>, limits: &Limits) -> Result<Vec<Local>, OpenError> {
    let mut locals = Vec::new();
    let mut at = 0;
    while let Some((local, next)) = local(source, at, limits)? {
        limits.check_entries(locals.len() as u64 + 1)?;
        let is_cut = local.is_cut;
        locals.push(local);
        if is_cut {
            break;
        }
        at = next;
    }
    Ok(locals)
}

/// The file whose header is there, and where the next one would be; `None` where there is no whole header.
fn local(
    source: &Arc<dyn Source>,
    at: u64,
    limits: &Limits,
) -> Result<Option<(Local, u64)>, OpenError> {
    let len = source.len();
    let Some(head) = bytes::<HEADER>(source, at)?.filter(|head| head.starts_with(&LOCAL)) else {
        return Ok(None);
    };
    let half = |place: usize| u16::from_le_bytes([head[place], head[place + 1]]);
    let word = |place: usize| {
        u32::from_le_bytes([
            head[place],
            head[place + 1],
            head[place + 2],
            head[place + 3],
        ])
    };
    let (flags, method, crc) = (half(6), half(8), word(14));
    let (name, extra) = (u64::from(half(26)), usize::from(half(28)));
    limits.check_name(name)?;
    let name_at = at + HEADER as u64;
    let start = name_at + name + extra as u64;
    if start > len {
        return Ok(None);
    }
    let mut path = vec![0; name as usize];
    super::view::read_exact_at(&**source, name_at, &mut path)?;
    let mut fields = vec![0; extra];
    super::view::read_exact_at(&**source, name_at + name, &mut fields)?;
    let (mut stored, mut size) = (u64::from(word(18)), u64::from(word(22)));
    let mut is_long = false;
    if let Some((long_size, long_stored)) = long_sizes(&fields) {
        is_long = true;
        if size == u64::from(u32::MAX) {
            size = long_size;
        }
        if stored == u64::from(u32::MAX) {
            stored = long_stored;
        }
    }
    let mut found = Local {
        path,
        method,
        is_encrypted: flags & ENCRYPTED != 0,
        start,
        stored,
        size,
        crc: Some(crc),
        is_cut: false,
    };
    let is_folder = found.path.ends_with(b"/");
    let is_told = flags & BEHIND == 0 && (stored > 0 || crc != 0 || is_folder);
    if is_told {
        let there = len - start;
        found.is_cut = stored > there;
        found.stored = stored.min(there);
        return Ok(Some((found, start.saturating_add(stored))));
    }
    found.crc = None;
    let ends = match method {
        DEFLATED => end_of_deflated(source, start, limits)?,
        // Nothing tells where it ends: a file of no bytes, or one that was being written.
        _ => match next_is_header(source, start)? {
            true => Some((0, 0)),
            false => None,
        },
    };
    let Some((stored, size)) = ends else {
        found.stored = len - start;
        found.size = size.max(found.stored);
        found.is_cut = true;
        return Ok(Some((found, len)));
    };
    (found.stored, found.size) = (stored, size);
    let behind = start + stored;
    let descriptor = match flags & BEHIND {
        0 => 0,
        _ => descriptor_size(source, behind, is_long)?,
    };
    Ok(Some((found, behind + descriptor)))
}

/// Field 1 of the extra ones: length and stored length, 8 bytes each.
fn long_sizes(mut fields: &[u8]) -> Option<(u64, u64)> {
    while let Some((head, rest)) = fields.split_first_chunk::<4>() {
        let size = usize::from(u16::from_le_bytes([head[2], head[3]]));
        let content = rest.get(..size)?;
        if head[..2] == [1, 0] {
            let (size, rest) = content.split_first_chunk::<8>()?;
            let (stored, _) = rest.split_first_chunk::<8>()?;
            return Some((u64::from_le_bytes(*size), u64::from_le_bytes(*stored)));
        }
        fields = &rest[size..];
    }
    None
}

fn next_is_header(source: &Arc<dyn Source>, at: u64) -> Result<bool, OpenError> {
    let signature = bytes::<4>(source, at)?;
    Ok(signature.is_some_and(|signature| [LOCAL, *b"PK\x01\x02"].contains(&signature)))
}

/// With or without a signature; CRC, and two sizes of 4 or 8 bytes.
fn descriptor_size(source: &Arc<dyn Source>, at: u64, is_long: bool) -> Result<u64, OpenError> {
    let signed = bytes::<4>(source, at)? == Some(DESCRIPTOR);
    let base = if signed { 8 } else { 4 };
    for sizes in if is_long { [16, 8] } else { [8, 16] } {
        if next_is_header(source, at + base + sizes)? {
            return Ok(base + sizes);
        }
    }
    Ok(base + if is_long { 16 } else { 8 })
}

/// Stored and real length of a compressed file, found by decompressing it; `None` where it does not end.
fn end_of_deflated(
    source: &Arc<dyn Source>,
    start: u64,
    limits: &Limits,
) -> Result<Option<(u64, u64)>, OpenError> {
    let mut cursor = Cursor::new(Arc::clone(source));
    cursor.skip(start)?;
    let mut input = BufReader::with_capacity(256 << 10, cursor);
    let mut inflater = Decompress::new(false);
    let mut plain = vec![0; 256 << 10];
    loop {
        let packed = input.fill_buf()?;
        let (before, out) = (inflater.total_in(), inflater.total_out());
        let is_end = packed.is_empty();
        let status = inflater.decompress(packed, &mut plain, FlushDecompress::None);
        let read = inflater.total_in() - before;
        let moved = read > 0 || inflater.total_out() > out;
        input.consume(read as usize);
        limits.check_unpacked(inflater.total_out())?;
        match status {
            Ok(Status::StreamEnd) => {
                return Ok(Some((inflater.total_in(), inflater.total_out())));
            }
            Ok(_) if moved && !is_end => {}
            _ => return Ok(None),
        }
    }
}

fn bytes<const N: usize>(source: &Arc<dyn Source>, at: u64) -> Result<Option<[u8; N]>, OpenError> {
    if within(source.len(), at, N) < N {
        return Ok(None);
    }
    let mut bytes = [0; N];
    super::view::read_exact_at(&**source, at, &mut bytes)?;
    Ok(Some(bytes))
}

impl Local {
    /// Its bytes as they are stored, as far as they are there.
    pub(crate) fn stretch(&self, source: &Arc<dyn Source>) -> Option<Stretch> {
        Stretch::new(Arc::clone(source), self.start, self.stored)
    }

    /// Its content as a stream, whose end is an error where something is missing or the checksum is wrong.
    pub(crate) fn read(&self, source: &Arc<dyn Source>) -> Result<Box<dyn Read>, OpenError> {
        let unsupported = |what: String| Err(OpenError::Unsupported(what));
        if self.is_encrypted {
            return unsupported("an entry of the zip archive is encrypted".to_owned());
        }
        let stretch = self
            .stretch(source)
            .ok_or_else(|| OpenError::damaged("an entry of the zip archive ends behind its end"))?;
        let stored = Cursor::new(Arc::new(stretch));
        let plain: Box<dyn Read> = match self.method {
            STORED => Box::new(stored),
            DEFLATED => Box::new(flate2::read::DeflateDecoder::new(stored)),
            other => return Err(OpenError::other_method(other)),
        };
        Ok(Box::new(Checked {
            plain,
            crc: crc32fast::Hasher::new(),
            expected: self.crc.filter(|_| !self.is_cut),
            is_cut: self.is_cut,
        }))
    }

    /// Where it lies, if it is not compressed.
    pub(crate) fn stored(&self, source: &Arc<dyn Source>) -> Option<Stretch> {
        let is_plain = self.method == STORED && !self.is_encrypted;
        is_plain.then(|| self.stretch(source)).flatten()
    }
}

/// Says at the end that it is none, or that it is wrong.
struct Checked {
    plain: Box<dyn Read>,
    crc: crc32fast::Hasher,
    expected: Option<u32>,
    is_cut: bool,
}

impl Read for Checked {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = match self.plain.read(buf) {
            // What the decoder says of an end in the middle depends on the place.
            Err(error) if self.is_cut && error.raw_os_error().is_none() => {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            result => result?,
        };
        self.crc.update(&buf[..n]);
        if n > 0 || buf.is_empty() {
            return Ok(n);
        }
        if self.is_cut {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        match self.expected {
            Some(crc) if crc != self.crc.clone().finalize() => Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "an entry of the zip archive has a wrong checksum",
            )),
            _ => Ok(0),
        }
    }
}
