//! What the memory of the process is made of.

use std::collections::BTreeMap;
use std::ops::Range;

use clap::ArgMatches;
use serde_json::{Value as Json, json};
use stillcore_corefile::{Backing, MemoryRange};
use stillcore_v8::Present;

use crate::autopsy::spec::Spec;
use crate::autopsy::{Answer, Autopsy};

pub const TABLE: &[Spec] = &[Spec {
    name: "heap",
    aliases: &["v8-heap"],
    about: "What the memory is made of: V8's spaces, stores outside of the heap, stacks, files, the rest",
    manual: "\
PRESENT counts pages of 4 KiB that the core holds and that are not all zeros: what was reserved and never touched takes
no memory. The lines add up to the total, which is the RSS of the process but for pages of files that nobody changed (a
core has none; how much of the files is mapped is told) and for pages of zeros. Of V8's spaces the bytes of the objects
follow, all of them and those that can be reached. A leak of Buffers shows in the stores, one of native code in malloc.

  > heap
                                            SIZE      PRESENT      OBJECTS    REACHABLE
  isolate 0 old_space                    4718592      4571136      4320488      4108072
  stores of ArrayBuffers                12582912     12582912   3 of them, 12582912 bytes",
    args: |command| command,
    run: heap,
}];

/// A line of the answer.
struct Line {
    name: String,
    size: u64,
    present: u64,
    more: String,
    json: Json,
}

fn heap(autopsy: &Autopsy, _: &ArgMatches) -> anyhow::Result<Answer> {
    let v8 = &autopsy.v8;
    let graph = autopsy.reachable()?;
    let memory = &autopsy.target.process().memory;
    let held: Vec<Range<u64>> = memory
        .ranges()
        .iter()
        .filter(|range| matches!(range.backing, Backing::Core { .. }))
        .map(|range| range.start..range.end)
        .collect();
    let present = Present::find(&*autopsy.target, &held, &autopsy.stop);
    let mut lines = Vec::new();

    // What V8 and the program know of: pages, stores, texts. Nothing is counted twice.
    let mut known: Vec<Range<u64>> = Vec::new();
    // Of a space: bytes, and those present. New space has the half that is empty too.
    let mut by_space: BTreeMap<(u64, stillcore_v8::Space), (u64, u64)> = BTreeMap::new();
    for page in v8.pages.pages() {
        let range = page.base..page.base.saturating_add(page.size);
        let (size, here) = by_space.entry((page.heap, page.space)).or_default();
        *size += page.size;
        *here += present.bytes(&range);
        known.push(range);
    }
    for ((heap, space), used) in graph.spaces() {
        let isolate = v8
            .isolates()
            .iter()
            .find(|isolate| isolate.heap == heap)
            .map(|isolate| isolate.id);
        let owner = isolate.map_or("all isolates".to_owned(), |id| format!("isolate {id}"));
        let (size, here) = by_space.remove(&(heap, space)).unwrap_or_default();
        lines.push(Line {
            name: format!("{owner} {}", space.name()),
            size,
            present: here,
            more: format!("{:>12} {:>12}", used.objects, used.reachable),
            json: json!({
                "isolate": isolate, "space": space.name(), "pages": used.pages, "bytes": size, "present": here,
                "objects": used.objects, "reachable": used.reachable,
            }),
        });
    }
    let spaces = lines.len();
    let others: u64 = by_space.values().map(|(_, here)| here).sum();
    if others > 0 {
        // Another isolate than --isolate, and what the garbage collector has left behind.
        lines.push(Line::outside(
            "V8's other pages",
            others,
            others,
            String::new(),
        ));
    }
    for (name, list) in [
        ("stores of ArrayBuffers", graph.store_ranges()),
        ("texts of external strings", graph.text_ranges()),
    ] {
        let (count, bytes) = (list.len(), list.iter().map(|(_, bytes)| bytes).sum::<u64>());
        let mut here = 0;
        for part in apart(list.to_vec(), &mut known) {
            here += present.bytes(&part);
        }
        let more = format!("  {count} of them, {bytes} bytes");
        lines.push(Line::outside(name, bytes, here, more));
    }

    // The rest, by what kind of mapping it is in.
    let mut rest: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    let mut files = 0;
    known.sort_by_key(|range| range.start);
    for range in memory.ranges() {
        let what = kind(autopsy, range);
        let whole = range.start..range.end;
        let (mut size, mut here) = (range.end - range.start, present.bytes(&whole));
        let first = known.partition_point(|one| one.end <= range.start);
        for one in known[first..]
            .iter()
            .take_while(|one| one.start < range.end)
        {
            let part = one.start.max(range.start)..one.end.min(range.end);
            size = size.saturating_sub(part.end.saturating_sub(part.start));
            here = here.saturating_sub(present.bytes(&part));
        }
        if what == FILES && !matches!(range.backing, Backing::Core { .. }) {
            files += size;
        }
        let entry = rest.entry(what).or_default();
        entry.0 += size;
        entry.1 += here;
    }
    for (what, (size, here)) in rest {
        let more = if what == FILES {
            format!("  changed pages; {files} bytes of them are in no core")
        } else {
            String::new()
        };
        lines.push(Line::outside(what, size, here, more));
    }

    let total = present.total();
    let mut answer = Answer::line(
        format!(
            "{:<34} {:>14} {:>12} {:>12} {:>12}",
            "", "SIZE", "PRESENT", "OBJECTS", "REACHABLE"
        ),
        Json::Null,
    );
    for (index, line) in lines.iter().enumerate() {
        if index == spaces {
            answer.lines.push(String::new());
        }
        let Line {
            name,
            size,
            present,
            more,
            ..
        } = line;
        answer.lines.push(format!(
            "{name:<34} {size:>14} {present:>12}{}{more}",
            if index < spaces { " " } else { "" }
        ));
    }
    answer.lines.push(String::new());
    answer
        .lines
        .push(format!("{:<34} {:>14} {total:>12}", "total", ""));
    let (stores, texts) = (graph.stores(false), graph.texts(false));
    answer.json = json!({
        "spaces": lines[..spaces].iter().map(|line| &line.json).collect::<Vec<_>>(),
        "outside": lines[spaces..].iter().map(|line| &line.json).collect::<Vec<_>>(),
        "present": total, "mappedFiles": files,
        "arrayBuffers": { "count": stores.count, "bytes": stores.bytes, "reachable": graph.stores(true).bytes },
        "externalStrings": { "count": texts.count, "bytes": texts.bytes, "reachable": graph.texts(true).bytes },
    });
    Ok(answer)
}

impl Line {
    fn outside(name: &str, size: u64, present: u64, more: String) -> Line {
        Line {
            name: name.to_owned(),
            size,
            present,
            more,
            json: json!({ "what": name, "size": size, "present": present }),
        }
    }
}

/// The parts of a list of ranges (address, bytes) that no known range covers; they are known from then on.
fn apart(mut list: Vec<(u64, u64)>, known: &mut Vec<Range<u64>>) -> Vec<Range<u64>> {
    known.sort_by_key(|range| range.start);
    list.sort_unstable();
    let mut parts = Vec::new();
    let mut end = 0;
    for (address, bytes) in list {
        let mut at = address.max(end);
        let stop = address.saturating_add(bytes);
        while at < stop {
            let index = known.partition_point(|range| range.end <= at);
            match known.get(index) {
                Some(range) if range.start <= at => at = range.end,
                Some(range) if range.start < stop => {
                    parts.push(at..range.start);
                    at = range.end;
                }
                _ => {
                    parts.push(at..stop);
                    at = stop;
                }
            }
        }
        end = end.max(stop);
    }
    known.extend(parts.iter().cloned());
    parts
}

const FILES: &str = "mapped files";

/// What a mapping is for.
fn kind(autopsy: &Autopsy, range: &MemoryRange) -> &'static str {
    let flags = range.flags.unwrap_or(4);
    let stack = autopsy
        .v8
        .threads
        .iter()
        .any(|thread| (range.start..range.end).contains(&thread.sp));
    if stack {
        "stacks of threads"
    } else if autopsy.target.process().module_at(range.start).is_some()
        || matches!(range.backing, Backing::File { .. })
    {
        FILES
    } else if flags & 1 != 0 {
        "code outside of the heap's pages"
    } else if flags & 2 != 0 {
        "malloc and other writable memory"
    } else {
        "read-only and reserved memory"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_counted_twice() {
        let mut known = vec![100..200, 300..400];
        let parts = apart(vec![(50, 100), (60, 10), (150, 200), (500, 10)], &mut known);
        assert_eq!(parts, [50..100, 200..300, 500..510]);
        assert!(apart(vec![(0, 0), (55, 5)], &mut known).is_empty());
    }
}
