//! Running lines: from the prompt, from a pipe, from -e.

use std::borrow::Cow;
use std::io::{self, BufRead, IsTerminal, Write};
use std::process::{Command as Process, Stdio};
use std::sync::atomic::Ordering;

use rustyline::completion::{Completer, Pair};
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::validate::Validator;
use rustyline::{Config, Context, Editor, Helper};

use super::line::{self, Line};
use super::{Answer, Autopsy, hex, table};
use crate::error::{Closed, Usage};
use crate::escape::printable;
use crate::output;

const PROMPT: &str = "> ";

/// What a line did.
pub enum Done {
    /// Go on.
    On,
    /// Leave the prompt.
    Quit,
}

/// Runs one line and prints what it found.
///
/// # Errors
/// What the command says; [`Closed`] when nobody reads the output.
pub fn run_line(autopsy: &mut Autopsy, text: &str, json: bool) -> anyhow::Result<Done> {
    let Line { steps, shell } = line::parse(text)?;
    let mut input: Option<Vec<u64>> = None;
    let mut lines = Vec::new();
    let last = steps.len().saturating_sub(1);
    for (index, step) in steps.iter().enumerate() {
        let name = step.words[0].as_str();
        match name {
            "quit" | "exit" | "q" => return Ok(Done::Quit),
            "help" | "dcmds" | "walkers" | "?" => {
                lines.extend(help(step.words.get(1).map(String::as_str)));
                continue;
            }
            "set" => {
                lines.push("nothing to set: the depth, lengths and addresses of jsprint are options (help jsprint)".to_owned());
                continue;
            }
            _ => {}
        }
        let Some((spec, words)) = known(name, &step.words[1..]) else {
            return Err(unknown(name).into());
        };
        let mut all = Answer::default();
        let mut values = Vec::new();
        let calls: Vec<Vec<String>> = match &input {
            None => vec![words],
            Some(addresses) => addresses
                .iter()
                .map(|address| [vec![hex(*address)], words.clone()].concat())
                .collect(),
        };
        for call in calls {
            if autopsy.stopped() {
                break;
            }
            let matches = match spec.command().try_get_matches_from(&call) {
                Ok(matches) => matches,
                Err(error) if error.use_stderr() => {
                    return Err(Usage(one_line(&error.to_string())).into());
                }
                Err(help) => {
                    all.lines
                        .extend(help.to_string().lines().map(str::to_owned));
                    continue;
                }
            };
            let before = autopsy.isolate;
            if let Some(isolate) = matches.get_one::<usize>("isolate") {
                autopsy.isolate = Some(*isolate);
            }
            let answer = autopsy
                .check_isolate()
                .and_then(|()| (spec.run)(autopsy, &matches));
            autopsy.isolate = before;
            match answer {
                Ok(mut answer) => {
                    if matches.get_flag("json") || json {
                        answer.lines = vec![answer.json.to_string()];
                    }
                    all.lines.append(&mut answer.lines);
                    all.addresses.append(&mut answer.addresses);
                    all.notes.append(&mut answer.notes);
                    values.push(answer.json);
                }
                // One bad address of a pipe does not end it.
                Err(error) if input.is_some() => all.notes.push(format!("{error:#}")),
                Err(error) => return Err(error),
            }
        }
        if index == last {
            lines.extend(all.lines);
        }
        for note in &all.notes {
            output::warn(note);
        }
        input = Some(all.addresses);
    }
    show(&lines, shell.as_deref())?;
    Ok(Done::On)
}

/// What clap says, without its advice for a shell.
fn one_line(text: &str) -> String {
    let lines: Vec<&str> = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    let said: Vec<&str> = lines
        .into_iter()
        .take_while(|line| !line.starts_with("For more information"))
        .collect();
    said.join("; ")
        .trim_start_matches("error: ")
        .replace(":; ", ": ")
}

/// A command by its word, and the words that belong to its arguments.
fn known(name: &str, words: &[String]) -> Option<(&'static table::Spec, Vec<String>)> {
    table::find(name).map(|spec| (spec, words.to_vec()))
}

fn unknown(name: &str) -> Usage {
    let replaced = match name {
        "stack" | "regs" | "status" | "findleaks" | "ugrep" | "umastat" | "dump" => match name {
            "stack" => "native stacks of all threads: jsstack -t all -a, or stillcore bt CORE",
            "regs" => "registers: stillcore threads -r CORE",
            "status" => "what died: stillcore info CORE",
            "ugrep" => "who holds an address: jsfindrefs ADDR -r",
            "dump" => "bytes: nodebuffer ADDR, v8internal ADDR",
            _ => "what the memory is made of: heap, findjsobjects",
        },
        "v8field" => "the layout is loaded from the binary: see layout",
        "settings" => "there is nothing to set: NO_COLOR turns colours off",
        _ => {
            let near: Vec<&str> = table::all()
                .map(|spec| spec.name)
                .filter(|known| known.contains(name) || name.contains(known))
                .collect();
            return Usage(match near.is_empty() {
                true => format!("there is no command {name:?}; help lists them"),
                false => format!("there is no command {name:?}; there is {}", near.join(", ")),
            });
        }
    };
    Usage(format!("{name} is not here. {replaced}"))
}

fn help(name: Option<&str>) -> Vec<String> {
    if let Some(spec) = name.and_then(table::find) {
        return spec
            .command()
            .no_binary_name(true)
            .render_long_help()
            .to_string()
            .lines()
            .map(str::to_owned)
            .collect();
    }
    let mut lines = vec![
        "commands, each also as stillcore COMMAND CORE ...; help COMMAND tells more".to_owned(),
    ];
    lines.extend(table::all().map(|spec| format!("  {:<16} {}", spec.name, spec.about)));
    lines.push("mdb's forms work (ADDR::jsprint -d 3, pipes |, ! for the shell), and llnode's (v8 bt, v8 inspect); quit ends".to_owned());
    lines
}

fn show(lines: &[String], shell: Option<&str>) -> anyhow::Result<()> {
    match shell {
        Some(command) => {
            let mut child = Process::new("sh")
                .arg("-c")
                .arg(command)
                .stdin(Stdio::piped())
                .spawn()?;
            if let Some(mut stdin) = child.stdin.take() {
                for line in lines {
                    // That it has read enough is no failure.
                    if writeln!(stdin, "{}", printable(line)).is_err() {
                        break;
                    }
                }
            }
            child.wait()?;
        }
        None => {
            let mut out = anstream::AutoStream::auto(io::stdout().lock());
            for line in lines {
                writeln!(out, "{}", printable(line).trim_end()).map_err(output::closed_or)?;
            }
            out.flush().map_err(output::closed_or)?;
        }
    }
    Ok(())
}

/// Lines from a pipe, or from a terminal with history and completion. Gives whether all went well.
///
/// # Errors
/// [`Closed`] when nobody reads the output; the terminal's own errors.
pub fn prompt(autopsy: &mut Autopsy, json: bool) -> anyhow::Result<bool> {
    if !io::stdin().is_terminal() {
        let mut fine = true;
        for text in io::stdin().lock().lines() {
            match run_line(autopsy, text?.trim(), json) {
                Ok(Done::Quit) => break,
                Ok(Done::On) => {}
                Err(error) if error.is::<Closed>() => return Err(error),
                Err(error) => {
                    output::complain(&format!("{error:#}"));
                    fine = false;
                }
            }
        }
        return Ok(fine);
    }
    let config = Config::builder()
        .history_ignore_space(true)
        .max_history_size(5000)?
        .build();
    let mut editor: Editor<Words, _> = Editor::with_config(config)?;
    editor.set_helper(Some(Words {
        classes: Vec::new(),
    }));
    let history = history_file();
    if let Some(history) = &history {
        let _ = editor.load_history(history);
    }
    let stop = autopsy.stop.clone();
    // While a command runs, Ctrl-C stops it; while a line is edited, the editor has it.
    let _ = ctrlc::set_handler(move || stop.store(true, Ordering::Relaxed));
    output::warn("help lists the commands, quit ends");
    loop {
        autopsy.stop.store(false, Ordering::Relaxed);
        let text = match editor.readline(PROMPT) {
            Ok(text) => text,
            Err(ReadlineError::Interrupted) => continue,
            Err(ReadlineError::Eof) => break,
            Err(error) => return Err(error.into()),
        };
        if text.trim().is_empty() {
            continue;
        }
        let _ = editor.add_history_entry(text.trim());
        match run_line(autopsy, text.trim(), json) {
            Ok(Done::Quit) => break,
            Ok(Done::On) => {}
            Err(error) if error.is::<Closed>() => {}
            Err(error) => output::complain(&format!("{error:#}")),
        }
        if let Some(words) = editor.helper_mut()
            && words.classes.is_empty()
        {
            words.classes = autopsy.known_classes();
        }
    }
    if let Some(history) = &history {
        if let Some(folder) = history.parent() {
            let _ = std::fs::create_dir_all(folder);
        }
        let _ = editor.save_history(history);
    }
    Ok(true)
}

/// `$XDG_STATE_HOME/stillcore/history`, as the XDG Base Directory Specification has it.
fn history_file() -> Option<std::path::PathBuf> {
    let folder = std::env::var_os("XDG_STATE_HOME")
        .map(std::path::PathBuf::from)
        .filter(|path| path.is_absolute());
    let folder = folder.or_else(|| {
        Some(std::path::PathBuf::from(std::env::var_os("HOME")?).join(".local/state"))
    })?;
    Some(folder.join("stillcore").join("history"))
}

impl Autopsy {
    /// The classes of objects, when the heap has been walked already: for completion.
    fn known_classes(&self) -> Vec<String> {
        let graphs = self.graphs.borrow();
        graphs
            .values()
            .next()
            .map(|graph| graph.classes(false).into_keys().collect())
            .unwrap_or_default()
    }
}

/// What is completed: names of commands, and names of classes once the heap is walked.
struct Words {
    classes: Vec<String>,
}

impl Helper for Words {}
impl Validator for Words {}
impl Hinter for Words {
    type Hint = String;
}
impl Highlighter for Words {
    fn highlight_prompt<'b, 's: 'b, 'p: 'b>(&'s self, prompt: &'p str, _: bool) -> Cow<'b, str> {
        Cow::Borrowed(prompt)
    }
}

impl Completer for Words {
    type Candidate = Pair;

    fn complete(
        &self,
        line: &str,
        at: usize,
        _: &Context<'_>,
    ) -> rustyline::Result<(usize, Vec<Pair>)> {
        let before = &line[..at];
        let start = before.rfind([' ', ':', '|']).map_or(0, |index| index + 1);
        let word = &before[start..];
        let first = before[..start].trim_end_matches([' ', ':', '|']).is_empty()
            || before[..start].trim_end().ends_with(['|', ':']);
        let commands = table::all().map(|spec| spec.name.to_owned());
        let candidates: Vec<String> = if first {
            commands.collect()
        } else {
            self.classes.clone()
        };
        Ok((
            start,
            candidates
                .into_iter()
                .filter(|name| name.starts_with(word))
                .map(|name| Pair {
                    display: name.clone(),
                    replacement: name,
                })
                .collect(),
        ))
    }
}
