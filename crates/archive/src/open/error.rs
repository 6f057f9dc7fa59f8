//! Why something cannot be opened.

use std::io;
use std::path::PathBuf;

/// What is said of a stream whose end is missing.
const TOO_EARLY: &str = "it ends too early";

/// And of a tar archive.
pub(crate) const TAR_TOO_EARLY: &str = "the tar archive ends in the middle of an entry";

/// Most memory that a decoder may ask for, in bytes: what the highest levels of xz and zstd need, and twice that.
pub(crate) const MAX_MEMORY: u64 = 256 << 20;

/// Why a core, an archive or a compressed core could not be opened, unpacked or verified. The text does not name the
/// file: the caller knows which it is.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Reading failed; the operating system's error is kept.
    #[error("it could not be read: {0}")]
    Io(#[source] io::Error),
    /// Nothing that is known here: what it begins with instead.
    #[error("this is not a core, not a compressed core and not an archive: {0}")]
    Unknown(String),
    /// Known, but not in this form.
    #[error("this cannot be read: {0}")]
    Unsupported(String),
    /// It contradicts itself, its checksums fail, or its end is missing.
    #[error("it is damaged: {0}")]
    Damaged(String),
    /// An archive without a core.
    #[error("there is no core in it")]
    NoCore,
    /// An archive with more than one core; the paths of some of them, printable.
    #[error("there is more than one core in it: {}", .0.join(", "))]
    SeveralCores(Vec<String>),
    /// A limit of [`Limits`](crate::Limits) was reached.
    #[error("{what} is over the limit of {limit}; raise {name} if it is to be trusted")]
    Limit {
        /// What became too large or too many.
        what: String,
        /// The limit.
        limit: u64,
        /// The field of [`Limits`](crate::Limits).
        name: &'static str,
    },
    /// What it unpacks to would fill the disk.
    #[error(
        "it unpacks to more than there is room for in {}: {free} bytes are left of it, beside what is kept free",
        folder.display()
    )]
    NoSpace {
        /// Where it was to be unpacked.
        folder: PathBuf,
        /// What is left there beyond the reserve, in bytes.
        free: u64,
    },
    /// Writing failed; the operating system's error is kept.
    #[error("what it unpacks to could not be written to {}: {error}", path.display())]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        #[source]
        error: io::Error,
    },
    /// The progress function said to stop.
    #[error("it was stopped")]
    Stopped,
}

impl OpenError {
    /// An error of writing to `path`.
    pub(crate) fn write(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> OpenError {
        let path = path.into();
        move |error| OpenError::Write { path, error }
    }

    pub(crate) fn damaged(text: impl Into<String>) -> OpenError {
        OpenError::Damaged(text.into())
    }

    /// Whether it is the end of a stream that is missing, and nothing else is wrong.
    pub(crate) fn is_cut_off(&self) -> bool {
        matches!(self, OpenError::Damaged(text) if text == TOO_EARLY || text == TAR_TOO_EARLY)
    }

    /// That an entry is compressed by another method than those of core-dump-handler: its number (APPNOTE 4.4.5), and a name.
    pub(crate) fn other_method(number: u16) -> OpenError {
        let name = match number {
            9 => "deflate64",
            12 => "bzip2",
            14 => "LZMA",
            20 | 93 => "zstd",
            95 => "xz",
            98 => "PPMd",
            _ => "something unknown",
        };
        OpenError::Unsupported(format!(
            "an entry of the zip archive is compressed by {name} (method {number}), not by deflate; unzip it first"
        ))
    }

    /// To be passed through code that knows I/O errors only; [`OpenError::from`] gives it back.
    pub(crate) fn into_io(self) -> io::Error {
        match self {
            OpenError::Io(error) => error,
            other => io::Error::other(other),
        }
    }
}

/// Errors of the operating system stay what they are; the others come from decoders and mean damage.
impl From<io::Error> for OpenError {
    fn from(error: io::Error) -> OpenError {
        if error.raw_os_error().is_some() {
            return OpenError::Io(error);
        }
        match error.kind() {
            io::ErrorKind::UnexpectedEof => OpenError::damaged(TOO_EARLY),
            io::ErrorKind::OutOfMemory => OpenError::Limit {
                what: "the memory it takes to decompress it".to_owned(),
                limit: MAX_MEMORY,
                name: "nothing: it cannot be raised",
            },
            _ => match error.downcast::<OpenError>() {
                Ok(error) => error,
                Err(error) => OpenError::damaged(error.to_string()),
            },
        }
    }
}
