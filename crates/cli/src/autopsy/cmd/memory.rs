//! Memory: what it is made of, what is at an address, which strings are in it.

use std::collections::BTreeMap;

use clap::{Arg, ArgMatches};
use serde_json::{Value as Json, json};
use stillcore_v8::{Kind, Space, quoted};

use super::{addr, get, long_flag, number, verbose};
use crate::autopsy::table::Spec;
use crate::autopsy::{Answer, Autopsy, address, hex};
use crate::error::Usage;
use crate::size::size;

pub const TABLE: &[Spec] = &[
    Spec {
        name: "heap",
        aliases: &["v8-heap"],
        about: "What the memory is made of: V8's spaces, stores outside of the heap, stacks, files, the rest",
        manual: "\
Of each isolate the spaces with their pages, how many bytes these have, and how many are objects (all, and those that can
be reached). Below it what lies outside of the heap. Bytes are those that the core holds.",
        args: |command| command,
        run: heap,
    },
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

fn heap(autopsy: &Autopsy, _: &ArgMatches) -> anyhow::Result<Answer> {
    let v8 = &autopsy.v8;
    let graph = autopsy.reachable()?;
    let mut used: BTreeMap<(u64, Space), (u64, u64)> = BTreeMap::new();
    let (mut stores, mut texts) = ((0_u64, 0_u64), (0_u64, 0_u64));
    graph.each(false, |object| {
        let Some(page) = v8.pages.page_of(object.address) else {
            return;
        };
        if object.map.kind == Kind::Free {
            return;
        }
        let entry = used.entry((page.heap, page.space)).or_default();
        entry.0 += object.size;
        let alive = graph.is_reachable(object.address);
        if alive {
            entry.1 += object.size;
        }
        if object.map.kind == Kind::JsArrayBuffer {
            stores.0 += 1;
            stores.1 += v8
                .array_buffer(object.tagged())
                .map_or(0, |(_, length)| length);
        }
        if object.map.kind == Kind::String && object.map.instance_type & 7 == 2 {
            texts.0 += 1;
            texts.1 += v8.string_length(object.tagged()).unwrap_or(0)
                * if object.map.instance_type & 8 != 0 {
                    1
                } else {
                    2
                };
        }
    });
    let mut pages: BTreeMap<(u64, Space), (u64, u64)> = BTreeMap::new();
    for page in v8.pages_of(autopsy.isolate) {
        let entry = pages.entry((page.heap, page.space)).or_default();
        entry.0 += 1;
        entry.1 += page.size;
    }
    let mut answer = Answer::line(
        format!(
            "{:<34} {:>6} {:>12} {:>12} {:>12}",
            "", "PAGES", "SIZE", "OBJECTS", "REACHABLE"
        ),
        Json::Null,
    );
    let mut rows = Vec::new();
    let mut heap_bytes = 0;
    for ((heap, space), (count, bytes)) in &pages {
        let isolate = v8
            .isolates
            .iter()
            .find(|isolate| isolate.heap == *heap)
            .map(|isolate| isolate.id);
        let (objects, reachable) = used.get(&(*heap, *space)).copied().unwrap_or_default();
        let owner = isolate.map_or("all isolates".to_owned(), |id| format!("isolate {id}"));
        answer.lines.push(format!(
            "{:<34} {count:>6} {bytes:>12} {objects:>12} {reachable:>12}",
            format!("{owner} {}", space.name())
        ));
        heap_bytes += bytes;
        rows.push(json!({ "isolate": isolate, "space": space.name(), "pages": count, "bytes": bytes, "objects": objects, "reachable": reachable }));
    }
    // The rest of the memory by what it is.
    let mut outside: BTreeMap<&str, u64> = BTreeMap::new();
    for region in autopsy
        .target
        .process()
        .memory
        .ranges()
        .iter()
        .filter(|range| !matches!(range.backing, stillcore_corefile::Backing::Missing))
    {
        let len = region.end - region.start;
        let in_pages: u64 = v8
            .pages
            .pages()
            .iter()
            .map(|page| {
                let (from, to) = (
                    page.base.max(region.start),
                    (page.base + page.size).min(region.end),
                );
                to.saturating_sub(from)
            })
            .sum();
        let stack = v8
            .threads
            .iter()
            .any(|thread| (region.start..region.end).contains(&thread.sp));
        let flags = region.flags.unwrap_or(4);
        let what = if stack {
            "stacks of threads"
        } else if autopsy.target.process().module_at(region.start).is_some()
            || matches!(region.backing, stillcore_corefile::Backing::File { .. })
        {
            "mapped files"
        } else if flags & 1 != 0 {
            "code outside of the heap's pages"
        } else if flags & 2 != 0 {
            "malloc and other writable memory"
        } else {
            "read-only and reserved memory"
        };
        *outside.entry(what).or_default() += len.saturating_sub(in_pages);
    }
    answer.lines.push(String::new());
    answer
        .lines
        .push(format!("{:<34} {:>12}", "V8's pages", heap_bytes));
    for (what, bytes) in &outside {
        answer.lines.push(format!("{what:<34} {bytes:>12}"));
    }
    answer.lines.push(String::new());
    answer
        .lines
        .push("of what lies outside of the pages:".to_owned());
    answer.lines.push(format!(
        "{:<34} {:>12} {} of them",
        "  stores of ArrayBuffers", stores.1, stores.0
    ));
    answer.lines.push(format!(
        "{:<34} {:>12} {} of them",
        "  text of external strings", texts.1, texts.0
    ));
    answer.json = json!({
        "spaces": rows, "outside": outside, "arrayBuffers": { "count": stores.0, "bytes": stores.1 },
        "externalStrings": { "count": texts.0, "bytes": texts.1 },
    });
    autopsy.note_gaps(&graph, &mut answer);
    Ok(answer)
}

fn whatis(autopsy: &Autopsy, matches: &ArgMatches) -> anyhow::Result<Answer> {
    let v8 = &autopsy.v8;
    let at = address(get(matches, "addr").unwrap_or_default())?;
    let mut answer = Answer::default();
    let mut json = json!({ "address": hex(at) });
    if let Some(page) = v8.pages.page_of(at) {
        let isolate = v8.isolate_of(page).map(|isolate| isolate.id);
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
        .isolates
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
