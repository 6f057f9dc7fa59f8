//! The whole command line as clap sees it.

use clap::Parser;

use crate::cmd::Command;

/// Reads the core of any Linux process, from a file, a pipe or an archive, and packs it with all it takes to read it elsewhere.
#[derive(Debug, Parser)]
#[command(
    name = "stillcore",
    version,
    about = "Reads the core of any Linux process, and packs it with all it takes to read it elsewhere",
    max_term_width = 100,
    disable_help_subcommand = false,
    after_help = EXIT_CODES,
    after_long_help = LONG_END,
)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,

    /// Print one JSON value instead of text; its shape is documented in the npm package stillcore-cli (json.d.ts)
    #[arg(long, global = true, help_heading = "Output")]
    pub json: bool,

    /// Tell on stderr what is done; -vv and -vvv tell more (or STILLCORE_LOG=debug)
    #[arg(short, long, global = true, action = clap::ArgAction::Count, help_heading = "Output")]
    pub verbose: u8,
}

const EXIT_CODES: &str = "\
Exit codes: 0 done, 1 the answer is bad, 2 wrong usage, 3 cannot read.";

const LONG_END: &str = "\
CORE is a core, - for standard input, a core compressed with gzip, zstd, xz or lz4, an archive of stillcore, gencore or \
savedump, or a zip of core-dump-handler: told by content, whatever the name.

Examples:
  stillcore info core.1234                        what died, and what is missing
  coredumpctl dump node | stillcore bt -          every thread's stack
  stillcore archive core.1234                     archive-core.1234.tar.gz, to be read on any machine
  stillcore modules core --json | jq '.modules[] | select(.match == \"differs\")'

Exit codes:
  0  done
  1  the answer is bad: a core that is cut off, a checksum or a build-id that is off, captures that would not work
  2  wrong usage
  3  cannot read

Environment:
  STILLCORE_LOG     like -v: a level, or levels of modules (stillcore_corefile=debug)
  DEBUGINFOD_URLS   where --debuginfod without a URL asks
  XDG_CACHE_HOME    where unpacked cores are kept, below stillcore/
  NO_COLOR          no colours";

#[cfg(test)]
mod tests {
    use std::ffi::OsString;
    use std::path::PathBuf;

    use clap::CommandFactory;

    use super::*;
    use crate::args::joined;

    #[test]
    fn clap_finds_no_contradictions() {
        Cli::command().debug_assert();
    }

    #[test]
    fn it_can_be_called_as_coredumpctl_calls_debuggers() {
        for words in [
            "stillcore /usr/bin/node -c /var/tmp/coredump-x",
            "stillcore autopsy /usr/bin/node -c /var/tmp/coredump-x",
            "stillcore autopsy /usr/bin/node -c /var/tmp/coredump-x -ex jsstack",
        ] {
            let cli = Cli::try_parse_from(joined(words.split(' ').map(OsString::from))).unwrap();
            let Command::Autopsy(autopsy) = cli.command else {
                panic!("{:?}", cli.command);
            };
            assert_eq!(autopsy.given, [PathBuf::from("/usr/bin/node")]);
            assert_eq!(autopsy.core, Some(PathBuf::from("/var/tmp/coredump-x")));
        }
    }

    #[test]
    fn a_url_is_debuginfods_and_a_core_is_not() {
        let parse = |words: &str| {
            let argv = words.split(' ').map(OsString::from);
            Cli::try_parse_from(joined(argv)).unwrap()
        };
        let files = |cli: Cli| match cli.command {
            Command::Memory(memory) => (memory.core.core, memory.core.files.debuginfod),
            other => panic!("{other:?}"),
        };
        let url = || Some("http://localhost:8002".to_owned());
        for (words, expected) in [
            ("stillcore memory core", None),
            ("stillcore memory --debuginfod core", Some(String::new())),
            ("stillcore memory core --debuginfod", Some(String::new())),
            (
                "stillcore memory --debuginfod http://localhost:8002 core",
                url(),
            ),
            (
                "stillcore memory core --debuginfod http://localhost:8002",
                url(),
            ),
            (
                "stillcore memory --debuginfod=http://localhost:8002 core",
                url(),
            ),
        ] {
            assert_eq!(files(parse(words)), (PathBuf::from("core"), expected));
        }
    }
}
