use std::io;

use clap::Args;
use serde::Serialize;
use stillcore_corefile::{ModuleKind, Process};

use super::memory::{Mappings, Share, in_words};
use super::threads::has_died;
use crate::args::CoreArgs;
use crate::escape::lossy;
use crate::output::{Answer, Text};
use crate::session::{Address, Session, match_word};
use crate::signal;
use crate::size::{count, readable_time, rfc3339, size};

/// Says what died or was captured, of what, when, and what is missing
///
///   $ stillcore info core.1234
///   died       of SIGSEGV (11), SEGV_MAPERR at 0x10: nothing is mapped there
///   command    ./crash segv
///   executable /srv/crash
///   process    25276, parent 25275, user 1000, group 1000
///   time       2026-11-21 14:35:17 UTC (when the file was written)
///   threads    3; 25276 crash died first
///   machine    x86_64
///   core       16 MB
///   memory     18 MB mapped: 16 MB in the core, 2.0 MB in files, 8.0 KB missing
///   modules    3, the files of all found
///
/// Exit code 1 where the core is cut off, or a file that was found is not the one that was mapped.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub struct Info {
    #[command(flatten)]
    pub core: CoreArgs,
}

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
    bad: bool,
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

impl Info {
    pub fn run(&self) -> anyhow::Result<Summary> {
        let session = Session::open(&self.core)?;
        let process = &session.process;
        let about = &process.about;
        let capture = about.capture.as_ref();
        let manifest = session.origin.manifest.as_ref();
        let noted = capture.and_then(|capture| capture.time.clone());
        let packed = || manifest.and_then(|manifest| some(&manifest.time));
        let file = session.origin.path.as_deref();
        let metadata = file.and_then(|path| std::fs::metadata(path).ok());
        let written = metadata
            .as_ref()
            .and_then(|metadata| metadata.modified().ok())
            .map(rfc3339);
        let (time, time_from) = noted
            .map(|time| (time, "capture"))
            .or_else(|| packed().map(|time| (time, "archive")))
            .or_else(|| written.map(|time| (time, "file")))
            .unzip();
        let mappings = Mappings::of(process, session.problems.clone());
        let arguments: Option<Vec<String>> = crate::arguments::of(process)
            .map(|arguments| arguments.iter().map(|argument| lossy(argument)).collect());
        let (node, v8) = crate::node::versions(process).unzip();
        Ok(Summary {
            file: session.name.clone(),
            kind: session.origin.kind,
            layers: session.origin.layers.clone(),
            file_size: metadata
                .filter(|file| file.is_file())
                .map(|file| file.len()),
            how: how(process),
            signal: has_died(process).then(|| signal_of(process)).flatten(),
            capture: capture.map(|capture| Capture {
                tool: capture.tool.clone(),
                version: capture.version.clone(),
                method: capture.method.clone(),
                note: capture.note.clone(),
            }),
            command: arguments
                .as_ref()
                .map(|arguments| arguments.join(" "))
                .filter(|command| !command.is_empty())
                .or_else(|| manifest.and_then(|manifest| some(&manifest.command.join(" "))))
                .or_else(|| non_empty(&about.arguments))
                .or_else(|| non_empty(&about.name)),
            arguments,
            executable: process
                .executable()
                .and_then(|module| non_empty(&module.path)),
            pid: about.pid,
            ppid: about.ppid,
            uid: about.uid,
            gid: about.gid,
            time,
            time_from,
            machine: process.arch.name(),
            threads: process.threads.len(),
            first_thread: process.threads.first().map(|thread| FirstThread {
                tid: thread.tid,
                name: thread.name.as_deref().map(lossy),
            }),
            node: node
                .or_else(|| capture.and_then(|capture| capture.node.clone()))
                .or_else(|| manifest.and_then(|manifest| some(&manifest.node))),
            v8: v8.or_else(|| manifest.and_then(|manifest| some(&manifest.v8))),
            core: Sizes {
                size: process.core.size(),
                expected: process.core.expected_size(),
                truncated: process.core.size() < process.core.expected_size(),
            },
            memory: mappings.total,
            modules: count_modules(process),
            missing: missing(process, &mappings),
            warnings: session.problems.warnings,
            bad: session.problems.bad,
        })
    }
}

fn how(process: &Process) -> &'static str {
    if process.about.capture.is_some() {
        "captured"
    } else if has_died(process) {
        "died"
    } else {
        "dumped"
    }
}

fn non_empty(bytes: &[u8]) -> Option<String> {
    (!bytes.is_empty()).then(|| lossy(bytes))
}

fn some(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

fn signal_of(process: &Process) -> Option<Signal> {
    let number = process.threads.first()?.signal;
    // What raised it is only told where the note is of this very signal.
    let told = process
        .about
        .signal
        .filter(|signal| signal.number == number);
    let (code_name, meaning) = told
        .and_then(|told| signal::code(number, told.code))
        .unzip();
    Some(Signal {
        number,
        name: signal::name(number),
        code: told.map(|told| told.code),
        code_name,
        meaning,
        address: told.and_then(|told| told.address).map(Address),
        sender_pid: told.and_then(|told| told.sender).map(|(pid, _)| pid),
        sender_uid: told.and_then(|told| told.sender).map(|(_, uid)| uid),
    })
}

fn count_modules(process: &Process) -> ModuleCount {
    let files = || {
        process
            .modules
            .iter()
            .filter(|module| module.kind != ModuleKind::Vdso)
    };
    ModuleCount {
        count: files().count(),
        found: files().filter(|module| module.file.is_some()).count(),
    }
}

fn missing(process: &Process, mappings: &Mappings) -> Vec<Missing> {
    let mut missing = Vec::new();
    let (size_now, promised) = (process.core.size(), process.core.expected_size());
    if size_now < promised {
        missing.push(Missing {
            what: format!("the last {} of the core", size(promised - size_now)),
            why: "it is shorter than its headers promise: the disk or a limit was full, or copying it ended early"
                .to_owned(),
            change: Some("copy it again, or have the next one written whole: ulimit -c unlimited".to_owned()),
        });
    }
    let lost = process.modules.iter().filter(|module| {
        module.file.is_none() && matches!(match_word(module), "not found" | "differs" | "unknown")
    });
    let names: Vec<String> = lost.map(|module| lossy(&module.path)).collect();
    if let Some((first, others)) = names.split_first() {
        let more = match others.len() {
            0 => String::new(),
            number => format!(" and {} more", count(number, "file")),
        };
        missing.push(Missing {
            what: format!("{first}{more}"),
            why: "not at these paths here, or another version, or not to be checked".to_owned(),
            change: Some(
                "name a folder that has them (--sysroot DIR), or make an archive where the process ran; `stillcore modules` lists all"
                    .to_owned(),
            ),
        });
    }
    let private: u64 = mappings
        .mappings
        .iter()
        .filter(|mapping| mapping.path.is_none() && mapping.permissions.as_deref() == Some("rw-"))
        .map(|mapping| mapping.share.missing)
        .sum();
    // A few pages are always missing: rings shared with the kernel, for instance.
    if private > 1 << 20 && size_now >= promised {
        missing.push(Missing {
            what: format!("{} of private writable memory", size(private)),
            why: "left out when the core was written: coredump_filter, MADV_DONTDUMP, a guard page, or a copy made by fork \
                  without the pages that V8 hides from forks"
                .to_owned(),
            change: None,
        });
    }
    // A file that was not found is told above; this is what no file can tell.
    let written: u64 = mappings
        .mappings
        .iter()
        .filter(|mapping| mapping.offset.is_some() && mapping.permissions.as_deref() == Some("rw-"))
        .map(|mapping| mapping.share.missing)
        .sum();
    if written > 0 && size_now >= promised {
        missing.push(Missing {
            what: format!("{} of writable memory of mapped files", size(written)),
            why: "left out when the core was written (coredump_filter, maxSize, MADV_DONTDUMP, or shared with the file); \
                  the files have other bytes, perhaps, and do not stand in for it"
                .to_owned(),
            change: None,
        });
    }
    missing
}

impl Answer for Summary {
    fn text(&self, out: &mut Text<'_>) -> io::Result<()> {
        match self.how {
            "died" => out.field("died", self.death_in_words())?,
            "captured" => out.field("captured", self.capture_in_words())?,
            _ => out.field(
                "dumped",
                "while it ran (gcore or the like); no signal ended it",
            )?,
        }
        if let Some(command) = &self.command {
            out.field("command", command)?;
        }
        if let Some(executable) = &self.executable {
            out.field("executable", executable)?;
        }
        let ids = [
            ("", self.pid.map(i64::from)),
            ("parent ", self.ppid.map(i64::from)),
            ("user ", self.uid.map(i64::from)),
            ("group ", self.gid.map(i64::from)),
        ];
        let ids: Vec<String> = ids
            .iter()
            .filter_map(|(word, id)| id.map(|id| format!("{word}{id}")))
            .collect();
        if !ids.is_empty() {
            out.field("process", ids.join(", "))?;
        }
        if let Some(time) = &self.time {
            let from = match self.time_from {
                Some("file") => " (when the file was written)",
                Some("archive") => " (as the archive says)",
                _ => "",
            };
            out.field("time", format!("{}{from}", readable_time(time)))?;
        }
        out.field("threads", self.threads_in_words())?;
        if let Some(node) = &self.node {
            let v8 = match &self.v8 {
                Some(v8) => format!(", V8 {v8}"),
                None => String::new(),
            };
            out.field("node", format!("{node}{v8}"))?;
        }
        out.field("machine", self.machine)?;
        out.field("core", self.file_in_words())?;
        out.field("memory", in_words(&self.memory))?;
        let ModuleCount { count, found } = self.modules;
        let files = match count - found {
            0 => "the files of all found".to_owned(),
            _ => format!("the files of {found} found"),
        };
        out.field("modules", format!("{count}, {files}"))?;
        for (index, missing) in self.missing.iter().enumerate() {
            let name = if index == 0 { "missing" } else { "" };
            out.field(name, format!("{}: {}", missing.what, missing.why))?;
            if let Some(change) = &missing.change {
                out.field("", format!("-> {change}"))?;
            }
        }
        Ok(())
    }

    fn is_bad(&self) -> bool {
        self.bad
    }

    fn warnings(&self) -> &[String] {
        &self.warnings
    }
}

impl Summary {
    /// `of SIGSEGV, SEGV_MAPERR at 0x0: nothing is mapped there`
    fn death_in_words(&self) -> String {
        let Some(signal) = &self.signal else {
            return "of an unknown signal".to_owned();
        };
        let mut words = format!("of {} ({})", signal.name, signal.number);
        match (signal.code_name, signal.code) {
            (Some(name), _) => words.push_str(&format!(", {name}")),
            (None, Some(code)) => words.push_str(&format!(", code {code}")),
            (None, None) => {}
        }
        if let Some(address) = signal.address {
            words.push_str(&format!(" at {address}"));
        }
        if let Some(meaning) = signal.meaning {
            words.push_str(&format!(": {meaning}"));
        }
        if let Some(pid) = signal.sender_pid {
            let whom = if self.pid == Some(pid) {
                "the process itself".to_owned()
            } else {
                format!("process {pid}")
            };
            words.push_str(&format!(", by {whom}"));
        }
        words
    }

    /// `504 MB, in an archive of stillcore (gzip, tar) of 188 MB`
    fn file_in_words(&self) -> String {
        let core = size(self.core.size);
        let layers = self.layers.join(", ");
        let of = self
            .file_size
            .map_or(String::new(), |bytes| format!(" of {}", size(bytes)));
        match self.kind {
            _ if self.layers.is_empty() => core,
            "core" => format!("{core}, compressed ({layers}){of}"),
            "tar" | "zip" => format!("{core}, in an archive ({layers}){of}"),
            kind => format!("{core}, in an archive of {kind} ({layers}){of}"),
        }
    }

    fn capture_in_words(&self) -> String {
        let Some(capture) = &self.capture else {
            return "by stillcore".to_owned();
        };
        let tool = capture.tool.as_deref().unwrap_or("stillcore");
        let version = capture.version.as_deref().unwrap_or("");
        let method = match &capture.method {
            Some(method) => format!(", {method} way"),
            None => String::new(),
        };
        format!("by {tool} {version}{method}, while it ran; nothing crashed")
    }

    fn threads_in_words(&self) -> String {
        let Some(first) = &self.first_thread else {
            return self.threads.to_string();
        };
        let name = match &first.name {
            Some(name) => format!(" {name}"),
            None => String::new(),
        };
        let did = match self.how {
            "died" => "died first",
            "captured" => "asked for the core",
            _ => "is the first",
        };
        format!("{}; {}{name} {did}", self.threads, first.tid)
    }
}
