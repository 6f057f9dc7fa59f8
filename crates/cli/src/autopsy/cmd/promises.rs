//! Pending promises and what awaits them.

use std::collections::{HashMap, HashSet};

use clap::{Arg, ArgAction, ArgMatches};
use serde_json::json;
use stillcore_v8::{Frame, Kind, Tagged, V8};

use super::arguments::{flag, number};
use crate::autopsy::spec::Spec;
use crate::autopsy::{Answer, Autopsy, hex};

pub const TABLE: &[Spec] = &[Spec {
    name: "promises",
    aliases: &[],
    about: "Pending promises, and what awaits them",
    manual: "\
Each with the functions that wait for it, up to the outermost. What hangs is at the beginning of a chain: promises that only
wait for another pending one (of the functions in between) are left out, and so are those that nothing waits for; -a shows
all. Promises that are awaited at the same places are one entry with their number.

A promise that nothing can reach any more can no longer be settled: whoever was to call its resolve function has forgotten it,
and the functions that await it never go on. Until the garbage is collected they are still in memory, and --lost shows them.

  > promises
  0x36801bedd2f1 awaited by innermostAwait /app/scenario.cjs:177:3
                 awaited by middleAwait /app/scenario.cjs:181:11
  3 of them, as 0x17df4d2a1e29 awaited by findOrder /app/waiting.js:21:22
                 awaited by Server.answer /app/waiting.js:26:17",
    args: |command| {
        command
            .arg(flag('a', "all", "Also those that wait for others, and those that nothing waits for"))
            .arg(
                Arg::new("lost")
                    .long("lost")
                    .action(ArgAction::SetTrue)
                    .conflicts_with("all")
                    .help("Those that functions await and nothing can settle any more"),
            )
            .arg(number('n', "count", "N", "How many entries [default: 200]"))
    },
    run: promises,
}];

/// Most promises whose awaiting functions are looked up: those of ten thousand requests that hang at one place are one entry.
const MAX_GROUPED: usize = 20_000;
/// Most reactions of a promise that are followed.
const MAX_CHAINS: usize = 16;

fn is_pending(v8: &V8, promise: Tagged) -> bool {
    v8.field(promise.address(), v8.c.js_promise_flags)
        .ok()
        .and_then(Tagged::as_smi)
        .is_some_and(|flags| flags & 3 == 0)
}

fn text_of(frame: &Frame) -> String {
    let place = frame
        .location
        .as_ref()
        .map_or(String::new(), |place| format!(" {place}"));
    format!("{}{place}", frame.name)
}

/// Promises that are awaited at the same places.
struct Alike {
    first: u64,
    count: usize,
    reactions: usize,
    chains: Vec<Vec<String>>,
}

fn promises(autopsy: &Autopsy, matches: &ArgMatches) -> anyhow::Result<Answer> {
    let v8 = &autopsy.v8;
    let graph = autopsy.reachable()?;
    let (all, lost) = (matches.get_flag("all"), matches.get_flag("lost"));
    let limit = matches.get_one::<usize>("count").copied().unwrap_or(200);
    let (mut pending, mut forgotten) = (Vec::new(), Vec::new());
    let mut later = HashSet::new();
    for value in graph.of_kind(Kind::JsPromise, false) {
        if !autopsy.stopped() && is_pending(v8, value) {
            if graph.is_reachable(value.address()) {
                pending.push(value);
            } else {
                forgotten.push(value);
            }
            if !all {
                later.extend(v8.settled_after(value).iter().map(|next| next.0));
            }
        }
    }
    // Garbage is full of promises that nobody misses, such as those that lost a race; a function that awaits one is missed.
    forgotten.retain(|promise| {
        !later.contains(&promise.0)
            && v8
                .reactions(*promise)
                .iter()
                .any(|reaction| v8.awaiting_generator(reaction.fulfill).is_some())
    });
    let forgotten_count = forgotten.len();
    if lost {
        pending = forgotten;
    }
    let mut groups: Vec<Alike> = Vec::new();
    let mut known: HashMap<Vec<Vec<String>>, usize> = HashMap::new();
    let mut answer = Answer::default();
    let mut rows = Vec::new();
    let mut total = 0;
    for value in pending {
        if autopsy.stopped() {
            break;
        }
        let reactions = v8.reactions(value).len();
        if !all && (reactions == 0 || later.contains(&value.0)) {
            continue;
        }
        total += 1;
        if total > MAX_GROUPED.max(limit) {
            continue;
        }
        let chains: Vec<Vec<String>> = v8
            .await_chains(value, MAX_CHAINS)
            .iter()
            .map(|frames| frames.iter().map(text_of).collect())
            .collect();
        if rows.len() < limit {
            rows.push(
                json!({ "promise": hex(value.0), "reactions": reactions, "awaitedBy": chains }),
            );
            answer.addresses.push(value.0);
        }
        match known.get(&chains).and_then(|index| groups.get_mut(*index)) {
            Some(group) if !chains.is_empty() => group.count += 1,
            _ => {
                known.insert(chains.clone(), groups.len());
                groups.push(Alike {
                    first: value.0,
                    count: 1,
                    reactions,
                    chains,
                });
            }
        }
    }
    groups.truncate(limit);
    for group in &groups {
        show(group, &mut answer.lines);
    }
    let told: usize = groups.iter().map(|group| group.count).sum();
    if total > told {
        answer.lines.push(format!("... {} more", total - told));
    }
    if rows.is_empty() {
        answer.lines.push("none".to_owned());
    }
    if forgotten_count > 0 && !lost {
        answer.notes.push(format!(
            "{forgotten_count} more that functions await can be settled by nobody any more: promises --lost"
        ));
    }
    answer.json = json!({ "count": total, "lost": forgotten_count, "promises": rows });
    Ok(answer)
}

fn show(group: &Alike, lines: &mut Vec<String>) {
    let mut at = match group.count {
        1 => hex(group.first),
        count => format!("{count} of them, as {:#x}", group.first),
    };
    let indent = " ".repeat(hex(group.first).len());
    for (number, chain) in group.chains.iter().enumerate() {
        for (depth, text) in chain.iter().enumerate() {
            let and = if number > 0 && depth == 0 { "and " } else { "" };
            lines.push(format!("{at} {and}awaited by {text}"));
            at.clone_from(&indent);
        }
    }
    if group.chains.is_empty() {
        lines.push(match group.reactions {
            0 => format!("{at} nothing waits for it"),
            1 => format!("{at} 1 reaction of native code"),
            count => format!("{at} {count} reactions of native code"),
        });
    }
}
