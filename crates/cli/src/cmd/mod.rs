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
    #[command(hide = true)]
    Completions(completions::Completions),
}

/// Runs the command that was asked for; gives the exit code.
pub fn run(cli: &Cli) -> anyhow::Result<u8> {
    match &cli.command {
        Command::Info(info) => show(cli, info.run()?),
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
