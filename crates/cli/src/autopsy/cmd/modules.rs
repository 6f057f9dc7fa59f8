//! The modules of JavaScript that were loaded.

use clap::ArgMatches;
use serde_json::{Value as Json, json};
use stillcore_v8::{Kind, Tagged, V8};

use crate::autopsy::spec::Spec;
use crate::autopsy::{Answer, Autopsy, hex};

pub const TABLE: &[Spec] = &[Spec {
    name: "jsmodules",
    aliases: &[],
    about: "The modules that were loaded: CommonJS and ES modules (modules --js)",
    manual: "\
Address, kind, name, and how far it came where it is not simply loaded: a CommonJS module whose code still runs, an ES module
that waits in a top-level await (evaluating-async), was not linked, or failed, with its error. What require() has forgotten
again, since it threw, is not there.

  > jsmodules
  0x1438073d9a79 cjs /app/index.js
  0x143807401be9 esm file:///app/config.mjs (evaluating-async)
  0x1438074033a1 esm file:///app/plugin.mjs (errored: Error: no such plugin)",
    args: |command| command,
    run: |autopsy, _: &ArgMatches| list_modules(autopsy),
}];

/// `v8::internal::Module::Status`.
const STATES: [&str; 8] = [
    "unlinked",
    "pre-linking",
    "linking",
    "linked",
    "evaluating",
    "evaluating-async",
    "evaluated",
    "errored",
];
const EVALUATED: i32 = 6;
/// `Module`: exports 8, hash 16, status 24, module_namespace 32, (from V8 14.x one more,) exception.
const STATUS: i64 = 24;
const EXCEPTION: [i64; 4] = [40, 40, 40, 48];
/// `SourceTextModule::flags` of V8 11 and 12: whether there is a top-level await, and which in the order of those that wait
/// (from 2 on; 1 is done). Before 13 such a module is evaluated by its status.
const FLAGS: i64 = 136;

/// The modules of JavaScript, also for `modules --js`.
///
/// # Errors
/// The heap cannot be walked.
pub fn list_modules(autopsy: &Autopsy) -> anyhow::Result<Answer> {
    let v8 = &autopsy.v8;
    let graph = autopsy.reachable()?;
    let mut answer = Answer::default();
    let mut rows = Vec::new();
    for (class, kind, name) in [("Module", "cjs", "filename"), ("ModuleWrap", "esm", "url")] {
        for value in graph.instances(class, true) {
            let Some(file) = v8
                .own_property(value, name)
                .and_then(|value| v8.name_text(value))
            else {
                continue;
            };
            let loaded = v8
                .own_property(value, "loaded")
                .map(|value| v8.root_name(value) == Some("true_value"));
            let module = (kind == "esm").then(|| module_of(v8, value)).flatten();
            let status = module.and_then(|module| state_of(v8, module));
            let error = module
                .filter(|_| status == Some("errored"))
                .and_then(|module| v8.field(module.address(), EXCEPTION[v8.column.min(3)]).ok())
                .map(|error| v8.brief(error));
            let note = match (loaded, status) {
                (Some(false), _) => " (still loading)".to_owned(),
                (_, Some("errored")) => {
                    format!(" (errored: {})", error.as_deref().unwrap_or("?"))
                }
                (_, Some("evaluated") | None) => String::new(),
                (_, Some(status)) => format!(" ({status})"),
            };
            answer
                .lines
                .push(format!("{:#x} {kind} {file}{note}", value.0));
            answer.addresses.push(value.0);
            rows.push(json!({
                "object": hex(value.0), "kind": kind, "name": file, "loaded": loaded, "status": status, "error": error,
            }));
        }
    }
    answer.json = Json::Array(rows);
    Ok(answer)
}

/// V8's module behind Node's `ModuleWrap`: it is in one of its internal fields.
fn module_of(v8: &V8, wrap: Tagged) -> Option<Tagged> {
    let map = v8.map_of(wrap).ok()?;
    let size = v8.size_at(wrap.address(), &map).ok()?.min(256);
    (24..size)
        .step_by(8)
        .filter_map(|offset| v8.field(wrap.address(), offset as i64).ok())
        .filter(|value| value.is_pointer())
        .find(|value| {
            v8.map_of(value.strong()).is_ok_and(|map| {
                map.kind == Kind::SourceTextModule
                    || v8
                        .types
                        .name(map.instance_type)
                        .starts_with("SYNTHETIC_MODULE")
            })
        })
}

fn state_of(v8: &V8, module: Tagged) -> Option<&'static str> {
    let state = v8.field(module.address(), STATUS).ok()?.as_smi()?;
    if state == EVALUATED && v8.column < 2 && v8.kind_of(module).ok()? == Kind::SourceTextModule {
        let flags = v8.field(module.address(), FLAGS).ok()?.as_smi()?;
        if flags >> 1 >= 2 {
            return Some("evaluating-async");
        }
    }
    STATES.get(usize::try_from(state).ok()?).copied()
}
