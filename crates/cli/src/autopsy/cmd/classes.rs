//! V8's own C++ classes, as the binary's metadata tells them: `v8dbg_class_<Class>__<field>__<type>`.

use std::collections::BTreeMap;

use clap::{Arg, ArgMatches};
use serde_json::{Value as Json, json};
use stillcore_v8::{Tagged, V8};

use super::arguments::{addr, get, given};
use crate::autopsy::spec::Spec;
use crate::autopsy::{Answer, Autopsy, hex};
use crate::error::Usage;

pub const TABLE: &[Spec] = &[
    Spec {
        name: "v8classes",
        aliases: &[],
        about: "V8's C++ classes and their fields, as the binary's metadata tells them",
        manual: "A class and its fields with their offsets. What this program uses of them, and what else, is in layout.",
        args: |command| command,
        run: |autopsy, _| Ok(classes(autopsy)),
    },
    Spec {
        name: "v8print",
        aliases: &[],
        about: "An object as V8's C++ class has it: the words of its fields",
        manual: "\
Offset, the field's name where the metadata tells one, content, and what that points to. It works for any object on the
heap. With CLASS the fields of that class are named (v8classes lists them).",
        args: |command| command.arg(addr()).arg(Arg::new("class").value_name("CLASS").help("Name the fields of this class")),
        run: |autopsy, matches| words(autopsy, matches),
    },
    Spec {
        name: "v8internal",
        aliases: &[],
        about: "The words of an object, or one of its embedder's fields",
        manual: "As v8print; with INDEX the internal field of this number: what an object of Node's C++ side points to.",
        args: |command| {
            command.arg(addr()).arg(
                Arg::new("index")
                    .value_name("INDEX")
                    .value_parser(clap::value_parser!(u64))
                    .help("The internal field of this number"),
            )
        },
        run: internal,
    },
];

/// Most bytes of an object that are shown.
const MAX_BYTES: u64 = 1 << 16;

/// Classes with the offsets and names of their fields.
fn fields(v8: &V8) -> BTreeMap<String, BTreeMap<i64, String>> {
    const PREFIX: &str = "v8dbg_class_";
    let mut classes: BTreeMap<String, BTreeMap<i64, String>> = BTreeMap::new();
    for symbol in v8.memory.target().symbols(PREFIX) {
        let mut parts = symbol.name[PREFIX.len()..].split("__");
        let (Some(class), Some(field)) = (parts.next(), parts.next()) else {
            continue;
        };
        // One that is zero may lie in memory that has no bytes.
        let offset = v8.memory.u32(symbol.address).unwrap_or(0);
        classes
            .entry(class.to_owned())
            .or_default()
            .insert(i64::from(offset as i32), field.to_owned());
    }
    classes
}

fn classes(autopsy: &Autopsy) -> Answer {
    let mut answer = Answer::default();
    let classes = fields(&autopsy.v8);
    for (class, fields) in &classes {
        let fields: Vec<String> = fields
            .iter()
            .map(|(offset, name)| format!("{offset} {name}"))
            .collect();
        answer.lines.push(format!("{class}: {}", fields.join(", ")));
    }
    if classes.is_empty() {
        answer
            .notes
            .push("this binary has no v8dbg_class_ symbols: see layout".to_owned());
    }
    answer.json = json!(classes);
    answer
}

/// The class of V8's whose fields describe a type: `JS_MAP_TYPE` is `JSMap`.
fn class_of(type_name: &str) -> String {
    type_name
        .trim_end_matches("_TYPE")
        .split('_')
        .map(|part| match part {
            "JS" => "JS".to_owned(),
            part => {
                let (first, rest) = part.split_at(1.min(part.len()));
                first.to_owned() + &rest.to_lowercase()
            }
        })
        .collect()
}

fn words(autopsy: &Autopsy, matches: &ArgMatches) -> anyhow::Result<Answer> {
    let v8 = &autopsy.v8;
    let value = given(autopsy, matches)?;
    let map = v8.map_of(value)?;
    let type_name = v8.types.name(map.instance_type);
    let mut classes = fields(v8);
    let class = match matches.try_get_one::<String>("class") {
        Ok(Some(class)) if !classes.contains_key(class) => {
            return Err(Usage(format!("there is no class {class}: see v8classes")).into());
        }
        Ok(Some(class)) => class.clone(),
        _ => class_of(&type_name),
    };
    // What all objects and all JavaScript objects have, and then the class's own.
    let mut names: BTreeMap<i64, String> = BTreeMap::new();
    for class in ["HeapObject", "JSObject", &class] {
        if class != "JSObject" || map.kind.is_js_object() {
            names.extend(classes.remove(class).unwrap_or_default());
        }
    }
    let size = v8.size_at(value.address(), &map)?;
    let mut answer = Answer::line(
        format!("{type_name} at {:#x}, {size} bytes", value.0),
        Json::Null,
    );
    let mut words = Vec::new();
    for offset in (0..size.min(MAX_BYTES)).step_by(8) {
        let word = v8.field(value.address(), offset as i64)?;
        let name = names.get(&(offset as i64)).map_or("", String::as_str);
        let what = meaning(v8, word);
        answer
            .lines
            .push(format!("{offset:>6} {name:<24} {:#018x} {what}", word.0));
        if word.is_pointer() {
            answer.addresses.push(word.0);
        }
        words.push(json!({ "offset": offset, "field": name, "word": hex(word.0), "value": what }));
    }
    answer.json =
        json!({ "type": type_name, "address": hex(value.0), "size": size, "words": words });
    Ok(answer)
}

fn meaning(v8: &V8, word: Tagged) -> String {
    if word.is_pointer() && v8.map_of(word.strong()).is_ok() {
        v8.brief(word)
    } else {
        word.as_smi()
            .filter(|_| word.0 != 0)
            .map_or(String::new(), |smi| smi.to_string())
    }
}

fn internal(autopsy: &Autopsy, matches: &ArgMatches) -> anyhow::Result<Answer> {
    let Some(index) = matches.get_one::<u64>("index") else {
        return words(autopsy, matches);
    };
    let v8 = &autopsy.v8;
    let value = given(autopsy, matches)?;
    let map = v8.map_of(value)?;
    let size = v8.size_at(value.address(), &map)?;
    // Embedder's fields stand behind the header of a JSObject: map, properties, elements.
    let offset = index
        .checked_mul(8)
        .and_then(|offset| offset.checked_add(24))
        .filter(|offset| map.kind.is_js_object() && offset + 8 <= size)
        .ok_or_else(|| {
            Usage(format!(
                "{} has no internal field {index}",
                get(matches, "addr").unwrap_or_default()
            ))
        })?;
    let word = v8.field(value.address(), offset as i64)?;
    let mut answer = Answer::line(
        format!("{:#x} {}", word.0, meaning(v8, word)).trim_end(),
        json!(hex(word.0)),
    );
    answer.addresses.push(word.0);
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_have_classes() {
        for (name, class) in [
            ("JS_ARRAY_TYPE", "JSArray"),
            ("JS_MAP_TYPE", "JSMap"),
            ("JS_FUNCTION_TYPE", "JSFunction"),
            ("FIXED_ARRAY_TYPE", "FixedArray"),
            ("MAP_TYPE", "Map"),
        ] {
            assert_eq!(class_of(name), class);
        }
    }
}
