//! The judgement: what speaks against each way, what it would cost, what is worth a word.

use nix::errno::Errno;

use super::limit::Limit;
use super::memory::Memory;
use super::pattern::meaning;
use super::{CAP_SYS_PTRACE, Estimates, Facts, Way};
use crate::error::{Failure, advice};
use crate::plan;
use crate::shortage::{Budget, Shortage};

/// No archive of a Node process is smaller, in bytes: its executable alone takes more.
const LEAST_ARCHIVE: u64 = 4 << 20;

impl Facts {
    fn may(&self, capability: u32) -> bool {
        self.status
            .capabilities
            .is_some_and(|set| set & (1 << capability) != 0)
    }

    /// Bytes that no core of this process goes below, as `plan.rs` counts them.
    fn least(&self) -> u64 {
        self.rss
    }

    pub(super) fn against_any_way(&self) -> Way {
        let mut way = Way::default();
        if let Some(errno @ (Errno::EMFILE | Errno::ENFILE)) = self.closed {
            way.no(format!("{}.", words(errno)), advice(errno));
        } else if self.rss == 0 {
            way.no(
                "There is no usable /proc here.",
                "Mount /proc in this container or chroot.",
            );
        }
        let path = self.directory.path.display();
        if let Some(errno) = self.directory.problem {
            way.no(
                format!("Nothing can be written in {path}: {}.", words(errno)),
                match advice(errno) {
                    "" => "Name another directory (option `directory` or STILLCORE_DIRECTORY).",
                    advice => advice,
                },
            );
        }
        if let Some(room) = self.headroom
            && !room.is_enough()
        {
            way.no(
                format!(
                    "The control group of this process has {} left of its {}, less than the {} that captures \
                     leave free.",
                    size(room.free),
                    size(room.limit),
                    size(room.reserve)
                ),
                "Raise the memory limit, capture while the process is smaller, or lower the reserve \
                 (STILLCORE_MEMORY_RESERVE, in bytes).",
            );
        }
        let budget = |limit: Option<Limit>, used| Budget {
            limit: limit.and_then(|limit| limit.soft),
            used,
        };
        if let Some(shortage) = Shortage::of(
            budget(self.address_space_limit, self.mapped),
            budget(self.data_limit, self.written),
        ) {
            way.no(shortage.why(), Shortage::CHANGE);
        }
        if let (Some(2), Some(free), Some(data)) =
            (self.overcommit.mode, self.overcommit.free, self.status.data)
            && free < data
        {
            way.no(
                format!(
                    "The kernel promises no more memory than it has (vm.overcommit_memory=2): {} are left, and a \
                     fork asks for {}.",
                    size(free),
                    size(data)
                ),
                "Allow overcommit on this host (sysctl -w vm.overcommit_memory=0), or give it swap.",
            );
        }
        way
    }

    pub(super) fn against_the_kernel_way(&self, way: &mut Way) {
        let path = self.directory.path.display();
        if let Some(free) = self.directory.free_at_most
            && self.directory.problem.is_none()
            && free < self.least()
        {
            way.no(
                format!(
                    "{} are free in {path}, and a core of this process has at least {}.",
                    size(free),
                    size(self.least())
                ),
                advice(Errno::ENOSPC),
            );
        }
        match &self.pattern {
            None => way.no(
                "kernel.core_pattern cannot be read: it is not known where the kernel takes cores.",
                "Let this container see /proc/sys/kernel/core_pattern.",
            ),
            Some((pattern, with_pid)) => {
                if plan::diversion(pattern, *with_pid).is_some() {
                    way.no(
                        format!(
                            "kernel.core_pattern is '{pattern}': it {}.",
                            meaning(pattern, *with_pid)
                        ),
                        "The administrator of this host, not of the container, can change it for all: \
                         sysctl -w kernel.core_pattern=core",
                    );
                }
            }
        }
        if let Some(Limit {
            hard: Some(hard), ..
        }) = self.core_limit
            && hard < self.least()
        {
            let what = if hard == 0 {
                "0: no core may be written".to_owned()
            } else {
                format!(
                    "{}, and a core of this process has at least {}",
                    size(hard),
                    size(self.least())
                )
            };
            way.no(
                format!("The hard limit on core files (RLIMIT_CORE) is {what}."),
                "Raise it where the service is started: ulimit -Hc unlimited, LimitCORE=infinity (systemd), \
                 docker --ulimit core=-1. The soft limit does not matter.",
            );
        }
        self.against_files_of(self.file_limit.and_then(|limit| limit.hard), "hard", way);
    }

    pub(super) fn against_the_direct_way(&self, way: &mut Way) {
        // How small an archive gets is only known when it is there.
        if let Some(free) = self.directory.free_at_most
            && self.directory.problem.is_none()
            && free < LEAST_ARCHIVE
        {
            way.no(
                format!(
                    "{} are free in {}.",
                    size(free),
                    self.directory.path.display()
                ),
                advice(Errno::ENOSPC),
            );
        }
        if !self.page_files && self.rss != 0 {
            way.no(
                "/proc/self/pagemap or /proc/self/mem is missing: a copy's memory could not be read.",
                "Run on a kernel with CONFIG_PROC_PAGE_MONITOR, and not in a sandbox that imitates one.",
            );
        }
        // It is the service itself that writes, and it would have to raise its own limit.
        self.against_files_of(self.file_limit.and_then(|limit| limit.soft), "soft", way);
    }

    fn against_files_of(&self, limit: Option<u64>, which: &str, way: &mut Way) {
        if let Some(limit) = limit
            && limit < self.least()
        {
            way.no(
                format!(
                    "The {which} limit on file sizes (RLIMIT_FSIZE) is {}, and a core of this process has at least \
                     {}.",
                    size(limit),
                    size(self.least())
                ),
                "Raise it where the service is started: ulimit -f unlimited, LimitFSIZE=infinity (systemd).",
            );
        }
    }

    /// V8's heap 22 ms per GB, other memory 15; a core holds what is anonymous and all that is mapped of
    /// files; heaps pack to a quarter, ELF files, which are in the archive twice, to a half.
    pub(super) fn estimates(&self) -> Option<Estimates> {
        if self.rss == 0 {
            return None;
        }
        let memory = self.memory.unwrap_or(Memory {
            // As if all were V8's: rather too long than too short.
            marked_resident: self.rss,
            anonymous: self.rss,
            files: self.executable,
            ..Memory::default()
        });
        let gigabytes = |bytes: u64| bytes as f64 / (1u64 << 30) as f64;
        let heap = memory.marked_resident.min(memory.anonymous);
        let pause = 1.5 + 22.0 * gigabytes(heap) + 15.0 * gigabytes(memory.anonymous - heap);
        let core = memory.anonymous + memory.files;
        let archive = memory.anonymous / 4 + (memory.files + self.executable) / 2;
        // The tables of the copy, V8's young generation written anew, blocks that are being packed.
        let copy = self.status.page_tables.unwrap_or(self.rss / 32) + (64 << 20);
        Some(Estimates {
            pause: (pause * 10.0).round() / 10.0,
            core,
            archive,
            memory_reserve: self.headroom.map_or(copy, |room| room.reserve.max(copy)),
            free_needed: core + archive,
        })
    }

    pub(super) fn warnings(&self, estimates: Option<&Estimates>) -> Vec<String> {
        let mut said = self.unread.clone();
        let mut say = |words: String| said.push(words);
        if self.core_limit.is_some_and(|limit| limit.hard == Some(0)) {
            say(
                "The hard limit on core files is 0. Perhaps somebody decided that: ask before you pass it by, for a \
                 core holds every secret of the process."
                    .into(),
            );
        }
        if let Some(dumpable @ (0 | 2)) = self.dumpable {
            say(format!(
                "This process is not dumpable (PR_GET_DUMPABLE {dumpable}). Captures work all the same: only the \
                 copy is made dumpable. Perhaps it was set on purpose, for a core holds every secret of the process."
            ));
        }
        if self.status.seccomp == Some(2) {
            let filters = match self.status.filters {
                Some(1) => "A seccomp filter is".to_owned(),
                Some(number) => format!("{number} seccomp filters are"),
                None => "Seccomp filters are".to_owned(),
            };
            say(format!(
                "{filters} active. What they refuse cannot be asked without risk: take one capture where nothing is \
                 at stake and the same filters are active."
            ));
        }
        self.warn_of_threads(&mut say);
        if let Some(Memory {
            marked_ranges: 0, ..
        }) = self.memory
        {
            say(
                "V8 keeps no pages out of forks here (Node before 18.20, or started with a flag that changes it): \
                 a plain fork has the heap."
                    .into(),
            );
        }
        if let Some(estimates) = estimates {
            self.warn_of_space(estimates, &mut say);
        }
        said
    }

    fn warn_of_threads(&self, say: &mut dyn FnMut(String)) {
        let why = if self.status.tracer.is_some_and(|pid| pid != 0) {
            "A debugger or tracer is attached to this process"
        } else if self.yama == Some(3) {
            "kernel.yama.ptrace_scope is 3, which allows nobody to attach"
        } else if self.yama == Some(2) && !self.may(CAP_SYS_PTRACE) {
            "kernel.yama.ptrace_scope is 2, and this process has no CAP_SYS_PTRACE"
        } else if matches!(self.dumpable, Some(0 | 2)) && !self.may(CAP_SYS_PTRACE) {
            "This process is not dumpable and has no CAP_SYS_PTRACE"
        } else {
            return;
        };
        say(format!(
            "{why}: the memory can be captured, but the registers of threads other than the calling one only in part."
        ));
    }

    fn warn_of_space(&self, estimates: &Estimates, say: &mut dyn FnMut(String)) {
        let path = self.directory.path.display();
        if let Some(free) = self.directory.free
            && free < estimates.free_needed
            && self.directory.free_at_most >= Some(self.least())
        {
            say(format!(
                "{} are free in {path}: createCore needs about {}, collectCore about {}.",
                size(free),
                size(estimates.core),
                size(estimates.free_needed)
            ));
        }
        match self.directory.file_system.as_deref() {
            Some("tmpfs" | "ramfs") => say(format!(
                "{path} is in memory: a core of about {} there counts as memory of the container.",
                size(estimates.core)
            )),
            Some("overlay") => say(format!(
                "{path} is in the container's own layer: what is written there goes away with the container. \
                 Mount a volume and name it (option `directory` or STILLCORE_DIRECTORY)."
            )),
            Some(kind) if kind.starts_with("nfs") || kind == "cifs" || kind.starts_with("fuse") => {
                say(format!(
                    "{path} is a remote file system ({kind}): the copy lives for as long as the core takes to get \
                     there."
                ));
            }
            _ => {}
        }
        if let Some(room) = self.headroom
            && room.is_enough()
            && room.free < estimates.memory_reserve
        {
            say(format!(
                "The control group has {} left, and a capture may take {} for a moment: it may be ended for that.",
                size(room.free),
                size(estimates.memory_reserve)
            ));
        }
    }
}

/// `4.2 GB`, in units of 1024.
fn size(bytes: u64) -> String {
    let units = ["KB", "MB", "GB", "TB"];
    let mut number = bytes as f64 / 1024.0;
    let mut unit = 0;
    while number >= 1000.0 && unit + 1 < units.len() {
        number /= 1024.0;
        unit += 1;
    }
    match bytes {
        0..1024 => format!("{bytes} bytes"),
        _ if number < 10.0 => format!("{number:.1} {}", units[unit]),
        _ => format!("{number:.0} {}", units[unit]),
    }
}

/// `EACCES: permission denied`.
fn words(errno: Errno) -> String {
    let failure = Failure::system(errno, "", None, "");
    failure.message.trim_end_matches(", ").to_owned()
}
