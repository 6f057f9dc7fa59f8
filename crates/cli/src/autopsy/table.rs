//! The table of commands, and how clap sees them.

use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches, Subcommand};

use super::{Answer, Autopsy, cmd};
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

    /// The same as a command of the program: the core comes first.
    fn one_shot(&self) -> Command {
        let command = Command::new(self.name).visible_aliases(
            self.aliases
                .iter()
                .filter(|alias| !alias.contains(' '))
                .copied(),
        );
        // CoreArgs brings words about itself, which are not about the command.
        (self.args)(CoreArgs::augment_args(command))
            .about(self.about)
            .long_about(manual(self))
            .arg(isolate())
    }
}

fn manual(spec: &Spec) -> String {
    format!("{}\n\n{}", spec.about, spec.manual.trim())
}

fn isolate() -> Arg {
    Arg::new("isolate")
        .long("isolate")
        .value_name("N")
        .value_parser(clap::value_parser!(usize))
        .help("Look at one isolate alone: its number in isolates")
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
        let mut answer = autopsy.run(spec, &self.matches)?;
        answer
            .notes
            .extend(autopsy.problems.warnings.iter().cloned());
        Ok((answer, autopsy.problems.bad))
    }
}

impl Autopsy {
    /// Whether the isolate in question exists.
    ///
    /// # Errors
    /// When it does not.
    pub fn check_isolate(&self) -> anyhow::Result<()> {
        match self.isolate {
            Some(id) if self.v8.isolate(id).is_none() => Err(crate::error::Usage(format!(
                "there is no isolate {id}: there are {}, from 0 on",
                self.v8.isolates().len()
            ))
            .into()),
            _ => Ok(()),
        }
    }
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
        crate::args::Cli::command().debug_assert();
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
