//! Objects by class and shape.

use std::collections::BTreeMap;

use clap::{Arg, ArgMatches};
use serde_json::{Value as Json, json};
use stillcore_v8::{Group, HeapGraph, RootKind};

use super::arguments::{
    flag, get, given, is_verbose, long_flag, number, optional_addr, text, verbose,
};
use super::references::references_to;
use crate::autopsy::spec::Spec;
use crate::autopsy::{Answer, Autopsy, hex, near};
use crate::error::Usage;

pub const TABLE: &[Spec] = &[
    Spec {
        name: "findjsobjects",
        aliases: &["v8-findjsobjects"],
        about: "All objects, grouped by constructor and property names",
        manual: "\
One object of each group, how many there are, how many properties, bytes on the heap, bytes outside of it that belong to
them, the constructor and the first properties. Outside are the stores of ArrayBuffers; Buffers and typed arrays show how
much of a store they see, which is the same memory again. Only what can be reached from V8's own roots, stacks and
registers, unless --all. With an address (or behind a pipe, with -l) the other objects of that one's group.

  > findjsobjects -c PlantedPoint
           OBJECT  COUNT  PROPS   BYTES  OUTSIDE  CONSTRUCTOR: PROPERTIES
   0xa91895d92d1   1235      2   59280        0  PlantedPoint: x, y
  > findjsobjects 0xa91895d92d1 | jsprint x

-r ADDR finds references: see jsfindrefs. -m ADDR marks an object, and -r without an address finds references to all that
are marked. -a, -b and -k of mdb are accepted and change nothing: all of the heap is looked at, and all kinds of properties.",
        args: |command| {
            command
                .arg(optional_addr())
                .arg(text('p', "prop", "NAME", "Objects that have this property"))
                .arg(text('c', "constructor", "NAME", "Objects of this constructor"))
                .arg(flag('l', "list", "All objects of the group, not one"))
                .arg(flag('r', "references", "What refers to the object"))
                .arg(flag('m', "mark", "Mark the object for a later -r"))
                .arg(flag('a', "any", "Accepted as mdb has it"))
                .arg(flag('b', "brk", "Accepted as mdb has it; all of the heap is looked at anyway"))
                .arg(text('k', "kind", "KIND", "Accepted as mdb has it"))
                .arg(flag('d', "detailed", "Accepted as llnode has it; properties are always shown"))
                .arg(verbose("How much of the heap was walked"))
                .arg(long_flag("all", "Also what cannot be reached any more"))
        },
        run: findjsobjects,
    },
    Spec {
        name: "findjsinstances",
        aliases: &["v8-findjsinstances"],
        about: "All objects of a class",
        manual: "\
Addresses, with -v a line of each. -n sets how many, --offset from where on.

  > findjsinstances PlantedChild -n 2 -v
  0xa91895dc4a9: PlantedChild { x: 0, y: -0, label: 'child 0' }
  0xa91895dc4f1: PlantedChild { x: 1, y: -1, label: 'child 1' }
  ... 320 more",
        args: |command| {
            command
                .arg(Arg::new("name").value_name("NAME").required(true).help("The class"))
                .arg(number('n', "count", "N", "How many [default: all]").visible_alias("output-limit"))
                .arg(Arg::new("offset").long("offset").value_name("N").value_parser(clap::value_parser!(usize)).help("Leave out the first ones"))
                .arg(verbose("What they hold"))
                .arg(flag('d', "detail", "The same as -v"))
                .arg(flag('F', "full-string", "Accepted as llnode has it: inspect -F prints whole strings"))
                .arg(flag('m', "print-map", "Accepted as llnode has it: inspect -m prints the map"))
                .arg(flag('s', "print-source", "Accepted as llnode has it: inspect -s prints a function's source"))
                .arg(number('l', "length", "N", "Most characters and entries of each, with -v"))
                .arg(long_flag("all", "Also what cannot be reached any more"))
        },
        run: findjsinstances,
    },
];

/// What refers to the object, or to those that were marked.
fn references(
    autopsy: &Autopsy,
    matches: &ArgMatches,
    graph: &HeapGraph,
) -> anyhow::Result<Answer> {
    if get(matches, "addr").is_some() {
        return references_to(autopsy, graph, given(autopsy, matches)?, 3, false);
    }
    let marked = autopsy.marked.borrow();
    if marked.is_empty() {
        return Err(Usage("-r needs an address, or objects that -m marked".to_owned()).into());
    }
    let mut all = Answer::default();
    let mut values = Vec::new();
    for value in marked.iter() {
        let answer = references_to(autopsy, graph, *value, 3, false)?;
        all.lines.push(format!("{:#x}:", value.0));
        all.lines
            .extend(answer.lines.iter().map(|line| format!("  {line}")));
        all.addresses.extend(answer.addresses);
        values.push(json!({ "object": hex(value.0), "references": answer.json }));
    }
    all.json = Json::Array(values);
    Ok(all)
}

fn findjsobjects(autopsy: &Autopsy, matches: &ArgMatches) -> anyhow::Result<Answer> {
    let reachable = !matches.get_flag("all");
    let graph = if reachable {
        autopsy.reachable()?
    } else {
        autopsy.graph()?
    };
    if matches.get_flag("mark") {
        let value = given(autopsy, matches)?;
        autopsy.marked.borrow_mut().push(value);
        return Ok(Answer {
            lines: vec![format!("marked {:#x}", value.0)],
            addresses: vec![value.0],
            json: json!([hex(value.0)]),
            ..Answer::default()
        });
    }
    if matches.get_flag("references") {
        return references(autopsy, matches, &graph);
    }
    let mut answer = Answer::default();
    if get(matches, "addr").is_some() {
        let value = given(autopsy, matches)?;
        let mut like = graph.like(value.address(), reachable)?;
        like.iter_mut().for_each(|address| *address |= 1);
        return Ok(Answer::list(like));
    }
    let (prop, constructor) = (get(matches, "prop"), get(matches, "constructor"));
    let groups: Vec<Group> = graph
        .groups(reachable, prop)
        .into_iter()
        .filter(|group| {
            prop.is_none_or(|name| group.properties.iter().any(|property| property == name))
        })
        .filter(|group| constructor.is_none_or(|name| group.constructor == name))
        .collect();
    if groups.is_empty()
        && let Some(name) = constructor
    {
        let classes = graph.classes(reachable);
        answer.notes.push(match prop {
            Some(prop) if classes.contains_key(name) => {
                format!("no object of the class {name} has a property {prop}")
            }
            _ => format!(
                "there are no objects of the class {name}{}",
                near::hint(name, classes.into_keys())
            ),
        });
    } else if groups.is_empty()
        && let Some(prop) = prop
    {
        answer
            .notes
            .push(format!("no object has a property {prop}"));
    }
    if matches.get_flag("list") {
        let members = graph.members(&groups, prop, reachable);
        let count = members.iter().map(Vec::len).sum();
        let mut all = Vec::with_capacity(count);
        // Each group's list goes before the next is copied.
        for group in members {
            all.extend(group.into_iter().map(|address| address | 1));
        }
        return Ok(Answer {
            notes: answer.notes,
            ..Answer::list(all)
        });
    }
    answer.lines.push(format!(
        "{:>16} {:>8} {:>6} {:>10} {:>11}  {}",
        "OBJECT", "COUNT", "PROPS", "BYTES", "OUTSIDE", "CONSTRUCTOR: PROPERTIES"
    ));
    let mut rows = Vec::new();
    for group in &groups {
        let names = group
            .properties
            .iter()
            .take(6)
            .map(String::as_str)
            .collect::<Vec<_>>()
            .join(", ");
        let more = if group.properties.len() > 6 {
            ", ..."
        } else {
            ""
        };
        answer.lines.push(format!(
            "{:>16} {:>8} {:>6} {:>10} {:>11}  {}{}{names}{more}",
            hex(group.example | 1),
            group.count,
            group.properties.len(),
            group.bytes,
            group.external,
            group.constructor,
            if names.is_empty() { "" } else { ": " }
        ));
        answer.addresses.push(group.example | 1);
        rows.push(json!({
            "example": hex(group.example | 1), "count": group.count, "bytes": group.bytes, "external": group.external,
            "constructor": group.constructor, "properties": group.properties,
        }));
    }
    let strings = graph.texts(reachable);
    if prop.is_none() && constructor.is_none() && strings.count > 0 {
        answer.lines.push(format!(
            "{:>16} {:>8} {:>6} {:>10} {:>11}  (strings whose text is outside of the heap)",
            "", strings.count, "", "", strings.bytes
        ));
    }
    if is_verbose(matches) {
        if reachable {
            let mut kinds: BTreeMap<RootKind, u64> = BTreeMap::new();
            for (kind, _) in &graph.roots(&autopsy.stop)?.places {
                *kinds.entry(*kind).or_default() += 1;
            }
            for (kind, count) in kinds {
                answer
                    .lines
                    .push(format!("{count:>8} roots: {}", kind.words()));
            }
        }
        answer.lines.push(format!(
            "walked {} bytes of the heap, {} of them not understood",
            graph.gaps.walked,
            graph.gaps.bytes + graph.gaps.missing
        ));
    }
    answer.json = json!({ "groups": rows, "externalStrings": { "count": strings.count, "bytes": strings.bytes }, "walked": graph.gaps.walked, "gaps": graph.gaps.bytes + graph.gaps.missing });
    if reachable {
        autopsy.note_roots(&graph, &mut answer)?;
    }
    Ok(answer)
}

fn findjsinstances(autopsy: &Autopsy, matches: &ArgMatches) -> anyhow::Result<Answer> {
    let reachable = !matches.get_flag("all");
    let graph = if reachable {
        autopsy.reachable()?
    } else {
        autopsy.graph()?
    };
    let name = get(matches, "name").unwrap_or_default();
    let instances = graph.instances(name, reachable);
    let mut answer = Answer::default();
    if instances.is_empty() {
        let hint = near::hint(name, graph.classes(reachable).into_keys());
        anyhow::bail!("there are no objects of the class {name}{hint}");
    }
    let offset = matches.get_one::<usize>("offset").copied().unwrap_or(0);
    let limit = matches
        .get_one::<usize>("count")
        .copied()
        .filter(|limit| *limit > 0)
        .unwrap_or(usize::MAX);
    let mut rows = Vec::new();
    for &value in instances.iter().skip(offset).take(limit) {
        answer.addresses.push(value.0);
        let options = stillcore_v8::PrintOptions {
            depth: 1,
            string: matches.get_one::<usize>("length").copied().unwrap_or(60),
            entries: matches.get_one::<usize>("length").copied().unwrap_or(12),
            ..Default::default()
        };
        if is_verbose(matches) || matches.get_flag("detail") {
            let text = autopsy.v8.print(value, &options).text(&options);
            let mut lines = text.lines();
            answer.lines.push(format!(
                "{:#x}: {}",
                value.0,
                lines.next().unwrap_or_default()
            ));
            answer.lines.extend(lines.map(|line| format!("  {line}")));
        } else {
            answer.lines.push(hex(value.0));
        }
        rows.push(Json::from(hex(value.0)));
    }
    let shown = offset + rows.len();
    if shown < instances.len() {
        answer
            .lines
            .push(format!("... {} more", instances.len() - shown));
    }
    answer.json = json!({ "class": name, "count": instances.len(), "instances": rows });
    Ok(answer)
}
