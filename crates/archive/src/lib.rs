//! Packs a core, and the ELF files of the process it came from, into one `.tar.gz`.
//!
//! You give an open core, the list of mapped files and an output; you get an archive that every common program opens:
//! one gzip member, plain files and folders, a `manifest.json` that says what is in it and what is missing and why.
//! Holes of the core cost no time and next to no space. Memory is bounded, whatever the size of the core.
//!
//! It does not sync, name or remove files: that is the caller's.
//!
//! ```no_run
//! use stillcore_archive::{ManifestHead, PackJob, PackOptions, mapped_files, pack};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let core = std::fs::File::open("core")?;
//! let job = PackJob {
//!     top: "core_20260101.120000.1.000",
//!     core: &core,
//!     core_mtime: core.metadata()?.modified()?,
//!     files: &mapped_files(&std::fs::read("/proc/self/maps")?),
//!     manifest: ManifestHead::default(),
//!     options: PackOptions::default(),
//!     progress: &|_bytes| true,
//! };
//! let packed = pack(std::fs::File::create("core.tar.gz")?, &job)?;
//! println!("{} bytes", packed.output_bytes);
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod block;
mod collect;
mod gzip;
mod hash;
mod manifest;
mod write;

pub use block::{BLOCK_SIZE, Block};
pub use collect::{MappedFile, mapped_files};
pub use gzip::{GzipOptions, GzipWriter, MIN_ZEROS, WorkerDied};
pub use manifest::{CoreEntry, FileEntry, Manifest, ManifestHead, SCHEMA_VERSION, Tool};
pub use write::{PackError, PackJob, PackOptions, Packed, pack};

/// More compressing threads than this take more memory than they save time.
const MAX_THREADS: usize = 8;

/// How many threads should compress: as many as CPUs may be used (affinity and the cgroup's `cpu.max` counted), at
/// most eight, at least one.
pub fn default_threads() -> usize {
    std::thread::available_parallelism().map_or(1, |cpus| cpus.get().min(MAX_THREADS))
}
