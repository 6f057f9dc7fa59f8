//! What `doctor` reports: the facts of this host, in the shape that the addon's `doctor()` gives them (`index.d.ts`).

use std::io;

use serde::Serialize;

use crate::output::{Answer, BOLD, Text};
use crate::size::size;

const WIDTH: usize = 100;
const NAMES: usize = 20;

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

#[cfg(not(target_os = "linux"))]
impl Report {
    /// Where there is nothing to ask.
    pub fn elsewhere() -> Report {
        let way = Way {
            works: false,
            why: Some("Cores are taken on Linux only.".to_owned()),
            change: Some(
                "Run the service on Linux. Reading cores works here: info, modules, threads, bt, memory, archive, \
                 verify, unpack."
                    .to_owned(),
            ),
        };
        Report {
            platform: platform(),
            ways: Ways {
                kernel: way.clone(),
                direct: way,
            },
            ..Report::default()
        }
    }
}

#[cfg(target_os = "linux")]
mod linux {
    use stillcore_capture::doctor;

    use super::*;

    impl Report {
        /// From what was found about a process, or about the host.
        pub fn new(pid: Option<u32>, found: &doctor::Report) -> Report {
            let facts = &found.facts;
            let status = &facts.status;
            let of_process = |number: u64| pid.map(|_| number).filter(|&number| number != 0);
            let (libc, version) = doctor::libc_of_this_process();
            Report {
                ok: found.ok,
                platform: platform(),
                pid,
                libc: Some(Libc {
                    name: libc.to_owned(),
                    version,
                }),
                core_pattern: facts
                    .pattern
                    .as_ref()
                    .map(|(pattern, with_pid)| CorePattern {
                        value: pattern.clone(),
                        meaning: doctor::meaning(pattern, *with_pid),
                        kernel_way: doctor::leaves_core_in_folder(pattern, *with_pid),
                    }),
                limits: Limits {
                    core: limit(facts.core_limit),
                    file_size: limit(facts.file_limit),
                },
                yama: facts.yama,
                seccomp: status.seccomp.map(|mode| Seccomp {
                    mode: ["none", "strict", "filter"][mode.min(2) as usize].to_owned(),
                    filters: status.filters,
                }),
                capabilities: status.capabilities.map(|set| {
                    let held = doctor::CAPABILITIES
                        .iter()
                        .filter(|(_, bit)| set & (1 << bit) != 0);
                    held.map(|(name, _)| (*name).to_owned()).collect()
                }),
                no_new_privs: status.no_new_privs,
                dumpable: facts.dumpable,
                sigsegv: facts.sigsegv.as_ref().map(|sigsegv| {
                    match sigsegv.state {
                        doctor::Handling::Default => "default",
                        doctor::Handling::Ignored => "ignored",
                        doctor::Handling::Handled => "handled",
                    }
                    .to_owned()
                }),
                dont_fork: facts.memory.map(|memory| DontFork {
                    ranges: memory.marked_ranges,
                    bytes: memory.marked,
                    resident: memory.marked_resident,
                }),
                threads: status.threads.and_then(of_process),
                directory: Some(Directory {
                    path: facts.directory.path.to_string_lossy().into_owned(),
                    writable: facts.directory.problem.is_none(),
                    free_bytes: facts.directory.free,
                    file_system: facts.directory.file_system.clone(),
                }),
                memory: Some(Memory {
                    rss: of_process(facts.rss),
                    cgroup: facts.headroom.map(|room| Cgroup {
                        version: facts.groups,
                        limit: room.limit,
                        free: room.free,
                        reserve: room.reserve,
                    }),
                    overcommit: Overcommit {
                        mode: facts.overcommit.mode,
                        free: facts.overcommit.free,
                    },
                }),
                container: Some(Container {
                    pid_namespace: facts.container.pid_namespace,
                    user_namespace: facts.container.user_namespace,
                    mount_namespace: facts.container.mount_namespace,
                    cgroup: facts.container.cgroup.clone(),
                }),
                estimates: found.estimates.map(|estimates| Estimates {
                    pause_ms: estimates.pause,
                    core_bytes: estimates.core,
                    archive_bytes: estimates.archive,
                    memory_reserve: estimates.memory_reserve,
                    free_bytes_needed: estimates.free_needed,
                }),
                ways: Ways {
                    kernel: way(&found.kernel),
                    direct: way(&found.direct),
                },
                warnings: found.warnings.clone(),
            }
        }
    }

    fn limit(limit: Option<doctor::Limit>) -> Option<Limit> {
        limit.map(|limit| Limit {
            soft: limit.soft,
            hard: limit.hard,
        })
    }

    fn way(way: &doctor::Way) -> Way {
        let all = |pick: fn(&doctor::Reason) -> &str| {
            let texts: Vec<&str> = way.against.iter().map(pick).collect();
            (!way.works()).then(|| texts.join(" "))
        };
        Way {
            works: way.works(),
            why: all(|reason| &reason.why),
            change: all(|reason| &reason.change),
        }
    }
}

impl Answer for Report {
    fn text(&self, out: &mut Text<'_>) -> io::Result<()> {
        let verdict = if self.ok {
            "works here"
        } else {
            "DOES NOT WORK here"
        };
        out.styled(BOLD, format!("stillcore doctor: createCore {verdict}"))?;
        let libc = self.libc.as_ref().map_or(String::new(), |libc| {
            format!(", {} {}", libc.name, libc.version.as_deref().unwrap_or(""))
        });
        let whom = match self.pid {
            Some(pid) => format!("process {pid}, as it is now"),
            None => "for a process that is started from here".to_owned(),
        };
        out.line(format!("{}{}; {whom}.", self.platform, libc.trim_end()))?;
        out.line("")?;
        self.print_ways(out)?;
        self.print_facts(out)?;
        if !self.warnings.is_empty() {
            out.line("")?;
        }
        for warning in &self.warnings {
            row(out, " !", "note", warning)?;
        }
        Ok(())
    }

    fn is_bad(&self) -> bool {
        !self.ok
    }
}

impl Report {
    fn print_ways(&self, out: &mut Text<'_>) -> io::Result<()> {
        let ways = &self.ways;
        if !ways.kernel.works && ways.kernel == ways.direct {
            return print_way(out, "any way", &ways.kernel);
        }
        print_way(out, "kernel way", &ways.kernel)?;
        print_way(out, "direct way", &ways.direct)
    }

    fn print_facts(&self, out: &mut Text<'_>) -> io::Result<()> {
        let (Some(directory), Some(memory)) = (&self.directory, &self.memory) else {
            return Ok(()); // nothing was asked
        };
        out.line("")?;
        let mark = |good: bool| if good { "ok" } else { "no" };
        match &self.core_pattern {
            Some(pattern) => {
                let value = match pattern.value.as_str() {
                    "" => "(empty)",
                    value => value,
                };
                let words = format!("{value}: {}", pattern.meaning);
                row(out, mark(pattern.kernel_way), "core_pattern", &words)?;
            }
            None => row(out, " ?", "core_pattern", "unknown")?,
        }
        let least = memory.rss.unwrap_or(1);
        let fits = |limit: &Option<Limit>| {
            limit
                .and_then(|limit| limit.hard)
                .is_none_or(|hard| hard >= least)
        };
        let limits = &self.limits;
        let raised = "the copy raises its soft limit";
        row(
            out,
            mark(fits(&limits.core)),
            "core size limit",
            &limit_words(limits.core, raised),
        )?;
        row(
            out,
            mark(fits(&limits.file_size)),
            "file size limit",
            &limit_words(limits.file_size, ""),
        )?;
        row(
            out,
            mark(directory.writable),
            "directory",
            &directory_words(directory),
        )?;
        let enough = memory
            .cgroup
            .as_ref()
            .is_none_or(|group| group.free >= group.reserve);
        row(out, mark(enough), "memory", &memory_words(memory))?;
        row(out, "", "overcommit", &overcommit_words(&memory.overcommit))?;
        if let Some(marks) = &self.dont_fork {
            let words = format!(
                "{} ranges, {}, of it {} in memory",
                marks.ranges,
                size(marks.bytes),
                size(marks.resident)
            );
            row(out, "", "V8's fork marks", &words)?;
        }
        if let Some(state) = &self.sigsegv {
            row(
                out,
                "",
                "SIGSEGV",
                &format!("{state} (only the copy resets it)"),
            )?;
        }
        if let Some(threads) = self.threads {
            row(out, "", "threads", &threads.to_string())?;
        }
        row(out, "", "rights", &self.rights_words())?;
        if let Some(container) = &self.container {
            row(out, "", "container", &container_words(container))?;
        }
        self.print_estimates(out)
    }

    fn print_estimates(&self, out: &mut Text<'_>) -> io::Result<()> {
        let Some(estimates) = &self.estimates else {
            return Ok(());
        };
        out.line("")?;
        let pause = format!(
            "{} ms, up to 3 times that on a busy machine",
            estimates.pause_ms
        );
        row(out, " ~", "pause", &pause)?;
        let core = format!("{} on disk", size(estimates.core_bytes));
        row(out, " ~", "createCore", &core)?;
        let archive = format!(
            "{} on disk in the end, {} while it packs",
            size(estimates.archive_bytes),
            size(estimates.free_bytes_needed)
        );
        row(out, " ~", "collectCore", &archive)?;
        let memory = format!(
            "{} free while the copy lives",
            size(estimates.memory_reserve)
        );
        row(out, " ~", "memory", &memory)
    }

    fn rights_words(&self) -> String {
        let capabilities = match &self.capabilities {
            None => "capabilities unknown".to_owned(),
            Some(held) if held.is_empty() => "capabilities none that matter".to_owned(),
            Some(held) => format!("capabilities {}", held.join(", ")),
        };
        let yama = self
            .yama
            .map_or_else(|| "none".to_owned(), |scope| scope.to_string());
        let seccomp = match &self.seccomp {
            None => "unknown".to_owned(),
            Some(Seccomp { mode, filters }) => match filters {
                Some(number) if *number > 0 => format!("{mode} ({number})"),
                _ => mode.clone(),
            },
        };
        let no_new_privs = match self.no_new_privs {
            None => "unknown",
            Some(true) => "yes",
            Some(false) => "no",
        };
        format!("{capabilities}; Yama {yama}; seccomp {seccomp}; no_new_privs {no_new_privs}")
    }
}

fn print_way(out: &mut Text<'_>, name: &str, way: &Way) -> io::Result<()> {
    if way.works {
        return row(out, "ok", name, "works");
    }
    row(out, "no", name, way.why.as_deref().unwrap_or("unknown"))?;
    match &way.change {
        Some(change) => hanging_row(out, "", "", &format!("-> {change}"), 3),
        None => Ok(()),
    }
}

fn limit_words(limit: Option<Limit>, remark: &str) -> String {
    let Some(limit) = limit else {
        return "unknown".to_owned();
    };
    let words = |bytes: Option<u64>| match bytes {
        None => "unlimited".to_owned(),
        Some(0) => "0".to_owned(),
        Some(bytes) => size(bytes),
    };
    let remark = if limit.soft == limit.hard || remark.is_empty() {
        String::new()
    } else {
        format!(" ({remark})")
    };
    format!(
        "soft {}, hard {}{remark}",
        words(limit.soft),
        words(limit.hard)
    )
}

fn directory_words(directory: &Directory) -> String {
    let mut words = vec![directory.path.clone()];
    words.extend(directory.file_system.clone());
    words.extend(
        directory
            .free_bytes
            .map(|free| format!("{} free", size(free))),
    );
    words.push(
        if directory.writable {
            "writable"
        } else {
            "NOT WRITABLE"
        }
        .to_owned(),
    );
    words.join(", ")
}

fn memory_words(memory: &Memory) -> String {
    let own = memory
        .rss
        .map_or(String::new(), |rss| format!("RSS {}; ", size(rss)));
    match &memory.cgroup {
        None => format!("{own}no limit by a control group"),
        Some(group) => format!(
            "{own}control group{}: {} of {} free, {} of it in reserve",
            group
                .version
                .map_or(String::new(), |version| format!(" (v{version})")),
            size(group.free),
            size(group.limit),
            size(group.reserve)
        ),
    }
}

fn overcommit_words(overcommit: &Overcommit) -> String {
    let words = match overcommit.mode {
        Some(0) => "heuristic",
        Some(1) => "always",
        Some(2) => "never",
        _ => "unknown",
    };
    match overcommit.free {
        None => words.to_owned(),
        Some(free) => format!("{words}, {} left to promise", size(free)),
    }
}

fn container_words(container: &Container) -> String {
    let all = [
        ("pid", container.pid_namespace),
        ("user", container.user_namespace),
        ("mount", container.mount_namespace),
    ];
    let names = |value: Option<bool>| -> Vec<&str> {
        let named = all.iter().filter(|(_, has)| *has == value);
        named.map(|(name, _)| *name).collect()
    };
    let (own, unknown) = (names(Some(true)), names(None));
    let mut words = vec![if own.is_empty() {
        "none of its own namespaces (the host's)".to_owned()
    } else {
        format!("own {} namespace", own.join(", "))
    }];
    if !unknown.is_empty() {
        words.push(format!("{} namespace unknown", unknown.join(", ")));
    }
    if let Some(group) = &container.cgroup {
        words.push(format!("control group {group}"));
    }
    words.join("; ")
}

/// A mark, a name and words, wrapped under the first of them.
fn row(out: &mut Text<'_>, mark: &str, name: &str, words: &str) -> io::Result<()> {
    hanging_row(out, mark, name, words, 0)
}

fn hanging_row(
    out: &mut Text<'_>,
    mark: &str,
    name: &str,
    words: &str,
    hang: usize,
) -> io::Result<()> {
    let indent = 4 + NAMES;
    for (index, line) in wrapped(words, WIDTH - indent, hang).iter().enumerate() {
        out.line(match index {
            0 => format!("{mark:<2}  {name:<NAMES$}{line}"),
            _ => format!("{}{line}", " ".repeat(indent + hang)),
        })?;
    }
    Ok(())
}

/// Lines of at most `width` characters, those after the first shorter by `hang`; a longer word stays whole, so that a
/// path can be pasted.
fn wrapped(text: &str, width: usize, hang: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    for word in text.split(' ') {
        let room = width - if lines.is_empty() { 0 } else { hang };
        if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > room {
            lines.push(std::mem::take(&mut line));
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    lines.push(line);
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_wrap_and_paths_stay_whole() {
        assert_eq!(wrapped("one two three", 7, 0), ["one two", "three"]);
        assert_eq!(
            wrapped("one two three four", 8, 3),
            ["one two", "three", "four"]
        );
        assert_eq!(
            wrapped("in /a/very/long/path x", 8, 0),
            ["in", "/a/very/long/path", "x"]
        );
    }
}
