//! Goes once through everything that is in an archive, or in a compressed core, from its beginning to its end.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use stillcore_corefile::Source;

use super::decode::{Format, HEAD};
use super::entry::{Entry, Kind, Sink};
use super::error::OpenError;
use super::limits::{Limits, Progress, Step, step};
use super::tar::{Input, Stream, Walk};
use super::view::Cursor;
use super::zip::Zip;

/// Gives the content of an entry to a sink.
pub(crate) type Content<'a> = dyn FnMut(&mut dyn Sink) -> Result<(), OpenError> + 'a;

/// Told of each entry.
pub(crate) trait Visitor {
    /// `content` may be called once, or not at all.
    fn entry(&mut self, entry: &Entry, content: &mut Content<'_>) -> Result<(), OpenError>;
}

/// What was gone through.
#[derive(Debug, Clone, Default)]
pub(crate) struct Walked {
    /// From the outside.
    pub(crate) layers: Vec<Format>,
    /// Whether the end was marked as such.
    pub(crate) ended: bool,
}

/// Goes through an archive, or through what is compressed, which then is one entry called `name`.
/// To the very end: so that checksums there are checked.
pub(crate) fn walk(
    source: &Arc<dyn Source>,
    name: &[u8],
    limits: &Limits,
    progress: Option<&Progress>,
    visitor: &mut dyn Visitor,
) -> Result<Walked, OpenError> {
    let total = source.len();
    let read = Arc::new(AtomicU64::new(0));
    let mut walker = Walker {
        limits,
        visitor,
        unpacked: 0,
        step: &|read| {
            let done = Step {
                done: read,
                total: Some(total),
            };
            step(progress, done)
        },
        read: Arc::clone(&read),
    };
    let mut walked = Walked::default();
    let mut format = Format::of_source(&**source)?;
    let cursor = Watched {
        cursor: Cursor::new(Arc::clone(source)),
        read,
    };
    let mut reader: Box<dyn Read> = match format {
        Format::Zip => {
            walked.layers.push(format);
            walker.zip(source)?;
            walked.ended = true;
            return Ok(walked);
        }
        Format::Tar => {
            walked.layers.push(format);
            walked.ended = walker.tar(cursor)?.1;
            return Ok(walked);
        }
        _ => Box::new(cursor),
    };
    loop {
        match format {
            Format::Tar => {
                walked.layers.push(format);
                let (mut rest, ended) = walker.tar(Stream(reader))?;
                walked.ended = ended;
                walker.drain(&mut rest)?;
                return Ok(walked);
            }
            Format::Core | Format::KernelDump => {
                walker.single(name, &mut reader)?;
                walked.ended = true;
                return Ok(walked);
            }
            Format::Zip => {
                return Err(OpenError::Unsupported(
                    "a zip archive inside of something compressed; decompress it first".to_owned(),
                ));
            }
            Format::Gzip | Format::Zstd | Format::Xz | Format::Lz4 => {
                walked.layers.push(format);
                limits.check_layers(walked.layers.len() as u64)?;
                let decoder = format
                    .decoder(reader)?
                    .ok_or_else(|| OpenError::Unsupported(format.name().to_owned()))?;
                let (head, rest) = peek(decoder)?;
                format = Format::of(&head)?;
                reader = Box::new(io::Cursor::new(head).chain(rest));
            }
        }
    }
}

/// The first bytes of a stream, and the stream behind them.
fn peek<'a>(mut reader: Box<dyn Read + 'a>) -> Result<(Vec<u8>, Box<dyn Read + 'a>), OpenError> {
    let mut head = Vec::with_capacity(HEAD);
    (&mut reader)
        .take(HEAD as u64)
        .read_to_end(&mut head)
        .map_err(OpenError::from)?;
    Ok((head, reader))
}

/// Notes how far the reading has come.
struct Watched {
    cursor: Cursor,
    read: Arc<AtomicU64>,
}

impl Read for Watched {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.cursor.read(buf)?;
        self.read.store(self.cursor.position(), Ordering::Relaxed);
        Ok(n)
    }
}

impl Input for Watched {
    fn skip(&mut self, n: u64) -> io::Result<()> {
        self.cursor.skip(n)
    }
}

struct Walker<'a> {
    limits: &'a Limits,
    visitor: &'a mut dyn Visitor,
    unpacked: u64,
    step: &'a dyn Fn(u64) -> Result<(), OpenError>,
    read: Arc<AtomicU64>,
}

impl Walker<'_> {
    /// Gives back what is left of the input, and whether the archive's end was marked.
    fn tar<I: Input>(&mut self, input: I) -> Result<(I, bool), OpenError> {
        let mut walk = Walk::new(input, self.limits);
        while let Some(entry) = walk.next()? {
            self.announce(&entry)?;
            let (read, step) = (&self.read, self.step);
            self.visitor.entry(&entry, &mut |sink| {
                let mut stepping = Stepping { sink, read, step };
                walk.content(&entry, &mut stepping)
            })?;
        }
        let ended = walk.ended();
        Ok((walk.into_input(), ended))
    }

    fn zip(&mut self, source: &Arc<dyn Source>) -> Result<(), OpenError> {
        let mut zip = Zip::open(Arc::clone(source), self.limits)?;
        for number in 0..zip.len() {
            let entry = zip.entry(number, self.limits)?;
            self.announce(&entry)?;
            self.read.fetch_add(entry.stored, Ordering::Relaxed);
            let (read, step) = (&self.read, self.step);
            self.visitor.entry(&entry, &mut |sink| {
                let mut stepping = Stepping { sink, read, step };
                zip.content(&entry, &mut stepping)
            })?;
        }
        match zip.cut_off() {
            Some(what) => Err(OpenError::Damaged(what)),
            None => Ok(()),
        }
    }

    /// A core that is no archive.
    fn single(&mut self, name: &[u8], reader: &mut dyn Read) -> Result<(), OpenError> {
        let entry = Entry {
            path: name.to_vec(),
            kind: Kind::File,
            size: 0,
            start: 0,
            stored: 0,
            extents: None,
            mode: 0o600,
            mtime: 0,
        };
        let (read, step, limits) = (&self.read, self.step, self.limits);
        self.visitor.entry(&entry, &mut |sink| {
            let mut buffer = vec![0; 256 * 1024];
            let mut sum = 0_u64;
            loop {
                let n = match reader.read(&mut buffer) {
                    Ok(0) => return Ok(()),
                    Ok(n) => n,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    Err(error) => return Err(error.into()),
                };
                sum += n as u64;
                limits.check_unpacked(sum)?;
                sink.bytes(&buffer[..n])?;
                step(read.load(Ordering::Relaxed))?;
            }
        })
    }

    fn announce(&mut self, entry: &Entry) -> Result<(), OpenError> {
        self.unpacked = self.unpacked.saturating_add(entry.size);
        self.limits.check_unpacked(self.unpacked)
    }

    /// Reads what follows the end of a tar archive: nothing, or zeros, but the decoder checks its own end then.
    fn drain(&mut self, rest: &mut dyn Read) -> Result<(), OpenError> {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            match rest.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(n) => {
                    self.unpacked = self.unpacked.saturating_add(n as u64);
                    self.limits.check_unpacked(self.unpacked)?;
                    (self.step)(self.read.load(Ordering::Relaxed))?;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// Tells of progress on the way.
struct Stepping<'a> {
    sink: &'a mut dyn Sink,
    read: &'a AtomicU64,
    step: &'a dyn Fn(u64) -> Result<(), OpenError>,
}

impl Sink for Stepping<'_> {
    fn bytes(&mut self, bytes: &[u8]) -> Result<(), OpenError> {
        self.sink.bytes(bytes)?;
        (self.step)(self.read.load(Ordering::Relaxed))
    }

    fn zeros(&mut self, n: u64) -> Result<(), OpenError> {
        // In steps, for somebody may want to stop it.
        const STEP: u64 = 64 << 20;
        let mut left = n;
        while left > 0 {
            let now = left.min(STEP);
            self.sink.zeros(now)?;
            (self.step)(self.read.load(Ordering::Relaxed))?;
            left -= now;
        }
        Ok(())
    }
}
