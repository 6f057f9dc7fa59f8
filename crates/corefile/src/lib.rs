//! Reads ELF core files, and the build-id of ELF files.
//!
//! You give an open file, or any [`Source`] of bytes; [`CoreFile`] gives its segments and notes, whether it is as long
//! as its own headers promise, which address ranges it lacks, and the bytes at an address. With the feature `process`
//! (the default), [`Process::open`] makes of it a dumped process: memory that the mapped files complete, modules,
//! threads, symbols, backtraces. Only headers and notes are held in memory: a core of many gigabytes is never loaded
//! or mapped, every read goes to the file.
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

#[cfg(feature = "process")]
mod about;
#[cfg(feature = "process")]
mod anchor;
mod build_id;
#[cfg(feature = "process")]
mod call_sites;
#[cfg(feature = "process")]
mod cfi;
mod core;
#[cfg(feature = "process")]
mod debug_files;
#[cfg(feature = "process")]
mod dynamic;
mod elf;
#[cfg(feature = "process")]
mod elf_file;
mod error;
#[cfg(feature = "process")]
mod frame;
#[cfg(feature = "process")]
mod gnu_hash;
#[cfg(feature = "process")]
mod image;
#[cfg(feature = "process")]
mod lines;
#[cfg(feature = "process")]
mod memory;
#[cfg(feature = "process")]
mod module;
#[cfg(feature = "process")]
mod modules;
mod notes;
#[cfg(feature = "process")]
mod process;
#[cfg(feature = "process")]
mod registers;
mod soname;
mod source;
#[cfg(feature = "process")]
mod split;
#[cfg(feature = "process")]
mod symbol;
#[cfg(feature = "process")]
mod symbols;
#[cfg(feature = "process")]
mod sysroot;
#[cfg(feature = "process")]
mod tail_calls;
#[cfg(feature = "process")]
mod thread;
#[cfg(feature = "process")]
mod unwind;
#[cfg(feature = "process")]
mod vmcore;
#[cfg(feature = "process")]
mod words;
#[cfg(feature = "process")]
mod written;

#[cfg(feature = "process")]
pub use crate::about::{About, CaptureNote, MappedFile, Signal};
pub use crate::build_id::build_id;
pub use crate::core::{CoreFile, Segment};
#[cfg(feature = "process")]
pub use crate::elf_file::{file_section, file_symbol};
pub use crate::error::CoreError;
#[cfg(feature = "process")]
pub use crate::frame::{Backtrace, End, Frame, FrameTrust};
#[cfg(feature = "process")]
pub use crate::image::Header;
#[cfg(feature = "process")]
pub use crate::lines::Location;
#[cfg(feature = "process")]
pub use crate::memory::{Backing, Memory, MemoryRange, Share};
#[cfg(feature = "process")]
pub use crate::module::{Module, ModuleKind};
pub use crate::notes::Note;
#[cfg(feature = "process")]
pub use crate::process::Process;
#[cfg(feature = "process")]
pub use crate::registers::{Arch, Registers};
pub use crate::soname::soname;
pub use crate::source::{FileSource, IntoSource, Source, next_data};
#[cfg(feature = "process")]
pub use crate::split::SplitUnit;
#[cfg(feature = "process")]
pub use crate::symbol::{Symbol, SymbolKind, demangle};
#[cfg(feature = "process")]
pub use crate::sysroot::{Check, FileProvider, Found, Mismatch, Sysroot};
#[cfg(feature = "process")]
pub use crate::thread::Thread;
#[cfg(feature = "process")]
pub use crate::vmcore::{DumpFormat, KernelDump, LoadedModule};
