//! Other ways to look at a [`Source`]: as a stream, a part of it, a file with holes.

use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::sync::Arc;

use stillcore_corefile::Source;

/// A source as a stream that can be wound.
#[derive(Clone)]
pub(crate) struct Cursor {
    source: Arc<dyn Source>,
    at: u64,
}

impl Cursor {
    pub(crate) fn new(source: Arc<dyn Source>) -> Cursor {
        Cursor { source, at: 0 }
    }

    pub(crate) fn position(&self) -> u64 {
        self.at
    }

    /// Passes over `n` bytes, which must be there.
    pub(crate) fn skip(&mut self, n: u64) -> io::Result<()> {
        match self.at.checked_add(n) {
            Some(at) if at <= self.source.len() => {
                self.at = at;
                Ok(())
            }
            _ => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

impl Read for Cursor {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.source.read_at(self.at, buf)?;
        self.at = self.at.saturating_add(n as u64);
        Ok(n)
    }
}

impl Seek for Cursor {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let (base, by) = match to {
            SeekFrom::Start(at) => (at, 0),
            SeekFrom::Current(by) => (self.at, by),
            SeekFrom::End(by) => (self.source.len(), by),
        };
        self.at = base
            .checked_add_signed(by)
            .ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}

/// A stretch of another source.
pub(crate) struct Stretch {
    source: Arc<dyn Source>,
    start: u64,
    len: u64,
}

impl Stretch {
    /// `None` unless all of it is there.
    pub(crate) fn new(source: Arc<dyn Source>, start: u64, len: u64) -> Option<Stretch> {
        let end = start.checked_add(len)?;
        (end <= source.len()).then_some(Stretch { source, start, len })
    }

    /// What is there of it.
    pub(crate) fn up_to(source: Arc<dyn Source>, start: u64, len: u64) -> Stretch {
        let len = len.min(source.len().saturating_sub(start));
        Stretch { source, start, len }
    }
}

impl Source for Stretch {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let wanted = within(self.len, offset, buf.len());
        if wanted == 0 {
            return Ok(0);
        }
        read_exact_at(&*self.source, self.start + offset, &mut buf[..wanted])?;
        Ok(wanted)
    }

    fn data_at(&self, offset: u64) -> Option<Range<u64>> {
        if offset >= self.len {
            return None;
        }
        let data = self.source.data_at(self.start + offset)?;
        let from = data.start.max(self.start + offset) - self.start;
        let to = (data.end - self.start).min(self.len);
        (from < to).then_some(from..to)
    }
}

/// How many of `n` bytes at `offset` lie before the end.
pub(crate) fn within(len: u64, offset: u64, n: usize) -> usize {
    usize::try_from(len.saturating_sub(offset)).map_or(n, |left| left.min(n))
}

/// Reads all of `buf`; an end before is an error.
pub(crate) fn read_exact_at(source: &dyn Source, offset: u64, buf: &mut [u8]) -> io::Result<()> {
    let mut got = 0;
    while got < buf.len() {
        match source.read_at(offset.saturating_add(got as u64), &mut buf[got..])? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            n => got += n,
        }
    }
    Ok(())
}

/// Data of a file with holes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Extent {
    /// Where in the file.
    pub(crate) at: u64,
    /// Bytes.
    pub(crate) len: u64,
    /// Where among the bytes that are stored.
    pub(crate) stored: u64,
}

/// A file of which only the parts with data are stored, one after the other.
pub(crate) struct Holed {
    stored: Stretch,
    /// Sorted, and apart from each other.
    extents: Arc<[Extent]>,
    len: u64,
}

impl Holed {
    /// Where the last of what should be stored is missing, it ends there.
    pub(crate) fn new(stored: Stretch, extents: Arc<[Extent]>, len: u64) -> Holed {
        let there = stored.len;
        let cut = extents
            .iter()
            .find(|extent| extent.stored.saturating_add(extent.len) > there);
        let end = cut.map(|extent| extent.at + there.saturating_sub(extent.stored));
        Holed {
            stored,
            extents,
            len: end.map_or(len, |end| end.min(len)),
        }
    }
}

impl Source for Holed {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let wanted = within(self.len, offset, buf.len());
        let buf = &mut buf[..wanted];
        buf.fill(0);
        let end = offset + wanted as u64;
        let first = self
            .extents
            .partition_point(|extent| extent.at + extent.len <= offset);
        for extent in self.extents[first..]
            .iter()
            .take_while(|extent| extent.at < end)
        {
            let from = extent.at.max(offset);
            let to = (extent.at + extent.len).min(end);
            let into = &mut buf[(from - offset) as usize..(to - offset) as usize];
            read_exact_at(&self.stored, extent.stored + (from - extent.at), into)?;
        }
        Ok(wanted)
    }

    fn data_at(&self, offset: u64) -> Option<Range<u64>> {
        let first = self
            .extents
            .partition_point(|extent| extent.at + extent.len <= offset);
        let extent = self.extents.get(first)?;
        let (from, to) = (
            extent.at.max(offset),
            (extent.at + extent.len).min(self.len),
        );
        (from < to).then_some(from..to)
    }
}
