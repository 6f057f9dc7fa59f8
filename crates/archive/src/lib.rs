//! Packs a core, and the ELF files of the process it came from, into one `.tar.gz`, `.tar.zst` or `.tar`.
//!
//! You give a core, the list of mapped files and an output; you get an archive that every common program opens:
//! plain files and folders, a `manifest.json` that says what is in it and what is missing and why, and scripts that
//! open the core in gdb and lldb.
//! Holes of the core cost no time and next to no space. Memory is bounded, whatever the size of the core.
//!
//! The core is an open file, or a [`LiveImage`]: headers made beforehand and the memory of a live process. The latter
//! can also be written as a bare core file, by [`write_core`].
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
//!     executable: Some(&std::fs::read_link("/proc/self/exe")?),
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
mod compression;
mod early;
mod error;
mod hash;
mod index;
mod manifest;
#[cfg(feature = "open")]
mod open;
#[cfg(feature = "package")]
mod package;
mod packer;
mod patience;
#[cfg(any(feature = "open", feature = "package"))]
mod rename;
mod script;
mod source;
mod sparse;
mod stream;
mod write;

pub use block::{BLOCK_SIZE, Block};
pub use collect::{MappedFile, mapped_files};
pub use compression::Compression;
pub use early::EarlySync;
pub use error::PackError;
pub use manifest::{
    CoreEntry, FileEntry, LinkEntry, Manifest, ManifestHead, SCHEMA_VERSION, ScriptEntry, Tool,
};
#[cfg(feature = "open")]
pub use open::{
    CACHE_SIZE_VARIABLE, Cache, CacheEntry, CacheUse, Cleared, FileInfo, FileKind, Files, Format,
    Limits, OpenError, OpenOptions, Opened, OpenedKind, Partial, Problem, ProblemKind, Progress,
    Refused, Step, UnpackOptions, Unpacked, Verified, open, open_source, open_stdin, open_stream,
    parse_size, printable, unpack, unpack_source, verify, verify_source,
};
#[cfg(feature = "package")]
pub use package::{PackageError, PackageJob, Packaged, package, package_kernel};
pub use source::{CoreSource, LiveImage, Part};
pub use sparse::{SparseWriter, Written, write_core};
pub use stream::{MIN_ZEROS, PackOptions, StreamWriter, WorkerDied};
pub use write::{PackJob, Packed, Packing, pack};

/// More compressing threads than this take more memory than they save time.
const MAX_THREADS: usize = 8;

/// How many threads should compress: as many as CPUs may be used (affinity and the cgroup's `cpu.max` counted), at
/// most eight, at least one.
pub fn default_threads() -> usize {
    std::thread::available_parallelism().map_or(1, |cpus| cpus.get().min(MAX_THREADS))
}
