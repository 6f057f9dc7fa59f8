//! Where the bytes of a core come from: a file with holes, or the memory of a live copy.

use std::cell::Cell;
use std::fmt;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use nix::errno::Errno;
use stillcore_corefile::next_data;

/// Memory is given up in pieces of this many bytes when it cannot be read. No page is smaller.
const PAGE: u64 = 4096;

/// A stretch of a core.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part<'a> {
    /// These bytes: headers and notes.
    Bytes(&'a [u8]),
    /// This many zeros. They are neither read nor compressed.
    Zeros(u64),
    /// What [`CoreSource::read`] gives there.
    Read {
        /// The first of them; what it counts is the source's affair.
        address: u64,
        /// How many bytes.
        len: u64,
    },
}

impl Part<'_> {
    /// Bytes in it.
    pub fn size(&self) -> u64 {
        match *self {
            Part::Bytes(bytes) => bytes.len() as u64,
            Part::Zeros(n) => n,
            Part::Read { len, .. } => len,
        }
    }
}

/// A core that can be read once from its beginning to its end. An open file is one; a [`LiveImage`] is another.
pub trait CoreSource {
    /// Bytes in the core, known before anything is read. Asked again at the end: a core that became smaller meanwhile
    /// is an error.
    ///
    /// # Errors
    /// Whatever prevents an answer.
    fn size(&self) -> io::Result<u64>;

    /// The core from its beginning to its end. Together the parts are as long as [`CoreSource::size`] says.
    fn parts(&self) -> Box<dyn Iterator<Item = Part<'_>> + '_>;

    /// Fills `buf` from its start, as [`FileExt::read_at`] does: perhaps with fewer bytes, and with none where there
    /// are no more. Every [`Part::Read`] is read exactly once, in the order of the parts and of the addresses, from
    /// one thread.
    ///
    /// # Errors
    /// An error ends the packing. A source that can do without some bytes gives zeros in their place and counts them
    /// in [`CoreSource::unreadable`].
    fn read(&self, address: u64, buf: &mut [u8]) -> io::Result<usize>;

    /// How many bytes so far could not be read and are zeros instead.
    fn unreadable(&self) -> u64 {
        0
    }
}

/// Addresses are positions in the file. Its holes are zeros; its position is moved.
impl CoreSource for File {
    fn size(&self) -> io::Result<u64> {
        self.metadata().map(|metadata| metadata.len())
    }

    fn parts(&self) -> Box<dyn Iterator<Item = Part<'_>> + '_> {
        // Without a size there are no parts, which are then too few.
        Box::new(FileParts {
            file: self,
            at: 0,
            size: self.size().unwrap_or(0),
            data: 0..0,
        })
    }

    fn read(&self, address: u64, buf: &mut [u8]) -> io::Result<usize> {
        self.read_at(buf, address)
    }
}

/// Bytes in memory.
pub(crate) struct BytesSource<'a>(pub(crate) &'a [u8]);

impl CoreSource for BytesSource<'_> {
    fn size(&self) -> io::Result<u64> {
        Ok(self.0.len() as u64)
    }

    fn parts(&self) -> Box<dyn Iterator<Item = Part<'_>> + '_> {
        Box::new(std::iter::once(Part::Bytes(self.0)))
    }

    fn read(&self, _address: u64, _buf: &mut [u8]) -> io::Result<usize> {
        Ok(0)
    }
}

/// Holes and data of a file in turn.
struct FileParts<'a> {
    file: &'a File,
    at: u64,
    size: u64,
    /// The next range with data.
    data: Range<u64>,
}

impl<'a> Iterator for FileParts<'a> {
    type Item = Part<'a>;

    fn next(&mut self) -> Option<Part<'a>> {
        if self.at >= self.size {
            return None;
        }
        if self.at == self.data.end {
            // At the end of the data: nothing, at the end of the file.
            self.data = next_data(self.file, self.at, self.size).unwrap_or(self.size..self.size);
        }
        let hole = self.data.start.saturating_sub(self.at);
        if hole > 0 {
            self.at = self.data.start;
            return Some(Part::Zeros(hole));
        }
        let (address, len) = (self.at, self.data.end - self.at);
        self.at = self.data.end;
        Some(Part::Read { address, len })
    }
}

/// A core put together from prepared headers and the memory of a live, frozen process.
///
/// `memory` reads at an address, as [`FileExt::read_at`] of `/proc/PID/mem` does, which stops before the first page it
/// cannot read. Such a page (`EIO`, `EFAULT`) becomes zeros and is counted; other errors end the packing, and so does
/// the end of the process, which reads as the end of a file.
pub struct LiveImage<'a> {
    parts: &'a [Part<'a>],
    memory: &'a dyn Fn(u64, &mut [u8]) -> io::Result<usize>,
    read_done: &'a dyn Fn(),
    /// Bytes to be read yet.
    left: Cell<u64>,
    unreadable: Cell<u64>,
}

impl<'a> LiveImage<'a> {
    /// `read_done` is called once, when the last byte of memory has been read and before anything is done with it:
    /// from then on the process is not needed. It is not called when the packing ends earlier.
    pub fn new(
        parts: &'a [Part<'a>],
        memory: &'a dyn Fn(u64, &mut [u8]) -> io::Result<usize>,
        read_done: &'a dyn Fn(),
    ) -> LiveImage<'a> {
        let reads = parts
            .iter()
            .filter(|part| matches!(part, Part::Read { .. }));
        LiveImage {
            parts,
            memory,
            read_done,
            left: Cell::new(sum(reads)),
            unreadable: Cell::new(0),
        }
    }
}

fn sum<'a>(parts: impl Iterator<Item = &'a Part<'a>>) -> u64 {
    parts.fold(0, |sum, part| sum.saturating_add(part.size()))
}

impl CoreSource for LiveImage<'_> {
    fn size(&self) -> io::Result<u64> {
        Ok(sum(self.parts.iter()))
    }

    fn parts(&self) -> Box<dyn Iterator<Item = Part<'_>> + '_> {
        if self.left.get() == 0 {
            (self.read_done)();
        }
        Box::new(self.parts.iter().copied())
    }

    fn read(&self, address: u64, buf: &mut [u8]) -> io::Result<usize> {
        let n = match (self.memory)(address, buf) {
            Ok(n) => n.min(buf.len()),
            Err(error) if is_bad_page(&error) => {
                let page = PAGE - address % PAGE;
                let n = usize::try_from(page).map_or(buf.len(), |page| page.min(buf.len()));
                buf[..n].fill(0);
                self.unreadable.set(self.unreadable.get() + n as u64);
                n
            }
            Err(error) => return Err(error),
        };
        let before = self.left.get();
        self.left.set(before.saturating_sub(n as u64));
        if before > 0 && self.left.get() == 0 {
            (self.read_done)();
        }
        Ok(n)
    }

    fn unreadable(&self) -> u64 {
        self.unreadable.get()
    }
}

fn is_bad_page(error: &io::Error) -> bool {
    let bad = [Errno::EIO as i32, Errno::EFAULT as i32];
    error
        .raw_os_error()
        .is_some_and(|errno| bad.contains(&errno))
}

impl fmt::Debug for LiveImage<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LiveImage")
            .field("parts", &self.parts.len())
            .field("left", &self.left)
            .field("unreadable", &self.unreadable)
            .finish_non_exhaustive()
    }
}
