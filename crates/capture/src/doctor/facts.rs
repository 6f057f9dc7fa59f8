//! What is so here: read from /proc and asked of the kernel, changing nothing.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags};
use nix::libc;
use nix::sys::resource::{Resource, getrlimit};
use nix::sys::statvfs::statvfs;
use nix::unistd::{AccessFlags, access, faccessat, getegid, geteuid, getgid, getuid};

use crate::calls::Call;
use crate::cgroup::{Groups, Headroom};
use crate::{dontfork, plan};

/// Inode of the first PID namespace of every Linux host, a constant of the kernel. A process that sees
/// another one is in a container.
const FIRST_PID_NAMESPACE: &str = "pid:[4026531836]";
/// The same of user namespaces.
const FIRST_USER_NAMESPACE: &str = "user:[4026531837]";

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

/// The process that is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Whom {
    This,
    Process(u32),
}

impl Whom {
    /// A file of its folder in `/proc`.
    fn file(self, name: &str) -> String {
        match self {
            Whom::This => format!("/proc/self/{name}"),
            Whom::Process(pid) => format!("/proc/{pid}/{name}"),
        }
    }
}

/// A resource limit in bytes; None: unlimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    pub soft: Option<u64>,
    pub hard: Option<u64>,
}

/// From `/proc/self/status`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Status {
    pub threads: Option<u64>,
    /// 0 none, 1 strict, 2 filters; and how many (5.9 and later tell).
    pub seccomp: Option<u32>,
    pub filters: Option<u32>,
    /// The effective set.
    pub capabilities: Option<u64>,
    pub no_new_privs: Option<bool>,
    /// Pid of a debugger; 0 without.
    pub tracer: Option<u64>,
    /// Bytes of page tables.
    pub page_tables: Option<u64>,
    /// Bytes of private writable memory, used or not.
    pub data: Option<u64>,
    /// Signals that are ignored and handled.
    pub ignored: Option<u64>,
    pub caught: Option<u64>,
}

/// What SIGSEGV does in this process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sigsegv {
    pub state: Handling,
    /// The file that the handler is in.
    pub by: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Handling {
    Default,
    Ignored,
    Handled,
}

/// From `/proc/self/smaps`, all in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Memory {
    /// Ranges that V8 keeps out of forks, all that they span, and what of it is resident.
    pub marked_ranges: u64,
    pub marked: u64,
    pub marked_resident: u64,
    /// Memory that no file holds, swapped or not: what a fork copies the tables of.
    pub anonymous: u64,
    /// What is mapped of files, resident or not.
    pub files: u64,
}

/// `vm.overcommit_memory` and, where it is 2, how many bytes the kernel still promises.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Overcommit {
    pub mode: Option<u32>,
    pub free: Option<u64>,
}

/// Where the result would go.
#[derive(Debug, Clone, Default)]
pub struct Directory {
    pub path: PathBuf,
    /// Why nothing can be made there.
    pub problem: Option<Errno>,
    /// Bytes free for everybody.
    pub free: Option<u64>,
    /// The same with what is reserved for root, if that is who this is. In a container root may be somebody
    /// else, so between the two nothing is sure.
    pub free_at_most: Option<u64>,
    /// Its type: `ext4`, `overlay`, `tmpfs`.
    pub file_system: Option<String>,
}

/// Whether this process has namespaces other than the host's own.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Container {
    pub pid_namespace: Option<bool>,
    pub user_namespace: Option<bool>,
    pub mount_namespace: Option<bool>,
    /// Path of the control group that accounts memory.
    pub cgroup: Option<String>,
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
        let memory = memory(whom)
            .map_err(|why| missed(&whom.file("smaps"), &why))
            .ok();
        let groups = match whom {
            Whom::This => Groups::of_this_process(),
            Whom::Process(pid) => Groups::of_process(pid),
        };
        let statm = fs::read_to_string(whom.file("statm")).unwrap_or_default();
        Facts {
            pattern,
            core_limit: limit(whom, Resource::RLIMIT_CORE),
            file_limit: limit(whom, Resource::RLIMIT_FSIZE),
            address_space_limit: limit(whom, Resource::RLIMIT_AS),
            data_limit: limit(whom, Resource::RLIMIT_DATA),
            mapped: in_statm(&statm, 0),
            written: in_statm(&statm, 5),
            yama: number("/proc/sys/kernel/yama/ptrace_scope"),
            dumpable: (whom == Whom::This).then(dumpable).flatten(),
            sigsegv: sigsegv(whom, &status),
            status,
            memory,
            rss: match whom {
                Whom::This => dontfork::resident(),
                Whom::Process(_) => in_statm(&statm, 1),
            },
            groups: groups.version(),
            headroom: groups.headroom(),
            overcommit: overcommit(),
            directory: look_at(whom, directory),
            container: container(whom),
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

fn limit(whom: Whom, resource: Resource) -> Option<Limit> {
    if let Whom::Process(_) = whom {
        let name = match resource {
            Resource::RLIMIT_CORE => "Max core file size",
            Resource::RLIMIT_AS => "Max address space",
            Resource::RLIMIT_DATA => "Max data size",
            _ => "Max file size",
        };
        return limit_in(&fs::read_to_string(whom.file("limits")).ok()?, name);
    }
    let finite = |bytes| (bytes != libc::RLIM_INFINITY).then_some(bytes);
    let (soft, hard) = getrlimit(resource).ok()?;
    Some(Limit {
        soft: finite(soft),
        hard: finite(hard),
    })
}

/// A line of `/proc/PID/limits`: its name, and bytes or `unlimited`.
fn limit_in(text: &str, name: &str) -> Option<Limit> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let mut values = line.split_ascii_whitespace();
    let mut next = || match values.next()? {
        "unlimited" => Some(None),
        number => number.parse().ok().map(Some),
    };
    Some(Limit {
        soft: next()?,
        hard: next()?,
    })
}

impl Status {
    fn parse(text: &str) -> Status {
        let field = |name: &str| -> Option<&str> {
            text.lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
                .map(str::trim)
        };
        let decimal = |name: &str| field(name)?.parse::<u64>().ok();
        let set = |name: &str| u64::from_str_radix(field(name)?, 16).ok();
        let kilobytes = |name: &str| -> Option<u64> {
            Some(field(name)?.strip_suffix(" kB")?.parse::<u64>().ok()? * 1024)
        };
        Status {
            threads: decimal("Threads"),
            seccomp: decimal("Seccomp").map(|mode| mode as u32),
            filters: decimal("Seccomp_filters").map(|number| number as u32),
            capabilities: set("CapEff"),
            no_new_privs: decimal("NoNewPrivs").map(|flag| flag != 0),
            tracer: decimal("TracerPid"),
            page_tables: kilobytes("VmPTE"),
            data: kilobytes("VmData"),
            ignored: set("SigIgn"),
            caught: set("SigCgt"),
        }
    }
}

fn dumpable() -> Option<i32> {
    if !Call::GetDumpable.is_safe() {
        return None;
    }
    // SAFETY: integers only; this option reads a flag of the process. (nix's wrapper takes 2 for 1.)
    let value = unsafe { libc::prctl(libc::PR_GET_DUMPABLE, 0, 0, 0, 0) };
    (value >= 0).then_some(value)
}

fn sigsegv(whom: Whom, status: &Status) -> Option<Sigsegv> {
    let has = |set: u64| set & (1 << (libc::SIGSEGV - 1)) != 0;
    let state = match (status.caught?, status.ignored?) {
        (caught, _) if has(caught) => Handling::Handled,
        (_, ignored) if has(ignored) => Handling::Ignored,
        _ => Handling::Default,
    };
    // Only the process itself can ask where its handler is.
    let by = (state == Handling::Handled && whom == Whom::This)
        .then(handler_file)
        .flatten();
    Some(Sigsegv { state, by })
}

/// The file in which the handler of SIGSEGV lies.
fn handler_file() -> Option<PathBuf> {
    // SAFETY: all-zero is a valid sigaction; with no new action the call only fills it.
    let address = unsafe {
        let mut now: libc::sigaction = std::mem::zeroed();
        if libc::sigaction(libc::SIGSEGV, std::ptr::null(), &raw mut now) != 0 {
            return None;
        }
        now.sa_sigaction as u64
    };
    let text = fs::read("/proc/self/maps").ok()?;
    let mapping = crate::maps::parse(&text)
        .into_iter()
        .find(|mapping| mapping.range.contains(&address))?;
    let name = String::from_utf8_lossy(&mapping.name).into_owned();
    name.starts_with('/').then(|| name.into())
}

/// Adds up smaps. A listing made while a capture has V8's marks off would see none of them, so it is made again.
fn memory(whom: Whom) -> Result<Memory, String> {
    if let Whom::Process(_) = whom {
        let file = File::open(whom.file("smaps")).map_err(|error| error.to_string())?;
        return Memory::sum(BufReader::with_capacity(1 << 20, file))
            .map_err(|error| error.to_string());
    }
    for _ in 0..100 {
        if let Some(before) = dontfork::undisturbed() {
            let file = File::open("/proc/self/smaps").map_err(|error| error.to_string())?;
            let memory = Memory::sum(BufReader::with_capacity(1 << 20, file))
                .map_err(|error| error.to_string())?;
            if dontfork::undisturbed() == Some(before) {
                return Ok(memory);
            }
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Err("captures change it all the time".into())
}

impl Memory {
    fn sum(mut smaps: impl BufRead) -> std::io::Result<Memory> {
        let mut sum = Memory::default();
        let (mut size, mut resident, mut anonymous, mut of_file) = (0, 0, 0, false);
        let mut line = Vec::with_capacity(4096);
        loop {
            line.clear();
            if smaps.read_until(b'\n', &mut line)? == 0 {
                return Ok(sum);
            }
            let text = String::from_utf8_lossy(&line);
            let mut fields = text.split_ascii_whitespace();
            let kilobytes = |mut fields: std::str::SplitAsciiWhitespace<'_>| -> u64 {
                fields
                    .next()
                    .and_then(|number| number.parse().ok())
                    .unwrap_or(0)
                    * 1024
            };
            match fields.next() {
                Some("Size:") => size = kilobytes(fields),
                Some("Rss:") => resident = kilobytes(fields),
                // Swapped pages come back into the core.
                Some("Anonymous:" | "Swap:") => anonymous += kilobytes(fields),
                Some("VmFlags:") => {
                    let mut dumped = true;
                    for flag in fields {
                        match flag {
                            "dc" => {
                                sum.marked_ranges += 1;
                                sum.marked += size;
                                sum.marked_resident += resident;
                            }
                            "dd" | "io" => dumped = false,
                            _ => {}
                        }
                    }
                    if dumped && of_file {
                        sum.files += size;
                    } else if dumped {
                        sum.anonymous += anonymous;
                    }
                }
                Some(range) if range.contains('-') => {
                    (size, resident, anonymous) = (0, 0, 0);
                    of_file = fields.nth(3).is_some_and(|inode| inode != "0");
                }
                _ => {}
            }
        }
    }
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

fn look_at(whom: Whom, named: &Path) -> Directory {
    // Another process may have another root. Only those who may look into it see that.
    let inside = PathBuf::from(whom.file("root")).join(named.strip_prefix("/").unwrap_or(named));
    let directory = match whom {
        Whom::Process(_) if fs::metadata(whom.file("root")).is_ok() => &inside,
        _ => named,
    };
    let problem = match fs::metadata(directory) {
        Err(error) => Some(Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO))),
        Ok(file) if !file.is_dir() => Some(Errno::ENOTDIR),
        Ok(_) => {
            // Asking for the effective ids takes a newer system call, which filters may not know.
            let needed = AccessFlags::W_OK | AccessFlags::X_OK;
            if getuid() == geteuid() && getgid() == getegid() {
                access(directory, needed).err()
            } else {
                faccessat(AT_FDCWD, directory, needed, AtFlags::AT_EACCESS).err()
            }
        }
    };
    let mounts = fs::read_to_string(whom.file("mountinfo")).unwrap_or_default();
    let real = if directory == named {
        fs::canonicalize(directory).ok()
    } else {
        // Links in there would be followed here.
        Some(named.to_owned())
    };
    let file_system = real.and_then(|path| file_system(&path, &mounts));
    // To root these say that everything may be written, and then take no file.
    let problem = problem.or_else(|| {
        let kind = file_system.as_deref()?;
        let imaginary = kind.starts_with("cgroup") || matches!(kind, "proc" | "sysfs" | "devpts");
        imaginary.then_some(Errno::EPERM)
    });
    let free = statvfs(directory)
        .ok()
        .filter(|numbers| numbers.blocks() != 0)
        .map(|numbers| {
            numbers
                .blocks_available()
                .saturating_mul(numbers.fragment_size())
        });
    let exists = !matches!(problem, Some(Errno::ENOENT | Errno::ENOTDIR));
    Directory {
        path: named.to_owned(),
        problem,
        free: free.filter(|_| exists),
        free_at_most: plan::free_space(directory).filter(|_| exists),
        file_system,
    }
}

/// The type of the file system under `path`, from the text of `/proc/self/mountinfo`.
fn file_system(path: &Path, mounts: &str) -> Option<String> {
    let mut best: Option<(usize, &str)> = None;
    for line in mounts.lines() {
        let Some((fixed, rest)) = line.split_once(" - ") else {
            continue;
        };
        let (Some(point), Some(kind)) = (fixed.split(' ').nth(4), rest.split(' ').next()) else {
            continue;
        };
        let point = point.replace("\\040", " ");
        // Of two on the same place the later one is on top.
        if path.starts_with(&point) && best.is_none_or(|(length, _)| point.len() >= length) {
            best = Some((point.len(), kind));
        }
    }
    best.map(|(_, kind)| kind.to_owned())
}

fn container(whom: Whom) -> Container {
    let own = |name: &str| fs::read_link(whom.file(&format!("ns/{name}"))).ok();
    let of_init = |name: &str| fs::read_link(format!("/proc/1/ns/{name}")).ok();
    let pid_namespace = own("pid").map(|own| own != Path::new(FIRST_PID_NAMESPACE));
    let mount_namespace = match (own("mnt"), of_init("mnt")) {
        (Some(own), Some(first)) if own != first => Some(true),
        // In a PID namespace of its own process 1 is the container's, and being like it says nothing.
        (Some(_), Some(_)) if pid_namespace == Some(false) => Some(false),
        _ => None,
    };
    let groups = fs::read_to_string(whom.file("cgroup")).unwrap_or_default();
    let path_of = |wanted: &dyn Fn(&str) -> bool| {
        groups.lines().find_map(|line| {
            let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
            wanted(controllers).then(|| path.to_owned())
        })
    };
    Container {
        pid_namespace,
        user_namespace: own("user").map(|own| own != Path::new(FIRST_USER_NAMESPACE)),
        mount_namespace,
        cgroup: path_of(&|controllers| controllers.split(',').any(|name| name == "memory"))
            .or_else(|| path_of(&str::is_empty)),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_of_smaps() {
        let smaps = "1000-5000 rw-p 00000000 00:00 0 \nSize: 16 kB\nRss: 8 kB\nAnonymous: 8 kB\nSwap: 4 kB\nVmFlags: rd wr dc ac \n\
            5000-9000 r-xp 00000000 fe:00 12 /usr/bin/a b\nSize: 16 kB\nRss: 4 kB\nAnonymous: 0 kB\nVmFlags: rd ex \n\
            9000-a000 rw-p 00000000 00:00 0 [heap]\nSize: 4 kB\nRss: 4 kB\nAnonymous: 4 kB\nVmFlags: rd wr\n\
            b000-c000 rw-p 00000000 00:00 0 \nSize: 4 kB\nRss: 4 kB\nAnonymous: 4 kB\nVmFlags: rd wr dd\n";
        let kilobytes = |number: u64| number * 1024;
        assert_eq!(
            Memory::sum(smaps.as_bytes()).unwrap(),
            Memory {
                marked_ranges: 1,
                marked: kilobytes(16),
                marked_resident: kilobytes(8),
                anonymous: kilobytes(16),
                files: kilobytes(16),
            }
        );
    }

    #[test]
    fn limits_of_another_process() {
        let text = "Limit                     Soft Limit           Hard Limit           Units     \n\
            Max file size             unlimited            unlimited            bytes     \n\
            Max core file size        0                    4096                 bytes     \n";
        let limit = |soft, hard| Some(Limit { soft, hard });
        assert_eq!(
            limit_in(text, "Max core file size"),
            limit(Some(0), Some(4096))
        );
        assert_eq!(limit_in(text, "Max file size"), limit(None, None));
        assert_eq!(limit_in(text, "Max pending signals"), None);
        fn limit_of(values: (u64, u64)) -> Limit {
            let finite = |bytes| (bytes != libc::RLIM_INFINITY).then_some(bytes);
            Limit {
                soft: finite(values.0),
                hard: finite(values.1),
            }
        }
        for resource in [
            Resource::RLIMIT_CORE,
            Resource::RLIMIT_FSIZE,
            Resource::RLIMIT_AS,
            Resource::RLIMIT_DATA,
        ] {
            let this = Whom::Process(std::process::id());
            assert_eq!(
                super::limit(this, resource),
                Some(limit_of(getrlimit(resource).unwrap()))
            );
        }
    }

    #[test]
    fn fields_of_status() {
        let status = Status::parse(
            "Name:\tnode\nTracerPid:\t7\nVmData:\t  48860 kB\nVmPTE:\t     392 kB\nThreads:\t7\n\
             SigIgn:\t0000000001001000\nSigCgt:\t0000000100004602\nCapEff:\t000001fffeffffff\n\
             NoNewPrivs:\t1\nSeccomp:\t2\nSeccomp_filters:\t3\n",
        );
        assert_eq!(status.tracer, Some(7));
        assert_eq!(status.page_tables, Some(392 * 1024));
        assert_eq!((status.seccomp, status.filters), (Some(2), Some(3)));
        assert_eq!(status.no_new_privs, Some(true));
        let state = |caught, ignored| {
            let mut status = status.clone();
            (status.caught, status.ignored) = (Some(caught), Some(ignored));
            sigsegv(Whom::This, &status).unwrap().state
        };
        assert_eq!(
            sigsegv(Whom::This, &status).unwrap().state,
            Handling::Handled
        );
        assert_eq!(state(0, 0x400), Handling::Ignored);
        assert_eq!(state(0x4202, 0x1000), Handling::Default);
        assert_eq!(Status::parse(""), Status::default());
    }

    #[test]
    fn the_file_system_is_that_of_the_nearest_mount_on_top() {
        let mounts = "24 1 254:0 / / rw - ext4 /dev/vda rw\n\
            30 24 0:30 / /data rw shared:1 - xfs /dev/b rw\n\
            31 24 0:31 / /data rw - tmpfs none rw\n\
            32 24 0:32 / /my\\040disk rw - nfs4 host:/x rw\n";
        let kind = |path: &str| file_system(Path::new(path), mounts).unwrap();
        assert_eq!(kind("/var"), "ext4");
        assert_eq!(kind("/data/x"), "tmpfs");
        assert_eq!(kind("/database"), "ext4");
        assert_eq!(kind("/my disk/x"), "nfs4");
    }
}
