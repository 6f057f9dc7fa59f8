use std::io;

use clap::Args;
use serde::Serialize;
use stillcore_corefile::{Module, ModuleKind};

use crate::address::{Address, hex};
use crate::args::CoreArgs;
use crate::escape::lossy;
use crate::output::{Answer, RED, Text, YELLOW};
use crate::problems::check_debug_files;
use crate::session::{Session, match_word};
use crate::table::{Align, Table};

/// Lists the executable and the libraries, with their build-ids, and the files that were found for them
///
/// MATCH says why the file is believed to be the one that was mapped: its build-id, or its headers where there is no
/// build-id; or why there is none: it differs, cannot be checked (unknown), or was not found. DEBUG is the separate debug file, or `in file`.
///
///   $ stillcore modules core.1234
///            START             END  BUILD-ID           MATCH     PATH                             FILE  DEBUG
///   0x55ad11efd000  0x55ad11f01058  47ab8142...cf1e1f  build-id  /srv/crash                       same  -
///   0x7f5e6c21d000  0x7f5e6c3fef50  93ac61ec...528a40  build-id  /usr/lib/x86_64-.../libc.so.6    same  -
///   0x7f5e6c410000  0x7f5e6c411522  e95baaea...9d9b23  kernel    [vdso]                           -     -
///
/// Exit code 1 where a file differs; --force believes it.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub struct Modules {
    #[command(flatten)]
    pub core: CoreArgs,

    /// The modules of JavaScript instead: CommonJS and ES modules that were loaded
    #[arg(long)]
    pub js: bool,

    /// Look at one isolate alone, with --js: its number in isolates
    #[arg(long, value_name = "N", requires = "js")]
    pub isolate: Option<usize>,
}

/// The executable and the libraries, by address.
#[derive(Debug, Serialize)]
pub struct Listing {
    /// The modules.
    pub modules: Vec<Entry>,
    /// What should be known beside it.
    pub warnings: Vec<String>,
    #[serde(skip)]
    bad: bool,
    /// What was opened: where that is an archive, its files begin with its name.
    #[serde(skip)]
    name: String,
}

/// A module.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    /// First address.
    pub start: Address,
    /// First address behind it.
    pub end: Address,
    /// What is to be added to an address in the file for the one in the process.
    pub bias: Address,
    /// `executable`, `interpreter`, `library`, `vdso`.
    pub kind: &'static str,
    /// Its path as the core records it.
    pub path: String,
    /// Its name in the dynamic linker's list, where it is there: perhaps a relative path.
    pub link_name: Option<String>,
    /// Whether the file was gone from the disk when the core was made.
    pub deleted: bool,
    /// The build-id in the dumped memory.
    pub build_id: Option<String>,
    /// Why the file is believed: `build-id`, `headers`, `forced`; `kernel` for the vdso, which is no file; or why there
    /// is none: `differs`, `unknown` (nothing in the core tells whether the file there is the one), `not found`.
    #[serde(rename = "match")]
    pub matches: &'static str,
    /// The file that was found for it.
    pub file: Option<String>,
    /// The separate debug file that was found for it.
    pub debug_file: Option<String>,
    /// Files that lay in the right place and are others.
    pub mismatches: Vec<Mismatch>,
}

/// A file that is not the one that was mapped.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Mismatch {
    /// Where it lies.
    pub path: String,
    /// Its build-id.
    pub build_id: Option<String>,
}

impl Modules {
    pub fn run(&self) -> anyhow::Result<Listing> {
        let mut session = Session::open(&self.core)?;
        let modules = session.process.modules.iter().map(entry).collect();
        check_debug_files(&session.process.modules, &mut session.problems);
        Ok(Listing {
            modules,
            warnings: session.problems.warnings,
            bad: session.problems.bad,
            name: session.name,
        })
    }
}

fn entry(module: &Module) -> Entry {
    Entry {
        start: Address(module.range.start),
        end: Address(module.range.end),
        bias: Address(module.bias),
        kind: match module.kind {
            ModuleKind::Executable => "executable",
            ModuleKind::Interpreter => "interpreter",
            ModuleKind::Library => "library",
            ModuleKind::Vdso => "vdso",
        },
        path: lossy(&module.path),
        link_name: module.link_name.as_deref().map(lossy),
        deleted: module.deleted,
        build_id: module.build_id.as_deref().map(hex),
        matches: match_word(module),
        file: module
            .file
            .as_ref()
            .map(|found| found.path.display().to_string()),
        debug_file: module
            .debug_file()
            .map(|found| found.path.display().to_string()),
        mismatches: module
            .mismatches
            .iter()
            .map(|mismatch| Mismatch {
                path: mismatch.path.display().to_string(),
                build_id: mismatch.found.as_deref().map(hex),
            })
            .collect(),
    }
}

impl Answer for Listing {
    fn text(&self, out: &mut Text<'_>) -> io::Result<()> {
        let mut table = Table::new(&[
            ("START", Align::Right),
            ("END", Align::Right),
            ("BUILD-ID", Align::Left),
            ("MATCH", Align::Left),
            ("PATH", Align::Left),
            ("FILE", Align::Left),
            ("DEBUG", Align::Left),
        ]);
        for module in &self.modules {
            let style = match module.matches {
                "differs" => Some(RED),
                "not found" | "forced" => Some(YELLOW),
                _ => None,
            };
            let mut path = module.path.clone();
            if module.deleted {
                path.push_str(" (deleted)");
            }
            let archived = |file: &str| {
                let path = file.strip_prefix(&self.name)?.strip_prefix(':')?;
                Some(path.to_owned())
            };
            let file = match &module.file {
                Some(file) if *file == module.path => "same".to_owned(),
                Some(file) => match archived(file) {
                    Some(path) if module.path.strip_prefix('/') == Some(&path) => {
                        "in archive".to_owned()
                    }
                    Some(path) => format!("archive:{path}"),
                    None => file.clone(),
                },
                None => String::new(),
            };
            let debug = module.debug_file.as_deref().unwrap_or_default();
            let debug = match archived(debug) {
                Some(path) => format!("archive:{path}"),
                None => debug.to_owned(),
            };
            table.styled_row(
                style,
                [
                    module.start.to_string(),
                    module.end.to_string(),
                    module.build_id.clone().unwrap_or_default(),
                    module.matches.to_owned(),
                    path,
                    file,
                    debug,
                ],
            );
        }
        table.print(out)
    }

    fn is_bad(&self) -> bool {
        self.bad
    }

    fn warnings(&self) -> &[String] {
        &self.warnings
    }
}
