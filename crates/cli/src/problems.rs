//! What is wrong with a core and its files.

use std::path::Path;

use stillcore_corefile::{Mismatch, Module, Process};

use crate::address::hex;
use crate::place::module_name;
use crate::size::{count, size};

/// What should be known beside an answer.
#[derive(Debug, Clone, Default)]
pub struct Problems {
    /// A sentence or two each.
    pub warnings: Vec<String>,
    /// Whether one of them makes the answer bad: exit code 1.
    pub bad: bool,
}

impl Problems {
    /// Something that makes the answer bad.
    pub fn bad(&mut self, warning: String) {
        self.warnings.push(warning);
        self.bad = true;
    }

    /// Something that should be known.
    pub fn note(&mut self, warning: String) {
        self.warnings.push(warning);
    }
}

/// Says what is wrong with the core itself.
pub fn check_core(process: &Process, problems: &mut Problems) {
    let (promised, has) = (process.core.expected_size(), process.core.size());
    if has < promised {
        problems.bad(format!(
            "the core is cut off: its headers promise {}, and {} are there. The disk or a limit was full when it was \
             written (ulimit -c, LimitCORE=), or copying it ended early; what lay behind is missing.",
            size(promised),
            size(has)
        ));
    }
    for what in &process.about.unreadable {
        problems.note(format!("a note of the core cannot be read: {what}"));
    }
}

/// Says which files are not those that were mapped. `exe` is the one that was named as the executable: that is told of even
/// where the right one lay in its place.
pub fn check_files(process: &Process, exe: Option<&Path>, problems: &mut Problems) {
    let mut unchecked = Vec::new();
    for module in &process.modules {
        let believed = module.file.as_ref();
        for mismatch in &module.mismatches {
            let path = mismatch.path.display();
            if believed.is_some_and(|found| found.path == mismatch.path) {
                problems.note(if mismatch.unchecked {
                    format!("nothing in the core tells whether {path} is what was mapped; it is believed for --force")
                } else {
                    format!(
                        "{path} is not the file that was mapped ({}), and is believed for --force",
                        ids(mismatch)
                    )
                });
                continue;
            }
            if let Some(found) = believed
                && exe == Some(&mismatch.path)
            {
                problems.bad(format!(
                    "--exe {path} is not the executable that was mapped ({}), and is left out: {} is taken. --force believes it.",
                    ids(mismatch),
                    found.path.display()
                ));
                continue;
            }
            // One that was found elsewhere does not matter, whatever lies here.
            if believed.is_some() {
                tracing::info!(path = ?mismatch.path, "another file than the one that was mapped");
                continue;
            }
            if mismatch.unchecked {
                unchecked.push(mismatch.path.display().to_string());
                continue;
            }
            problems.bad(format!(
                "{path} is not the file that was mapped, and is left out: {}. Name a folder with the right one (--sysroot), \
                 or believe it nevertheless (--force).",
                ids(mismatch)
            ));
        }
    }
    tell_unchecked(&unchecked, problems);
}

/// Files that may be the ones that were mapped, and that nothing in the core tells of.
fn tell_unchecked(unchecked: &[String], problems: &mut Problems) {
    let Some((first, others)) = unchecked.split_first() else {
        return;
    };
    let more = match others.len() {
        0 => String::new(),
        number => format!(" and {} more", count(number, "file")),
    };
    problems.note(format!(
        "{first}{more} may be what was mapped, but the core has neither headers nor build-id to tell (it is cut off, or was \
         written with a coredump_filter without ELF headers). What cannot be checked is left out; --force believes it."
    ));
}

/// Looks for the debug files of these modules, and says which lay in the right place and are others.
pub fn check_debug_files<'a>(
    modules: impl IntoIterator<Item = &'a Module>,
    problems: &mut Problems,
) {
    for module in modules {
        if module.debug_file().is_some() {
            continue;
        }
        for mismatch in module.debug_mismatches() {
            problems.bad(format!(
                "{} is not the debug file of {}, and is left out: {}",
                mismatch.path.display(),
                module_name(module),
                ids(mismatch)
            ));
        }
    }
}

fn ids(mismatch: &Mismatch) -> String {
    match (&mismatch.expected, &mismatch.found) {
        (Some(expected), Some(found)) => {
            format!(
                "the core has build-id {}, the file {}",
                hex(expected),
                hex(found)
            )
        }
        (Some(expected), None) => {
            format!("the core has build-id {}, the file none", hex(expected))
        }
        _ => "they are of different builds".to_owned(),
    }
}
