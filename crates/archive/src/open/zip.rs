//! Zip archives: the `zip` crate with our limits.

use std::io::{self, Read};
use std::sync::Arc;

use stillcore_corefile::Source;
use zip::result::ZipError;
use zip::{CompressionMethod, ZipArchive};

use super::cut_zip::{Local, locals};
use super::entry::{Entry, Kind, Sink};
use super::error::OpenError;
use super::limits::Limits;
use super::path::printable;
use super::view::{Cursor, Stretch};

/// An open zip archive.
#[derive(Clone)]
pub(crate) struct Zip {
    source: Arc<dyn Source>,
    list: List,
}

/// Where its files are known from.
#[derive(Clone)]
enum List {
    /// The list at its end.
    Whole(ZipArchive<Cursor>),
    /// Their own headers: it was cut off.
    Cut(Arc<[Local]>),
}

impl Zip {
    pub(crate) fn open(source: Arc<dyn Source>, limits: &Limits) -> Result<Zip, OpenError> {
        let mut archive = match ZipArchive::new(Cursor::new(Arc::clone(&source))) {
            Ok(archive) => archive,
            Err(error @ ZipError::InvalidArchive(_)) => {
                let locals = locals(&source, limits)?;
                if locals.is_empty() {
                    return Err(zip_error(error));
                }
                return Ok(Zip {
                    source,
                    list: List::Cut(locals.into()),
                });
            }
            Err(error) => return Err(zip_error(error)),
        };
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
        Ok(Zip {
            source,
            list: List::Whole(archive),
        })
    }

    pub(crate) fn len(&self) -> usize {
        match &self.list {
            List::Whole(archive) => archive.len(),
            List::Cut(locals) => locals.len(),
        }
    }

    /// What is missing, where it was cut off.
    pub(crate) fn cut_off(&self) -> Option<String> {
        let List::Cut(locals) = &self.list else {
            return None;
        };
        let last = locals.last().filter(|last| last.is_cut);
        let files = match locals.len() {
            1 => "one file was found".to_owned(),
            count => format!("{count} files were found"),
        };
        let end = last.map_or_else(
            || "whole".to_owned(),
            |last| format!("and {} ends in the middle", printable(&last.path)),
        );
        Some(format!(
            "the zip archive is cut off: it has no list of its files. By their own headers {files}, {end}; what came \
             behind is missing"
        ))
    }

    /// Whether the end of an entry is missing.
    pub(crate) fn is_cut(&self, number: usize) -> bool {
        match &self.list {
            List::Whole(_) => false,
            List::Cut(locals) => locals.get(number).is_some_and(|local| local.is_cut),
        }
    }

    /// An entry; its [`Entry::start`] is its number.
    pub(crate) fn entry(&mut self, number: usize, limits: &Limits) -> Result<Entry, OpenError> {
        let archive = match &mut self.list {
            List::Whole(archive) => archive,
            List::Cut(locals) => return cut_entry(locals, number, limits),
        };
        let file = archive.by_index_raw(number).map_err(zip_error)?;
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
    pub(crate) fn read(&mut self, number: usize) -> Result<Box<dyn Read + '_>, OpenError> {
        let archive = match &mut self.list {
            List::Whole(archive) => archive,
            List::Cut(locals) => return local(locals, number)?.read(&self.source),
        };
        let file = archive.by_index(number).map_err(zip_error)?;
        let method = file.compression();
        if ![CompressionMethod::Stored, CompressionMethod::Deflated].contains(&method) {
            // There is no other way to the number of a method that is not built in. (Where it is fuzzed, the crate does not say
            // that this one is deprecated, so it cannot be expected.)
            #[allow(deprecated)]
            let number = match method {
                CompressionMethod::Unsupported(number) => number,
                _ => u16::MAX,
            };
            return Err(OpenError::other_method(number));
        }
        let left = file.size();
        Ok(Box::new(Exact { file, left }))
    }

    /// Where the content lies, if it is not compressed.
    pub(crate) fn stored(&mut self, number: usize) -> Result<Option<Stretch>, OpenError> {
        let archive = match &mut self.list {
            List::Whole(archive) => archive,
            List::Cut(locals) => return Ok(local(locals, number)?.stored(&self.source)),
        };
        let file = archive.by_index_raw(number).map_err(zip_error)?;
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

fn local(locals: &[Local], number: usize) -> Result<&Local, OpenError> {
    locals
        .get(number)
        .ok_or_else(|| OpenError::damaged("the zip archive has no such entry"))
}

/// An entry that only its own header tells of: it does not say whether it is a link.
fn cut_entry(locals: &[Local], number: usize, limits: &Limits) -> Result<Entry, OpenError> {
    let local = local(locals, number)?;
    limits.check_unpacked(local.size)?;
    Ok(Entry {
        path: local.path.clone(),
        kind: match () {
            () if local.is_encrypted => Kind::Other("an encrypted file"),
            () if local.path.ends_with(b"/") => Kind::Folder,
            () => Kind::File,
        },
        size: local.size,
        start: number as u64,
        stored: local.stored,
        extents: None,
        mode: 0o600,
        mtime: 0,
    })
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
