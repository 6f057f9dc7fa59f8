//! A command: its names, its manual, its arguments as clap sees them, what it does.

use clap::{Arg, ArgAction, ArgMatches, Args, Command};

use super::answer::Answer;
use super::opened::Autopsy;
use crate::args::CoreArgs;

/// A command.
pub struct Spec {
    /// The word for it.
    pub name: &'static str,
    /// Other words for it: of mdb_v8, of llnode.
    pub aliases: &'static [&'static str],
    /// One line.
    pub about: &'static str,
    /// The manual, with a session.
    pub manual: &'static str,
    /// Adds its arguments.
    pub args: fn(Command) -> Command,
    /// Does it.
    pub run: fn(&Autopsy, &ArgMatches) -> anyhow::Result<Answer>,
}

impl Spec {
    /// The command with its own arguments, as at the prompt.
    pub fn command(&self) -> Command {
        (self.args)(
            Command::new(self.name)
                .about(self.about)
                .long_about(manual(self)),
        )
        .arg(isolate())
        .arg(
            Arg::new("json")
                .long("json")
                .action(ArgAction::SetTrue)
                .help("Print JSON instead of text"),
        )
        .no_binary_name(true)
        .disable_version_flag(true)
        // Manuals have lines of their own.
        .term_width(0)
    }

    /// Runs it.
    ///
    /// # Errors
    /// The command's.
    pub fn answer(&self, autopsy: &Autopsy, matches: &ArgMatches) -> anyhow::Result<Answer> {
        autopsy.noting_gaps(|| (self.run)(autopsy, matches))
    }

    /// The same as a command of the program: the core comes first.
    pub fn one_shot(&self) -> Command {
        let command = Command::new(self.name).visible_aliases(
            self.aliases
                .iter()
                .filter(|alias| !alias.contains(' '))
                .copied(),
        );
        // CoreArgs brings words about itself, which are not about the command.
        (self.args)(CoreArgs::augment_args(command))
            .about(self.about)
            .long_about(flowing(&manual(self)))
            .arg(isolate())
    }
}

fn manual(spec: &Spec) -> String {
    format!("{}\n\n{}", spec.about, spec.manual.trim())
}

/// A text whose paragraphs are one line each: the program's help is as wide as the terminal. Lines that begin with a blank
/// (sessions, tables) stay as they are.
fn flowing(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut before = "";
    for line in text.lines() {
        let goes_on = |line: &str| !line.is_empty() && !line.starts_with(' ');
        if !out.is_empty() {
            out.push(match goes_on(before) && goes_on(line) {
                true => ' ',
                false => '\n',
            });
        }
        out.push_str(line);
        before = line;
    }
    out
}

fn isolate() -> Arg {
    Arg::new("isolate")
        .long("isolate")
        .value_name("N")
        .value_parser(clap::value_parser!(usize))
        .help("Look at one isolate alone: its number in isolates")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paragraphs_flow_and_sessions_do_not() {
        assert_eq!(
            flowing("one\ntwo\n\n  > cmd\n  answer\nthree\nfour"),
            "one two\n\n  > cmd\n  answer\nthree four"
        );
        assert_eq!(flowing("one\n\n\ntwo"), "one\n\n\ntwo");
    }
}
