//! What `info` tells, as JSON has it.

use serde::Serialize;

use super::super::memory::Share;
use crate::address::Address;

/// What a core is of.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// What was given as CORE.
    pub file: String,
    /// What it came in: `core`, or whose archive it is: `stillcore`, `gencore`, `savedump`, `core-dump-handler`, `tar`, `zip`.
    pub kind: &'static str,
    /// What lies around the core, from the outside: `gzip`, `tar`.
    pub layers: Vec<&'static str>,
    /// Bytes of the file; null for standard input.
    pub file_size: Option<u64>,
    /// How the core came to be: `died` of a signal, `captured` by stillcore, `dumped` by something else while it lived.
    pub how: &'static str,
    /// The signal, where it died of one.
    pub signal: Option<Signal>,
    /// The capture, where stillcore took it.
    pub capture: Option<Capture>,
    /// The command line, with spaces between the arguments.
    pub command: Option<String>,
    /// The arguments, as they are in memory; null where only the first 79 bytes of the command line are known.
    pub arguments: Option<Vec<String>>,
    /// The executable's path.
    pub executable: Option<String>,
    /// Process id, as the process saw it.
    pub pid: Option<i32>,
    /// Its parent's.
    pub ppid: Option<i32>,
    /// User and group.
    pub uid: Option<u32>,
    /// See `uid`.
    pub gid: Option<u32>,
    /// When: RFC 3339.
    pub time: Option<String>,
    /// Who says so: `capture`; `archive`: its manifest; `file`: when the core was last written to.
    pub time_from: Option<&'static str>,
    /// `x86_64`, `aarch64`.
    pub machine: &'static str,
    /// How many threads there are.
    pub threads: usize,
    /// The thread that died, or that asked for the core.
    pub first_thread: Option<FirstThread>,
    /// Node's version, `20.20.2`; null where the process was not Node, or it cannot be told.
    pub node: Option<String>,
    /// V8's version.
    pub v8: Option<String>,
    /// The core itself, in bytes.
    pub core: Sizes,
    /// The memory of the process.
    pub memory: Share,
    /// The executable and libraries.
    pub modules: ModuleCount,
    /// What is missing, why, and what to do.
    pub missing: Vec<Missing>,
    /// What should be known beside it.
    pub warnings: Vec<String>,
    #[serde(skip)]
    pub(super) bad: bool,
}

/// A signal and what raised it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Signal {
    /// Its number.
    pub number: i32,
    /// `SIGSEGV`.
    pub name: String,
    /// `si_code`.
    pub code: Option<i32>,
    /// `SEGV_MAPERR`.
    pub code_name: Option<&'static str>,
    /// What that means.
    pub meaning: Option<&'static str>,
    /// The address of the fault.
    pub address: Option<Address>,
    /// The process that sent it.
    pub sender_pid: Option<i32>,
    /// The user of that process.
    pub sender_uid: Option<u32>,
}

/// How stillcore took it.
#[derive(Debug, Serialize)]
pub struct Capture {
    /// `stillcore` and its version.
    pub tool: Option<String>,
    /// See `tool`.
    pub version: Option<String>,
    /// `kernel` or `direct`.
    pub method: Option<String>,
    /// What it says of itself.
    pub note: Option<String>,
}

/// A thread in short.
#[derive(Debug, Serialize)]
pub struct FirstThread {
    /// Its id.
    pub tid: i32,
    /// Its name.
    pub name: Option<String>,
}

/// Bytes.
#[derive(Debug, Serialize)]
pub struct Sizes {
    /// Of the core, holes included.
    pub size: u64,
    /// That its headers promise.
    pub expected: u64,
    /// Whether it is shorter than that.
    pub truncated: bool,
}

/// How many modules there are.
#[derive(Debug, Serialize)]
pub struct ModuleCount {
    /// In all, without the kernel's vdso.
    pub count: usize,
    /// For which a file was found and believed.
    pub found: usize,
}

/// Something that is not there.
#[derive(Debug, Serialize)]
pub struct Missing {
    /// What.
    pub what: String,
    /// Why, as far as it can be told.
    pub why: String,
    /// What to do.
    pub change: Option<String>,
}
