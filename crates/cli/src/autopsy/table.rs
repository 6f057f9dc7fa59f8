//! The table of commands, and how clap sees them.

use clap::{ArgMatches, Command, FromArgMatches, Subcommand};

use super::answer::Answer;
use super::cmd;
use super::opened::Autopsy;
use super::spec::Spec;
use crate::args::CoreArgs;

/// All commands.
pub fn all() -> impl Iterator<Item = &'static Spec> {
    cmd::GROUPS
        .iter()
        .flat_map(|(_, tables)| tables.iter())
        .flat_map(|table| table.iter())
}

/// A command by its name or one of its aliases.
pub fn find(name: &str) -> Option<&'static Spec> {
    all().find(|spec| spec.name == name || spec.aliases.contains(&name))
}

/// A command of the table, asked for on the command line.
#[derive(Debug, Clone)]
pub struct JsCommand {
    name: String,
    matches: ArgMatches,
}

impl JsCommand {
    /// Opens the core and runs it.
    ///
    /// # Errors
    /// The core cannot be read, or the command has no answer.
    pub fn run(&self) -> anyhow::Result<(Answer, bool)> {
        let core = CoreArgs::from_arg_matches(&self.matches)?;
        let mut autopsy = Autopsy::open(&core)?;
        autopsy.isolate = self.matches.get_one::<usize>("isolate").copied();
        autopsy.check_isolate()?;
        let Some(spec) = find(&self.name) else {
            anyhow::bail!("there is no command {}", self.name);
        };
        let mut answer = spec.answer(&autopsy, &self.matches)?;
        answer
            .notes
            .extend(autopsy.problems.warnings.iter().cloned());
        Ok((answer, autopsy.problems.bad))
    }
}

/// `modules --js`: the modules of JavaScript in a core, and whether something is wrong with it.
///
/// # Errors
/// The core cannot be read.
pub fn js_modules(core: &CoreArgs, isolate: Option<usize>) -> anyhow::Result<(Answer, bool)> {
    let mut autopsy = Autopsy::open(core)?;
    autopsy.isolate = isolate;
    autopsy.check_isolate()?;
    let mut answer = autopsy.noting_gaps(|| cmd::list_modules(&autopsy))?;
    answer
        .notes
        .extend(autopsy.problems.warnings.iter().cloned());
    Ok((answer, autopsy.problems.bad))
}

impl FromArgMatches for JsCommand {
    fn from_arg_matches(matches: &ArgMatches) -> Result<JsCommand, clap::Error> {
        match matches.subcommand() {
            Some((name, inner)) => Ok(JsCommand {
                name: name.to_owned(),
                matches: inner.clone(),
            }),
            None => Err(clap::Error::new(clap::error::ErrorKind::MissingSubcommand)),
        }
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = JsCommand::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Subcommand for JsCommand {
    fn augment_subcommands(command: Command) -> Command {
        all().fold(command, |command, spec| command.subcommand(spec.one_shot()))
    }

    fn augment_subcommands_for_update(command: Command) -> Command {
        Self::augment_subcommands(command)
    }

    fn has_subcommand(name: &str) -> bool {
        find(name).is_some()
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn clap_finds_nothing_wrong_with_any_command() {
        crate::command_line::Cli::command().debug_assert();
        for spec in all() {
            spec.command().debug_assert();
        }
    }

    #[test]
    fn every_word_of_mdb_and_llnode_is_a_command() {
        for word in [
            "findjsobjects",
            "jsfindrefs",
            "jsclosure",
            "jsarray",
            "jsconstructor",
            "jsframe",
            "jsstack",
            "jsfunction",
            "jsfunctions",
            "jsprint",
            "jssource",
            "nodebuffer",
            "jselement",
            "jsprop",
            "v8classes",
            "v8frametypes",
            "v8types",
            "v8array",
            "v8code",
            "v8context",
            "v8function",
            "v8internal",
            "v8load",
            "load",
            "v8print",
            "v8scopeinfo",
            "v8str",
            "v8type",
            "v8whatis",
            "v8warnings",
            "inspect",
            "findjsinstances",
            "findrefs",
            "getactivehandles",
            "getactiverequests",
            "nodeinfo",
            "whatis",
        ] {
            assert!(find(word).is_some(), "{word}");
        }
        let mut names: Vec<_> = all()
            .flat_map(|spec| [spec.name].into_iter().chain(spec.aliases.iter().copied()))
            .collect();
        names.sort_unstable();
        let count = names.len();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
