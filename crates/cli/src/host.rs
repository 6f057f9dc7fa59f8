//! What `doctor` reports: the facts of this host, in the shape that the addon's `doctor()` gives them (`index.d.ts`).

use serde::Serialize;

#[cfg(not(target_os = "linux"))]
mod elsewhere;
#[cfg(target_os = "linux")]
mod found;
mod words;

/// The report. What is null could not be found out, or is not asked where there is no process to look at.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Whether `createCore` would work, by one of the `ways`.
    pub ok: bool,
    /// Operating system and architecture: `linux-x86_64`.
    pub platform: String,
    /// The process that was looked at; null: none, this is for one that is started from here.
    pub pid: Option<u32>,
    /// The C library of this command.
    pub libc: Option<Libc>,
    /// `kernel.core_pattern`.
    pub core_pattern: Option<CorePattern>,
    /// Resource limits.
    pub limits: Limits,
    /// `kernel.yama.ptrace_scope`, 0 to 3; null also where the kernel has no Yama.
    pub yama: Option<u32>,
    /// Seccomp filters of the process.
    pub seccomp: Option<Seccomp>,
    /// Capabilities that it holds, and that matter here.
    pub capabilities: Option<Vec<String>>,
    /// Whether no_new_privs is set.
    pub no_new_privs: Option<bool>,
    /// prctl(PR_GET_DUMPABLE); null for another process.
    pub dumpable: Option<i32>,
    /// What SIGSEGV does in it: `default`, `ignored`, `handled`.
    pub sigsegv: Option<String>,
    /// The pages that V8 keeps out of forks.
    pub dont_fork: Option<DontFork>,
    /// Threads of the process.
    pub threads: Option<u64>,
    /// Where the core would be written.
    pub directory: Option<Directory>,
    /// Memory, and how much of it is left.
    pub memory: Option<Memory>,
    /// Namespaces other than the host's first ones, and the control group.
    pub container: Option<Container>,
    /// What a capture would cost; null where there is no process to look at.
    pub estimates: Option<Estimates>,
    /// By the kernel's dump of a copy, and without the kernel's help.
    pub ways: Ways,
    /// What does not stop a capture but should be known.
    pub warnings: Vec<String>,
}

#[derive(Debug, Clone, Serialize)]
pub struct Libc {
    /// `glibc` or `musl`.
    pub name: String,
    /// Its version, where it tells one.
    pub version: Option<String>,
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CorePattern {
    /// As the kernel has it.
    pub value: String,
    /// In words: where the kernel takes cores.
    pub meaning: String,
    /// Whether a core would be left where captures look for it.
    pub kernel_way: bool,
}

/// In bytes.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Limits {
    /// RLIMIT_CORE.
    pub core: Option<Limit>,
    /// RLIMIT_FSIZE.
    pub file_size: Option<Limit>,
    /// RLIMIT_AS.
    pub address_space: Option<Limit>,
    /// RLIMIT_DATA.
    pub data: Option<Limit>,
}

/// Bytes; null: unlimited.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Limit {
    pub soft: Option<u64>,
    pub hard: Option<u64>,
}

#[derive(Debug, Clone, Serialize)]
pub struct Seccomp {
    /// `none`, `strict`, `filter`.
    pub mode: String,
    /// How many, since Linux 5.9.
    pub filters: Option<u32>,
}

#[derive(Debug, Clone, Serialize)]
pub struct DontFork {
    pub ranges: u64,
    /// Bytes of address space.
    pub bytes: u64,
    /// Bytes of memory.
    pub resident: u64,
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Directory {
    pub path: String,
    /// Whether this user can make files there.
    pub writable: bool,
    /// Bytes free for everybody.
    pub free_bytes: Option<u64>,
    /// Its type: `ext4`, `overlay`.
    pub file_system: Option<String>,
}

#[derive(Debug, Clone, Serialize)]
pub struct Memory {
    /// Bytes resident; null where there is no process to look at.
    pub rss: Option<u64>,
    /// The tightest control group with a limit; null: no limit.
    pub cgroup: Option<Cgroup>,
    /// `vm.overcommit_memory`.
    pub overcommit: Overcommit,
}

/// In bytes.
#[derive(Debug, Clone, Serialize)]
pub struct Cgroup {
    /// 1 or 2.
    pub version: Option<u32>,
    pub limit: u64,
    /// File cache that can go counted as free.
    pub free: u64,
    /// What captures leave free of that.
    pub reserve: u64,
}

#[derive(Debug, Clone, Serialize)]
pub struct Overcommit {
    /// 0 heuristic, 1 always, 2 never.
    pub mode: Option<u32>,
    /// Bytes that the kernel still promises, in mode 2.
    pub free: Option<u64>,
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Container {
    pub pid_namespace: Option<bool>,
    pub user_namespace: Option<bool>,
    pub mount_namespace: Option<bool>,
    /// Path of the control group that accounts memory.
    pub cgroup: Option<String>,
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Estimates {
    /// Milliseconds that the calling thread is held.
    pub pause_ms: f64,
    /// Bytes on disk of a core.
    pub core_bytes: u64,
    /// Bytes of an archive.
    pub archive_bytes: u64,
    /// Bytes of memory that should be free while the copy lives.
    pub memory_reserve: u64,
    /// Bytes of disk that `collectCore` needs while it packs.
    pub free_bytes_needed: u64,
}

#[derive(Debug, Clone, Default, Serialize)]
pub struct Ways {
    pub kernel: Way,
    pub direct: Way,
}

/// `why` and `change` are there where it does not work.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Way {
    pub works: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub change: Option<String>,
}

fn platform() -> String {
    format!("{}-{}", std::env::consts::OS, std::env::consts::ARCH)
}
