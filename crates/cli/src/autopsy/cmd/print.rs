//! Values.

use clap::{Arg, ArgAction, ArgMatches};
use serde_json::{Value as Json, json};
use stillcore_v8::{Kind, PrintOptions, Slot, Tagged, V8, Value};

use super::{addr, flag, given, is_verbose, number, verbose};
use crate::autopsy::table::Spec;
use crate::autopsy::{Answer, Autopsy, hex};

pub const TABLE: &[Spec] = &[
    Spec {
        name: "jsprint",
        aliases: &["v8-print"],
        about: "A value as a developer writes it",
        manual: "\
Objects are opened to a depth (-d), strings and arrays cut at a length (-l); what is not opened shows its address for the
next command. Members name what to print of it: .a.b, a.b, a[3].

  > jsprint 0x1438073d9a79
  { d: { e: [Object 0x1438073d9ab1] } }
  > jsprint 0x1438073d9a79 d.e
  { f: 'deep' }

-a prints addresses of all objects, -b that of the object given, so that a grep behind a pipe keeps it.",
        args: |command| {
            command
                .arg(addr())
                .arg(Arg::new("member").value_name("MEMBER").num_args(0..).action(ArgAction::Append).help("Members to print instead of the whole"))
                .arg(number('d', "depth", "N", "Levels to open [default: 2]"))
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
        manual: "Like jsprint -aH. -F prints whole strings, -m the map, -s the source of a function.",
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
        manual: "Addresses of what has one, the value of what has none; -i with its index. Behind a pipe each is an address.",
        args: |command| command.arg(addr()).arg(flag('i', "index", "Indices too")),
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
        manual: "Its name; -v its address too.",
        args: |command| command.arg(addr()).arg(verbose("The function's address too")),
        run: jsconstructor,
    },
    Spec {
        name: "nodebuffer",
        aliases: &[],
        about: "Where a Buffer's bytes are, and the bytes",
        manual: "The address of the memory, the length, and the first bytes (-l) as a dump.",
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
        manual: "-v tells the shape: sequential, cons, sliced, thin, external; one or two bytes a character.",
        args: |command| {
            command
                .arg(addr())
                .arg(verbose("The shape"))
                .arg(number('N', "length", "N", "Most characters"))
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
            options.string = 64 << 20;
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
    if value.is_pointer() {
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
        match slot {
            Some(slot) => {
                if let Slot::Value(value) = slot {
                    answer.addresses.push(value.0);
                }
                shown.push((Some(member.clone()), v8.print_slot(&slot, &options)));
            }
            None => answer.lines.push(format!("{base}undefined")),
        }
    }
    let many = shown.len() > 1;
    for (member, printed) in &shown {
        let label = member
            .as_ref()
            .filter(|_| many)
            .map_or(String::new(), |member| format!("{member}: "));
        let text = printed.text(&options);
        answer
            .lines
            .extend(format!("{base}{label}{text}").lines().map(str::to_owned));
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

/// `a.b[3].c`, with or without a dot in front.
fn member_of(v8: &V8, value: Tagged, path: &str) -> Option<Slot> {
    let mut slot = Slot::Value(value);
    for part in path.split(['.', '[']).filter(|part| !part.is_empty()) {
        let part = part.trim_end_matches(']').trim_matches(['"', '\'']);
        let Slot::Value(value) = slot else {
            return None;
        };
        slot = v8.lookup(value, part)?;
    }
    Some(slot)
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
            let at = if value.is_pointer() {
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

fn jsarray(autopsy: &Autopsy, matches: &ArgMatches) -> anyhow::Result<Answer> {
    let value = given(autopsy, matches)?;
    let v8 = &autopsy.v8;
    let entries = match v8.kind_of(value)? {
        Kind::FixedArray => v8
            .fixed_array(value)?
            .into_iter()
            .enumerate()
            .map(|(index, value)| (index.to_string(), Slot::Value(value)))
            .collect(),
        Kind::JsSet => v8
            .collection(value, u64::MAX)?
            .0
            .into_iter()
            .enumerate()
            .map(|(index, (value, _))| (index.to_string(), Slot::Value(value)))
            .collect(),
        _ => v8
            .elements(value, u64::MAX)?
            .entries
            .into_iter()
            .map(|(index, slot)| (index.to_string(), slot))
            .collect(),
    };
    Ok(entry_lines(autopsy, entries, matches.get_flag("index")))
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
    let map = v8.map_of(value)?;
    let name = v8.class_name(value)?.to_string();
    let function = v8.map_constructor(&map);
    let mut answer = Answer::line(
        name.clone(),
        json!({ "name": name, "function": function.map(|function| hex(function.0)) }),
    );
    if let Some(function) = function {
        answer.addresses.push(function.0);
        if is_verbose(matches) {
            answer.lines[0] = format!("{name} (JSFunction: {:#x})", function.0);
        }
    }
    Ok(answer)
}

fn nodebuffer(autopsy: &Autopsy, matches: &ArgMatches) -> anyhow::Result<Answer> {
    let v8 = &autopsy.v8;
    let value = given(autopsy, matches)?;
    let (data, length) = match v8.kind_of(value)? {
        Kind::JsArrayBuffer => v8.array_buffer(value)?,
        _ => {
            let (_, width, count, data) = v8.typed_array(value)?;
            (data, width * count)
        }
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
    let limit = matches.get_one::<usize>("length").copied();
    let text = v8.text(value, limit.unwrap_or(64 << 20))?;
    let shape = v8.string_shape(v8.map_of(value)?.instance_type);
    let mut answer = Answer {
        json: json!({ "text": text.text, "length": text.length, "shape": shape }),
        ..Answer::default()
    };
    if is_verbose(matches) {
        answer
            .lines
            .push(format!("{shape}, {} characters", text.length));
    }
    answer
        .lines
        .extend(text.text.split('\n').map(str::to_owned));
    Ok(answer)
}
