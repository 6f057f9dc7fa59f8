//! The commands, by what they are about. Each file has its table.

mod classes;
mod functions;
mod handles;
mod heap;
mod internals;
mod isolates;
mod memory;
mod modules;
mod node;
mod objects;
mod print;
mod promises;
mod references;
mod stack;
mod timers;
mod walk;

use clap::{Arg, ArgAction, ArgMatches};
use stillcore_v8::Tagged;

pub use modules::list_modules;

use super::Autopsy;
use super::table::Spec;
use crate::error::Usage;

/// All commands, by what they are about.
pub const GROUPS: &[(&str, &[&[Spec]])] = &[
    ("stacks: what runs, what hangs", &[stack::TABLE]),
    ("values", &[print::TABLE]),
    (
        "objects: what leaks, who holds it",
        &[objects::TABLE, references::TABLE],
    ),
    ("functions and their source", &[functions::TABLE]),
    (
        "Node: the process, its handles, what it waits for",
        &[
            node::TABLE,
            isolates::TABLE,
            handles::TABLE,
            timers::TABLE,
            promises::TABLE,
            modules::TABLE,
        ],
    ),
    ("memory", &[heap::TABLE, memory::TABLE]),
    (
        "V8 itself",
        &[internals::TABLE, classes::TABLE, walk::TABLE],
    ),
];

/// The address that most commands take first.
fn addr() -> Arg {
    Arg::new("addr")
        .value_name("ADDR")
        .required(true)
        .help("An address, with or without 0x")
}

/// The same where it may be left out.
fn optional_addr() -> Arg {
    addr().required(false)
}

fn flag(short: char, name: &'static str, help: &'static str) -> Arg {
    Arg::new(name)
        .short(short)
        .long(name)
        .action(ArgAction::SetTrue)
        .help(help)
}

/// `-v`: the program has one of its own, and both are read the same way.
fn verbose(help: &'static str) -> Arg {
    Arg::new("verbose")
        .short('v')
        .long("verbose")
        .action(ArgAction::Count)
        .help(help)
}

fn is_verbose(matches: &ArgMatches) -> bool {
    matches.get_count("verbose") > 0
}

fn long_flag(name: &'static str, help: &'static str) -> Arg {
    Arg::new(name)
        .long(name)
        .action(ArgAction::SetTrue)
        .help(help)
}

fn number(short: char, name: &'static str, value: &'static str, help: &'static str) -> Arg {
    Arg::new(name)
        .short(short)
        .long(name)
        .value_name(value)
        .value_parser(clap::value_parser!(usize))
        .help(help)
}

fn text(short: char, name: &'static str, value: &'static str, help: &'static str) -> Arg {
    Arg::new(name)
        .short(short)
        .long(name)
        .value_name(value)
        .help(help)
}

fn get<'a>(matches: &'a ArgMatches, name: &str) -> Option<&'a str> {
    matches.get_one::<String>(name).map(String::as_str)
}

fn given(autopsy: &Autopsy, matches: &ArgMatches) -> anyhow::Result<Tagged> {
    let text = get(matches, "addr").ok_or_else(|| Usage("which address?".to_owned()))?;
    autopsy.value(text)
}
