//! What would happen if a capture were taken here and now: found out without taking one.
//!
//! [`examine`] reads and changes nothing: no fork, no signal, no file. What cannot be read is None and a
//! warning, never an error. [`Report::of`] judges, from the [`Facts`] alone, by the rules of `plan.rs`.

mod facts;

use std::path::Path;

use nix::errno::Errno;

pub use facts::{
    Container, Directory, Facts, Handling, Limit, Memory, Overcommit, Sigsegv, Status,
    libc_of_this_process,
};

use facts::Whom;

use crate::error::{Failure, advice};
use crate::plan;

/// No archive of a Node process is smaller, in bytes: its executable alone takes more.
const LEAST_ARCHIVE: u64 = 4 << 20;

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

// --- what a core pattern means -------------------------------------------------------------------

/// Whether the kernel leaves a core with this pattern where a capture looks for it.
pub fn leaves_core_in_folder(pattern: &str, with_pid: bool) -> bool {
    plan::diversion(pattern, with_pid).is_none()
}

/// In words: where the kernel takes a core.
pub fn meaning(pattern: &str, with_pid: bool) -> String {
    match plan::diversion(pattern, with_pid) {
        None if pattern.is_empty() => "a file .<pid> in the working folder".into(),
        None => "a file in the working folder".into(),
        Some(what) => match handler(pattern) {
            Some(name) => format!("{what}: {name}"),
            None => what.into(),
        },
    }
}

/// Who it is that a pattern gives cores to.
fn handler(pattern: &str) -> Option<String> {
    if let Some(socket) = pattern.strip_prefix('@') {
        return Some(socket.trim_start_matches('@').to_owned());
    }
    let program = pattern.strip_prefix('|')?.split_ascii_whitespace().next()?;
    let name = Path::new(program).file_name()?.to_str()?;
    Some(
        match name {
            "systemd-coredump" => "systemd-coredump (list them with coredumpctl)",
            "apport" => "apport, Ubuntu's crash reporter",
            "abrt-hook-ccpp" => "abrt, Red Hat's crash reporter",
            "false" | "true" => "which throws them away",
            _ => return Some(program.to_owned()),
        }
        .to_owned(),
    )
}

// --- judging -------------------------------------------------------------------------------------

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

    fn against_any_way(&self) -> Way {
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

    fn against_the_kernel_way(&self, way: &mut Way) {
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

    fn against_the_direct_way(&self, way: &mut Way) {
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
    fn estimates(&self) -> Option<Estimates> {
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

    fn warnings(&self, estimates: Option<&Estimates>) -> Vec<String> {
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
mod tests {
    use std::fs;

    use super::*;
    use crate::cgroup::Headroom;

    const MIB: u64 = 1 << 20;
    const GIB: u64 = 1 << 30;

    type Change = fn(&mut Facts);

    /// A process of 1 GB, 800 MB of it V8's, on an ordinary host.
    fn facts() -> Facts {
        let unlimited = Limit {
            soft: None,
            hard: None,
        };
        Facts {
            pattern: Some(("core".into(), false)),
            core_limit: Some(Limit {
                soft: Some(0),
                ..unlimited
            }),
            file_limit: Some(unlimited),
            status: Status {
                seccomp: Some(0),
                capabilities: Some(0),
                tracer: Some(0),
                page_tables: Some(30 * MIB),
                data: Some(2 * GIB),
                ..Status::default()
            },
            dumpable: Some(1),
            memory: Some(Memory {
                marked_ranges: 3200,
                marked: 1312 * MIB,
                marked_resident: 800 * MIB,
                anonymous: 974 * MIB,
                files: 90 * MIB,
            }),
            rss: GIB,
            overcommit: Overcommit {
                mode: Some(0),
                free: None,
            },
            directory: Directory {
                path: "/var/tmp".into(),
                problem: None,
                free: Some(100 * GIB),
                free_at_most: Some(100 * GIB),
                file_system: Some("ext4".into()),
            },
            page_files: true,
            executable: 100 * MIB,
            ..Facts::default()
        }
    }

    fn with(change: impl FnOnce(&mut Facts)) -> Report {
        let mut facts = facts();
        change(&mut facts);
        Report::of(facts)
    }

    /// Why not, in one string.
    fn why(way: &Way) -> String {
        way.against
            .iter()
            .map(|reason| {
                assert!(!reason.change.is_empty(), "{reason:?}");
                reason.why.as_str()
            })
            .collect::<Vec<_>>()
            .join(" ")
    }

    /// What the direct way itself finds, built or not.
    fn direct(facts: &Facts) -> Way {
        let mut way = facts.against_any_way();
        facts.against_the_direct_way(&mut way);
        way
    }

    #[test]
    fn an_ordinary_host() {
        let report = with(|_| ());
        assert!(report.ok && report.kernel.works(), "{report:?}");
        assert!(direct(&report.facts).works());
        assert_eq!(report.warnings, [""; 0]);
        let estimates = report.estimates.unwrap();
        assert!((17.0..25.0).contains(&estimates.pause), "{estimates:?}");
        assert_eq!(estimates.core, 1064 * MIB);
        assert!((200 * MIB..400 * MIB).contains(&estimates.archive));
        assert_eq!(estimates.memory_reserve, 94 * MIB);
    }

    #[test]
    fn patterns_that_stop_only_the_kernel_way() {
        for (pattern, words) in [
            (
                "|/usr/lib/systemd/systemd-coredump %P %u",
                "systemd-coredump (list",
            ),
            ("|/usr/share/apport/apport -p%p", "apport, Ubuntu's"),
            ("|/opt/handler %p", "to a program: /opt/handler"),
            ("|/bin/false", "throws them away"),
            ("| /opt/late", "to a program: /opt/late"),
            ("|", "to a program"),
            ("@@/run/dump.sock", "to a socket: /run/dump.sock"),
            ("/var/crash/core.%p", "at a path of its own"),
            ("dumps/core", "a folder of its own"),
            ("", "no core is written"),
        ] {
            let report = with(|facts| facts.pattern = Some((pattern.into(), false)));
            assert!(
                why(&report.kernel).contains(words),
                "{pattern}: {:?}",
                report.kernel
            );
            assert!(why(&report.kernel).contains(&format!("'{pattern}'")));
            assert!(direct(&report.facts).works());
            assert_eq!(report.ok, report.direct.works());
        }
        for pattern in ["core", "core.%p", "./core", "%e"] {
            assert!(with(|facts| facts.pattern = Some((pattern.into(), false))).ok);
            assert_eq!(meaning(pattern, false), "a file in the working folder");
        }
        assert!(with(|facts| facts.pattern = Some((String::new(), true))).ok);
        assert_eq!(meaning("", true), "a file .<pid> in the working folder");
        assert!(!with(|facts| facts.pattern = None).kernel.works());
    }

    #[test]
    fn limits() {
        let limit = |soft, hard| Some(Limit { soft, hard });
        let report = with(|facts| facts.core_limit = limit(Some(0), Some(0)));
        assert!(why(&report.kernel).contains("is 0: no core"));
        assert!(report.warnings[0].contains("Perhaps somebody decided that"));
        let report = with(|facts| facts.core_limit = limit(Some(0), Some(512 * MIB)));
        assert!(
            why(&report.kernel)
                .contains("is 512 MB, and a core of this process has at least 1.0 GB")
        );
        assert!(direct(&report.facts).works());
        // The copy raises its own soft limit; the service does not raise its.
        let report = with(|facts| facts.file_limit = limit(Some(MIB), None));
        assert!(report.kernel.works());
        assert!(why(&direct(&report.facts)).contains("soft limit on file sizes"));
        let report = with(|facts| facts.file_limit = limit(Some(MIB), Some(MIB)));
        assert!(why(&report.kernel).contains("hard limit on file sizes"));
    }

    #[test]
    fn what_stops_every_way() {
        let changes: [(&str, Change); 6] = [
            ("EMFILE: too many open files.", |facts| {
                (facts.rss, facts.closed) = (0, Some(Errno::EMFILE));
            }),
            ("no usable /proc", |facts| facts.rss = 0),
            ("EACCES: permission denied.", |facts| {
                facts.directory.problem = Some(Errno::EACCES)
            }),
            ("2.0 MB are free", |facts| {
                facts.directory.free_at_most = Some(2 * MIB)
            }),
            (
                "has 200 MB left of its 2.0 GB, less than the 256 MB",
                |facts| {
                    facts.headroom = Some(Headroom {
                        free: 200 * MIB,
                        limit: 2 * GIB,
                        reserve: 256 * MIB,
                    });
                },
            ),
            ("1.0 GB are left, and a fork asks for 2.0 GB", |facts| {
                facts.overcommit = Overcommit {
                    mode: Some(2),
                    free: Some(GIB),
                };
            }),
        ];
        for (words, change) in changes {
            let report = with(change);
            assert!(!report.ok);
            assert!(
                why(&report.kernel).contains(words),
                "{words}: {:?}",
                report.kernel
            );
            assert!(why(&direct(&report.facts)).contains(words));
        }
    }

    #[test]
    fn what_is_only_worth_a_word() {
        let changes: [(&str, Change); 10] = [
            ("(PR_GET_DUMPABLE 0). Captures work", |facts| {
                facts.dumpable = Some(0)
            }),
            ("A seccomp filter is active", |facts| {
                facts.status.seccomp = Some(2);
                facts.status.filters = Some(1);
            }),
            ("ptrace_scope is 2", |facts| facts.yama = Some(2)),
            ("ptrace_scope is 3", |facts| facts.yama = Some(3)),
            ("A debugger", |facts| facts.status.tracer = Some(1)),
            ("no pages out of forks", |facts| {
                facts.memory = Some(Memory::default())
            }),
            ("collectCore about", |facts| {
                facts.directory.free = Some(GIB + 1)
            }),
            ("is in memory", |facts| {
                facts.directory.file_system = Some("tmpfs".into())
            }),
            ("own layer", |facts| {
                facts.directory.file_system = Some("overlay".into())
            }),
            ("remote file system (nfs4)", |facts| {
                facts.directory.file_system = Some("nfs4".into())
            }),
        ];
        for (words, change) in changes {
            let report = with(change);
            assert!(report.ok && report.kernel.works());
            assert!(
                report
                    .warnings
                    .iter()
                    .any(|warning| warning.contains(words)),
                "{:?}",
                report.warnings
            );
        }
        let report = with(|facts| {
            facts.yama = Some(2);
            facts.status.capabilities = Some(1 << CAP_SYS_PTRACE);
        });
        assert_eq!(report.warnings, [""; 0]);
    }

    #[test]
    fn nothing_readable_at_all_is_no_panic() {
        let report = Report::of(Facts::default());
        assert!(!report.ok && report.estimates.is_none());
    }

    #[test]
    fn this_process_is_judged_as_a_capture_would() {
        let folder = tempfile::tempdir().unwrap();
        let report = examine(folder.path());
        let room = report.facts.headroom.is_none_or(|room| room.is_enough());
        let planned = plan::check(folder.path()).is_ok() && room;
        assert_eq!(report.kernel.works(), planned, "{report:?}");
        assert!(fs::read_dir(folder.path()).unwrap().next().is_none());
        let missing = examine(&folder.path().join("missing"));
        assert!(why(&missing.kernel).contains("ENOENT: no such file or directory."));
    }
}
