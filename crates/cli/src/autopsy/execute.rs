//! Running a line: its commands one after the other, each with the addresses that the one before found.

use super::line::{self, Line, Step};
use super::spec::Spec;
use super::{Answer, Autopsy, help, hex, near, settings, table, tongues};
use crate::error::Usage;
use crate::escape::visible_json;

/// What a line found.
#[derive(Debug, Default)]
pub struct Outcome {
    /// For standard output.
    pub lines: Vec<String>,
    /// What should be known beside it.
    pub notes: Vec<String>,
    /// The command of the shell that the lines go to.
    pub shell: Option<String>,
    /// The prompt is to be left.
    pub quit: bool,
}

/// Runs one line.
///
/// # Errors
/// What a command says; what is wrong with the line.
pub fn run_line(autopsy: &mut Autopsy, text: &str, json: bool) -> anyhow::Result<Outcome> {
    let Line { steps, shell } = line::parse(text)?;
    let mut outcome = Outcome {
        shell,
        ..Outcome::default()
    };
    let mut input: Option<Vec<u64>> = None;
    for (index, step) in steps.iter().enumerate() {
        let (name, words) = (step.words[0].as_str(), &step.words[1..]);
        let lines = match name {
            "quit" | "exit" | "q" => {
                outcome.quit = true;
                return Ok(outcome);
            }
            "help" | "dcmds" | "walkers" | "?" => Some(help::help(words)?),
            "set" => Some(settings::set(autopsy, words)?),
            _ => None,
        };
        if let Some(lines) = lines {
            outcome.lines.extend(lines);
            continue;
        }
        let spec = table::find(name).ok_or_else(|| unknown(step))?;
        let mut answer = run_step(autopsy, spec, words, input.as_deref(), json)?;
        autopsy.remember(&answer.addresses);
        if index + 1 == steps.len() {
            outcome.lines.extend(answer.take_lines());
        }
        outcome.notes.extend(answer.notes);
        input = Some(answer.addresses);
    }
    if autopsy.stopped() {
        outcome
            .notes
            .push("stopped: this is a part of the answer".to_owned());
    }
    Ok(outcome)
}

/// One command, once for each address that came through the pipe.
fn run_step(
    autopsy: &mut Autopsy,
    spec: &Spec,
    words: &[String],
    input: Option<&[u64]>,
    json: bool,
) -> anyhow::Result<Answer> {
    let Some(addresses) = input else {
        return run_once(autopsy, spec, words, json);
    };
    let mut all = Answer::default();
    let mut failed = None;
    let mut done = 0;
    for address in addresses {
        if autopsy.stopped() {
            break;
        }
        let words = [&[hex(*address)], words].concat();
        match run_once(autopsy, spec, &words, json) {
            Ok(mut answer) => {
                all.lines.append(&mut answer.take_lines());
                all.addresses.append(&mut answer.addresses);
                all.notes.append(&mut answer.notes);
                done += 1;
            }
            Err(error) if error.is::<Usage>() => return Err(error),
            Err(_) if autopsy.stopped() => break,
            // One bad address of a pipe does not end it.
            Err(error) => {
                let error = failed.insert(error);
                all.notes.push(format!("{error:#}"));
            }
        }
    }
    match failed {
        Some(error) if done == 0 => Err(error),
        _ => Ok(all),
    }
}

fn run_once(
    autopsy: &mut Autopsy,
    spec: &Spec,
    words: &[String],
    json: bool,
) -> anyhow::Result<Answer> {
    let matches = match spec.command().try_get_matches_from(words) {
        Ok(matches) => matches,
        Err(error) if error.use_stderr() => return Err(Usage(one_line(&error)).into()),
        Err(help) => {
            return Ok(Answer {
                lines: help.to_string().lines().map(str::to_owned).collect(),
                ..Answer::default()
            });
        }
    };
    let before = autopsy.isolate;
    if let Some(isolate) = matches.get_one::<usize>("isolate") {
        autopsy.isolate = Some(*isolate);
    }
    let answer = autopsy
        .check_isolate()
        .and_then(|()| spec.answer(autopsy, &matches));
    autopsy.isolate = before;
    let mut answer = answer?;
    if matches.get_flag("json") || json {
        answer.lines = vec![visible_json(&answer.take_json())];
        answer.listed = false;
    }
    Ok(answer)
}

/// What clap says, without its advice for a shell.
fn one_line(error: &clap::Error) -> String {
    let text = error.to_string();
    let said: Vec<&str> = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .take_while(|line| !line.starts_with("For more information"))
        .collect();
    said.join("; ")
        .trim_start_matches("error: ")
        .replace(":; ", ": ")
}

fn unknown(step: &Step) -> Usage {
    let name = step.words[0].as_str();
    // gdb has x/8gx.
    let word = name.split_once('/').map_or(name, |(word, _)| word);
    if let Some(instead) = tongues::instead(word) {
        return Usage(format!("{name} is not here. {instead}"));
    }
    let known = table::all().map(|spec| spec.name.to_owned());
    let hint = near::hint(name, known);
    Usage(if hint.is_empty() {
        format!("there is no command {name:?}; help lists them")
    } else {
        format!("there is no command {name:?}{hint}")
    })
}
