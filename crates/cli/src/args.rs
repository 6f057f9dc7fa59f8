//! Arguments that commands share. Each command's own are in its file.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use clap::Args;
use stillcore_archive::Limits;

use crate::error::Usage;

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
