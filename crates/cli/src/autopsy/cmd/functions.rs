//! Functions, their source and what they hold.

use std::collections::{BTreeMap, HashSet};

use clap::ArgMatches;
use serde_json::{Value as Json, json};
use stillcore_v8::{Isolate, Kind, PrintOptions, Shared, Tagged};

use super::arguments::{addr, flag, get, given, number, optional_addr, text};
use crate::autopsy::spec::Spec;
use crate::autopsy::{Answer, Autopsy, address, hex};

pub const TABLE: &[Spec] = &[
    Spec {
        name: "jsfunctions",
        aliases: &[],
        about: "The functions of the program: one a definition, with how many closures there are of it",
        manual: "\
-s and -n keep those whose file or name contains a text, -x the one whose machine code or bytecode holds an address. The most
closures come first. A name that the compiler found where the function has none stands as in (as Service.handle). FROM is a
place in a script, builtin and V8's name of it, or native code: what C++ gave to JavaScript.

  > jsfunctions -n hotLoop
            FUNC  #FUNCS  NAME     FROM
   0x36801bedc1a9       1  hotLoop  /app/scenario.cjs:197:17",
        args: |command| {
            command
                .arg(optional_addr())
                .arg(text('s', "script", "FILE", "Whose file contains this"))
                .arg(text('n', "name", "NAME", "Whose name contains this"))
                .arg(text('x', "instr", "ADDR", "Whose compiled code holds this address"))
                .arg(flag('X', "instructions", "Where the compiled code is"))
                .arg(flag('l', "list", "All closures, one address a line: of the function at ADDR, or of those that -s, -n and -x keep"))
        },
        run: jsfunctions,
    },
    Spec {
        name: "jsfunction",
        aliases: &["v8function"],
        about: "A function: its name, where it is defined, what it is bound to",
        manual: "\
Name, file:line:column, the addresses of its parts, and what there is of its code: none before its first call. It is
not disassembled (mdb's -d): gdb does that.

  > jsfunction 0x36801bedc1a9
  function: hotLoop (/app/scenario.cjs:197:17)
  shared:   0x1adc2d1b8899
  context:  0x36801bedbf91
  script:   0x1adc2d1b8221
  bytecode: 0x1adc2d1b9001",
        args: |command| command.arg(addr()).arg(flag('d', "disassemble", "Accepted as mdb has it")),
        run: jsfunction,
    },
    Spec {
        name: "jssource",
        aliases: &["v8-source"],
        about: "The source of a function",
        manual: "\
With line numbers; -n sets how many lines around it, -l (llnode) from which line on. Without an address the lines around the
innermost frame of JavaScript.

  > jssource 0x36801bedc1a9 -n 0
  file: /app/scenario.cjs
     197 function hotLoop(callback, n) {",
        args: |command| command.arg(optional_addr()).arg(number('n', "lines", "LINES", "Lines around it [default: 5]")).arg(number('l', "line", "LINE", "From this line on")),
        run: jssource,
    },
    Spec {
        name: "jsclosure",
        aliases: &[],
        about: "The variables that a function holds on to",
        manual: "\
Scope by scope, from the innermost outwards: what the scope is of, its context's address, then names and values. A context's
address works too. Of a scope V8 keeps those variables alone that a function inside of it uses.

  > jsclosure 0x36801bedc1a9
  function makeClosure 0x36801bedbf91
    captured: 'captured string'
    count: [Object 0x36801bedbfb9]",
        args: |command| command.arg(addr()).arg(number('d', "depth", "N", "Levels of each value to open [default: 0]")),
        run: jsclosure,
    },
    Spec {
        name: "scripts",
        aliases: &[],
        about: "All scripts: files, built-in modules, evals",
        manual: "\
Address (jssource prints it), V8's number, length in characters, name. -s keeps those whose name contains a text.

  > scripts -s app
            SCRIPT     ID     LENGTH  NAME
    0x1adc2d1b8221    121       5034  /app/scenario.cjs",
        args: |command| command.arg(text('s', "script", "FILE", "Whose name contains this")),
        run: scripts,
    },
];

fn describe(autopsy: &Autopsy, shared: &Shared) -> (String, String) {
    let place = autopsy.v8.function_location(shared);
    let from = match (&place, shared.builtin) {
        (Some(place), _) => place.to_string(),
        (None, Some(builtin)) => format!(
            "builtin {}",
            autopsy
                .v8
                .builtin_name(builtin)
                .unwrap_or_else(|| builtin.to_string())
        ),
        _ => "native code".to_owned(),
    };
    let name = match (shared.name.is_empty(), shared.inferred) {
        (true, _) => "<anonymous>".to_owned(),
        (false, true) => format!("<anonymous> (as {})", shared.name),
        (false, false) => shared.name.clone(),
    };
    (name, from)
}

fn jsfunctions(autopsy: &Autopsy, matches: &ArgMatches) -> anyhow::Result<Answer> {
    let v8 = &autopsy.v8;
    let graph = autopsy.reachable()?;
    let mut by_shared: BTreeMap<u64, (u64, u64)> = BTreeMap::new();
    let only = match get(matches, "addr") {
        Some(_) => Some(v8.shared_of(given(autopsy, matches)?)?.address()),
        None => None,
    };
    let list = matches.get_flag("list");
    let mut closures = Vec::new();
    graph.each(true, |object| {
        if object.map.kind == Kind::JsFunction
            && let Ok(shared) = v8.shared_of(object.tagged())
        {
            if only.is_some_and(|only| only != shared.address()) {
                return;
            }
            let entry = by_shared
                .entry(shared.address())
                .or_insert((object.address | 1, 0));
            entry.1 += 1;
            if list {
                closures.push((shared.address(), object.address | 1));
            }
        }
    });
    let mut answer = Answer::default();
    let instr = get(matches, "instr").map(address).transpose()?;
    answer.lines.push(format!(
        "{:>16} {:>7}  {:<40} {}",
        "FUNC", "#FUNCS", "NAME", "FROM"
    ));
    let mut found: Vec<_> = by_shared.into_iter().collect();
    found.sort_by_key(|(shared, (_, count))| (std::cmp::Reverse(*count), *shared));
    let mut rows = Vec::new();
    let mut listed = HashSet::new();
    for (shared, (function, count)) in found {
        let Ok(about) = v8.shared(Tagged::of(shared)) else {
            continue;
        };
        if get(matches, "name").is_some_and(|name| !about.name.contains(name)) {
            continue;
        }
        let script = about
            .script
            .and_then(|script| v8.script(script).ok())
            .map(|script| script.name)
            .unwrap_or_default();
        if get(matches, "script").is_some_and(|file| !script.contains(file)) {
            continue;
        }
        let code = v8.function_code(Tagged(function));
        let bytecode = about.bytecode.and_then(|at| {
            let map = v8.map_of(Tagged::of(at)).ok()?;
            Some((at, v8.size_at(at, &map).ok()?))
        });
        let holds = |range: &(u64, u64), at: u64| (range.0..range.0 + range.1).contains(&at);
        if let Some(instr) = instr
            && ![code, bytecode]
                .iter()
                .flatten()
                .any(|range| holds(range, instr))
        {
            continue;
        }
        let (name, from) = describe(autopsy, &about);
        let mut line = format!("{:>16} {:>7}  {name:<40} {from}", hex(function), count);
        if matches.get_flag("instructions") {
            line.push_str(&code.map_or(
                " (no machine code of its own)".to_owned(),
                |(start, size)| format!(" {start:#x}-{:#x}", start + size),
            ));
        }
        answer.lines.push(line);
        answer.addresses.push(function);
        listed.insert(shared);
        rows.push(json!({
            "function": hex(function), "count": count, "name": name, "from": from, "script": script,
            "shared": hex(shared | 1), "code": code.map(|(start, size)| json!({ "start": hex(start), "size": size })),
        }));
    }
    if rows.is_empty() {
        answer.notes.push("no function is like that".to_owned());
    }
    answer.json = Json::Array(rows);
    if list {
        let closures = closures.into_iter();
        answer.addresses = closures
            .filter(|(shared, _)| listed.contains(shared))
            .map(|(_, closure)| closure)
            .collect();
        answer.lines = answer.addresses.iter().map(|at| hex(*at)).collect();
        answer.json = json!(answer.lines);
    }
    Ok(answer)
}

fn jsfunction(autopsy: &Autopsy, matches: &ArgMatches) -> anyhow::Result<Answer> {
    let v8 = &autopsy.v8;
    let mut value = given(autopsy, matches)?;
    let mut answer = Answer::default();
    if v8.kind_of(value)? == Kind::JsBoundFunction {
        let bound = v8.print(
            value,
            &PrintOptions {
                depth: 2,
                ..PrintOptions::default()
            },
        );
        answer.lines.extend(
            bound
                .text(&PrintOptions::default())
                .lines()
                .map(str::to_owned),
        );
        value = v8.field(value.address(), v8.c.js_bound_target)?;
    }
    let shared = v8.shared(v8.shared_of(value)?)?;
    let (name, from) = describe(autopsy, &shared);
    let context = v8.field(value.address(), v8.c.function_context)?;
    let code = v8.function_code(value);
    answer.lines.push(format!("function: {name} ({from})"));
    answer
        .lines
        .push(format!("shared:   {:#x}", shared.address | 1));
    answer.lines.push(format!("context:  {:#x}", context.0));
    if let Some(script) = shared.script {
        answer.lines.push(format!("script:   {:#x}", script | 1));
    }
    match shared.bytecode {
        Some(bytecode) => answer.lines.push(format!("bytecode: {:#x}", bytecode | 1)),
        None if shared.script.is_some() => answer
            .lines
            .push("bytecode: none: it is compiled when it is called first, and may have been flushed since".to_owned()),
        None => {}
    }
    if let Some((start, size)) = code {
        answer
            .lines
            .push(format!("code:     {start:#x}-{:#x}", start + size));
    }
    answer.json = json!({
        "name": name, "from": from, "shared": hex(shared.address | 1), "context": hex(context.0),
        "script": shared.script.map(|script| hex(script | 1)), "bytecode": shared.bytecode.map(|bytecode| hex(bytecode | 1)),
        "code": code.map(|(start, size)| json!({ "start": hex(start), "size": size })),
    });
    Ok(answer)
}

/// The function of the innermost frame of JavaScript, and the line that it is at, from 0 on.
fn innermost(autopsy: &Autopsy) -> anyhow::Result<(Tagged, Option<usize>)> {
    let v8 = &autopsy.v8;
    let wanted = |isolate: &&Isolate| autopsy.isolate.is_none_or(|id| id == isolate.id);
    for isolate in v8.isolates().iter().filter(wanted) {
        let thread = v8
            .threads
            .iter()
            .find(|thread| isolate.thread == Some(thread.tid));
        let frames = thread.map(|thread| v8.stack(thread).frames);
        for frame in frames.unwrap_or_default() {
            if let (Some(shared), Some(place)) = (frame.shared, &frame.location)
                && let Ok(about) = v8.shared(Tagged::of(shared))
                && let Some(script) = about.script
            {
                let line = i64::from(place.line) - 1 - i64::from(v8.script(script)?.line_offset);
                return Ok((Tagged::of(shared), usize::try_from(line).ok()));
            }
        }
    }
    anyhow::bail!("no thread is in JavaScript: which function? An address is wanted")
}

fn jssource(autopsy: &Autopsy, matches: &ArgMatches) -> anyhow::Result<Answer> {
    let v8 = &autopsy.v8;
    let around = matches.get_one::<usize>("lines").copied().unwrap_or(5);
    let (value, at) = match get(matches, "addr") {
        Some(_) => (given(autopsy, matches)?, None),
        None => innermost(autopsy)?,
    };
    let (script, first, last) = match v8.kind_of(value)? {
        Kind::Script => (value.address(), 0, usize::MAX),
        kind => {
            let shared = match kind {
                Kind::SharedFunctionInfo => v8.shared(value)?,
                _ => v8.shared(v8.shared_of(value)?)?,
            };
            let (Some(script), Some(start), Some(end)) =
                (shared.script, shared.text_start, shared.end)
            else {
                let (name, from) = describe(autopsy, &shared);
                anyhow::bail!("{:#x} has no source: {name} is {from}", value.0);
            };
            let source = v8.source(script)?;
            let (start, end) = (source.line_of(start), source.line_of(end));
            let (start, end) = at.map_or((start, end), |line| (line, line));
            (
                script,
                start.saturating_sub(around),
                end.saturating_add(around),
            )
        }
    };
    let about = v8.script(script)?;
    let source = v8.source(script)?;
    let first = matches
        .get_one::<usize>("line")
        .map_or(first, |line| line.saturating_sub(1));
    let last = last.min(source.line_ends.len().saturating_sub(1));
    let mut answer = Answer::line(format!("file: {}", about.name), Json::Null);
    answer.lines.push(String::new());
    let mut lines = Vec::new();
    for index in first..=last {
        let Some(line) = source.line(index) else {
            break;
        };
        answer.lines.push(format!(
            "{:>6} {line}",
            index as i64 + 1 + i64::from(about.line_offset)
        ));
        lines.push(line);
    }
    answer.json = json!({ "file": about.name, "first": first + 1, "lines": lines });
    Ok(answer)
}

fn jsclosure(autopsy: &Autopsy, matches: &ArgMatches) -> anyhow::Result<Answer> {
    let v8 = &autopsy.v8;
    let depth = matches.get_one::<usize>("depth").copied().unwrap_or(0);
    let options = PrintOptions {
        depth,
        ..PrintOptions::default()
    };
    let mut answer = Answer::default();
    let mut rows = Vec::new();
    for (level, scope) in v8.scopes(given(autopsy, matches)?)?.into_iter().enumerate() {
        let name = if scope.name.is_empty() {
            String::new()
        } else {
            format!(" {}", scope.name)
        };
        answer
            .lines
            .push(format!("{}{name} {:#x}", scope.kind, scope.context.0));
        for (name, value) in scope.variables {
            let printed = v8.print(value, &options);
            let text = format!("{name}: {}", printed.text(&options));
            answer
                .lines
                .extend(text.lines().map(|line| format!("  {line}")));
            if value.is_pointer() {
                answer.addresses.push(value.0);
            }
            rows.push(json!({
                "scope": level, "of": scope.kind, "context": hex(scope.context.0), "name": name, "value": printed,
            }));
        }
    }
    if rows.is_empty() {
        answer
            .notes
            .push("it holds on to no variable of a scope around it".to_owned());
    }
    answer.json = Json::Array(rows);
    Ok(answer)
}

fn scripts(autopsy: &Autopsy, matches: &ArgMatches) -> anyhow::Result<Answer> {
    let v8 = &autopsy.v8;
    let graph = autopsy.reachable()?;
    let mut found = Vec::new();
    graph.each(true, |object| {
        if object.map.kind == Kind::Script
            && let Ok(script) = v8.script(object.address)
        {
            found.push(script);
        }
    });
    found.sort_by_key(|script| script.id);
    let mut answer = Answer::line(
        format!("{:>16} {:>6} {:>10}  {}", "SCRIPT", "ID", "LENGTH", "NAME"),
        Json::Null,
    );
    let mut rows = Vec::new();
    for script in found {
        if get(matches, "script").is_some_and(|file| !script.name.contains(file)) {
            continue;
        }
        let length = v8.string_length(script.source).ok();
        answer.lines.push(format!(
            "{:>16} {:>6} {:>10}  {}",
            hex(script.address | 1),
            script.id,
            length.map_or("-".to_owned(), |length| length.to_string()),
            script.name
        ));
        answer.addresses.push(script.address | 1);
        rows.push(json!({ "script": hex(script.address | 1), "id": script.id, "length": length, "name": script.name }));
    }
    answer.json = Json::Array(rows);
    Ok(answer)
}
