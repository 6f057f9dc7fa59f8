//! What a caller asks of a capture, and what it is given: plain data, and the callbacks of both sides.

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::amend;
use crate::dump::Dump;
use crate::error::Failure;
use crate::folder::{Folder, Title};
use crate::image::{Skipped, Wanted};
use crate::live::Live;
use crate::monitor::Monitor;
use crate::notes::Thread;
use crate::plan;
use crate::stream::Stream;
use crate::threads::How;

/// Makes the result out of a core, on the runner's thread.
pub type Finish = Box<dyn FnOnce(RawCore<'_>) -> Result<Made, Failure> + Send>;

/// Is told how far a capture is, about every 50 ms, on the keeper's thread.
pub type Watch = Box<dyn Fn(Progress) + Send + Sync>;

/// Writes the vendor note of a core: text that says how it was made, by its method, its time (RFC 3339), and the
/// ids and names of its threads.
pub type Describe = Box<dyn FnOnce(Method, String, &[(i32, String)]) -> String + Send>;

/// How the copy becomes a core.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// The kernel dumps it.
    Kernel,
    /// It sleeps, and this process reads it.
    Direct,
}

/// How far a capture is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// `waiting` in line, `dumping` by the kernel, `writing` the result.
    pub phase: &'static str,
    /// Bytes of the core dumped, or taken into the result.
    pub bytes: u64,
    /// Bytes there will be; an estimate while dumping.
    pub total: u64,
}

/// A finished result.
#[derive(Debug, Default)]
pub struct Made {
    /// The core or the archive; empty for a stream.
    pub path: PathBuf,
    /// Its size.
    pub bytes: u64,
    /// Mappings whose memory is not in the core.
    pub skipped: Vec<Skipped>,
    /// What a reader of the core should know.
    pub notes: Vec<String>,
    /// Threads whose registers are in the core.
    pub threads: usize,
    /// Threads there were.
    pub all_threads: usize,
}

/// Where a result goes.
pub enum Target {
    /// Into this directory. Absolute.
    Directory(PathBuf),
    /// To a reader; nothing is written to disk.
    Stream(Stream),
}

/// Is told the end of a capture, once, on any thread.
pub type Done = Box<dyn FnOnce(Outcome) + Send>;

/// What a caller wants of a capture.
pub struct Request {
    /// Where the result goes.
    pub target: Target,
    /// Who asks, for [`end_all_of`].
    pub owner: u64,
    /// The most it may take in all.
    pub timeout: Duration,
    /// The most it may take without a byte of progress while it runs.
    pub stall_timeout: Duration,
    /// How the copy becomes a core. None: by the kernel where that will surely do, else directly.
    pub method: Option<Method>,
    /// What of the memory is wanted, where the core is read directly.
    pub wanted: Wanted,
    /// Whether the other threads are stopped for the fork, so that their registers are in the core.
    pub all_threads: bool,
    /// An earlier attempt by the kernel that yielded nothing, where this one takes its place.
    pub instead_of: Option<Failure>,
    /// Is told how far it is.
    pub watch: Option<Watch>,
    /// Writes the vendor note.
    pub describe: Describe,
    /// Verifies and packs.
    pub finish: Finish,
    /// Learns the end.
    pub done: Done,
}

/// A core, not yet verified.
pub struct RawCore<'a> {
    /// Name and time of the result.
    pub title: Title,
    /// Why the kernel's way was passed by, where it was.
    pub passed_by: Option<Failure>,
    /// Where its bytes are. Fields are dropped in their order, and this one must come before `output`: a copy that the
    /// kernel still dumps ends here, or it might make its file in the folder while that is being removed.
    pub content: Content<'a>,
    /// Where it goes.
    pub output: Output,
    /// `/proc/PID/maps` of the copy.
    pub maps: Vec<u8>,
    /// Ranges that a whole core holds: V8's pages.
    pub heap: Vec<Range<u64>>,
    /// The threads whose registers are known.
    pub threads: Threads,
    /// For long work on the core: to be told of every piece of progress.
    pub monitor: &'a Monitor,
}

/// Threads whose registers are known, the calling one first, and the vendor note that names them.
pub struct Threads {
    pub(crate) list: Vec<Thread>,
    pub(crate) how: How,
    pub(crate) all: usize,
    pub(crate) made_by: String,
}

impl Threads {
    /// How many.
    pub fn count(&self) -> usize {
        self.list.len()
    }

    /// How many there were.
    pub fn all(&self) -> usize {
        self.all.max(self.list.len())
    }

    /// Of how many of the others no more than stack pointer and program counter is known.
    pub fn partly(&self) -> usize {
        let is_such = |thread: &&Thread| thread.registers.only_place;
        self.list.iter().filter(is_such).count()
    }

    /// How the registers of the others were read.
    pub fn how(&self) -> How {
        self.how
    }
}

/// Where a result is written.
pub enum Output {
    /// In this working folder, to be published; dropping it removes everything.
    Folder(Folder),
    /// To this reader.
    Stream(Stream),
}

/// Where the bytes of a core are.
pub enum Content<'a> {
    /// In a file that the kernel is about to write.
    Dump(Dump<'a>),
    /// In a copy that sleeps.
    Live(Live),
}

impl RawCore<'_> {
    /// Puts the other threads, and how the core was made, into a core that the kernel wrote. Verify it first. Where
    /// that fails the core is whole without, and the reason is given.
    pub fn add_threads(&self, path: &Path) -> Result<(), io::Error> {
        amend::add_notes(path, &self.threads.list, &self.threads.made_by)
    }

    /// Why a core of `size` bytes is shorter than its headers promise.
    pub fn truncated(&self, size: u64, expected: u64) -> Failure {
        let explained = match &self.output {
            Output::Folder(folder) => plan::explain_short(folder.path(), size),
            Output::Stream(_) => None,
        };
        explained.unwrap_or_else(|| {
            Failure::new(
                "ERR_CORE_TRUNCATED",
                format!(
                    "The kernel wrote only {size} of {expected} bytes of the core and does not say why. \
                     It was removed. Look at the free space, the quotas and the limits (ulimit -c, ulimit -f) \
                     of this process, and at the kernel's log."
                ),
            )
        })
    }

    /// What a core without all of V8's pages is worth.
    pub fn incomplete(&self, missing: &[Range<u64>]) -> Failure {
        let bytes: u64 = missing.iter().map(|range| range.end - range.start).sum();
        crate::dontfork::incomplete(&format!(
            "{bytes} bytes of V8's memory in {} ranges, the first at {:#x}, are not in it",
            missing.len(),
            missing.first().map_or(0, |range| range.start)
        ))
    }
}

/// How a capture ended.
pub struct Outcome {
    /// The core or archive.
    pub result: Result<Made, Failure>,
    /// What was done, and how many milliseconds after the call it was over.
    pub steps: Vec<(&'static str, f64)>,
}

/// A capture that has begun.
pub struct Begun {
    /// For [`abort`].
    pub id: u64,
    /// How long the forks held the calling thread.
    pub pause: Duration,
    /// How the copy becomes a core.
    pub method: Method,
}
