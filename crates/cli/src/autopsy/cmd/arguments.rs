//! The arguments of these commands, each made in one way, and what was given for them.

use clap::{Arg, ArgAction, ArgMatches};
use stillcore_v8::Tagged;

use crate::autopsy::Autopsy;
use crate::error::Usage;

/// The address that most commands take first.
pub(super) fn addr() -> Arg {
    Arg::new("addr")
        .value_name("ADDR")
        .required(true)
        .help("An address, with or without 0x")
}

/// The same where it may be left out.
pub(super) fn optional_addr() -> Arg {
    addr().required(false)
}

pub(super) fn flag(short: char, name: &'static str, help: &'static str) -> Arg {
    Arg::new(name)
        .short(short)
        .long(name)
        .action(ArgAction::SetTrue)
        .help(help)
}

/// `-v`: the program has one of its own, and both are read the same way.
pub(super) fn verbose(help: &'static str) -> Arg {
    Arg::new("verbose")
        .short('v')
        .long("verbose")
        .action(ArgAction::Count)
        .help(help)
}

pub(super) fn is_verbose(matches: &ArgMatches) -> bool {
    matches.get_count("verbose") > 0
}

pub(super) fn long_flag(name: &'static str, help: &'static str) -> Arg {
    Arg::new(name)
        .long(name)
        .action(ArgAction::SetTrue)
        .help(help)
}

pub(super) fn number(
    short: char,
    name: &'static str,
    value: &'static str,
    help: &'static str,
) -> Arg {
    Arg::new(name)
        .short(short)
        .long(name)
        .value_name(value)
        .value_parser(clap::value_parser!(usize))
        .help(help)
}

pub(super) fn text(
    short: char,
    name: &'static str,
    value: &'static str,
    help: &'static str,
) -> Arg {
    Arg::new(name)
        .short(short)
        .long(name)
        .value_name(value)
        .help(help)
}

pub(super) fn get<'a>(matches: &'a ArgMatches, name: &str) -> Option<&'a str> {
    matches.get_one::<String>(name).map(String::as_str)
}

pub(super) fn given(autopsy: &Autopsy, matches: &ArgMatches) -> anyhow::Result<Tagged> {
    let text = get(matches, "addr").ok_or_else(|| Usage("which address?".to_owned()))?;
    autopsy.value(text)
}
