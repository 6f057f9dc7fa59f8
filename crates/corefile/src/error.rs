//! What can be wrong with a core or an ELF file.

use std::io;

/// Why a core file (or an ELF file) could not be read.
#[derive(Debug, thiserror::Error)]
pub enum CoreError {
    /// Reading the file failed; the operating system's error is kept.
    #[error("the file could not be read: {0}")]
    Io(#[source] io::Error),
    /// The file does not begin with the ELF magic number.
    #[error("this is not an ELF file")]
    NotElf,
    /// It is an ELF file, but an executable or a library instead of a core.
    #[error("this ELF file is not a core (e_type is {e_type}, a core has 4)")]
    NotCore {
        /// The `e_type` that was found.
        e_type: u16,
    },
    /// It is an ELF file of a kind that is not read here, such as a big-endian one.
    #[error("this kind of ELF file is not supported: {0}")]
    Unsupported(&'static str),
    /// The file is shorter than its headers promise, as when the disk filled while it was written.
    #[error("the file ends too early: its headers promise {expected} bytes, it has {actual}")]
    Truncated {
        /// Length in bytes that the headers read so far promise.
        expected: u64,
        /// Length in bytes of the file.
        actual: u64,
    },
    /// The headers or notes contradict themselves.
    #[error("the file is damaged: {0}")]
    Damaged(&'static str),
    /// The core holds no bytes for this address.
    #[error("the core holds no memory at address {address:#x}")]
    Missing {
        /// The first address that is absent.
        address: u64,
    },
}
