//! The commands. Each file: the manual (the doc comment of its arguments), the value it makes, and its text.

mod archive;
mod bt;
mod cache;
mod completions;
mod doctor;
mod info;
mod memory;
mod modules;
mod threads;
mod unpack;
mod verify;

use clap::Subcommand;

use crate::autopsy::{Answer as JsAnswer, AutopsyArgs, JsCommand, js_modules};
use crate::error::{BAD, DONE};
use crate::output::{self, Answer};

// Names as gdb, eu-stack and savedump made them known.
#[derive(Debug, Subcommand)]
pub enum Command {
    Info(info::Info),
    Modules(modules::Modules),
    Threads(threads::Threads),
    Bt(bt::Bt),
    Memory(memory::Memory),
    Archive(archive::Archive),
    Verify(verify::Verify),
    Unpack(unpack::Unpack),
    Cache(cache::CacheCommand),
    Doctor(doctor::Doctor),
    Autopsy(AutopsyArgs),
    #[command(flatten)]
    Js(JsCommand),
    #[command(hide = true)]
    Completions(completions::Completions),
}

impl Command {
    /// How much is logged for so many `-v`: in the commands about JavaScript that asks for a longer answer.
    pub fn log_level(&self, verbose: u8) -> u8 {
        if matches!(self, Command::Js(_)) {
            0
        } else {
            verbose
        }
    }
}

/// Runs the command that was asked for, and prints JSON or text; gives the exit code. `program` is the whole command line.
pub fn run(command: &Command, json: bool, program: fn() -> clap::Command) -> anyhow::Result<u8> {
    match command {
        Command::Info(info) => show(json, info.run()?),
        Command::Modules(modules) if modules.js => {
            show_js(json, js_modules(&modules.core, modules.isolate)?)
        }
        Command::Modules(modules) => show(json, modules.run()?),
        Command::Threads(threads) => show(json, threads.run()?),
        Command::Bt(bt) => show(json, bt.run()?),
        Command::Memory(memory) => show(json, memory.run()?),
        Command::Archive(archive) => show(json, archive.run()?),
        Command::Verify(verify) => show(json, verify.run()?),
        Command::Unpack(unpack) => show(json, unpack.run()?),
        Command::Cache(cache) => match cache.action {
            None => show(json, cache.list()?),
            Some(cache::Action::Clear) => show(json, cache.clear()?),
        },
        Command::Doctor(doctor) => show(json, doctor.run()?),
        Command::Autopsy(autopsy) => autopsy.run(json),
        Command::Js(js) => show_js(json, js.run()?),
        Command::Completions(completions) => completions.run(program()),
    }
}

/// Prints an answer, and gives the exit code that it means.
fn show(json: bool, answer: impl Answer) -> anyhow::Result<u8> {
    output::print(&answer, json)?;
    for warning in answer.warnings() {
        output::warn(warning);
    }
    Ok(if answer.is_bad() { BAD } else { DONE })
}

/// Prints what a command about JavaScript found.
fn show_js(json: bool, (answer, bad): (JsAnswer, bool)) -> anyhow::Result<u8> {
    show(json, JsOutput { answer, bad })
}

/// Such an answer among the others.
struct JsOutput {
    answer: JsAnswer,
    bad: bool,
}

impl serde::Serialize for JsOutput {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        if self.answer.listed {
            return to.collect_seq(self.answer.list_items());
        }
        self.answer.json.serialize(to)
    }
}

impl Answer for JsOutput {
    fn text(&self, out: &mut output::Text<'_>) -> std::io::Result<()> {
        self.answer
            .lines
            .iter()
            .try_for_each(|line| out.line(line))?;
        self.answer.list_items().try_for_each(|line| out.line(line))
    }

    fn is_bad(&self) -> bool {
        self.bad
    }

    fn warnings(&self) -> &[String] {
        &self.answer.notes
    }
}
