//! The command `stillcore`: what a core or an archive holds, for people and for programs.
//!
//! [`run`] is the whole program. One file per command below `cmd`, whose doc comment is its manual; each makes one
//! value ([`output::Answer`]) that is printed as text or, with `--json`, as JSON. Nothing else here prints.
#![forbid(unsafe_code)]

pub mod address;
pub mod args;
pub mod argv;
pub mod autopsy;
pub mod cmd;
pub mod command_line;
pub mod debuginfod;
pub mod error;
pub mod escape;
pub mod host;
pub mod log;
pub mod node;
pub mod opening;
pub mod output;
pub mod place;
pub mod problems;
pub mod progress;
pub mod session;
pub mod signal;
pub mod size;
pub mod table;

use std::ffi::OsString;
use std::panic::{AssertUnwindSafe, catch_unwind};

use clap::{CommandFactory, Parser};

use crate::command_line::Cli;
use crate::error::{DONE, UNREADABLE, USAGE, Usage, exit_code, in_words};

/// Runs the program with these arguments, the first of which is its name. Gives the exit code.
pub fn run(argv: impl IntoIterator<Item = OsString>) -> u8 {
    let cli = match Cli::try_parse_from(args::joined(argv)) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are no errors, and that nobody reads them is none either.
            let code = if error.use_stderr() { USAGE } else { DONE };
            let _ = error.print();
            return code;
        }
    };
    if let Err(error) = log::start(cli.command.log_level(cli.verbose)) {
        output::complain(&error);
        return USAGE;
    }
    // A core may hold anything, and a mistake in reading it must not end in a code that is none of ours.
    match catch_unwind(AssertUnwindSafe(|| {
        cmd::run(&cli.command, cli.json, Cli::command)
    })) {
        Err(_) => {
            output::complain(
                "this is a bug in stillcore: please report the lines above, with the command if not the core",
            );
            UNREADABLE
        }
        Ok(Ok(code)) => code,
        Ok(Err(error)) => {
            let code = exit_code(&error);
            if code != DONE {
                output::complain(&in_words(&error));
            }
            if error.is::<Usage>() {
                output::complain("try --help");
            }
            code
        }
    }
}
