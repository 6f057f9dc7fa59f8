//! V8's own objects, and the layout by which all is read.

use std::fmt::Display;

use clap::{Arg, ArgMatches};
use serde::Serialize;
use serde_json::{Map, Value as Json, json};
use stillcore_v8::{Kind, PrintOptions, Shared};

use super::arguments::{addr, flag, given, verbose};
use crate::autopsy::spec::Spec;
use crate::autopsy::{Answer, Autopsy, hex};

pub const TABLE: &[Spec] = &[
    Spec {
        name: "layout",
        aliases: &["v8-layout"],
        about: "Every offset in use and where it came from, and how much of the heap could be walked",
        manual: "metadata: the binary's own v8dbg_ symbols. table: that version's row. derived, searched: from other values or the memory.",
        args: |command| command,
        run: layout,
    },
    Spec {
        name: "v8types",
        aliases: &[],
        about: "The instance types by number",
        manual: "Number and name.",
        args: |command| command,
        run: |autopsy, _| Ok(numbered(autopsy.v8.types.all())),
    },
    Spec {
        name: "v8frametypes",
        aliases: &[],
        about: "The types of V8's frames by number",
        manual: "Number and name.",
        args: |command| command,
        run: |autopsy, _| {
            let name = |number| Some((number, autopsy.v8.frame_name(number)?));
            Ok(numbered((0..64).filter_map(name)))
        },
    },
    Spec {
        name: "v8type",
        aliases: &[],
        about: "The type of an object of V8's",
        manual: "Its instance type, its map, its size.",
        args: |command| command.arg(addr()),
        run: v8type,
    },
    Spec {
        name: "v8array",
        aliases: &[],
        about: "The elements of a FixedArray",
        manual: "One a line, with its index. -i of mdb takes the words as they are; here both are printed.",
        args: |command| {
            command
                .arg(addr())
                .arg(flag('i', "immediate", "Accepted as mdb has it"))
        },
        run: v8array,
    },
    Spec {
        name: "v8context",
        aliases: &["v8scopeinfo"],
        about: "A context and its variables, or the names in a ScopeInfo",
        manual: "Slots by their names. -d of mdb prints the ScopeInfo too; here its names are there anyway.",
        args: |command| {
            command
                .arg(addr())
                .arg(flag('d', "detail", "Accepted as mdb has it"))
        },
        run: v8context,
    },
    Spec {
        name: "v8code",
        aliases: &[],
        about: "The code that an address lies in",
        manual: "Its Code object, tier and range; for builtins their name. It is not disassembled (mdb's -d): \
                 gdb does that, disassemble START,END.",
        args: |command| {
            command.arg(addr()).arg(flag(
                'd',
                "disassemble",
                "Accepted as mdb has it, says what to do instead",
            ))
        },
        run: v8code,
    },
    Spec {
        name: "v8load",
        aliases: &["load"],
        about: "Does nothing: V8 is always understood (mdb's ::load v8)",
        manual: "Accepted so that a script for mdb goes on.",
        args: |command| {
            command.arg(
                Arg::new("which")
                    .value_name("VERSION")
                    .help("Accepted as mdb has it"),
            )
        },
        run: |_, _| Ok(Answer::default()),
    },
    Spec {
        name: "v8warnings",
        aliases: &[],
        about: "What was strange while the core was opened",
        manual: "One a line. (mdb's command of this name turns such lines on; here they are never hidden.)",
        args: |command| command.arg(verbose("Accepted")),
        run: |autopsy, _| {
            Ok(Answer {
                lines: autopsy.v8.warnings.clone(),
                json: json!(autopsy.v8.warnings),
                ..Answer::default()
            })
        },
    },
];

/// Numbers with their names: a row and a JSON member each.
fn numbered<N: Display + Serialize>(all: impl IntoIterator<Item = (N, String)>) -> Answer {
    let mut answer = Answer::default();
    let mut json = Map::new();
    for (number, name) in all {
        answer.lines.push(format!("{number:>5} {name}"));
        json.insert(name, json!(number));
    }
    answer.json = Json::Object(json);
    answer
}

fn layout(autopsy: &Autopsy, _: &ArgMatches) -> anyhow::Result<Answer> {
    let v8 = &autopsy.v8;
    let mut answer = Answer::line(
        format!(
            "V8 {} read as that of Node {}",
            v8.version.text,
            20 + 2 * v8.column
        ),
        Json::Null,
    );
    let mut rows = Vec::new();
    for (name, value, provenance) in v8.layout() {
        answer.lines.push(format!(
            "{name:<26} {:>10}  {}",
            value.map_or("-".to_owned(), |value| value.to_string()),
            provenance.word()
        ));
        rows.push(json!({ "name": name, "value": value, "from": provenance.word() }));
    }
    let graph = autopsy.graph()?;
    let gaps = &graph.gaps;
    let lost = gaps.bytes + gaps.missing;
    answer.lines.push(format!(
        "pages {}, {:.2} % of them walked: {} bytes, free {}, not understood {}, not in the core {}",
        v8.pages.pages().len(),
        100.0 - 100.0 * lost as f64 / (gaps.walked + lost).max(1) as f64,
        gaps.walked,
        gaps.free,
        gaps.bytes,
        gaps.missing
    ));
    if gaps.begun > 0 {
        answer.lines.push(format!(
            "  {} bytes of objects that had their place and were not written yet",
            gaps.begun
        ));
    }
    for (at, len) in gaps.first.iter().take(16) {
        answer.lines.push(format!("  gap at {at:#x}, {len} bytes"));
    }
    answer.json = json!({
        "version": v8.version.text, "constants": rows, "pages": v8.pages.pages().len(), "walked": gaps.walked, "free": gaps.free,
        "gaps": gaps.bytes, "missing": gaps.missing, "begun": gaps.begun,
    });
    Ok(answer)
}

fn v8type(autopsy: &Autopsy, matches: &ArgMatches) -> anyhow::Result<Answer> {
    let v8 = &autopsy.v8;
    let value = given(autopsy, matches)?;
    if let Some(smi) = value.as_smi() {
        return Ok(Answer::line(
            format!("Smi {smi}"),
            json!({ "type": "Smi", "value": smi }),
        ));
    }
    let map = v8.map_of(value)?;
    let size = v8.size_at(value.address(), &map).ok();
    let name = v8.types.name(map.instance_type);
    Ok(Answer::line(
        format!(
            "{name} ({}), map {:#x}, {} bytes",
            map.instance_type,
            map.address | 1,
            size.map_or("?".to_owned(), |size| size.to_string())
        ),
        json!({ "type": name, "number": map.instance_type, "map": hex(map.address | 1), "size": size }),
    ))
}

fn v8array(autopsy: &Autopsy, matches: &ArgMatches) -> anyhow::Result<Answer> {
    let v8 = &autopsy.v8;
    let array = given(autopsy, matches)?;
    let kind = v8.kind_of(array)?;
    if kind.is_js_value() {
        let with = match kind {
            Kind::JsArray => "jsarray",
            _ => "jsprint",
        };
        anyhow::bail!(
            "{:#x} is {}, and no array of V8's own: {with} shows it, v8print has the addresses of its parts",
            array.0,
            v8.brief(array)
        );
    }
    let mut answer = Answer::default();
    for (index, value) in v8.fixed_array(array)?.into_iter().enumerate() {
        answer
            .lines
            .push(format!("{index:>6} {:#x} {}", value.0, v8.brief(value)));
        answer.addresses.push(value.0);
    }
    answer.json = json!(
        answer
            .addresses
            .iter()
            .map(|address| hex(*address))
            .collect::<Vec<_>>()
    );
    Ok(answer)
}

fn v8context(autopsy: &Autopsy, matches: &ArgMatches) -> anyhow::Result<Answer> {
    let v8 = &autopsy.v8;
    let value = given(autopsy, matches)?;
    if v8.kind_of(value)? == Kind::ScopeInfo {
        let names = v8.scope_names(value)?;
        return Ok(Answer {
            json: json!(names),
            lines: names,
            ..Answer::default()
        });
    }
    let options = PrintOptions {
        depth: 1,
        entries: 1000,
        ..PrintOptions::default()
    };
    let printed = v8.print(value, &options);
    Ok(Answer {
        lines: printed.text(&options).lines().map(str::to_owned).collect(),
        json: json!(printed),
        ..Answer::default()
    })
}

/// A function that has no machine code of its own.
fn without_machine_code(autopsy: &Autopsy, shared: &Shared) -> Answer {
    if let Some(name) = shared.builtin.and_then(|id| autopsy.v8.builtin_name(id)) {
        return Answer::line(format!("builtin {name}"), json!({ "builtin": name }));
    }
    match shared.bytecode {
        Some(bytecode) => Answer {
            addresses: vec![bytecode | 1],
            ..Answer::line(
                format!("interpreted: bytecode {:#x}", bytecode | 1),
                json!({ "tier": "interpreted", "bytecode": hex(bytecode | 1) }),
            )
        },
        None => Answer::line(
            "not compiled yet: it was never called, or its code was thrown away",
            json!({ "tier": null }),
        ),
    }
}

fn v8code(autopsy: &Autopsy, matches: &ArgMatches) -> anyhow::Result<Answer> {
    let v8 = &autopsy.v8;
    let value = given(autopsy, matches)?;
    let at = value.0;
    if let Some(name) = v8.builtin_at(at) {
        return Ok(Answer::line(
            format!("builtin {name}"),
            json!({ "builtin": name }),
        ));
    }
    if let Some((start, size)) = v8
        .kind_of(value)
        .ok()
        .filter(|kind| *kind == Kind::JsFunction)
        .and_then(|_| v8.function_code(value))
    {
        return Ok(Answer::line(
            format!("machine code {start:#x}-{:#x}", start + size),
            json!({ "start": hex(start), "size": size }),
        ));
    }
    if v8.kind_of(value).is_ok_and(|kind| kind == Kind::JsFunction) {
        return Ok(without_machine_code(
            autopsy,
            &v8.shared(v8.shared_of(value)?)?,
        ));
    }
    let Some((code, start, size)) = v8.code_at(at) else {
        anyhow::bail!("{at:#x} lies in no code of V8's")
    };
    let tier = v8.tier(code).map_or("stub", |tier| tier.name());
    Ok(Answer::line(
        format!(
            "{tier} code {:#x}, {start:#x}-{:#x}",
            code | 1,
            start + size
        ),
        json!({ "code": hex(code | 1), "tier": tier, "start": hex(start), "size": size }),
    ))
}
