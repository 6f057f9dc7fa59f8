//! Where bytes are read from: an open file, a core inside an archive, or anything else that can be read anywhere.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use crate::CoreError;

/// Bytes that can be read at any offset, from any thread.
///
/// The length does not change. Bytes that should be there and cannot be had are an error, never zeros and never an end.
#[allow(clippy::len_without_is_empty)] // nobody asks whether a core is empty
pub trait Source: Send + Sync {
    /// Bytes in all.
    fn len(&self) -> u64;

    /// Reads at `offset` up to `buf.len()` bytes, fewer only at the end; gives how many. At and behind the end there
    /// are none.
    ///
    /// # Errors
    /// Whatever prevents the reading.
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize>;

    /// The first stretch at or behind `offset` in which something is stored; `None` where nothing more is. What lies
    /// before it is a hole: zeros that take no room, such as pages that were never touched. A source that cannot tell
    /// gives all the rest.
    fn data_at(&self, offset: u64) -> Option<Range<u64>> {
        let len = self.len();
        (offset < len).then_some(offset..len)
    }
}

impl<S: Source + ?Sized> Source for Arc<S> {
    fn len(&self) -> u64 {
        (**self).len()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        (**self).read_at(offset, buf)
    }

    fn data_at(&self, offset: u64) -> Option<Range<u64>> {
        (**self).data_at(offset)
    }
}

/// An open file, as long as it was when it was opened.
#[derive(Debug)]
pub struct FileSource {
    file: File,
    len: u64,
}

impl FileSource {
    /// Asks for the length.
    ///
    /// # Errors
    /// Those of the operating system.
    pub fn new(file: File) -> io::Result<FileSource> {
        let len = file.metadata()?.len();
        Ok(FileSource { file, len })
    }

    /// The file itself.
    pub fn file(&self) -> &File {
        &self.file
    }
}

impl Source for FileSource {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let left = self.len.saturating_sub(offset);
        let wanted = usize::try_from(left).map_or(buf.len(), |left| left.min(buf.len()));
        let mut got = 0;
        while got < wanted {
            match read_file_at(&self.file, &mut buf[got..wanted], offset + got as u64) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(n) => got += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(got)
    }

    fn data_at(&self, offset: u64) -> Option<Range<u64>> {
        next_data(&self.file, offset, self.len)
    }
}

/// A file that somebody else keeps open, with the length that it has now.
impl Source for File {
    fn len(&self) -> u64 {
        self.metadata().map_or(0, |metadata| metadata.len())
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        read_file_at(self, buf, offset)
    }

    fn data_at(&self, offset: u64) -> Option<Range<u64>> {
        next_data(self, offset, Source::len(self))
    }
}

/// The first stretch with data at or behind `offset` in the first `len` bytes of a file; `None` where only a hole is left.
/// Where the file system or the system cannot tell, everything is data. The file's position is moved.
#[cfg(any(target_os = "linux", target_os = "macos", target_os = "freebsd"))]
pub fn next_data(file: &File, offset: u64, len: u64) -> Option<Range<u64>> {
    use nix::errno::Errno;
    use nix::unistd::{Whence, lseek};
    if offset >= len {
        return None;
    }
    let seek = |from: u64, whence| {
        let from = i64::try_from(from).map_err(|_| Errno::EINVAL)?;
        lseek(file, from, whence).and_then(|found| u64::try_from(found).map_err(|_| Errno::EINVAL))
    };
    let start = match seek(offset, Whence::SeekData) {
        Ok(start) => start.max(offset),
        Err(Errno::ENXIO) => return None,
        Err(_) => return Some(offset..len),
    };
    let end = match seek(start, Whence::SeekHole) {
        Ok(end) if end > start => end.min(len),
        _ => len,
    };
    (start < end).then_some(start..end)
}

/// The same where nobody can tell: everything is data.
#[cfg(not(any(target_os = "linux", target_os = "macos", target_os = "freebsd")))]
pub fn next_data(_file: &File, offset: u64, len: u64) -> Option<Range<u64>> {
    (offset < len).then_some(offset..len)
}

impl Source for Vec<u8> {
    fn len(&self) -> u64 {
        self.as_slice().len() as u64
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let from = usize::try_from(offset).unwrap_or(usize::MAX);
        let bytes = self.get(from..).unwrap_or_default();
        let n = bytes.len().min(buf.len());
        buf[..n].copy_from_slice(&bytes[..n]);
        Ok(n)
    }
}

/// What [`crate::CoreFile::open`] takes.
pub trait IntoSource {
    /// The source.
    ///
    /// # Errors
    /// [`CoreError::Io`] when its length cannot be had.
    fn into_source(self) -> Result<Arc<dyn Source>, CoreError>;
}

impl IntoSource for File {
    fn into_source(self) -> Result<Arc<dyn Source>, CoreError> {
        Ok(Arc::new(FileSource::new(self).map_err(CoreError::Io)?))
    }
}

impl IntoSource for Vec<u8> {
    fn into_source(self) -> Result<Arc<dyn Source>, CoreError> {
        Ok(Arc::new(self))
    }
}

impl IntoSource for Arc<dyn Source> {
    fn into_source(self) -> Result<Arc<dyn Source>, CoreError> {
        Ok(self)
    }
}

/// Reads at `offset` until `buf` is full or the source ends; gives the number of bytes read.
pub(crate) fn read_up_to(
    source: &(impl Source + ?Sized),
    buf: &mut [u8],
    offset: u64,
) -> Result<usize, CoreError> {
    let mut got = 0;
    while got < buf.len() {
        let Some(at) = offset
            .checked_add(got as u64)
            .filter(|&at| i64::try_from(at).is_ok())
        else {
            break;
        };
        match source.read_at(at, &mut buf[got..]) {
            Ok(0) => break,
            // A source that claims to have read more than there was room for is not believed.
            Ok(n) => got = (got + n).min(buf.len()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(CoreError::Io(error)),
        }
    }
    Ok(got)
}

/// The `length` bytes at `offset`, or as many as there are.
///
/// The caller has bounded `length`; nothing is allocated for what lies behind the end of the source.
pub(crate) fn read_vec(
    source: &(impl Source + ?Sized),
    offset: u64,
    length: u64,
) -> Result<Vec<u8>, CoreError> {
    let length = length.min(source.len().saturating_sub(offset));
    let mut bytes =
        vec![0; usize::try_from(length).map_err(|_| CoreError::Damaged("too large to be read"))?];
    let got = read_up_to(source, &mut bytes, offset)?;
    bytes.truncate(got);
    Ok(bytes)
}

#[cfg(unix)]
fn read_file_at(file: &File, buf: &mut [u8], offset: u64) -> io::Result<usize> {
    std::os::unix::fs::FileExt::read_at(file, buf, offset)
}

#[cfg(windows)]
fn read_file_at(file: &File, buf: &mut [u8], offset: u64) -> io::Result<usize> {
    std::os::windows::fs::FileExt::seek_read(file, buf, offset)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_anywhere_and_ends_where_it_ended() {
        let path = std::env::current_exe().unwrap();
        let bytes = std::fs::read(&path).unwrap();
        let source = FileSource::new(File::open(&path).unwrap()).unwrap();
        let len = bytes.len();
        assert_eq!(source.len(), len as u64);
        let mut buf = [0; 1000];
        assert_eq!(source.read_at(777, &mut buf).unwrap(), 1000);
        assert_eq!(buf, bytes[777..1777]);
        assert_eq!(source.read_at(len as u64 - 10, &mut buf).unwrap(), 10);
        assert_eq!(buf[..10], bytes[len - 10..]);
        for behind in [len as u64, u64::MAX] {
            assert_eq!(source.read_at(behind, &mut buf).unwrap(), 0);
        }
    }
}
