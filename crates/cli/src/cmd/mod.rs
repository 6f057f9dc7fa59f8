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

use crate::args::Cli;
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

/// Runs the command that was asked for; gives the exit code.
pub fn run(cli: &Cli) -> anyhow::Result<u8> {
    match &cli.command {
        Command::Info(info) => show(cli, info.run()?),
        Command::Modules(modules) if modules.js => {
            show_js(cli, js_modules(&modules.core, modules.isolate)?)
        }
        Command::Modules(modules) => show(cli, modules.run()?),
        Command::Threads(threads) => show(cli, threads.run()?),
        Command::Bt(bt) => show(cli, bt.run()?),
        Command::Memory(memory) => show(cli, memory.run()?),
        Command::Archive(archive) => show(cli, archive.run()?),
        Command::Verify(verify) => show(cli, verify.run()?),
        Command::Unpack(unpack) => show(cli, unpack.run()?),
        Command::Cache(cache) => match cache.action {
            None => show(cli, cache.list()?),
            Some(cache::Action::Clear) => show(cli, cache.clear()?),
        },
        Command::Doctor(doctor) => show(cli, doctor.run()?),
        Command::Autopsy(autopsy) => autopsy.run(cli.json),
        Command::Js(js) => show_js(cli, js.run()?),
        Command::Completions(completions) => completions.run(),
    }
}

/// Prints an answer, and gives the exit code that it means.
fn show(cli: &Cli, answer: impl Answer) -> anyhow::Result<u8> {
    output::print(&answer, cli.json)?;
    for warning in answer.warnings() {
        output::warn(warning);
    }
    Ok(if answer.is_bad() { BAD } else { DONE })
}

/// Prints what a command about JavaScript found.
fn show_js(cli: &Cli, (answer, bad): (JsAnswer, bool)) -> anyhow::Result<u8> {
    show(cli, JsOutput { answer, bad })
}

/// Such an answer among the others.
struct JsOutput {
    answer: JsAnswer,
    bad: bool,
}

impl serde::Serialize for JsOutput {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        self.answer.json.serialize(to)
    }
}

impl Answer for JsOutput {
    fn text(&self, out: &mut output::Text<'_>) -> std::io::Result<()> {
        self.answer.lines.iter().try_for_each(|line| out.line(line))
    }

    fn is_bad(&self) -> bool {
        self.bad
    }

    fn warnings(&self) -> &[String] {
        &self.answer.notes
    }
}
