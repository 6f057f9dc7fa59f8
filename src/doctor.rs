//! `doctor` and `doctorNow`: the report as JSON, in the shape of `Report` in `index.d.ts`.

use std::path::Path;

use napi::bindgen_prelude::{AsyncTask, Result};
use napi::{Env, Task};
use napi_derive::napi;
use serde_json::{Value, json};
use stillcore_capture::doctor::{self, CAPABILITIES, Facts, Handling, Limit, Report, Way};

/// Examines on a thread of libuv's pool.
pub struct Examination {
    directory: String,
}

impl Task for Examination {
    type Output = String;
    type JsValue = String;

    fn compute(&mut self) -> Result<String> {
        Ok(examine(&self.directory))
    }

    fn resolve(&mut self, _env: Env, report: String) -> Result<String> {
        Ok(report)
    }
}

/// What would happen here, off the JavaScript thread.
#[napi]
pub fn doctor(directory: String) -> AsyncTask<Examination> {
    AsyncTask::new(Examination { directory })
}

/// The same on the calling thread, for a process that has no event loop yet.
#[napi]
pub fn doctor_now(directory: String) -> String {
    examine(&directory)
}

fn examine(directory: &str) -> String {
    shape(&doctor::examine(Path::new(directory))).to_string()
}

fn shape(report: &Report) -> Value {
    let facts = &report.facts;
    let status = &facts.status;
    let (libc, version) = doctor::libc_of_this_process();
    json!({
        "ok": report.ok,
        "libc": { "name": libc, "version": version },
        "corePattern": facts.pattern.as_ref().map(|(pattern, with_pid)| json!({
            "value": pattern,
            "meaning": doctor::meaning(pattern, *with_pid),
            "kernelWay": doctor::leaves_core_in_folder(pattern, *with_pid),
        })),
        "limits": {
            "core": limit(facts.core_limit),
            "fileSize": limit(facts.file_limit),
            "addressSpace": limit(facts.address_space_limit),
            "data": limit(facts.data_limit),
        },
        "yama": facts.yama,
        "seccomp": status.seccomp.map(|mode| json!({
            "mode": match mode { 0 => "none", 1 => "strict", _ => "filter" },
            "filters": status.filters,
        })),
        "capabilities": status.capabilities.map(capabilities),
        "noNewPrivs": status.no_new_privs,
        "dumpable": facts.dumpable,
        "sigsegv": facts.sigsegv.as_ref().map(|sigsegv| json!({
            "state": match sigsegv.state {
                Handling::Default => "default",
                Handling::Ignored => "ignored",
                Handling::Handled => "handled",
            },
            "by": sigsegv.by,
        })),
        "dontFork": facts.memory.map(|memory| json!({
            "ranges": memory.marked_ranges,
            "bytes": memory.marked,
            "resident": memory.marked_resident,
        })),
        "threads": status.threads,
        "directory": directory(facts),
        "memory": memory(facts),
        "container": {
            "pidNamespace": facts.container.pid_namespace,
            "userNamespace": facts.container.user_namespace,
            "mountNamespace": facts.container.mount_namespace,
            "cgroup": facts.container.cgroup,
        },
        "estimates": report.estimates.map(|estimates| json!({
            "pauseMs": estimates.pause,
            "coreBytes": estimates.core,
            "archiveBytes": estimates.archive,
            "memoryReserve": estimates.memory_reserve,
            "freeBytesNeeded": estimates.free_needed,
        })),
        "ways": { "kernel": way(&report.kernel), "direct": way(&report.direct) },
        "warnings": report.warnings,
    })
}

fn limit(limit: Option<Limit>) -> Value {
    json!(limit.map(|limit| json!({ "soft": limit.soft, "hard": limit.hard })))
}

fn capabilities(effective: u64) -> Value {
    let mut set = json!({ "effective": format!("{effective:016x}") });
    for (name, bit) in CAPABILITIES {
        set[name] = json!(effective & (1 << bit) != 0);
    }
    set
}

fn directory(facts: &Facts) -> Value {
    json!({
        "path": facts.directory.path,
        "writable": facts.directory.problem.is_none(),
        "freeBytes": facts.directory.free,
        "fileSystem": facts.directory.file_system,
    })
}

fn memory(facts: &Facts) -> Value {
    json!({
        "rss": (facts.rss != 0).then_some(facts.rss),
        "cgroup": facts.headroom.map(|room| json!({
            "version": facts.groups,
            "limit": room.limit,
            "free": room.free,
            "reserve": room.reserve,
        })),
        "overcommit": { "mode": facts.overcommit.mode, "free": facts.overcommit.free },
    })
}

/// `why` and `change` are only there where there is something to say.
fn way(way: &Way) -> Value {
    let mut shaped = json!({ "works": way.works() });
    if !way.works() {
        let all = |pick: fn(&doctor::Reason) -> &str| {
            let texts: Vec<&str> = way.against.iter().map(pick).collect();
            json!(texts.join(" "))
        };
        shaped["why"] = all(|reason| &reason.why);
        shaped["change"] = all(|reason| &reason.change);
    }
    shaped
}
