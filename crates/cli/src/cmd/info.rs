mod summary;
mod words;

use clap::Args;
use stillcore_corefile::{ModuleKind, Process};

use super::memory::Mappings;
use super::threads::has_died;
use crate::address::Address;
use crate::args::CoreArgs;
use crate::escape::lossy;
use crate::session::{Session, match_word};
use crate::signal;
use crate::size::{count, rfc3339, size};

pub use summary::{Capture, FirstThread, Missing, ModuleCount, Signal, Sizes, Summary};

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
        let arguments: Option<Vec<String>> = crate::argv::of(process)
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
