//! The report as text.

use std::io;

use super::{Container, Directory, Limit, Memory, Overcommit, Report, Seccomp, Way};
use crate::output::{Answer, BOLD, Text};
use crate::size::size;

const WIDTH: usize = 100;
const NAMES: usize = 20;

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
        for (name, limit) in [
            ("address space", limits.address_space),
            ("writable memory", limits.data),
        ] {
            // Hardly anybody has these.
            if limit.is_some_and(|limit| limit.soft.is_some()) {
                row(out, "", name, &limit_words(limit, ""))?;
            }
        }
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
