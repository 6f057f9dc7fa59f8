//! Memory: what is at an address, which strings are in it.

use clap::{Arg, ArgMatches};
use serde_json::{Value as Json, json};
use stillcore_v8::{Kind, quoted};

use super::arguments::{addr, get, long_flag, number, verbose};
use crate::autopsy::spec::Spec;
use crate::autopsy::{Answer, Autopsy, address, hex};
use crate::error::Usage;
use crate::size::size;

pub const TABLE: &[Spec] = &[
    Spec {
        name: "whatis",
        aliases: &["v8whatis"],
        about: "What is at an address",
        manual: "\
The page and space of V8's heap and the object that the address lies in, or the stack, the module and function, the mapping.

  > whatis 0xa91895dc4b1
  in old_space of isolate 0 (page 0xa91895c0000)
  8 bytes into 0xa91895dc4a9: PlantedChild { ... }",
        args: |command| {
            command
                .arg(addr())
                .arg(verbose("Accepted as mdb has it: all that is known is printed"))
                .arg(number('d', "distance", "BYTES", "Accepted as mdb has it: objects are found however far they begin before"))
        },
        run: whatis,
    },
    Spec {
        name: "strings",
        aliases: &[],
        about: "The strings on the heap",
        manual: "Address, length, text. --min sets the shortest that is shown, --grep a regular expression that it must match.",
        args: |command| {
            command
                .arg(Arg::new("min").long("min").value_name("N").value_parser(clap::value_parser!(usize)).help("The shortest [default: 8]"))
                .arg(Arg::new("grep").long("grep").value_name("RE").help("Only those that match"))
                .arg(number('n', "count", "N", "How many [default: all]"))
                .arg(long_flag("all", "Also what cannot be reached any more"))
        },
        run: strings,
    },
];

fn whatis(autopsy: &Autopsy, matches: &ArgMatches) -> anyhow::Result<Answer> {
    let v8 = &autopsy.v8;
    let at = address(get(matches, "addr").unwrap_or_default())?;
    let mut answer = Answer::default();
    let mut json = json!({ "address": hex(at) });
    if let Some(page) = v8.pages.page_of(at) {
        let isolate = v8.isolate_of(&page).map(|isolate| isolate.id);
        let owner = isolate.map_or("all isolates".to_owned(), |id| format!("isolate {id}"));
        answer.lines.push(format!(
            "in {} of {owner} (page {:#x})",
            page.space.name(),
            page.base
        ));
        json["space"] = json!(page.space.name());
        json["isolate"] = json!(isolate);
        let graph = autopsy.graph()?;
        match graph.object_around(at & !1) {
            Some(object) => {
                let inside = at.wrapping_sub(object.address) & !1;
                let place = if inside == 0 {
                    String::new()
                } else {
                    format!("{inside} bytes into ")
                };
                answer.lines.push(format!(
                    "{place}{:#x}: {} ({}, {} bytes)",
                    object.address | 1,
                    v8.brief(object.tagged()),
                    v8.types.name(object.map.instance_type),
                    object.size
                ));
                json["object"] = json!(hex(object.address | 1));
                json["offset"] = json!(inside);
                json["type"] = json!(v8.types.name(object.map.instance_type));
                json["size"] = json!(object.size);
                answer.addresses.push(object.address | 1);
            }
            None => answer
                .lines
                .push("no object is there: free, or being allocated".to_owned()),
        }
        answer.json = json;
        return Ok(answer);
    }
    let process = autopsy.target.process();
    if let Some(name) = v8.builtin_at(at) {
        answer.lines.push(format!("in V8's builtin {name}"));
        json["builtin"] = json!(name);
    }
    if let Some(module) = process.module_at(at) {
        let path = String::from_utf8_lossy(&module.path);
        let symbol = module
            .symbol_at(at)
            .map(|symbol| format!("{}+{:#x}", symbol.demangled(), at - symbol.address));
        answer.lines.push(format!(
            "in {path}{}",
            symbol
                .as_ref()
                .map_or(String::new(), |symbol| format!(": {symbol}"))
        ));
        json["module"] = json!(path);
        json["symbol"] = json!(symbol);
    }
    if let Some(thread) = v8.threads.iter().find(|thread| {
        process
            .memory
            .range_at(thread.sp)
            .is_some_and(|range| (range.start..range.end).contains(&at))
    }) {
        answer.lines.push(format!(
            "on the stack of thread {}{}",
            thread.tid,
            if at < thread.sp {
                ", below what is in use"
            } else {
                ""
            }
        ));
        json["thread"] = json!(thread.tid);
    }
    if let Some(isolate) = v8
        .isolates()
        .iter()
        .find(|isolate| (isolate.address..isolate.address + 0x20000).contains(&at))
    {
        answer.lines.push(format!(
            "in the Isolate {} at {:#x}",
            isolate.id, isolate.address
        ));
        json["isolate"] = json!(isolate.id);
    }
    match process.memory.range_at(at) {
        Some(range) => {
            let flags = range.flags.unwrap_or(0);
            let word = |bit: u32, c: char| if flags & bit != 0 { c } else { '-' };
            answer.lines.push(format!(
                "in the mapping {:#x}-{:#x} {}{}{} ({})",
                range.start,
                range.end,
                word(4, 'r'),
                word(2, 'w'),
                word(1, 'x'),
                size(range.end - range.start)
            ));
            json["mapping"] = json!({ "start": hex(range.start), "end": hex(range.end) });
        }
        None => answer
            .lines
            .push("the process had no memory there".to_owned()),
    }
    answer.json = json;
    Ok(answer)
}

fn strings(autopsy: &Autopsy, matches: &ArgMatches) -> anyhow::Result<Answer> {
    let v8 = &autopsy.v8;
    let reachable = !matches.get_flag("all");
    let graph = if reachable {
        autopsy.reachable()?
    } else {
        autopsy.graph()?
    };
    let least = matches.get_one::<usize>("min").copied().unwrap_or(8) as u64;
    let limit = matches
        .get_one::<usize>("count")
        .copied()
        .unwrap_or(usize::MAX);
    let pattern = get(matches, "grep")
        .map(regex::Regex::new)
        .transpose()
        .map_err(|error| Usage(format!("--grep: {error}")))?;
    let mut answer = Answer::default();
    let mut rows = Vec::new();
    graph.each(reachable, |object| {
        if object.map.kind != Kind::String || rows.len() >= limit || autopsy.stopped() {
            return;
        }
        let value = object.tagged();
        let Ok(length) = v8.string_length(value) else {
            return;
        };
        if length < least {
            return;
        }
        let searched = if pattern.is_some() { 1 << 20 } else { 160 };
        let Ok(text) = v8.text(value, searched) else {
            return;
        };
        if pattern
            .as_ref()
            .is_some_and(|pattern| !pattern.is_match(&text.text))
        {
            return;
        }
        let shown: String = text.text.chars().take(160).collect();
        let more = if (shown.encode_utf16().count() as u64) < length {
            "..."
        } else {
            ""
        };
        answer.lines.push(format!(
            "{:#x} {length:>8} {}{more}",
            value.0,
            quoted(&shown)
        ));
        answer.addresses.push(value.0);
        rows.push(json!({ "address": hex(value.0), "length": length, "text": shown }));
    });
    answer.json = Json::Array(rows);
    Ok(answer)
}
