//! What is so here: read from /proc and asked of the kernel, changing nothing.

use std::fs::{self, File};
use std::path::Path;

use nix::errno::Errno;
use nix::libc;
use nix::sys::resource::Resource;

use super::container::Container;
use super::directory::Directory;
use super::limit::Limit;
use super::memory::Memory;
use super::sigsegv::Sigsegv;
use super::status::Status;
use super::whom::Whom;
use crate::calls::Call;
use crate::cgroup::{Groups, Headroom};
use crate::{dontfork, plan};

/// What was found. None: it could not be read.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// `kernel.core_pattern`, and whether `kernel.core_uses_pid` is set.
    pub pattern: Option<(String, bool)>,
    /// RLIMIT_CORE and RLIMIT_FSIZE.
    pub core_limit: Option<Limit>,
    pub file_limit: Option<Limit>,
    /// RLIMIT_AS and RLIMIT_DATA.
    pub address_space_limit: Option<Limit>,
    pub data_limit: Option<Limit>,
    /// Bytes of address space, and of private writable memory: what those two limit; 0 where that cannot be read.
    pub mapped: u64,
    pub written: u64,
    /// `kernel.yama.ptrace_scope`; None also where the kernel has no Yama.
    pub yama: Option<u32>,
    pub status: Status,
    /// PR_GET_DUMPABLE.
    pub dumpable: Option<i32>,
    pub sigsegv: Option<Sigsegv>,
    pub memory: Option<Memory>,
    /// Bytes resident, from `/proc/self/statm`; 0 where that cannot be read.
    pub rss: u64,
    pub groups: Option<u32>,
    pub headroom: Option<Headroom>,
    pub overcommit: Overcommit,
    pub directory: Directory,
    pub container: Container,
    /// Whether `/proc/self/pagemap` and `/proc/self/mem` exist.
    pub page_files: bool,
    /// Why not even `/proc/self/statm` can be opened.
    pub closed: Option<Errno>,
    /// Bytes of the executable.
    pub executable: u64,
    /// What could not be read, and why.
    pub unread: Vec<String>,
}

/// `vm.overcommit_memory` and, where it is 2, how many bytes the kernel still promises.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Overcommit {
    pub mode: Option<u32>,
    pub free: Option<u64>,
}

impl Facts {
    /// Looks at a process, and at `directory` for the result of a capture.
    pub(crate) fn gather(whom: Whom, directory: &Path) -> Facts {
        let mut unread = Vec::new();
        let mut missed = |what: &str, error: &dyn std::fmt::Display| {
            unread.push(format!("{what} cannot be read ({error})."));
        };
        let pattern = plan::pattern()
            .map_err(|error| missed("/proc/sys/kernel/core_pattern", &error))
            .ok();
        let status_file = whom.file("status");
        let status = fs::read_to_string(&status_file)
            .map_err(|error| missed(&status_file, &error))
            .map(|text| Status::parse(&text))
            .unwrap_or_default();
        let memory = Memory::of(whom)
            .map_err(|why| missed(&whom.file("smaps"), &why))
            .ok();
        let groups = match whom {
            Whom::This => Groups::of_this_process(),
            Whom::Process(pid) => Groups::of_process(pid),
        };
        let statm = fs::read_to_string(whom.file("statm")).unwrap_or_default();
        Facts {
            pattern,
            core_limit: Limit::of(whom, Resource::RLIMIT_CORE),
            file_limit: Limit::of(whom, Resource::RLIMIT_FSIZE),
            address_space_limit: Limit::of(whom, Resource::RLIMIT_AS),
            data_limit: Limit::of(whom, Resource::RLIMIT_DATA),
            mapped: in_statm(&statm, 0),
            written: in_statm(&statm, 5),
            yama: number("/proc/sys/kernel/yama/ptrace_scope"),
            dumpable: (whom == Whom::This).then(dumpable).flatten(),
            sigsegv: Sigsegv::of(whom, &status),
            status,
            memory,
            rss: match whom {
                Whom::This => dontfork::resident(),
                Whom::Process(_) => in_statm(&statm, 1),
            },
            groups: groups.version(),
            headroom: groups.headroom(),
            overcommit: overcommit(),
            directory: Directory::of(whom, directory),
            container: Container::of(whom),
            page_files: ["pagemap", "mem"]
                .iter()
                .all(|name| Path::new(&whom.file(name)).exists()),
            closed: File::open("/proc/self/statm")
                .err()
                .and_then(|error| error.raw_os_error())
                .map(Errno::from_raw),
            executable: fs::metadata(whom.file("exe")).map_or(0, |file| file.len()),
            unread,
        }
    }
}

fn number<T: std::str::FromStr>(file: &str) -> Option<T> {
    fs::read_to_string(file).ok()?.trim().parse().ok()
}

/// Bytes of a field of a `statm`; 0 where that cannot be read.
fn in_statm(statm: &str, field: usize) -> u64 {
    let pages: Option<u64> = statm
        .split_ascii_whitespace()
        .nth(field)
        .and_then(|pages| pages.parse().ok());
    // SAFETY: integers only.
    let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    pages.unwrap_or(0) * u64::try_from(page).unwrap_or(4096)
}

fn dumpable() -> Option<i32> {
    if !Call::GetDumpable.is_safe() {
        return None;
    }
    // SAFETY: integers only; this option reads a flag of the process. (nix's wrapper takes 2 for 1.)
    let value = unsafe { libc::prctl(libc::PR_GET_DUMPABLE, 0, 0, 0, 0) };
    (value >= 0).then_some(value)
}

fn overcommit() -> Overcommit {
    let mode = number("/proc/sys/vm/overcommit_memory");
    let free = (mode == Some(2)).then(|| {
        let text = fs::read_to_string("/proc/meminfo").ok()?;
        let field = |name: &str| -> Option<u64> {
            let line = text.lines().find_map(|line| line.strip_prefix(name))?;
            Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? * 1024)
        };
        Some(field("CommitLimit:")?.saturating_sub(field("Committed_AS:")?))
    });
    Overcommit {
        mode,
        free: free.flatten(),
    }
}

/// The C library of this process, and its version where that can be asked.
pub fn libc_of_this_process() -> (&'static str, Option<String>) {
    #[cfg(target_env = "gnu")]
    {
        // SAFETY: glibc returns a string that lives for ever.
        let version = unsafe { std::ffi::CStr::from_ptr(libc::gnu_get_libc_version()) };
        ("glibc", Some(version.to_string_lossy().into_owned()))
    }
    #[cfg(not(target_env = "gnu"))]
    ("musl", None)
}
