//! Who refers to an object, to a property name, to a string; and the path from a root.

use std::collections::{BTreeMap, HashSet};

use clap::{Arg, ArgMatches};
use serde_json::{Value as Json, json};
use stillcore_v8::{HeapGraph, Kind, Path, Reference, Tagged, V8};

use super::arguments::{flag, get, given, number, optional_addr, text, verbose};
use crate::autopsy::spec::Spec;
use crate::autopsy::{Answer, Autopsy, hex};
use crate::error::Usage;

pub const TABLE: &[Spec] = &[
    Spec {
        name: "jsfindrefs",
        aliases: &["findrefs", "v8-findrefs"],
        about: "What refers to an object, a property name or a string",
        manual: "\
By value (an address; -v of llnode is the default), by the name of a property (-n), by a string's text (-s). Each line is
something that a program could name: an object with the property or index, a variable of a closure, an entry of a Map.
What V8 puts between (arrays of properties and elements, contexts, tables) is looked through; -l sets how far. Weak
references are marked. -r prints a path from a root instead.

  > jsfindrefs 0x1438073d9349
  0x1438073d9389: Proxy [[target]]
  > jsfindrefs -n label
  0xa91895dc4a9: PlantedChild.label = 'child 0'",
        args: |command| {
            command
                .arg(optional_addr())
                .arg(text('n', "name", "NAME", "Objects that have this property"))
                .arg(text('s', "string", "TEXT", "Objects with a property that is this string"))
                .arg(Arg::new("value").long("value").value_name("ADDR").help("Objects that refer to this: the same as the address alone"))
                .arg(number('l', "maxdepth", "N", "How many of V8's own objects to look through [default: 3]"))
                .arg(flag('d', "debug", "V8's own objects too"))
                .arg(verbose("Accepted as mdb and llnode have it: what refers is always described"))
                .arg(flag('r', "recursive", "A path from a root"))
        },
        run: jsfindrefs,
    },
];

fn jsfindrefs(autopsy: &Autopsy, matches: &ArgMatches) -> anyhow::Result<Answer> {
    let depth = matches.get_one::<usize>("maxdepth").copied().unwrap_or(3);
    if let Some(name) = get(matches, "name") {
        return by_name(autopsy, name);
    }
    if let Some(text) = get(matches, "string") {
        return by_string(autopsy, text, depth);
    }
    let value = match get(matches, "value") {
        Some(value) => autopsy.value(value)?,
        None => given(autopsy, matches)
            .map_err(|_| Usage("an address, -n NAME or -s TEXT".to_owned()))?,
    };
    autopsy.v8.map_of(value)?;
    if matches.get_flag("recursive") {
        return path_to_root(autopsy, value);
    }
    let graph = autopsy.graph()?;
    references_to(autopsy, &graph, value, depth, matches.get_flag("debug"))
}

/// Something that refers, as a program would name it.
struct Named {
    from: u64,
    how: String,
    weak: bool,
}

/// A way from an object of V8's own to what is looked for.
struct Way {
    path: String,
    weak: bool,
    /// What of it a developer sees: the target, or the context that it is in.
    seen_as: u64,
}

/// Most ways from one object that are told: a Map may have one value under many keys.
const MOST_WAYS: usize = 16;

impl Way {
    fn new(path: String, weak: bool, seen_as: u64) -> Way {
        Way {
            path,
            weak,
            seen_as,
        }
    }

    /// Adds it to the others from the same object. What is held strongly in one of the same words is held strongly.
    fn join(self, ways: &mut Vec<Way>) {
        if let Some(same) = ways.iter_mut().find(|way| way.path == self.path) {
            same.weak &= self.weak;
        } else if ways.len() < MOST_WAYS {
            ways.push(self);
        }
    }
}

pub(super) fn references_to(
    autopsy: &Autopsy,
    graph: &HeapGraph,
    value: Tagged,
    depth: usize,
    internal: bool,
) -> anyhow::Result<Answer> {
    let mut found = Vec::new();
    collect(
        autopsy,
        graph,
        &[value.address()],
        depth,
        internal,
        &mut found,
    )?;
    let mut answer = Answer::default();
    let mut rows = Vec::new();
    for Named { from, how, weak } in found {
        let note = if weak { " (weak)" } else { "" };
        answer.lines.push(format!("{:#x}: {how}{note}", from | 1));
        answer.addresses.push(from | 1);
        rows.push(json!({ "from": hex(from | 1), "as": how, "weak": weak }));
    }
    if rows.is_empty() {
        answer
            .lines
            .push("nothing on the heap refers to it".to_owned());
    }
    answer.json = Json::Array(rows);
    Ok(answer)
}

/// Adds who refers to one of these, looking through what is V8's own.
fn collect(
    autopsy: &Autopsy,
    graph: &HeapGraph,
    targets: &[u64],
    depth: usize,
    internal: bool,
    out: &mut Vec<Named>,
) -> anyhow::Result<()> {
    let v8 = &autopsy.v8;
    let mut seen: HashSet<u64> = targets.iter().copied().collect();
    // The ways from a holder to the target, by the object in between.
    let mut level: BTreeMap<u64, Vec<Way>> = targets
        .iter()
        .map(|target| (*target, vec![Way::new(String::new(), false, *target)]))
        .collect();
    for _ in 0..=depth {
        let list: Vec<u64> = level.keys().copied().collect();
        let references = graph.references(&list, &autopsy.stop)?;
        let mut next: BTreeMap<u64, Vec<Way>> = BTreeMap::new();
        for (target, list) in references {
            let ways = level.get(&target).map_or(&[][..], Vec::as_slice);
            for (way, reference) in ways
                .iter()
                .flat_map(|way| list.iter().map(move |r| (way, r)))
            {
                if autopsy.stopped() {
                    anyhow::bail!("stopped");
                }
                let weak = reference.weak || way.weak;
                let (path, seen_as) = (&way.path, way.seen_as);
                let Some(object) = graph.object(reference.from) else {
                    continue;
                };
                let mut how = describe(v8, reference, Tagged::of(target));
                if object.map.kind.is_js_object() {
                    if how.is_empty() && seen_as != target {
                        how = member(v8, reference.from, seen_as);
                    }
                    let class = v8
                        .class_name(object.tagged())
                        .map_or("?".to_owned(), |class| class.to_string());
                    out.push(Named {
                        from: reference.from,
                        how: format!("{class}{how}{path}"),
                        weak,
                    });
                } else if object.map.kind == Kind::Map || object.map.kind == Kind::Free {
                    continue;
                } else {
                    if internal {
                        out.push(Named {
                            from: reference.from,
                            how: format!(
                                "<{}>{how}{path}",
                                v8.types.name(object.map.instance_type)
                            ),
                            weak,
                        });
                    }
                    let way = Way::new(
                        inner(&object.map.kind, &how, path),
                        weak,
                        match object.map.kind {
                            Kind::Context => reference.from,
                            _ => seen_as,
                        },
                    );
                    if let Some(ways) = next.get_mut(&reference.from) {
                        way.join(ways);
                    } else if seen.insert(reference.from) && next.len() < 4096 {
                        next.insert(reference.from, vec![way]);
                    }
                }
            }
        }
        if next.is_empty() {
            break;
        }
        level = next;
    }
    out.sort_by(|a, b| (a.from, &a.how).cmp(&(b.from, &b.how)));
    out.dedup_by(|a, b| {
        a.from == b.from && a.how == b.how && {
            b.weak &= a.weak;
            true
        }
    });
    out.truncate(MOST);
    Ok(())
}

/// How an object refers to the map that describes it.
const ITS_MAP: &str = " (its map)";

fn inner(kind: &Kind, how: &str, path: &str) -> String {
    match kind {
        // Backing stores are part of the object; a context's variable has a name.
        Kind::Context => format!(" closes over{how}{path}"),
        _ if how == ITS_MAP => path.to_owned(),
        // The table of a Map tells under which key.
        _ => format!("{how}{path}"),
    }
}

/// The property or element by which an object has another that lies in one of its backing stores.
fn member(v8: &V8, from: u64, value: u64) -> String {
    let (from, value) = (Tagged::of(from), Tagged::of(value));
    for property in v8.properties(from).unwrap_or_default() {
        if matches!(property.slot, stillcore_v8::Slot::Value(held) if held.strong() == value) {
            return format!(".{}", v8.key_text(&property));
        }
    }
    let Ok(elements) = v8.field(from.address(), v8.c.elements) else {
        return String::new();
    };
    if v8.kind_of(elements).ok() != Some(Kind::FixedArray) {
        return String::new();
    }
    let length = v8.array_length(elements).unwrap_or(0).min(MOST_ELEMENTS);
    (0..length)
        .map_while(|index| v8.element_of(elements, index).ok())
        .position(|held| held == value)
        .map_or(String::new(), |index| format!("[{index}]"))
}

/// Under what name an object refers to another.
fn describe(v8: &V8, reference: &Reference, target: Tagged) -> String {
    let from = Tagged::of(reference.from);
    let Ok(map) = v8.map_of(from) else {
        return String::new();
    };
    if reference.offset == 0 {
        return ITS_MAP.to_owned();
    }
    if map.kind == Kind::Context {
        let scope = v8
            .field(from.address(), v8.c.array_data)
            .unwrap_or_default();
        let names = v8.scope_names(scope).unwrap_or_default();
        let slot =
            (reference.offset as i64 - v8.c.array_data) / 8 - v8.context_locals_start(from) as i64;
        return usize::try_from(slot)
            .ok()
            .and_then(|slot| names.get(slot))
            .map_or(String::new(), |name| format!(" {name}"));
    }
    if let Some(entry) = entry_of(
        v8,
        from,
        &v8.types.name(map.instance_type),
        reference.offset,
    ) {
        return entry;
    }
    if map.kind.is_js_object() {
        for property in v8.properties(from).unwrap_or_default() {
            if let stillcore_v8::Slot::Value(value) = property.slot
                && value.strong() == target
            {
                return format!(".{}", v8.key_text(&property));
            }
        }
        // The value may be in a backing store that is the target here.
        return match reference.offset as i64 {
            offset if offset == v8.c.properties || offset == v8.c.elements => String::new(),
            offset if map.kind == Kind::JsFunction && offset == v8.c.function_context => {
                String::new()
            }
            offset if map.kind == Kind::JsProxy && offset == v8.c.js_proxy_target => {
                " [[target]]".to_owned()
            }
            offset if map.kind == Kind::JsProxy && offset == v8.c.js_proxy_handler => {
                " [[handler]]".to_owned()
            }
            offset if map.kind == Kind::JsBoundFunction && offset == v8.c.js_bound_this => {
                " [[this]]".to_owned()
            }
            offset if map.kind == Kind::JsPromise && offset == v8.c.js_promise_result => {
                " [[result]]".to_owned()
            }
            _ => String::new(),
        };
    }
    String::new()
}

/// Which entry of a Map, a Set or a WeakMap a word of its table belongs to: `.get('key')` for a value. (The tables:
/// `V8::collection`, `V8::weak_collection`.)
fn entry_of(v8: &V8, table: Tagged, kind: &str, offset: u64) -> Option<String> {
    let index = offset.checked_sub(v8.c.array_data as u64)? / 8;
    let buckets = || Some(v8.element_of(table, 2).ok()?.as_smi()?.max(0) as u64);
    let (prefix, width) = match kind {
        "ORDERED_HASH_MAP" => (3 + buckets()?, 3),
        "ORDERED_HASH_SET" => return Some(" (a member)".to_owned()),
        "EPHEMERON_HASH_TABLE" => (3, 2),
        _ => return None,
    };
    let place = index.checked_sub(prefix)?;
    match place % width {
        0 => Some(" (a key)".to_owned()),
        1 => {
            let key = v8.element_of(table, index - 1).ok()?;
            Some(format!(".get({})", v8.brief(key)))
        }
        _ => None,
    }
}

fn by_name(autopsy: &Autopsy, name: &str) -> anyhow::Result<Answer> {
    let graph = autopsy.reachable()?;
    let v8 = &autopsy.v8;
    let mut answer = Answer::default();
    let mut rows = Vec::new();
    let having = graph.having(name, true);
    for &address in having.iter().take(MOST) {
        if autopsy.stopped() {
            break;
        }
        let value = Tagged::of(address);
        for property in v8.properties(value).unwrap_or_default() {
            if v8.name_text(property.key).as_deref() == Some(name) {
                let class = v8
                    .class_name(value)
                    .map_or("?".to_owned(), |class| class.to_string());
                let shown = v8.print_slot(
                    &property.slot,
                    &stillcore_v8::PrintOptions {
                        depth: 0,
                        string: 60,
                        ..Default::default()
                    },
                );
                answer.lines.push(format!(
                    "{:#x}: {class}.{name} = {}",
                    value.0,
                    shown.text(&stillcore_v8::PrintOptions::default())
                ));
                answer.addresses.push(value.0);
                rows.push(json!({ "from": hex(value.0), "class": class, "value": shown }));
            }
        }
    }
    if having.len() > MOST {
        answer
            .lines
            .push(format!("... {} more", having.len() - MOST));
    }
    if having.is_empty() {
        answer
            .lines
            .push(format!("no object has a property {name}"));
    }
    answer.json = Json::Array(rows);
    Ok(answer)
}

fn by_string(autopsy: &Autopsy, text: &str, depth: usize) -> anyhow::Result<Answer> {
    let graph = autopsy.graph()?;
    let v8 = &autopsy.v8;
    let length = text.encode_utf16().count();
    let mut targets = Vec::new();
    graph.each(false, |object| {
        if object.map.kind == Kind::String
            && v8
                .string_length(object.tagged())
                .is_ok_and(|own| own == length as u64)
            && v8
                .text(object.tagged(), length)
                .is_ok_and(|own| own.text == text)
        {
            targets.push(object.address);
        }
    });
    let mut found = Vec::new();
    if !targets.is_empty() {
        collect(autopsy, &graph, &targets, depth, false, &mut found)?;
    }
    let mut answer = Answer::default();
    let mut rows = Vec::new();
    for Named { from, how, weak } in found {
        answer.lines.push(format!(
            "{:#x}: {how}{}",
            from | 1,
            if weak { " (weak)" } else { "" }
        ));
        answer.addresses.push(from | 1);
        rows.push(json!({ "from": hex(from | 1), "as": how, "weak": weak }));
    }
    if rows.is_empty() {
        answer.lines.push(format!(
            "nothing refers to such a string ({} of them on the heap)",
            targets.len()
        ));
    }
    answer.json = json!({ "strings": targets.iter().map(|target| hex(target | 1)).collect::<Vec<_>>(), "references": rows });
    Ok(answer)
}

/// Most lines of an answer.
const MOST: usize = 10_000;
/// Elements of an array that one is looked for among.
const MOST_ELEMENTS: u64 = 1 << 20;
/// The objects of a path that are shown at each end of a long one; a few more are told ([`Path::ENDS`]).
const ENDS: usize = 50;

fn path_to_root(autopsy: &Autopsy, value: Tagged) -> anyhow::Result<Answer> {
    let graph = autopsy.graph()?;
    let v8 = &autopsy.v8;
    let page = v8.pages.page_of(value.address());
    if page.is_some_and(|page| page.heap == 0) {
        return Ok(Answer::line(
            "root: it is in the read-only space, which is never given back",
            json!({ "root": "the read-only space", "path": [] }),
        ));
    }
    let Some(path) = graph.path(value.address(), &autopsy.stop)? else {
        anyhow::bail!(
            "no path from a root leads to {:#x}: it is garbage that was not collected yet (jsfindrefs without -r says who refers to it)",
            value.0
        )
    };
    let place = match path.slot {
        0 => path.root.words(),
        slot => format!("{} at {slot:#x}", path.root.words()),
    };
    let mut answer = Answer::line(format!("root: {place}"), Json::Null);
    let mut steps = Vec::new();
    let count = path.length;
    for (index, &at) in path.objects.iter().enumerate() {
        let number = match index < Path::ENDS {
            true => index,
            false => index + count - path.objects.len(),
        };
        if number >= ENDS && number + ENDS < count {
            if number == ENDS {
                answer
                    .lines
                    .push(format!("  ... {} objects", count - 2 * ENDS));
            }
            continue;
        }
        let text = v8.brief(Tagged::of(at));
        let mut how = match path.objects.get(index + 1) {
            Some(&to) => holds(v8, &graph, at, to),
            None => String::new(),
        };
        // What lies in a backing store is the object's all the same.
        if how.is_empty()
            && v8
                .kind_of(Tagged::of(at))
                .is_ok_and(|kind| kind.is_js_object())
            && let Some(&to) = path.objects[index + 1..]
                .iter()
                .take(Path::ENDS - ENDS)
                .find(|to| !is_store(v8, **to))
        {
            how = member(v8, at, to);
        }
        answer.lines.push(format!("  {:#x} {text}{how}", at | 1));
        answer.addresses.push(at | 1);
        steps.push(json!({ "object": hex(at | 1), "value": text, "as": how.trim_start() }));
    }
    answer.json = json!({ "root": place, "length": count, "path": steps });
    Ok(answer)
}

/// Whether this is a part of the object that holds it.
fn is_store(v8: &V8, at: u64) -> bool {
    v8.map_of(Tagged::of(at)).is_ok_and(|map| {
        let name = v8.types.name(map.instance_type);
        !map.kind.is_js_object()
            && (name.ends_with("_ARRAY")
                || name.ends_with("_DICTIONARY")
                || name == "PROPERTY_CELL")
    })
}

/// Under what name one object holds the next.
fn holds(v8: &V8, graph: &HeapGraph, from: u64, to: u64) -> String {
    let Some(object) = graph.object(from) else {
        return String::new();
    };
    let word = Tagged::of(to);
    let offset = (0..object.size.min(1 << 20)).step_by(8).find(|offset| {
        v8.field(from, *offset as i64)
            .is_ok_and(|value| value == word)
    });
    let reference = Reference {
        from,
        offset: offset.unwrap_or(8),
        weak: false,
    };
    describe(v8, &reference, word)
}
