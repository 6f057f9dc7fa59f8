//! The process as it knew itself.

use chrono::{DateTime, SecondsFormat, Utc};
use clap::ArgMatches;
use serde_json::{Map, Value as Json, json};
use stillcore_v8::{Kind, Slot, V8};

use super::arguments::long_flag;
use crate::autopsy::spec::Spec;
use crate::autopsy::{Answer, Autopsy, hex};

pub const TABLE: &[Spec] = &[
    Spec {
        name: "nodeinfo",
        aliases: &["v8-nodeinfo"],
        about: "The process as it knew itself: version, arguments, pid, uptime",
        manual: "\
From the process object in the core's memory. The environment is shown with --env only: it may hold secrets.

  > nodeinfo
  version      v24.21.0
  pid          14760
  argv         /usr/bin/node /app/scenario.cjs
  ...
  started      2026-11-21T17:45:30.698Z
  uptime       812.142 s when it was captured",
        args: |command| command.arg(long_flag("env", "The environment too")),
        run: nodeinfo,
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
            let mut told = value.clone();
            if let Json::Object(parts) = &mut told {
                // Where it can be downloaded: in JSON only. A version of what this build does without is empty.
                parts.retain(|part, value| !part.ends_with("Url") && value != "");
            }
            answer.lines.push(format!("{label:<12} {}", text_of(&told)));
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
        .and_then(|capture| capture.time.as_deref())
    {
        let time = DateTime::parse_from_rfc3339(time)
            .map_or_else(|_| time.to_owned(), |time| moment(time.to_utc()));
        answer.lines.push(format!("{:<12} {time}", "captured"));
        json.insert("captured".to_owned(), json!(time));
    }
    age(autopsy, &mut answer, &mut json);
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

/// A time as JavaScript writes it.
fn moment(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// When the process began, and how long it had run. A core of ours says when it was taken; otherwise the event loop's own
/// clock is the last that is known: a loop that was stuck had run longer.
fn age(autopsy: &Autopsy, answer: &mut Answer, json: &mut Map<String, Json>) {
    let clocks = autopsy.v8.clocks();
    let started = clocks
        .started
        .and_then(|at| DateTime::from_timestamp_micros(i64::try_from(at).ok()?));
    if let Some(started) = started {
        let text = moment(started);
        answer.lines.push(format!("{:<12} {text}", "started"));
        json.insert("started".to_owned(), json!(text));
    }
    let about = &autopsy.target.process().about;
    let captured = about
        .capture
        .as_ref()
        .and_then(|capture| DateTime::parse_from_rfc3339(capture.time.as_deref()?).ok())
        .zip(started)
        .and_then(|(captured, started)| (captured.to_utc() - started).to_std().ok());
    let (uptime, from) = match (captured, clocks.last_turn) {
        (Some(uptime), _) => (uptime.as_secs_f64(), "capture"),
        (None, Some(nanoseconds)) => (nanoseconds as f64 / 1e9, "event loop"),
        (None, None) => return,
    };
    let until = match from {
        "capture" => "when it was captured",
        _ => "at the last turn of the event loop",
    };
    answer
        .lines
        .push(format!("{:<12} {uptime:.3} s {until}", "uptime"));
    json.insert("uptime".to_owned(), json!(uptime));
    json.insert("uptimeFrom".to_owned(), json!(from));
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
