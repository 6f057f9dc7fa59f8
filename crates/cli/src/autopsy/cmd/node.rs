//! What Node keeps.

use clap::ArgMatches;
use serde_json::{Map, Value as Json, json};
use stillcore_v8::{Kind, PrintOptions, Slot, Tagged, V8};

use super::{flag, long_flag, number};
use crate::autopsy::table::Spec;
use crate::autopsy::{Answer, Autopsy, hex};

pub const TABLE: &[Spec] = &[
    Spec {
        name: "nodeinfo",
        aliases: &["v8-nodeinfo"],
        about: "The process as it knew itself: version, arguments, pid",
        manual: "\
From the process object in the core's memory. The environment is shown with --env only: it may hold secrets.

  > nodeinfo
  version    v24.21.0
  pid        14760
  argv       /usr/bin/node /app/scenario.cjs
  execArgv
  platform   linux, x64",
        args: |command| command.arg(long_flag("env", "The environment too")),
        run: nodeinfo,
    },
    Spec {
        name: "isolates",
        aliases: &["isolate"],
        about: "The isolates: the main thread's and those of workers",
        manual: "Number, address, thread, pages. --isolate N makes other commands look at one alone.",
        args: |command| command,
        run: isolates,
    },
    Spec {
        name: "handles",
        aliases: &["getactivehandles", "v8-getactivehandles"],
        about: "The handles of libuv: sockets, servers, pipes, timers",
        manual: "Address of the JavaScript object, its class, libuv's type, whether it is active and keeps the loop alive, the descriptor.",
        args: |command| command.arg(flag('a', "all", "Also those that are not active")),
        run: |autopsy, matches| wraps(autopsy, true, matches.get_flag("all")),
    },
    Spec {
        name: "requests",
        aliases: &["getactiverequests", "v8-getactiverequests"],
        about: "The requests that libuv has not finished: reads, writes, look-ups",
        manual: "Address of the JavaScript object and its class.",
        args: |command| command,
        run: |autopsy, _| wraps(autopsy, false, true),
    },
    Spec {
        name: "timers",
        aliases: &[],
        about: "Timeouts, intervals and immediates that wait",
        manual: "Address, milliseconds, whether it repeats, and its callback.",
        args: |command| command,
        run: timers,
    },
    Spec {
        name: "promises",
        aliases: &[],
        about: "Pending promises, and what awaits them",
        manual: "\
One a line with what waits for it, up to the outermost; promises that nothing waits for only with -a.

  > promises
  0x36801bedd2f1 awaited by innermostAwait /app/scenario.cjs:177:3
                 awaited by middleAwait /app/scenario.cjs:181:11",
        args: |command| command.arg(flag('a', "all", "Also those that nothing waits for")).arg(number('n', "count", "N", "How many [default: 200]")),
        run: promises,
    },
    Spec {
        name: "jsmodules",
        aliases: &[],
        about: "The modules that were loaded: CommonJS and ES modules (modules --js)",
        manual: "Address, kind, whether it is loaded, name.",
        args: |command| command,
        run: js_modules,
    },
];

fn plain(v8: &V8, slot: Option<Slot>) -> Json {
    match slot {
        Some(Slot::Value(value)) => {
            if let Some(text) = v8.name_text(value) {
                return json!(text);
            }
            if let Some(number) = v8.number(value) {
                return json!(number);
            }
            match v8.kind_of(value) {
                Ok(Kind::JsArray) => Json::Array(
                    v8.elements(value, 10_000)
                        .map(|elements| {
                            elements
                                .entries
                                .into_iter()
                                .map(|(_, slot)| plain(v8, Some(slot)))
                                .collect()
                        })
                        .unwrap_or_default(),
                ),
                Ok(Kind::JsObject) => {
                    let mut map = Map::new();
                    for property in v8.properties(value).unwrap_or_default() {
                        if let Slot::Value(_) = property.slot {
                            map.insert(v8.key_text(&property), plain(v8, Some(property.slot)));
                        }
                    }
                    Json::Object(map)
                }
                _ => json!(v8.brief(value)),
            }
        }
        _ => Json::Null,
    }
}

fn text_of(value: &Json) -> String {
    match value {
        Json::String(text) => text.clone(),
        Json::Array(items) => items.iter().map(text_of).collect::<Vec<_>>().join(" "),
        Json::Object(map) => map
            .iter()
            .map(|(key, value)| format!("{key} {}", text_of(value)))
            .collect::<Vec<_>>()
            .join(", "),
        Json::Null => String::new(),
        other => other.to_string().trim_end_matches(".0").to_owned(),
    }
}

fn nodeinfo(autopsy: &Autopsy, matches: &ArgMatches) -> anyhow::Result<Answer> {
    let v8 = &autopsy.v8;
    let isolate = autopsy.isolate.unwrap_or(0);
    let contexts = v8.native_contexts(Some(isolate));
    let Some(process) = contexts
        .iter()
        .find_map(|context| v8.process_object(*context))
    else {
        anyhow::bail!("there is no process object in isolate {isolate}");
    };
    let mut answer = Answer::default();
    let mut json = Map::new();
    json.insert("isolate".to_owned(), json!(isolate));
    json.insert("process".to_owned(), json!(hex(process.0)));
    for (name, label) in [
        ("version", "version"),
        ("pid", "pid"),
        ("ppid", "ppid"),
        ("title", "title"),
        ("argv", "argv"),
        ("execArgv", "execArgv"),
        ("execPath", "execPath"),
        ("platform", "platform"),
        ("arch", "arch"),
        ("release", "release"),
        ("versions", "versions"),
        ("features", "features"),
    ] {
        let value = plain(v8, v8.lookup(process, name));
        if !value.is_null() {
            answer
                .lines
                .push(format!("{label:<12} {}", text_of(&value)));
            json.insert(name.to_owned(), value);
        }
    }
    // What the process object computes when it is asked, the core itself tells.
    let about = &autopsy.target.process().about;
    if !json.contains_key("pid")
        && let Some(pid) = about.pid
    {
        answer.lines.push(format!("{:<12} {pid}", "pid"));
        json.insert("pid".to_owned(), json!(pid));
    }
    if let Some(time) = about
        .capture
        .as_ref()
        .and_then(|capture| capture.time.clone())
    {
        answer.lines.push(format!("{:<12} {time}", "captured"));
        json.insert("captured".to_owned(), json!(time));
    }
    let environment = environment(autopsy);
    if let Some((_, options)) = environment.iter().find(|(name, _)| name == "NODE_OPTIONS") {
        answer
            .lines
            .push(format!("{:<12} {options}", "NODE_OPTIONS"));
        json.insert("NODE_OPTIONS".to_owned(), json!(options));
    }
    if matches.get_flag("env") {
        answer.lines.push("env".to_owned());
        answer.lines.extend(
            environment
                .iter()
                .map(|(name, value)| format!("  {name}={value}")),
        );
        json.insert(
            "env".to_owned(),
            Json::Object(
                environment
                    .into_iter()
                    .map(|(name, value)| (name, json!(value)))
                    .collect(),
            ),
        );
    }
    answer.addresses.push(process.0);
    answer.json = Json::Object(json);
    Ok(answer)
}

/// The environment as the C library has it: `environ`, a list of pointers.
fn environment(autopsy: &Autopsy) -> Vec<(String, String)> {
    let process = autopsy.target.process();
    let memory = &autopsy.v8.memory;
    for module in &process.modules {
        for name in ["environ", "__environ"] {
            let Some(symbol) = module.symbol(name) else {
                continue;
            };
            let Ok(mut at) = memory.u64(symbol.address) else {
                continue;
            };
            let mut out = Vec::new();
            while out.len() < 100_000 {
                let Ok(text) = memory.u64(at) else { break };
                if text == 0 {
                    break;
                }
                if let Ok(text) = memory.c_string(text, 1 << 17)
                    && let Some((name, value)) = text.split_once('=')
                {
                    out.push((name.to_owned(), value.to_owned()));
                }
                at = at.wrapping_add(8);
            }
            if !out.is_empty() {
                return out;
            }
        }
    }
    Vec::new()
}

fn isolates(autopsy: &Autopsy, _: &ArgMatches) -> anyhow::Result<Answer> {
    let v8 = &autopsy.v8;
    let mut answer = Answer::line(
        format!(
            "{:>7} {:>16} {:>8} {:>6} {:>12}  {}",
            "ISOLATE", "ADDRESS", "THREAD", "PAGES", "BYTES", "KIND"
        ),
        Json::Null,
    );
    let mut rows = Vec::new();
    for isolate in &v8.isolates {
        let pages: Vec<_> = v8
            .pages
            .pages()
            .iter()
            .filter(|page| page.heap == isolate.heap)
            .collect();
        let bytes: u64 = pages.iter().map(|page| page.size).sum();
        let kind = if isolate.id == 0 { "main" } else { "worker" };
        answer.lines.push(format!(
            "{:>7} {:>16} {:>8} {:>6} {bytes:>12}  {kind}",
            isolate.id,
            hex(isolate.address),
            isolate.thread.map_or("-".to_owned(), |tid| tid.to_string()),
            pages.len()
        ));
        rows.push(json!({ "id": isolate.id, "address": hex(isolate.address), "heap": hex(isolate.heap), "thread": isolate.thread, "pages": pages.len(), "bytes": bytes, "kind": kind }));
    }
    answer.json = Json::Array(rows);
    Ok(answer)
}

fn wraps(autopsy: &Autopsy, handles: bool, all: bool) -> anyhow::Result<Answer> {
    let v8 = &autopsy.v8;
    let mut answer = Answer::default();
    let mut rows = Vec::new();
    let mut environments = Vec::new();
    for context in v8.native_contexts(autopsy.isolate) {
        if let Ok(environment) = v8.environment(context)
            && !environments.contains(&environment)
        {
            environments.push(environment);
        }
    }
    if environments.is_empty() {
        anyhow::bail!(
            "no Node environment was found: the binary lacks its nodedbg_* symbols, or no context is Node's"
        );
    }
    for environment in environments {
        for wrap in v8.wraps(environment, handles)? {
            if !all && wrap.active == Some(false) {
                continue;
            }
            let class = v8
                .class_name(wrap.object)
                .map_or_else(|_| "?".to_owned(), |class| class.to_string());
            // The object that a program knows (Socket, Server) is the owner.
            let owner = owner_of(v8, wrap.object);
            let owner_text =
                owner.map_or(String::new(), |owner| format!(" of {}", v8.brief(owner)));
            let mut line = format!("{:#x} {class}{owner_text}", wrap.object.0);
            if let Some(kind) = wrap.uv_type {
                line.push_str(&format!(
                    " ({kind}{}{}{})",
                    if wrap.active == Some(true) {
                        ", active"
                    } else {
                        ", inactive"
                    },
                    if wrap.referenced == Some(false) {
                        ", unreferenced"
                    } else {
                        ""
                    },
                    wrap.fd.map_or(String::new(), |fd| format!(", fd {fd}"))
                ));
            }
            answer.lines.push(line);
            answer.addresses.push(wrap.object.0);
            rows.push(json!({
                "object": hex(wrap.object.0), "class": class, "native": hex(wrap.native), "type": wrap.uv_type, "active": wrap.active,
                "referenced": wrap.referenced, "fd": wrap.fd, "owner": owner.map(|owner| hex(owner.0)),
            }));
        }
    }
    if rows.is_empty() {
        answer.lines.push("none".to_owned());
    }
    answer.json = Json::Array(rows);
    Ok(answer)
}

fn owner_of(v8: &V8, object: Tagged) -> Option<Tagged> {
    v8.properties(object)
        .ok()?
        .into_iter()
        .find_map(|property| match property.slot {
            Slot::Value(value)
                if matches!(
                    v8.key_text(&property).as_str(),
                    "Symbol(owner_symbol)"
                        | "Symbol(owner)"
                        | "owner"
                        | "[[owner]]"
                        | "node:owner_symbol"
                ) && v8.kind_of(value).is_ok_and(Kind::is_js_object) =>
            {
                Some(value)
            }
            _ => None,
        })
}

fn timers(autopsy: &Autopsy, _: &ArgMatches) -> anyhow::Result<Answer> {
    let v8 = &autopsy.v8;
    let graph = autopsy.reachable()?;
    let mut answer = Answer::default();
    let mut rows = Vec::new();
    for (class, callback) in [("Timeout", "_onTimeout"), ("Immediate", "_onImmediate")] {
        for object in graph.instances(class, true) {
            let value = object.tagged();
            let number = |name: &str| {
                v8.own_property(value, name)
                    .and_then(|value| v8.number(value))
            };
            let destroyed = v8
                .own_property(value, "_destroyed")
                .is_some_and(|value| v8.root_name(value) == Some("true_value"));
            let after = number("_idleTimeout").unwrap_or(0.0);
            let Some(function) = v8.own_property(value, callback).filter(|value| {
                v8.kind_of(*value)
                    .is_ok_and(|kind| kind == Kind::JsFunction)
            }) else {
                continue;
            };
            if destroyed || class == "Timeout" && after < 0.0 {
                continue;
            }
            let repeat = number("_repeat");
            let what = match (class, repeat) {
                ("Immediate", _) => "immediate".to_owned(),
                (_, Some(repeat)) => format!("every {repeat} ms"),
                _ => format!("after {after} ms"),
            };
            let options = PrintOptions {
                depth: 0,
                ..PrintOptions::default()
            };
            let callback = v8.print(function, &options);
            answer.lines.push(format!(
                "{:#x} {what}: {}",
                value.0,
                callback.text(&options)
            ));
            answer.addresses.push(value.0);
            rows.push(json!({ "object": hex(value.0), "class": class, "after": after, "repeat": repeat, "callback": callback }));
        }
    }
    if rows.is_empty() {
        answer.lines.push("none".to_owned());
    }
    answer.json = Json::Array(rows);
    Ok(answer)
}

fn promises(autopsy: &Autopsy, matches: &ArgMatches) -> anyhow::Result<Answer> {
    let v8 = &autopsy.v8;
    let graph = autopsy.reachable()?;
    let all = matches.get_flag("all");
    let limit = matches.get_one::<usize>("count").copied().unwrap_or(200);
    let mut answer = Answer::default();
    let mut rows = Vec::new();
    let mut total = 0;
    graph.each(true, |object| {
        if object.map.kind != Kind::JsPromise || autopsy.stopped() {
            return;
        }
        let value = object.tagged();
        let pending = v8
            .field(value.address(), v8.c.js_promise_flags)
            .ok()
            .and_then(Tagged::as_smi)
            .is_some_and(|flags| flags & 3 == 0);
        if !pending {
            return;
        }
        let waiting = v8.reactions(value).len();
        if waiting == 0 && !all {
            return;
        }
        total += 1;
        if rows.len() >= limit {
            return;
        }
        let chains = v8.await_chains(value, 16);
        let mut first = true;
        let texts: Vec<Vec<String>> = chains
            .iter()
            .map(|frames| {
                frames
                    .iter()
                    .map(|frame| {
                        format!(
                            "{}{}",
                            frame.name,
                            frame
                                .location
                                .as_ref()
                                .map_or(String::new(), |place| format!(" {place}"))
                        )
                    })
                    .collect()
            })
            .collect();
        for text in texts.iter().flatten() {
            let at = if first {
                hex(value.0)
            } else {
                " ".repeat(hex(value.0).len())
            };
            answer.lines.push(format!("{at} awaited by {text}"));
            first = false;
        }
        if first {
            answer.lines.push(format!(
                "{:#x} {}",
                value.0,
                if waiting == 0 {
                    "nothing waits for it".to_owned()
                } else {
                    format!("{waiting} reactions")
                }
            ));
        }
        answer.addresses.push(value.0);
        rows.push(json!({ "promise": hex(value.0), "reactions": waiting, "awaitedBy": texts }));
    });
    if total > rows.len() {
        answer
            .lines
            .push(format!("... {} more", total - rows.len()));
    }
    if rows.is_empty() {
        answer.lines.push("none".to_owned());
    }
    answer.json = json!({ "count": total, "promises": rows });
    Ok(answer)
}

/// The modules of JavaScript, also for `modules --js`.
pub fn js_modules(autopsy: &Autopsy, _: &ArgMatches) -> anyhow::Result<Answer> {
    list_modules(autopsy)
}

/// The same without arguments.
pub fn list_modules(autopsy: &Autopsy) -> anyhow::Result<Answer> {
    let v8 = &autopsy.v8;
    let graph = autopsy.reachable()?;
    let mut answer = Answer::default();
    let mut rows = Vec::new();
    for (class, kind, name) in [("Module", "cjs", "filename"), ("ModuleWrap", "esm", "url")] {
        for object in graph.instances(class, true) {
            let value = object.tagged();
            let Some(file) = v8
                .own_property(value, name)
                .and_then(|value| v8.name_text(value))
            else {
                continue;
            };
            let loaded = v8
                .own_property(value, "loaded")
                .map(|value| v8.root_name(value) == Some("true_value"));
            let note = if loaded == Some(false) {
                " (still loading)"
            } else {
                ""
            };
            answer
                .lines
                .push(format!("{:#x} {kind} {file}{note}", value.0));
            answer.addresses.push(value.0);
            rows.push(
                json!({ "object": hex(value.0), "kind": kind, "name": file, "loaded": loaded }),
            );
        }
    }
    answer.json = Json::Array(rows);
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_become_text() {
        assert_eq!(
            text_of(&json!({ "name": "node", "lts": "Iron" })),
            "lts Iron, name node"
        );
        assert_eq!(text_of(&json!(["a", 1.0])), "a 1");
    }
}
