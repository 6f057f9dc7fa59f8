//! What has to be decompressed before it can be read anywhere: once, into the cache or a file without a name.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use stillcore_corefile::{FileSource, Source};

use super::cache::{Cache, Cached, Filled};
use super::decode::Format;
use super::error::OpenError;
use super::key::Key;
use super::limits::Step;
use super::options::{CacheUse, OpenOptions};
use super::spool::{spool, temporary};
use super::view::Cursor;
use super::zip::Zip;

/// Files that are unpacked into memory rather than into the cache.
const SMALL: u64 = 1 << 20;

/// Counts what is read.
pub(super) struct Counted<'a, R> {
    pub(super) inner: R,
    pub(super) count: &'a AtomicU64,
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
pub(super) struct Unpacker {
    pub(super) options: OpenOptions,
    /// Files of the cache that are in use.
    pub(super) cached: Arc<Mutex<Vec<PathBuf>>>,
    /// What turned out to be cut off, as sentences.
    pub(super) cut_off: Arc<Mutex<Vec<String>>>,
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
    pub(super) fn stream(
        &self,
        source: &Arc<dyn Source>,
        format: Format,
        key: Option<&Key>,
    ) -> Result<Arc<dyn Source>, OpenError> {
        let key = key.map(|key| key.inside(format.name().as_bytes()));
        let total = Some(source.len());
        let (unpacked, is_cut) = self.file(key.as_ref(), &|file, folder| {
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
        })?;
        if is_cut {
            self.tell(format!(
                "what is compressed by {} is cut off: {} bytes could be unpacked, what came behind is missing",
                format.name(),
                unpacked.len()
            ));
        }
        Ok(unpacked)
    }

    fn tell(&self, what: String) {
        let mut told = self.cut_off.lock().unwrap_or_else(PoisonError::into_inner);
        if !told.contains(&what) {
            told.push(what);
        }
    }

    /// What of a stream there is, even if its end is missing: then that is told.
    fn spool(
        &self,
        reader: &mut dyn Read,
        file: &File,
        folder: &Path,
        done: &dyn Fn() -> Step,
    ) -> Result<Filled, OpenError> {
        let OpenOptions {
            limits, progress, ..
        } = &self.options;
        match spool(reader, file, folder, limits, progress.as_ref(), done) {
            Ok(()) => Ok(Filled::Whole),
            Err(error) if error.is_cut_off() => {
                let len = file.metadata().map_err(OpenError::Io)?.len();
                match len {
                    0 => Err(error),
                    _ => Ok(Filled::CutOff),
                }
            }
            Err(error) => Err(error),
        }
    }

    fn file(
        &self,
        key: Option<&Key>,
        fill: &dyn Fn(&File, &Path) -> Result<Filled, OpenError>,
    ) -> Result<(Arc<dyn Source>, bool), OpenError> {
        if let Some((cache, key)) = self.cache().zip(key) {
            match cache.get(key, self.options.progress.as_ref(), fill) {
                Ok(Cached { file, path, filled }) => {
                    if let Some(path) = path {
                        self.cached
                            .lock()
                            .unwrap_or_else(PoisonError::into_inner)
                            .push(path);
                    }
                    let source = FileSource::new(file).map_err(OpenError::Io)?;
                    return Ok((Arc::new(source), filled == Filled::CutOff));
                }
                // A home that is read-only or full; there may be room elsewhere.
                Err(OpenError::Write { .. } | OpenError::NoSpace { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        let (file, folder) = temporary()?;
        let filled = fill(&file, &folder)?;
        let source = FileSource::new(file).map_err(OpenError::Io)?;
        Ok((Arc::new(source), filled == Filled::CutOff))
    }

    /// A file of a zip archive.
    pub(super) fn zipped(
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
        if size <= SMALL && !zip.is_cut(number) {
            let mut bytes = Vec::with_capacity(size as usize);
            zip.read(number)?
                .read_to_end(&mut bytes)
                .map_err(OpenError::from)?;
            return Ok(Arc::new(bytes));
        }
        let zip = Mutex::new(zip);
        // That it is cut off is told by the archive.
        let (unpacked, _) = self.file(key, &|file, folder| {
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
        })?;
        Ok(unpacked)
    }
}
