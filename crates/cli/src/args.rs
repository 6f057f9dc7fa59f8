//! The command line as clap sees it: what all commands share. Each command's own arguments are in its file.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use clap::{Args, Parser};
use stillcore_archive::Limits;

use crate::cmd::Command;
use crate::error::Usage;

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

/// The core, and where the files are found that it belongs to.
#[derive(Debug, Clone, Args)]
pub struct CoreArgs {
    /// A core, - for standard input, a compressed core, or an archive
    #[arg(value_name = "CORE", value_hint = clap::ValueHint::FilePath)]
    pub core: PathBuf,

    #[command(flatten)]
    pub files: FileArgs,
}

/// Where files are found.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Files of the process")]
pub struct FileArgs {
    /// The executable, instead of the file at the path that the core names
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub exe: Option<PathBuf>,

    /// Look below DIR for files that the core names, as in a container's root [may be repeated]
    #[arg(long, value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    pub sysroot: Vec<PathBuf>,

    /// Look in DIR for separate debug files, before /usr/lib/debug [may be repeated]
    #[arg(long, value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    pub debug_dir: Vec<PathBuf>,

    /// Do without separate debug files
    #[arg(long)]
    pub no_debug: bool,

    /// Ask a debuginfod server for files that are not here; without a URL, those in DEBUGINFOD_URLS
    #[arg(long, value_name = "URL", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    pub debuginfod: Option<String>,

    /// Believe files whose build-ids differ from the core's; otherwise they are left out and named, with exit code 1
    #[arg(long)]
    pub force: bool,

    /// Unpack into a temporary file that goes away, not into the cache
    #[arg(long)]
    pub no_cache: bool,

    #[command(flatten)]
    pub limits: LimitArgs,
}

/// How far an archive is trusted.
#[derive(Debug, Clone, Default, Args)]
pub struct LimitArgs {
    /// Allow more: unpacked=2T bytes (1T unless set), entries=N (1M), name=N bytes (4096), folders=N (128), layers=N (6)
    #[arg(long = "limit", value_name = "NAME=VALUE", help_heading = "Archives")]
    pub limits: Vec<String>,
}

impl LimitArgs {
    /// The limits, with those changed that were named.
    ///
    /// # Errors
    /// [`Usage`] for a name that is none, or a value that is no number.
    pub fn limits(&self) -> Result<Limits, Usage> {
        let mut limits = Limits::default();
        for text in &self.limits {
            let wrong = || {
                Usage(format!(
                    "--limit {text}: NAME=VALUE is wanted, as unpacked=2T"
                ))
            };
            let (name, value) = text.split_once('=').ok_or_else(wrong)?;
            let value = stillcore_archive::parse_size(value).ok_or_else(wrong)?;
            *match name {
                "unpacked" => &mut limits.unpacked,
                "entries" => &mut limits.entries,
                "name" => &mut limits.name,
                "folders" => &mut limits.folders,
                "layers" => &mut limits.layers,
                _ => return Err(wrong()),
            } = value;
        }
        Ok(limits)
    }
}

/// Whether a path stands for standard input.
pub fn is_stdin(path: &Path) -> bool {
    path == Path::new("-")
}

/// A path as it is shown.
pub fn shown(path: &Path) -> String {
    if is_stdin(path) {
        "standard input".to_owned()
    } else {
        path.display().to_string()
    }
}

impl FileArgs {
    /// The debuginfod servers to ask; empty when none may be asked.
    ///
    /// # Errors
    /// [`Usage`] when servers were asked for and none is known.
    pub fn debuginfod_urls(&self) -> Result<Vec<String>, Usage> {
        let Some(given) = &self.debuginfod else {
            return Ok(Vec::new());
        };
        let text = if given.is_empty() {
            std::env::var("DEBUGINFOD_URLS").unwrap_or_default()
        } else {
            given.clone()
        };
        let urls: Vec<String> = text.split_ascii_whitespace().map(str::to_owned).collect();
        if urls.is_empty() {
            return Err(Usage(
                "--debuginfod needs a URL, or DEBUGINFOD_URLS in the environment".to_owned(),
            ));
        }
        if let Some(strange) = urls.iter().find(|url| !is_url(OsStr::new(url.as_str()))) {
            return Err(Usage(format!(
                "--debuginfod: '{strange}' is no http:// or https:// URL"
            )));
        }
        Ok(urls)
    }
}

fn is_url(text: &OsStr) -> bool {
    let text = text.to_string_lossy();
    text.starts_with("http://") || text.starts_with("https://")
}

/// `stillcore /usr/bin/node -c CORE` means `stillcore autopsy /usr/bin/node -c CORE`: so `coredumpctl debug
/// --debugger=stillcore` calls its debugger, the executable by its absolute path.
fn as_debugger(argv: &mut Vec<OsString>) {
    let path = argv
        .get(1)
        .is_some_and(|word| Path::new(word).is_absolute());
    let core = argv
        .get(2)
        .is_some_and(|word| word == "-c" || word == "--core");
    if path && core {
        argv.insert(1, "autopsy".into());
    }
}

/// The arguments as clap gets them: `--debuginfod URL` as one. In `--debuginfod CORE` the second is no URL, and belongs to the command.
pub fn joined(argv: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut joined: Vec<OsString> = Vec::new();
    let mut literal = false;
    for argument in argv {
        match joined.last_mut() {
            Some(last) if !literal && last == "--debuginfod" && is_url(&argument) => {
                last.push("=");
                last.push(&argument);
            }
            _ => {
                literal |= argument == "--";
                joined.push(argument);
            }
        }
    }
    as_debugger(&mut joined);
    // gdb's word for its -e: clap would read -e x.
    if joined.iter().any(|word| word == "autopsy") {
        for word in joined.iter_mut().filter(|word| *word == "-ex") {
            *word = "--eval".into();
        }
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

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
