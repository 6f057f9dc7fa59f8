//! Why an archive could not be made.

use std::io;

use crate::stream::WorkerDied;

/// Why an archive could not be made. What was written of it is worthless.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// Writing the archive failed; the operating system's error is kept.
    #[error("the archive could not be written: {0}")]
    Output(#[source] io::Error),
    /// Reading the core failed; the operating system's error is kept.
    #[error("the core could not be read: {0}")]
    Core(#[source] io::Error),
    /// The progress function said to stop.
    #[error("packing was stopped")]
    Stopped,
    /// A thread ended by a panic.
    #[error(transparent)]
    Worker(#[from] WorkerDied),
}

impl PackError {
    /// The operating system's error number, where there is one.
    pub fn errno(&self) -> Option<i32> {
        match self {
            PackError::Output(error) | PackError::Core(error) => error.raw_os_error(),
            PackError::Stopped | PackError::Worker(_) => None,
        }
    }

    /// An error of the compressed stream.
    pub(crate) fn output(error: io::Error) -> PackError {
        match error.get_ref() {
            Some(inner) if inner.is::<WorkerDied>() => PackError::Worker(WorkerDied),
            _ => PackError::Output(error),
        }
    }
}
