//! Zip archives: the `zip` crate with our limits.

use std::io::{self, Read};
use std::sync::Arc;

use stillcore_corefile::Source;
use zip::result::ZipError;
use zip::{CompressionMethod, ZipArchive};

use super::error::OpenError;
use super::limits::Limits;
use super::tar::{Entry, Kind, Sink};
use super::view::{Cursor, Stretch};

/// An open zip archive.
#[derive(Clone)]
pub(crate) struct Zip {
    source: Arc<dyn Source>,
    archive: ZipArchive<Cursor>,
}

impl Zip {
    pub(crate) fn open(source: Arc<dyn Source>, limits: &Limits) -> Result<Zip, OpenError> {
        let mut archive = ZipArchive::new(Cursor::new(Arc::clone(&source))).map_err(zip_error)?;
        limits.check_entries(archive.len() as u64)?;
        // How a small zip archive unpacks to terabytes: all its entries are the same bytes.
        if archive.has_overlapping_entries().map_err(zip_error)? {
            return Err(OpenError::damaged(
                "entries of the zip archive overlap each other",
            ));
        }
        if archive.has_duplicate_names() {
            return Err(OpenError::damaged(
                "two entries of the zip archive have one name",
            ));
        }
        Ok(Zip { source, archive })
    }

    pub(crate) fn len(&self) -> usize {
        self.archive.len()
    }

    /// An entry; its [`Entry::start`] is its number.
    pub(crate) fn entry(&mut self, number: usize, limits: &Limits) -> Result<Entry, OpenError> {
        let file = self.archive.by_index_raw(number).map_err(zip_error)?;
        let path = file.name_raw().to_vec();
        limits.check_name(path.len() as u64)?;
        limits.check_unpacked(file.size())?;
        let mut entry = Entry {
            kind: match () {
                () if file.is_dir() => Kind::Folder,
                () if file.is_symlink() => Kind::Symlink(Vec::new()),
                () => Kind::File,
            },
            size: file.size(),
            stored: file.compressed_size(),
            start: number as u64,
            extents: None,
            mode: file.unix_mode().unwrap_or(0o600),
            mtime: 0,
            path,
        };
        if file.encrypted() {
            entry.kind = Kind::Other("an encrypted file");
        }
        drop(file);
        if let Kind::Symlink(_) = entry.kind {
            limits.check_name(entry.size)?;
            let mut target = Vec::new();
            self.read(number)?
                .take(limits.name)
                .read_to_end(&mut target)
                .map_err(OpenError::from)?;
            entry.kind = Kind::Symlink(target);
            entry.size = 0;
        }
        Ok(entry)
    }

    /// The content as a stream, whose end is an error when length or checksum are wrong.
    pub(crate) fn read(&mut self, number: usize) -> Result<impl Read + '_, OpenError> {
        let file = self.archive.by_index(number).map_err(zip_error)?;
        let method = file.compression();
        if ![CompressionMethod::Stored, CompressionMethod::Deflated].contains(&method) {
            return Err(OpenError::Unsupported(format!(
                "an entry of the zip archive is compressed by a method other than deflate: {method:?}"
            )));
        }
        let left = file.size();
        Ok(Exact { file, left })
    }

    /// Where the content lies, if it is not compressed.
    pub(crate) fn stored(&mut self, number: usize) -> Result<Option<Stretch>, OpenError> {
        let file = self.archive.by_index_raw(number).map_err(zip_error)?;
        if file.compression() != CompressionMethod::Stored || file.encrypted() {
            return Ok(None);
        }
        let start = file.data_start();
        let (size, stored) = (file.size(), file.compressed_size());
        let stretch = start
            .filter(|_| size == stored)
            .and_then(|start| Stretch::new(Arc::clone(&self.source), start, size));
        match stretch {
            Some(stretch) => Ok(Some(stretch)),
            None => Err(OpenError::damaged(
                "an entry of the zip archive ends behind its end",
            )),
        }
    }

    pub(crate) fn content(&mut self, entry: &Entry, sink: &mut dyn Sink) -> Result<(), OpenError> {
        let mut reader = self.read(entry.start as usize)?;
        let mut buffer = vec![0; 256 * 1024];
        loop {
            match reader.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(n) => sink.bytes(&buffer[..n])?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// Gives no more than was promised, and no less.
struct Exact<R> {
    file: R,
    left: u64,
}

impl<R: Read> Read for Exact<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.file.read(buf)?;
        let wrong = n as u64 > self.left || (n == 0 && self.left > 0 && !buf.is_empty());
        if wrong {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "an entry of the zip archive has another length than promised",
            ));
        }
        self.left -= n as u64;
        Ok(n)
    }
}

pub(crate) fn zip_error(error: ZipError) -> OpenError {
    match error {
        ZipError::Io(error) => error.into(),
        ZipError::UnsupportedArchive(what) => OpenError::Unsupported(what.to_owned()),
        error => OpenError::damaged(error.to_string()),
    }
}
