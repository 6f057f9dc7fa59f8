//! What would happen if a capture were taken here and now: found out without taking one.
//!
//! [`examine`] reads and changes nothing: no fork, no signal, no file. What cannot be read is None and a
//! warning, never an error. [`Report::of`] judges, from the [`Facts`] alone, by the rules of `plan.rs`.

mod container;
mod directory;
mod facts;
mod judge;
mod limit;
mod memory;
mod pattern;
mod sigsegv;
mod status;
mod whom;

use std::path::Path;

pub use container::Container;
pub use directory::Directory;
pub use facts::{Facts, Overcommit, libc_of_this_process};
pub use limit::Limit;
pub use memory::Memory;
pub use pattern::{leaves_core_in_folder, meaning};
pub use sigsegv::{Handling, Sigsegv};
pub use status::Status;

use whom::Whom;

/// The capabilities that matter to captures: name, and bit in a set.
pub const CAPABILITIES: [(&str, u32); 4] = [
    // Raises hard limits.
    ("SYS_RESOURCE", 24),
    // Attaches to threads where Yama or the dumpable flag forbids it.
    ("SYS_PTRACE", CAP_SYS_PTRACE),
    // Either of these opens /proc/self/map_files: how a deleted or replaced library gets into the archive.
    ("CHECKPOINT_RESTORE", 40),
    ("SYS_ADMIN", 21),
];
const CAP_SYS_PTRACE: u32 = 19;

/// The judgement.
#[derive(Debug, Clone)]
pub struct Report {
    pub facts: Facts,
    /// Whether `createCore` would work by some way.
    pub ok: bool,
    pub kernel: Way,
    pub direct: Way,
    /// None without /proc.
    pub estimates: Option<Estimates>,
    pub warnings: Vec<String>,
}

/// A way to make a core. It works when nothing is against it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Way {
    pub against: Vec<Reason>,
}

/// Why not, and what to change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    pub why: String,
    pub change: String,
}

impl Way {
    pub fn works(&self) -> bool {
        self.against.is_empty()
    }

    fn no(&mut self, why: impl Into<String>, change: impl Into<String>) {
        self.against.push(Reason {
            why: why.into(),
            change: change.into(),
        });
    }
}

/// What a capture would cost, in milliseconds and bytes. Each figure is a guess from measurements elsewhere.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Estimates {
    pub pause: f64,
    /// On disk: a core has holes, and its apparent size is larger.
    pub core: u64,
    pub archive: u64,
    /// Memory that must be free while the copy lives.
    pub memory_reserve: u64,
    /// For `collectCore`, which needs both for a moment.
    pub free_needed: u64,
}

impl Report {
    /// Judges what was found.
    pub fn of(facts: Facts) -> Report {
        let estimates = facts.estimates();
        let common = facts.against_any_way();
        let mut kernel = common.clone();
        facts.against_the_kernel_way(&mut kernel);
        let mut direct = common;
        facts.against_the_direct_way(&mut direct);
        Report {
            ok: kernel.works() || direct.works(),
            warnings: facts.warnings(estimates.as_ref()),
            kernel,
            direct,
            estimates,
            facts,
        }
    }
}

/// Looks at this process, and at `directory` for the result of a capture, and judges. Takes about 20 ms per
/// GB of V8's heap, so not for the JavaScript thread of a large process.
pub fn examine(directory: &Path) -> Report {
    Report::of(Facts::gather(Whom::This, directory))
}

/// The same for any process that is started from this one, with its user, limits and control group: what this one
/// is made of itself is left out, and there are no estimates.
pub fn examine_host(directory: &Path) -> Report {
    let mut facts = Facts::gather(Whom::This, directory);
    facts.memory = None;
    facts.sigsegv = None;
    Report {
        estimates: None,
        ..Report::of(facts)
    }
}

/// Looks at another process as well as that can be done from outside; `directory` is as that process sees it, by
/// default its working directory.
///
/// # Errors
/// There is no such process.
pub fn examine_process(pid: u32, directory: Option<&Path>) -> std::io::Result<Report> {
    let folder = Path::new("/proc").join(pid.to_string());
    std::fs::metadata(&folder)?;
    let directory = match directory {
        Some(directory) => directory.to_owned(),
        None => std::fs::read_link(folder.join("cwd")).unwrap_or_else(|_| "/".into()),
    };
    Ok(Report::of(Facts::gather(Whom::Process(pid), &directory)))
}

#[cfg(test)]
mod tests;
