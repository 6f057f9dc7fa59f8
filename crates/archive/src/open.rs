//! From a path, or standard input, to a core that can be read: whatever it is packed in.
//!
//! What something is, is told by its content. A core is read where it lies, and so is one in a tar archive that is not
//! compressed, in a zip archive that stores it, or in an archive of ours, whose index says where each block lies.
//! Everything else is decompressed once, into the [`Cache`].

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use stillcore_corefile::{FileSource, Source};

mod blocks;
mod cache;
mod cut_zip;
mod decode;
mod entry;
mod error;
mod find;
mod key;
mod limits;
mod opened;
mod opener;
mod options;
pub(crate) mod path;
mod room;
mod size;
mod spool;
mod staging;
mod tar;
mod tree;
mod unpack;
mod unpacker;
mod verify;
mod view;
mod walk;
mod zip;

pub use cache::{CACHE_SIZE_VARIABLE, Cache, CacheEntry, Cleared};
pub use decode::Format;
pub use error::OpenError;
pub use limits::{Limits, Progress, Step};
pub use opened::{Opened, OpenedKind};
pub use options::{CacheUse, OpenOptions};
pub use path::printable;
pub use size::parse_size;
pub use tree::{FileInfo, FileKind, Files};
pub use unpack::{Partial, Refused, UnpackOptions, Unpacked, unpack, unpack_source};
pub use verify::{Problem, ProblemKind, Verified, verify, verify_source};

use self::key::Key;
use self::opener::Opener;
use self::spool::{spool, temporary};
use self::unpacker::Counted;

/// Opens what is at `path`.
///
/// # Errors
/// [`OpenError`] says why there is no core to read. That a core is cut off or nonsense inside is not seen here.
pub fn open(path: &Path, options: &OpenOptions) -> Result<Opened, OpenError> {
    let file = File::open(path).map_err(OpenError::Io)?;
    let metadata = file.metadata().map_err(OpenError::Io)?;
    if metadata.is_dir() {
        return Err(OpenError::Unsupported("it is a folder".to_owned()));
    }
    if !metadata.is_file() {
        // A pipe, such as <(zcat core.gz); a device.
        return open_stream(file, options);
    }
    let source = FileSource::new(file).map_err(OpenError::Io)?;
    let key = Key::of(path, &metadata, &source).map_err(OpenError::Io)?;
    Opener::new(options).open(Arc::new(source), Some(key))
}

/// Opens what a stream gives, standard input for instance. It is written to a temporary file without a name first,
/// unless it is standard input and that is a file.
///
/// # Errors
/// As [`open`].
pub fn open_stream(mut stream: impl Read, options: &OpenOptions) -> Result<Opened, OpenError> {
    let (file, folder) = temporary()?;
    let read = AtomicU64::new(0);
    let mut counted = Counted {
        inner: &mut stream,
        count: &read,
    };
    let done = || Step {
        done: read.load(Ordering::Relaxed),
        total: None,
    };
    spool(
        &mut counted,
        &file,
        &folder,
        &options.limits,
        options.progress.as_ref(),
        &done,
    )?;
    let source = FileSource::new(file).map_err(OpenError::Io)?;
    Opener::new(options).open(Arc::new(source), None)
}

/// Opens standard input: where it is a file (`< core`), that file; else as [`open_stream`].
///
/// # Errors
/// As [`open`].
pub fn open_stdin(options: &OpenOptions) -> Result<Opened, OpenError> {
    use std::os::fd::AsFd;
    let stdin = io::stdin();
    let file: File = stdin
        .as_fd()
        .try_clone_to_owned()
        .map_err(OpenError::Io)?
        .into();
    let metadata = file.metadata().map_err(OpenError::Io)?;
    if !metadata.is_file() {
        return open_stream(file, options);
    }
    let source = FileSource::new(file).map_err(OpenError::Io)?;
    let key = Key::of(Path::new("-"), &metadata, &source).map_err(OpenError::Io)?;
    Opener::new(options).open(Arc::new(source), Some(key))
}

/// Opens what any source gives. What has to be unpacked goes into temporary files.
///
/// # Errors
/// As [`open`].
pub fn open_source(source: Arc<dyn Source>, options: &OpenOptions) -> Result<Opened, OpenError> {
    Opener::new(options).open(source, None)
}
