//! Values.

use clap::{Arg, ArgAction, ArgMatches};
use serde_json::{Value as Json, json};
use stillcore_v8::{Kind, MAX_CHARACTERS, PrintOptions, Slot, Tagged, V8, Value};

use super::arguments::{addr, flag, given, is_verbose, number, verbose};
use crate::autopsy::spec::Spec;
use crate::autopsy::{Answer, Autopsy, hex};

pub const TABLE: &[Spec] = &[
    Spec {
        name: "jsprint",
        aliases: &["v8-print"],
        about: "A value as a developer writes it",
        manual: "\
Objects are opened to a depth (-d), strings and arrays cut at a length (-l); what is not opened shows its address for the
next command. Members name what to print of it: .a.b, a.b, a[3], #private, map.key.

The spelling is that of Node's util.inspect, and where a core tells more, that too: the places of functions and classes, #private
fields (with -H also methods and accessors), what a WeakMap, WeakSet, WeakRef or FinalizationRegistry holds, the state of a
promise and what waits for it, where a generator or an async function is suspended, target and handler of a Proxy. Getters are
not called. [[name]] is no property, but a field of V8's.

  > jsprint 0x1438073d9a79
  { d: { e: [Object 0x1438073d9ab1] } }
  > jsprint 0x1438073d9a79 d.e
  { f: 'deep' }

-a prints addresses of all values, -b that of the object given before each line, so that a grep behind a pipe keeps it.",
        args: |command| {
            command
                .arg(addr())
                .arg(Arg::new("member").value_name("MEMBER").num_args(0..).action(ArgAction::Append).help("Members to print instead of the whole"))
                .arg(number('d', "depth", "N", "Levels to open, at most 64 [default: 2]"))
                .arg(flag('a', "addresses", "Addresses of all values"))
                .arg(flag('b', "base", "The address of the object before each line"))
                .arg(number('l', "length", "N", "Most characters of a string and entries of an array [default: 200 and 100]").visible_short_alias('N'))
                .arg(verbose("Accepted as mdb has it"))
                .arg(flag('H', "hidden", "Properties that are not enumerable, and V8's own private ones"))
        },
        run: |autopsy, matches| print(autopsy, matches, false),
    },
    Spec {
        name: "inspect",
        aliases: &["v8-inspect"],
        about: "A value with its address, class and hidden properties (llnode's word)",
        manual: "Like jsprint -aH -d 1. -F prints whole strings (16,777,216 characters in all: v8str goes on), -m the map, -s the source of a function.",
        args: |command| {
            command
                .arg(addr())
                .arg(Arg::new("member").value_name("MEMBER").num_args(0..).action(ArgAction::Append).help("Members to print instead of the whole"))
                .arg(number('d', "depth", "N", "Levels to open [default: 1]"))
                .arg(flag('F', "full-string", "Whole strings"))
                .arg(flag('m', "print-map", "The map too"))
                .arg(flag('s', "print-source", "A function's source"))
                .arg(number('l', "length", "N", "Most characters of a string and entries of an array"))
        },
        run: |autopsy, matches| print(autopsy, matches, true),
    },
    Spec {
        name: "jsarray",
        aliases: &["jselement"],
        about: "The elements of an array, one a line",
        manual: "\
The address of what has one, and the value; -i with its index. Absent elements are left out. Behind a pipe each is an address.
Works for arrays, typed arrays, arguments, Maps (values) and Sets, and V8's own FixedArrays.

  > jsarray 0x1438073d9a79 -i
  0: 0x1438073d9b01 'first'
  1: 42",
        args: |command| {
            command
                .arg(addr())
                .arg(flag('i', "index", "Indices too"))
                .arg(number('l', "length", "N", "Most elements [default: 100000]"))
                .arg(number('o', "offset", "N", "Leave out so many [default: 0]"))
        },
        run: jsarray,
    },
    Spec {
        name: "jsprop",
        aliases: &[],
        about: "The values of all properties of an object (mdb's walker)",
        manual: "One a line: name, address or value.",
        args: |command| command.arg(addr()),
        run: jsprop,
    },
    Spec {
        name: "jsconstructor",
        aliases: &[],
        about: "The constructor of an object",
        manual: "\
Its name; -v the address of the function and where it is written too.

  > jsconstructor 0x1438073d9a79 -v
  Request (JSFunction: 0x1438073d1c89) /app/server.js:12:1",
        args: |command| command.arg(addr()).arg(verbose("The function's address too")),
        run: jsconstructor,
    },
    Spec {
        name: "nodebuffer",
        aliases: &[],
        about: "Where a Buffer's bytes are, and the bytes",
        manual: "\
The address of the memory, the length, and the first bytes (-l) as a dump. Works for Buffers, typed arrays, DataViews,
ArrayBuffers and SharedArrayBuffers.

  > nodebuffer 0x1438073d9a79
  0x55d0c8a0 (5 bytes)
  0x55d0c8a0: 68 65 6c 6c 6f                                   hello",
        args: |command| {
            command
                .arg(addr())
                .arg(number('l', "length", "N", "Bytes to dump [default: 256]"))
                .arg(flag('a', "all", "Accepted as mdb has it"))
                .arg(flag('f', "unchecked", "Accepted as mdb has it: what is no Buffer is refused by its type"))
        },
        run: nodebuffer,
    },
    Spec {
        name: "v8str",
        aliases: &[],
        about: "A string whole, and of what shape it is",
        manual: "\
-v tells the shape: sequential, cons, sliced, thin, external; one or two bytes a character. At most 16,777,216 characters at a
time; -o goes on behind them.",
        args: |command| {
            command
                .arg(addr())
                .arg(verbose("The shape"))
                .arg(number('N', "length", "N", "Most characters"))
                .arg(number('o', "offset", "N", "Leave out so many [default: 0]"))
                .arg(flag('r', "raw", "Accepted as mdb has it"))
        },
        run: v8str,
    },
];

fn options(matches: &ArgMatches, inspect: bool) -> PrintOptions {
    let mut options = PrintOptions::default();
    if inspect {
        options = PrintOptions {
            depth: 1,
            addresses: true,
            hidden: true,
            ..options
        };
        if matches.get_flag("full-string") {
            options.string = MAX_CHARACTERS;
        }
    } else {
        options.addresses = matches.get_flag("addresses");
        options.hidden = matches.get_flag("hidden");
    }
    if let Some(depth) = matches.get_one::<usize>("depth") {
        options.depth = *depth;
    }
    if let Some(length) = matches.get_one::<usize>("length") {
        (options.string, options.entries) = (*length, *length);
    }
    options
}

fn print(autopsy: &Autopsy, matches: &ArgMatches, inspect: bool) -> anyhow::Result<Answer> {
    let v8 = &autopsy.v8;
    let value = given(autopsy, matches)?;
    let options = options(matches, inspect);
    let members: Vec<&String> = matches
        .get_many::<String>("member")
        .unwrap_or_default()
        .collect();
    let base = if !inspect && matches.get_flag("base") {
        format!("{:#x}: ", value.0)
    } else {
        String::new()
    };
    let mut answer = Answer::default();
    if !value.is_smi() && !value.is_cleared() {
        // Whatever was given must be an object: a mistyped address shall not print as a value.
        v8.map_of(value)?;
    }
    let mut shown = Vec::new();
    if members.is_empty() {
        let printed = v8.print(value, &options);
        shown.push((None, printed));
        answer.addresses.push(value.0);
    }
    for member in members {
        let slot = member_of(v8, value, member);
        if let Some(Slot::Value(value)) = slot {
            answer.addresses.push(value.0);
        }
        let undefined = || Slot::Value(v8.root("undefined_value").unwrap_or_default());
        let printed = v8.print_slot(&slot.unwrap_or_else(undefined), &options);
        shown.push((Some(member.clone()), printed));
    }
    if options.string >= MAX_CHARACTERS
        && let Some(cut) = shown
            .iter()
            .map(|(_, printed)| printed)
            .find(|printed| printed.what == "string" && printed.text.ends_with(" more characters"))
    {
        let at = cut.address.map_or(String::new(), hex);
        answer.notes.push(format!(
            "at most {MAX_CHARACTERS} characters are shown at a time: v8str {at} -o {MAX_CHARACTERS} goes on"
        ));
    }
    let many = shown.len() > 1;
    for (member, printed) in &shown {
        let label = member
            .as_ref()
            .filter(|_| many)
            .map_or(String::new(), |member| format!("{member}: "));
        let text = format!("{label}{}", printed.text(&options));
        answer
            .lines
            .extend(text.lines().map(|line| format!("{base}{line}")));
    }
    if inspect {
        if matches.get_flag("print-map") && value.is_pointer() {
            let map = v8.map_of(value)?;
            answer.lines.push(format!(
                "map {:#x}: {}, {} bytes, elements kind {}",
                map.address | 1,
                v8.types.name(map.instance_type),
                map.size,
                v8.elements_kind(&map)
            ));
        }
        if matches.get_flag("print-source")
            && v8.kind_of(value).is_ok_and(|kind| kind == Kind::JsFunction)
        {
            answer.lines.extend(
                v8.function_text(&v8.shared(v8.shared_of(value)?)?)?
                    .lines()
                    .map(str::to_owned),
            );
        }
    }
    answer.json = match &shown[..] {
        [(None, one)] => to_json(one),
        all => Json::Object(
            all.iter()
                .map(|(member, value)| (member.clone().unwrap_or_default(), to_json(value)))
                .collect(),
        ),
    };
    Ok(answer)
}

fn to_json(value: &Value) -> Json {
    serde_json::to_value(value).unwrap_or(Json::Null)
}

/// `a.b[3].c`, with or without a dot in front; keys of Maps are looked up where there is no such property.
fn member_of(v8: &V8, value: Tagged, path: &str) -> Option<Slot> {
    let mut slot = Slot::Value(value);
    for part in path.split(['.', '[']).filter(|part| !part.is_empty()) {
        let part = part.trim_end_matches(']').trim_matches(['"', '\'']);
        let Slot::Value(value) = slot else {
            return None;
        };
        slot = v8
            .lookup(value, part)
            .or_else(|| map_entry(v8, value, part))?;
    }
    Some(slot)
}

/// The value of a Map under a key that is written so: a string, a number, a symbol.
fn map_entry(v8: &V8, map: Tagged, part: &str) -> Option<Slot> {
    if v8.kind_of(map).ok()? != Kind::JsMap {
        return None;
    }
    let (entries, _) = v8.collection(map, u64::MAX).ok()?;
    let found = entries.into_iter().find(|(key, _)| {
        v8.name_text(*key).map_or_else(
            || !v8.kind_of(*key).is_ok_and(Kind::is_js_object) && v8.brief(*key) == part,
            |name| name == part,
        )
    });
    found.map(|(_, value)| Slot::Value(value))
}

fn entry_lines(autopsy: &Autopsy, entries: Vec<(String, Slot)>, names: bool) -> Answer {
    let mut answer = Answer::default();
    let mut json = Vec::new();
    for (name, slot) in entries {
        let printed = autopsy.v8.print_slot(
            &slot,
            &PrintOptions {
                depth: 0,
                ..PrintOptions::default()
            },
        );
        let text = printed.text(&PrintOptions::default());
        if let Slot::Value(value) = slot {
            answer.addresses.push(value.0);
            // There is one undefined, null, true and false each.
            let one = matches!(printed.what, "undefined" | "null" | "boolean" | "hole");
            let at = if value.is_pointer() && !one {
                format!("{:#x} ", value.0)
            } else {
                String::new()
            };
            answer.lines.push(if names {
                format!("{name}: {at}{text}")
            } else {
                format!("{at}{text}")
            });
        } else {
            answer.lines.push(if names {
                format!("{name}: {text}")
            } else {
                text
            });
        }
        json.push(json!({ "key": name, "value": to_json(&printed) }));
    }
    answer.json = Json::Array(json);
    answer
}

/// Most elements that are listed unless more are asked for.
const MAX_LISTED: usize = 100_000;

fn jsarray(autopsy: &Autopsy, matches: &ArgMatches) -> anyhow::Result<Answer> {
    let value = given(autopsy, matches)?;
    let v8 = &autopsy.v8;
    let count = |name: &str| matches.get_one::<usize>(name).copied();
    let limit = count("length").unwrap_or(MAX_LISTED);
    let offset = count("offset").unwrap_or(0);
    let until = limit.saturating_add(offset) as u64;
    let names = matches.get_flag("index");
    let plain = |values: Vec<Tagged>| -> Vec<(String, Slot)> {
        values
            .into_iter()
            .enumerate()
            .skip(offset)
            .map(|(index, value)| (index.to_string(), Slot::Value(value)))
            .collect()
    };
    let (entries, all) = match v8.kind_of(value)? {
        Kind::FixedArray => {
            let length = v8.array_length(value)?;
            let values = (0..length.min(until)).map(|index| v8.element_of(value, index));
            (plain(values.collect::<Result<_, _>>()?), length)
        }
        Kind::JsSet | Kind::JsMap => {
            let (entries, used) = v8.collection(value, until)?;
            let values = entries.into_iter().map(|(_, value)| value);
            (plain(values.collect()), used)
        }
        Kind::JsTypedArray => return typed_elements(autopsy, value, offset, limit, names),
        _ => {
            let elements = v8.elements(value, until)?;
            anyhow::ensure!(
                elements.count > 0
                    || matches!(v8.kind_of(value)?, Kind::JsArray | Kind::JsArguments),
                "{:#x} has no elements: it is of class {} (jsprop lists its properties)",
                value.0,
                v8.class_name(value)?
            );
            let entries = elements.entries.into_iter().skip(offset);
            let entries = entries.map(|(index, slot)| (index.to_string(), slot));
            (entries.collect::<Vec<_>>(), elements.count)
        }
    };
    let shown = entries.len();
    let mut answer = entry_lines(autopsy, entries, names);
    if shown == limit && all > until {
        answer.notes.push(format!(
            "these are {shown} of {all}: -l sets how many are listed, -o {until} goes on"
        ));
    }
    Ok(answer)
}

/// The elements of a typed array: numbers, which have no addresses.
fn typed_elements(
    autopsy: &Autopsy,
    value: Tagged,
    offset: usize,
    limit: usize,
    names: bool,
) -> anyhow::Result<Answer> {
    let options = PrintOptions {
        depth: 1,
        entries: limit.saturating_add(offset),
        ..PrintOptions::default()
    };
    let v8 = &autopsy.v8;
    let mut answer = Answer::default();
    let mut json = Vec::new();
    for (index, number) in v8
        .typed_elements(value, &options)?
        .into_iter()
        .enumerate()
        .skip(offset)
    {
        answer.lines.push(if names {
            format!("{index}: {number}")
        } else {
            number.clone()
        });
        json.push(
            json!({ "key": index.to_string(), "value": { "type": "number", "text": number } }),
        );
    }
    let (_, _, length, _) = v8.typed_array(value)?;
    if answer.lines.len() == limit && length > (limit + offset) as u64 {
        answer.notes.push(format!(
            "these are {limit} of {length}: -l sets how many are listed, -o {} goes on",
            limit + offset
        ));
    }
    answer.json = Json::Array(json);
    Ok(answer)
}

fn jsprop(autopsy: &Autopsy, matches: &ArgMatches) -> anyhow::Result<Answer> {
    let value = given(autopsy, matches)?;
    let v8 = &autopsy.v8;
    let entries = v8
        .properties(value)?
        .into_iter()
        .map(|property| (v8.key_text(&property), property.slot))
        .collect();
    Ok(entry_lines(autopsy, entries, true))
}

fn jsconstructor(autopsy: &Autopsy, matches: &ArgMatches) -> anyhow::Result<Answer> {
    let v8 = &autopsy.v8;
    let value = given(autopsy, matches)?;
    v8.map_of(value)?;
    let name = v8.class_name(value)?.to_string();
    let function = v8.class_function(value);
    let mut answer = Answer::line(
        name.clone(),
        json!({ "name": name, "function": function.map(|function| hex(function.0)) }),
    );
    if let Some(function) = function {
        answer.addresses.push(function.0);
        let place = v8
            .shared_of(function)
            .and_then(|shared| v8.shared(shared))
            .ok()
            .and_then(|shared| v8.function_location(&shared));
        if is_verbose(matches) {
            let place = place
                .as_ref()
                .map_or(String::new(), |place| format!(" {place}"));
            answer.lines[0] = format!("{name} (JSFunction: {:#x}){place}", function.0);
        }
        answer.json["from"] = json!(place.map(|place| place.to_string()));
    }
    Ok(answer)
}

fn nodebuffer(autopsy: &Autopsy, matches: &ArgMatches) -> anyhow::Result<Answer> {
    let v8 = &autopsy.v8;
    let value = given(autopsy, matches)?;
    let (data, length) = match v8.kind_of(value)? {
        Kind::JsArrayBuffer => {
            let info = v8.buffer_info(value)?;
            anyhow::ensure!(
                !info.detached,
                "{:#x} is detached: its bytes were given away",
                value.0
            );
            (info.store, info.length)
        }
        Kind::JsDataView => {
            let view = v8.view_info(value, 1)?;
            let buffer = v8.buffer_info(view.buffer)?;
            (buffer.store.wrapping_add(view.offset), view.length)
        }
        Kind::JsTypedArray => {
            let (_, width, count, data) = v8.typed_array(value)?;
            (data, width * count)
        }
        _ => anyhow::bail!(
            "{:#x} has no bytes: it is {} and no Buffer, typed array, DataView or ArrayBuffer",
            value.0,
            v8.brief(value)
        ),
    };
    let limit = matches
        .get_one::<usize>("length")
        .copied()
        .unwrap_or(256)
        .min(16 << 20) as u64;
    let mut answer = Answer::line(format!("{data:#x} ({length} bytes)"), Json::Null);
    let bytes = v8.memory.bytes(data, length.min(limit), 16 << 20)?;
    for (index, row) in bytes.chunks(16).enumerate() {
        let hexes: Vec<String> = row.iter().map(|byte| format!("{byte:02x}")).collect();
        let text: String = row
            .iter()
            .map(|byte| {
                if (0x20..0x7f).contains(byte) {
                    *byte as char
                } else {
                    '.'
                }
            })
            .collect();
        answer.lines.push(format!(
            "{:#x}: {:<47}  {text}",
            data + 16 * index as u64,
            hexes.join(" ")
        ));
    }
    answer.json = json!({ "address": hex(data), "length": length, "hex": bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>() });
    answer.addresses.push(data);
    Ok(answer)
}

fn v8str(autopsy: &Autopsy, matches: &ArgMatches) -> anyhow::Result<Answer> {
    let v8 = &autopsy.v8;
    let value = given(autopsy, matches)?;
    let count = |name: &str| matches.get_one::<usize>(name).copied();
    let (limit, offset) = (count("length"), count("offset").unwrap_or(0));
    let most = limit.unwrap_or(MAX_CHARACTERS).min(MAX_CHARACTERS);
    let text = v8.text_from(value, offset as u64, most)?;
    let shape = v8.string_shape(v8.map_of(value)?.instance_type);
    let mut answer = Answer::default();
    if is_verbose(matches) {
        answer
            .lines
            .push(format!("{shape}, {} characters", text.length));
    }
    answer
        .lines
        .extend(text.text.split('\n').map(str::to_owned));
    let next = offset.saturating_add(most);
    if text.truncated && limit.is_none_or(|limit| limit > most) {
        answer.notes.push(format!(
            "these are {most} of {} characters: -o {next} goes on",
            text.length
        ));
    }
    answer.json = json!({ "text": text.text, "length": text.length, "shape": shape });
    Ok(answer)
}
