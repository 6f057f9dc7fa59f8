//! Stacks.

use clap::{Arg, ArgMatches};
use serde_json::{Value as Json, json};
use stillcore_v8::{Frame, FrameKind, FrameValue, Stack, Tagged, V8};

use super::arguments::{addr, flag, get, is_verbose, number, text, verbose};
use crate::autopsy::spec::Spec;
use crate::autopsy::{Answer, Autopsy, address, hex};
use crate::error::Usage;

/// Most lines of an error that are shown above the stack that it ended.
const MAX_THROWN: usize = 40;

pub const TABLE: &[Spec] = &[
    Spec {
        name: "jsstack",
        aliases: &["v8-bt"],
        about: "JavaScript and native frames of threads in one trace, and what awaits them",
        manual: "\
One frame a line: its kind, its name as V8's own traces have it, and where. Frames of Node and of V8 itself are folded
unless -a, but for the one that ended the process (out of memory, a fatal error). Of a trace of optimised code the inlined callees have frames too. A frame of WebAssembly has the name that its
module gives it, the function's number, and its place in the module's bytes. Under async: stands what awaits the async
functions above. Where the process ended because nobody caught an error, or handled a rejection, thrown: tells which.

  > jsstack
  thread 14760 (main), isolate 0
  native: syscall+0x1d
          (9 internal frames)
  js:     leaveCore /app/scenario.cjs:238:10
  js:     Service.handle /app/scenario.cjs:244:22
  js:     Timeout._onTimeout /app/scenario.cjs:274:40

-v adds `this`, the arguments (with their names where the list of parameters is a plain one), the variables that closures
hold (`var`), the interpreter's registers (`r0`: V8 keeps no names of other locals), and lines of source. Of optimised code,
values that the compiler has dropped are said to be, and objects that it never made are shown with their fields.",
        args: |command| {
            command
                .arg(flag('a', "all", "Node's and V8's own frames too, and addresses"))
                .arg(verbose("this, arguments and source"))
                .arg(number('n', "lines", "LINES", "Lines of source around the place, with -v [default: 2]"))
                .arg(Arg::new("frames").long("frames").value_name("N").value_parser(clap::value_parser!(usize)).help("Only the innermost N frames"))
                .arg(text('t', "thread", "TID|all", "Another thread, or all of them; otherwise those in JavaScript"))
                .arg(text('f', "function", "NAME", "Only frames of functions of this name"))
                .arg(text('p', "property", "NAME", "Only this of each frame: file, posn, this, arg1, ..."))
        },
        run: jsstack,
    },
    Spec {
        name: "jsframe",
        aliases: &[],
        about: "One frame by its frame pointer",
        manual: "The frame whose frame pointer (jsstack -a) is ADDR, as jsstack -v prints it.",
        args: |command| {
            command.arg(addr()).arg(flag('a', "all", "Addresses too")).arg(verbose("Source too")).arg(number(
                'n', "lines", "LINES", "Lines of source around the place [default: 2]",
            )).arg(text('f', "function", "NAME", "Only if its function has this name"))
            .arg(text('p', "property", "NAME", "Only this of it: file, posn, this, arg1, ..."))
            .arg(flag('i', "itself", "The frame at ADDR: the same here"))
        },
        run: jsframe,
    },
];

fn stacks(autopsy: &Autopsy, which: Option<&str>) -> anyhow::Result<Vec<Stack>> {
    let v8 = &autopsy.v8;
    let tid = match which {
        None | Some("all") => None,
        Some(tid) => Some(
            tid.parse::<u64>()
                .map_err(|_| Usage(format!("{tid:?} is neither a thread nor all")))?,
        ),
    };
    let mut out = Vec::new();
    for thread in &v8.threads {
        let isolate = v8.isolate_in(thread.tid);
        let wanted = match (which, tid) {
            (Some("all"), _) => true,
            (_, Some(tid)) => thread.tid == tid,
            _ => isolate.is_some_and(|isolate| autopsy.isolate.is_none_or(|id| id == isolate.id)),
        };
        if wanted {
            out.push(v8.stack(thread));
        }
    }
    if out.is_empty()
        && let Some(tid) = tid
    {
        anyhow::bail!("there is no thread {tid}");
    }
    if out.is_empty()
        && let Some(first) = v8.threads.first()
    {
        out.push(v8.stack(first));
    }
    Ok(out)
}

/// Whether a frame is of a function of this name, be it a method or not.
fn is_named(frame: &Frame, name: &str) -> bool {
    frame.name == name || frame.name.rsplit('.').next() == Some(name)
}

fn jsstack(autopsy: &Autopsy, matches: &ArgMatches) -> anyhow::Result<Answer> {
    let v8 = &autopsy.v8;
    let (all, verbose) = (matches.get_flag("all"), is_verbose(matches));
    let wanted = get(matches, "function");
    let context = matches.get_one::<usize>("lines").copied().unwrap_or(2);
    let mut answer = Answer::default();
    let mut threads = Vec::new();
    for mut stack in stacks(autopsy, get(matches, "thread"))? {
        stack
            .frames
            .truncate(matches.get_one("frames").copied().unwrap_or(usize::MAX));
        if let Some(name) = wanted {
            stack.frames.retain(|frame| is_named(frame, name));
            stack.asynchronous.retain(|frame| is_named(frame, name));
            if stack.frames.is_empty() && stack.asynchronous.is_empty() {
                continue;
            }
        }
        let name = stack
            .thread_name
            .as_deref()
            .map_or(String::new(), |name| format!(" ({name})"));
        let isolate = stack
            .isolate
            .map_or("no isolate".to_owned(), |id| format!("isolate {id}"));
        if !answer.lines.is_empty() {
            answer.lines.push(String::new());
        }
        answer
            .lines
            .push(format!("thread {}{name}, {isolate}", stack.tid));
        if let Some(thrown) = stack.thrown
            && get(matches, "property").is_none()
        {
            answer.lines.extend(thrown_lines(v8, thrown));
        }
        let mut folded = 0;
        let flush = |folded: &mut usize, lines: &mut Vec<String>| {
            if *folded > 0 {
                lines.push(format!(
                    "        ({folded} internal frame{})",
                    if *folded == 1 { "" } else { "s" }
                ));
                *folded = 0;
            }
        };
        let is_js = stack.isolate.is_some();
        for (index, frame) in stack.frames.iter().enumerate() {
            // The innermost native frame says where the thread is; of threads without JavaScript all are shown, and
            // whatever was asked for by name.
            let hidden = is_js
                && wanted.is_none()
                && match frame.kind {
                    FrameKind::Native => index != 0 && !is_end(&frame.name),
                    FrameKind::Builtin => false,
                    _ => frame.internal,
                };
            if hidden && !all {
                folded += 1;
                continue;
            }
            flush(&mut folded, &mut answer.lines);
            if let Some(wanted) = get(matches, "property") {
                answer.lines.push(property(v8, frame, wanted));
                continue;
            }
            show(
                v8,
                frame,
                all,
                verbose.then_some(context),
                &mut answer.lines,
            );
            answer.addresses.push(frame.fp);
        }
        flush(&mut folded, &mut answer.lines);
        for frame in &stack.asynchronous {
            show(v8, frame, all, None, &mut answer.lines);
        }
        threads.push(json!({
            "tid": stack.tid,
            "name": stack.thread_name,
            "isolate": stack.isolate,
            "frames": stack.frames.iter().map(|frame| frame_json(v8, frame)).collect::<Vec<_>>(),
            "thrown": stack.thrown.map(|thrown| value_json(v8, thrown)),
            "async": stack.asynchronous.iter().map(|frame| frame_json(v8, frame)).collect::<Vec<_>>(),
        }));
    }
    if let Some(name) = wanted
        && threads.is_empty()
    {
        answer
            .notes
            .push(format!("no frame is of a function called {name:?}"));
    }
    answer.json = json!({ "threads": threads });
    Ok(answer)
}

/// What was thrown and not caught: the error with its stack, where it has one.
fn thrown_lines(v8: &V8, thrown: Tagged) -> Vec<String> {
    let text = v8
        .error_stack(thrown)
        .unwrap_or_else(|| v8.brief(thrown))
        .lines()
        .take(MAX_THROWN)
        .map(str::to_owned)
        .collect::<Vec<_>>();
    let at = match thrown.is_pointer() {
        true => format!("{} ", hex(thrown.0)),
        false => String::new(),
    };
    let head = text.first().map_or("", String::as_str);
    let mut lines = vec![format!("thrown: {at}{head}")];
    let rest = text.iter().skip(1);
    lines.extend(rest.map(|line| format!("          {}", line.trim_start())));
    lines
}

fn value_json(v8: &V8, value: Tagged) -> Json {
    json!({ "value": v8.brief(value), "address": value.is_pointer().then(|| hex(value.0)) })
}

/// Whether native code there ends the process: it says why, and there may be no JavaScript on the stack that does.
fn is_end(name: &str) -> bool {
    const ENDS: [&str; 4] = [
        "V8::FatalProcessOutOfMemory(",
        "V8_Fatal(",
        "TriggerUncaughtException(",
        "node::Assert(",
    ];
    ENDS.iter().any(|end| name.contains(end))
}

/// A frame as lines.
fn show(v8: &V8, frame: &Frame, all: bool, context: Option<usize>, lines: &mut Vec<String>) {
    let place = frame
        .place()
        .map_or(String::new(), |place| format!(" {place}"));
    let at = if all {
        format!("{:#x} {:#x} ", frame.fp, frame.pc)
    } else {
        String::new()
    };
    let tier = match frame.kind {
        FrameKind::Js(tier) | FrameKind::Wasm(tier) if all => format!(
            " [{}{}]",
            tier.name(),
            if frame.inlined { ", inlined" } else { "" }
        ),
        FrameKind::Native if all => format!(" [{}]", frame.trust),
        _ => String::new(),
    };
    let name = if frame.name.is_empty() {
        format!("{:#x}", frame.pc)
    } else {
        frame.name.clone()
    };
    lines.push(format!(
        "{:<8}{at}{name}{place}{tier}",
        format!("{}:", frame.kind.name())
    ));
    let Some(context) = context else { return };
    for (name, value) in values_of(v8, frame) {
        lines.push(format!("          {name}: {value}"));
    }
    if context > 0
        && let (Some(shared), Some(place)) = (frame.shared, &frame.location)
        && let Ok(shared) = v8.shared(stillcore_v8::Tagged::of(shared))
        && let Some(script) = shared.script
    {
        lines.extend(
            source_lines(v8, script, place.line, context)
                .into_iter()
                .map(|line| format!("          {line}")),
        );
    }
}

/// `this`, the arguments by number and name, what closures hold, and the registers of a frame.
fn values_of(v8: &V8, frame: &Frame) -> Vec<(String, String)> {
    let mut out = Vec::new();
    if let Some(receiver) = &frame.receiver {
        out.push(("this".to_owned(), v8.brief_value(receiver)));
    }
    let names = parameter_names(v8, frame);
    for (index, argument) in frame.arguments.iter().enumerate() {
        let name = names
            .get(index)
            .map_or(String::new(), |name| format!(" ({name})"));
        out.push((format!("arg{}{name}", index + 1), v8.brief_value(argument)));
    }
    for (name, value) in v8.frame_variables(frame) {
        out.push((format!("var {name}"), v8.brief(value)));
    }
    for (index, value) in v8.frame_registers(frame) {
        out.push((format!("r{index}"), v8.brief_value(&value)));
    }
    out
}

fn parameter_names(v8: &V8, frame: &Frame) -> Vec<String> {
    frame
        .shared
        .and_then(|shared| v8.shared(Tagged::of(shared)).ok())
        .map_or(Vec::new(), |shared| v8.parameter_names(&shared))
}

/// Lines of a script around one, with their numbers and a mark.
pub fn source_lines(v8: &V8, script: u64, line: u32, context: usize) -> Vec<String> {
    let (Ok(source), Ok(about)) = (v8.source(script), v8.script(script)) else {
        return Vec::new();
    };
    let index = i64::from(line) - 1 - i64::from(about.line_offset);
    let Ok(index) = usize::try_from(index) else {
        return Vec::new();
    };
    (index.saturating_sub(context)..=index + context)
        .filter_map(|at| {
            let text: String = source.line(at)?.chars().take(160).collect();
            let mark = if at == index { '>' } else { ' ' };
            Some(format!(
                "{mark}{:>6} {text}",
                at as i64 + 1 + i64::from(about.line_offset)
            ))
        })
        .collect()
}

fn property(v8: &V8, frame: &Frame, wanted: &str) -> String {
    let place = frame.location.as_ref();
    match wanted {
        "file" => place.map_or(String::new(), |place| place.script.clone()),
        "posn" => place.map_or(String::new(), |place| {
            format!("line {}, column {}", place.line, place.column)
        }),
        "this" => frame
            .receiver
            .as_ref()
            .map_or(String::new(), |value| v8.brief_value(value)),
        other => match other
            .strip_prefix("arg")
            .and_then(|number| number.parse::<usize>().ok())
        {
            Some(number) => number
                .checked_sub(1)
                .and_then(|index| frame.arguments.get(index))
                .map_or(String::new(), |value| v8.brief_value(value)),
            None => frame.name.clone(),
        },
    }
}

fn frame_json(v8: &V8, frame: &Frame) -> Json {
    let tier = match frame.kind {
        FrameKind::Js(tier) | FrameKind::Wasm(tier) => Some(tier.name()),
        _ => None,
    };
    let value = |value: &FrameValue| match value {
        FrameValue::Tagged(value) => value_json(v8, *value),
        other => json!({ "value": v8.brief_value(other), "address": null }),
    };
    json!({
        "kind": frame.kind.name(),
        "tier": tier,
        "name": frame.name,
        "script": frame.location.as_ref().map(|place| &place.script),
        "line": frame.location.as_ref().map(|place| place.line),
        "column": frame.location.as_ref().map(|place| place.column),
        "wasm": frame.wasm.map(|place| json!({ "function": place.function, "offset": hex(u64::from(place.offset)) })),
        "pc": hex(frame.pc),
        "fp": hex(frame.fp),
        "function": frame.function.map(|function| hex(function.0)),
        "this": frame.receiver.as_ref().map(value),
        "arguments": frame.arguments.iter().map(value).collect::<Vec<_>>(),
        "inlined": frame.inlined,
        "constructor": frame.constructor,
        "internal": frame.internal,
        "trust": frame.trust,
    })
}

fn jsframe(autopsy: &Autopsy, matches: &ArgMatches) -> anyhow::Result<Answer> {
    let wanted = address(get(matches, "addr").unwrap_or_default())?;
    let context = matches.get_one::<usize>("lines").copied().unwrap_or(2);
    let mut answer = Answer::default();
    let mut found = Vec::new();
    for stack in stacks(autopsy, Some("all"))? {
        for frame in stack.frames.iter().filter(|frame| frame.fp == wanted) {
            if get(matches, "function").is_some_and(|name| !is_named(frame, name)) {
                continue;
            }
            match get(matches, "property") {
                Some(wanted) => answer.lines.push(property(&autopsy.v8, frame, wanted)),
                None => show(
                    &autopsy.v8,
                    frame,
                    matches.get_flag("all"),
                    Some(context),
                    &mut answer.lines,
                ),
            }
            found.push(frame_json(&autopsy.v8, frame));
        }
    }
    if found.is_empty() {
        anyhow::bail!("no frame has the frame pointer {wanted:#x} (jsstack -a prints them)");
    }
    answer.json = json!({ "frames": found });
    Ok(answer)
}
