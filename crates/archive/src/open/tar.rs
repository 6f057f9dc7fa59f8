//! Walks through a tar archive, header by header: forwards through a stream, or leaping through a source.
//!
//! The `tar` crate reads the headers; what lies between them is read here, because it believes how long a name is that
//! an archive promises, and does not know the sparse files that GNU tar and bsdtar write by default (pax).

use std::io;

use tar::{EntryType, GnuExtSparseHeader, Header};

use super::entry::{Entry, Kind, Sink};
use super::error::{OpenError, TAR_TOO_EARLY};
use super::limits::Limits;
use super::view::Extent;

mod extras;
mod input;
mod map;

pub(crate) use input::{Input, Stream};

use extras::{Extras, Sparse};
use map::{MAX_EXTENTS, Map};

const RECORD: u64 = 512;

/// Longest list of extended attributes of an entry.
const MAX_PAX: u64 = 1 << 20;

/// Longest map of one.
const MAX_MAP: u64 = 64 << 20;

/// Goes from entry to entry.
pub(crate) struct Walk<I> {
    input: I,
    limits: Limits,
    /// Where the input is.
    at: u64,
    /// Where the next header begins.
    next: u64,
    entries: u64,
    ended: bool,
}

impl<I: Input> Walk<I> {
    pub(crate) fn new(input: I, limits: &Limits) -> Walk<I> {
        Walk {
            input,
            limits: limits.clone(),
            at: 0,
            next: 0,
            entries: 0,
            ended: false,
        }
    }

    /// Whether the end was marked as such, and not only the input over.
    pub(crate) fn ended(&self) -> bool {
        self.ended
    }

    pub(crate) fn into_input(self) -> I {
        self.input
    }

    /// The next entry; what is left of the content of the one before is passed over.
    pub(crate) fn next(&mut self) -> Result<Option<Entry>, OpenError> {
        let mut extras = Extras::default();
        loop {
            let Some(header) = self.header()? else {
                return if extras.is_empty() {
                    Ok(None)
                } else {
                    Err(OpenError::damaged(TAR_TOO_EARLY))
                };
            };
            self.entries += 1;
            self.limits.check_entries(self.entries)?;
            let size = header
                .entry_size()
                .map_err(|_| OpenError::damaged("a header of the tar archive has no size"))?;
            let gnu_or_ustar = header.as_gnu().is_some() || header.as_ustar().is_some();
            match header.entry_type() {
                EntryType::GNULongName if gnu_or_ustar => {
                    extras.path = Some(self.long_name(size)?);
                }
                EntryType::GNULongLink if gnu_or_ustar => {
                    extras.link = Some(self.long_name(size)?);
                }
                EntryType::XHeader if gnu_or_ustar => {
                    let bytes = self.metadata(size, MAX_PAX)?;
                    extras.pax(&bytes)?;
                }
                // Attributes for all entries that follow: comments, as far as anybody writes them.
                EntryType::XGlobalHeader if gnu_or_ustar => {
                    self.limits.check_unpacked(size)?;
                    self.pass(size)?;
                }
                _ => return self.entry(&header, size, extras).map(Some),
            }
        }
    }

    fn entry(&mut self, header: &Header, size: u64, extras: Extras) -> Result<Entry, OpenError> {
        let path = match extras.path {
            Some(path) => path,
            None => header.path_bytes().into_owned(),
        };
        self.limits.check_name(path.len() as u64)?;
        let link = match extras.link {
            Some(link) => link,
            None => header.link_name_bytes().unwrap_or_default().into_owned(),
        };
        self.limits.check_name(link.len() as u64)?;
        let kind = match header.entry_type() {
            EntryType::Regular | EntryType::Continuous if path.ends_with(b"/") => Kind::Folder,
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => Kind::File,
            EntryType::Directory => Kind::Folder,
            EntryType::Symlink => Kind::Symlink(link),
            EntryType::Link => Kind::HardLink(link),
            EntryType::Char => Kind::Other("a character device"),
            EntryType::Block => Kind::Other("a block device"),
            EntryType::Fifo => Kind::Other("a named pipe"),
            other => match other.as_byte() {
                b'M' => Kind::Other("the rest of a file that began on another volume"),
                b'V' => Kind::Other("the label of a volume"),
                b'D' => Kind::Folder,
                _ => Kind::Other("an entry of unknown kind"),
            },
        };
        let mut entry = Entry {
            path,
            size: extras.size.unwrap_or(size),
            start: self.at,
            stored: extras.size.unwrap_or(size),
            extents: None,
            mode: header.mode().unwrap_or(0),
            mtime: header.mtime().unwrap_or(0),
            kind,
        };
        if let Kind::Symlink(_) | Kind::HardLink(_) = entry.kind {
            // Nothing is stored for them, whatever size is written.
            entry.size = 0;
            entry.stored = 0;
        }
        self.promise(entry.stored)?;
        if header.entry_type() == EntryType::GNUSparse {
            self.gnu_sparse(header, &mut entry)?;
        } else if let Some(sparse) = extras.sparse {
            self.pax_sparse(sparse, &mut entry)?;
        }
        self.limits.check_unpacked(entry.size)?;
        Ok(entry)
    }

    /// Says how many bytes of content there are from here.
    fn promise(&mut self, stored: u64) -> Result<(), OpenError> {
        self.next = stored
            .checked_next_multiple_of(RECORD)
            .and_then(|padded| self.at.checked_add(padded))
            .ok_or_else(|| {
                OpenError::damaged("an entry of the tar archive is longer than any file")
            })?;
        Ok(())
    }

    /// The next header; `None` at the end.
    fn header(&mut self) -> Result<Option<Header>, OpenError> {
        if self.ended {
            return Ok(None);
        }
        self.input.skip(self.next - self.at).map_err(cut_off)?;
        self.at = self.next;
        let mut bytes = [0; RECORD as usize];
        if !self.fill(&mut bytes)? {
            return Ok(None);
        }
        self.next = self.at;
        if bytes.iter().all(|&byte| byte == 0) {
            self.ended = true;
            return Ok(None);
        }
        if !checksum_is_right(&bytes) {
            return Err(OpenError::damaged(format!(
                "the header of the tar archive at {} has a wrong checksum",
                self.at - RECORD
            )));
        }
        Ok(Some(Header::from_byte_slice(&bytes).clone()))
    }

    /// Fills `buf`; `false` when there is nothing at all left.
    fn fill(&mut self, buf: &mut [u8]) -> Result<bool, OpenError> {
        let mut got = 0;
        while got < buf.len() {
            match self.input.read(&mut buf[got..]) {
                Ok(0) if got == 0 => return Ok(false),
                Ok(0) => return Err(cut_off(io::ErrorKind::UnexpectedEof.into())),
                Ok(n) => got += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.at += got as u64;
        Ok(true)
    }

    /// Reads at least one byte.
    fn some(&mut self, buf: &mut [u8]) -> Result<usize, OpenError> {
        loop {
            match self.input.read(buf) {
                Ok(0) => return Err(cut_off(io::ErrorKind::UnexpectedEof.into())),
                Ok(got) => {
                    self.at += got as u64;
                    return Ok(got);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn exact(&mut self, buf: &mut [u8]) -> Result<(), OpenError> {
        if buf.is_empty() || self.fill(buf)? {
            Ok(())
        } else {
            Err(cut_off(io::ErrorKind::UnexpectedEof.into()))
        }
    }

    /// The content of an entry that says something about the next one.
    fn metadata(&mut self, size: u64, most: u64) -> Result<Vec<u8>, OpenError> {
        if size > most {
            return Err(OpenError::damaged(
                "the tar archive has an entry with too many attributes",
            ));
        }
        let mut bytes = vec![0; size as usize];
        self.promise(size)?;
        self.exact(&mut bytes)?;
        Ok(bytes)
    }

    fn long_name(&mut self, size: u64) -> Result<Vec<u8>, OpenError> {
        // A NUL ends it.
        self.limits.check_name(size.saturating_sub(1))?;
        let mut name = self.metadata(size, self.limits.name.saturating_add(1))?;
        if let Some(end) = name.iter().position(|&byte| byte == 0) {
            name.truncate(end);
        }
        Ok(name)
    }

    fn pass(&mut self, size: u64) -> Result<(), OpenError> {
        self.promise(size)
    }

    /// GNU's own sparse files: the map is in the header, and in further records behind it.
    fn gnu_sparse(&mut self, header: &Header, entry: &mut Entry) -> Result<(), OpenError> {
        let bad = || OpenError::damaged("the map of a sparse file in the tar archive");
        let gnu = header.as_gnu().ok_or_else(bad)?;
        let stored = entry.stored;
        let mut map = Map::default();
        let add = |map: &mut Map, part: &tar::GnuSparseHeader| {
            if part.is_empty() {
                return Ok(());
            }
            let (at, len) = (part.offset(), part.length());
            map.add(at.map_err(|_| bad())?, len.map_err(|_| bad())?)
        };
        for part in &gnu.sparse {
            add(&mut map, part)?;
        }
        let mut extended = gnu.is_extended();
        for _ in 0..MAX_EXTENTS {
            if !extended {
                break;
            }
            let mut more = GnuExtSparseHeader::new();
            self.exact(more.as_mut_bytes())?;
            for part in more.sparse() {
                add(&mut map, part)?;
            }
            extended = more.is_extended();
        }
        entry.start = self.at;
        self.promise(stored)?;
        entry.size = gnu.real_size().map_err(|_| bad())?;
        entry.extents = Some(map.finish(entry.size, stored)?);
        Ok(())
    }

    /// The sparse files of the pax format, of which there are three versions.
    fn pax_sparse(&mut self, sparse: Sparse, entry: &mut Entry) -> Result<(), OpenError> {
        let bad = || OpenError::damaged("the map of a sparse file in the tar archive");
        entry.size = sparse.size.ok_or_else(bad)?;
        if let Some(name) = sparse.name {
            self.limits.check_name(name.len() as u64)?;
            entry.path = name;
        }
        let mut map = Map::default();
        let mut stored = entry.stored;
        if sparse.major == Some(1) {
            // The content begins with the map: numbers, each on a line, filled up to a record.
            let mut lines = Lines::default();
            let count = self.line(&mut lines)?;
            for _ in 0..count {
                let at = self.line(&mut lines)?;
                map.add(at, self.line(&mut lines)?)?;
            }
            stored = stored.checked_sub(lines.taken).ok_or_else(bad)?;
            entry.start = self.at;
            entry.stored = stored;
        } else {
            if !sparse.numbers.len().is_multiple_of(2) {
                return Err(bad());
            }
            for pair in sparse.numbers.chunks_exact(2) {
                map.add(pair[0], pair[1])?;
            }
        }
        entry.extents = Some(map.finish(entry.size, stored)?);
        Ok(())
    }

    fn line(&mut self, lines: &mut Lines) -> Result<u64, OpenError> {
        let bad = || OpenError::damaged("the map of a sparse file in the tar archive");
        let mut number = 0_u64;
        for _ in 0..21 {
            if lines.at == lines.record.len() {
                if lines.taken >= MAX_MAP || self.at.saturating_add(RECORD) > self.next {
                    return Err(bad());
                }
                lines.record.resize(RECORD as usize, 0);
                self.exact(&mut lines.record)?;
                lines.taken += RECORD;
                lines.at = 0;
            }
            let byte = lines.record[lines.at];
            lines.at += 1;
            match byte {
                b'\n' => return Ok(number),
                b'0'..=b'9' => {
                    number = number
                        .checked_mul(10)
                        .and_then(|number| number.checked_add(u64::from(byte - b'0')))
                        .ok_or_else(bad)?;
                }
                _ => return Err(bad()),
            }
        }
        Err(bad())
    }

    /// Gives the content of the entry that came last, once.
    pub(crate) fn content(&mut self, entry: &Entry, sink: &mut dyn Sink) -> Result<(), OpenError> {
        let whole = [Extent {
            at: 0,
            len: entry.size,
            stored: 0,
        }];
        let extents = entry.extents.as_deref().unwrap_or(&whole);
        let mut buffer = vec![0; 256 * 1024];
        let mut at = 0;
        for extent in extents {
            if extent.at > at {
                sink.zeros(extent.at - at)?;
            }
            let mut left = extent.len;
            while left > 0 {
                let n = usize::try_from(left).map_or(buffer.len(), |left| left.min(buffer.len()));
                // As it comes: what there is before the end of a file that is cut off is not to be lost.
                let got = self.some(&mut buffer[..n])?;
                sink.bytes(&buffer[..got])?;
                left -= got as u64;
            }
            at = extent.at + extent.len;
        }
        if entry.size > at {
            sink.zeros(entry.size - at)?;
        }
        Ok(())
    }
}

fn cut_off(error: io::Error) -> OpenError {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => OpenError::damaged(TAR_TOO_EARLY),
        _ => error.into(),
    }
}

/// Whether a record's checksum is that of a header.
pub(crate) fn checksum_is_right(record: &[u8]) -> bool {
    let Ok(record) = <&[u8; RECORD as usize]>::try_from(record) else {
        return false;
    };
    let Ok(promised) = Header::from_byte_slice(record).cksum() else {
        return false;
    };
    // The checksum itself counts as spaces. Some old programs took the bytes for signed ones.
    let others = || record[..148].iter().chain(&record[156..]);
    let unsigned = others().fold(256, |sum, &byte| sum + i64::from(byte));
    let signed = others().fold(256, |sum, &byte| sum + i64::from(byte as i8));
    [unsigned, signed].contains(&i64::from(promised))
}

#[derive(Default)]
struct Lines {
    record: Vec<u8>,
    at: usize,
    taken: u64,
}
