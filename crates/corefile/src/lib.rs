//! Reads ELF core files, and the build-id of ELF files.
//!
//! You give an open file; you get its segments and notes, whether it is as long as its own headers
//! promise, which address ranges it lacks, and the bytes at an address. Only headers and notes are held
//! in memory: a core of many gigabytes is never loaded or mapped, every read is a `pread`.
//!
//! A core may come from anywhere, so every number in it is checked and every loop over it has a bound.
//! Absent memory is an error ([`CoreError::Missing`]) and never reads as zeros.
//!
//! This crate knows nothing of V8, and nothing of how the core was made.
//!
//! ```no_run
//! # fn main() -> Result<(), stillcore_corefile::CoreError> {
//! let file = std::fs::File::open("core").map_err(stillcore_corefile::CoreError::Io)?;
//! let core = stillcore_corefile::CoreFile::open(file)?;
//! core.check_whole()?;
//! assert!(core.missing(&[0x1000..0x2000]).is_empty());
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod build_id;
mod core;
mod elf;
mod error;
mod notes;
mod source;

pub use crate::build_id::build_id;
pub use crate::core::{CoreFile, Segment};
pub use crate::error::CoreError;
pub use crate::notes::Note;
pub use crate::source::{FileSource, Source};
