//! Completion at the prompt: names of commands and options, addresses that were printed, classes of objects.

use std::cell::RefCell;
use std::rc::Rc;

use rustyline::completion::{Completer, Pair};
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::validate::Validator;
use rustyline::{Context, Helper};

use super::{Autopsy, hex, table};
use crate::escape::printable;

/// Words of the prompt itself.
const OWN: &[&str] = &["help", "set", "quit"];
/// What follows llnode's `v8`.
const LLNODE: &[&str] = &[
    "bt",
    "findjsinstances",
    "findjsobjects",
    "findrefs",
    "getactivehandles",
    "getactiverequests",
    "inspect",
    "nodeinfo",
    "print",
    "settings",
    "source",
];
/// Most addresses that are offered at once.
const MAX_ADDRESSES: usize = 200;

/// What completes lines.
pub struct Words {
    /// The session that they are asked of.
    pub autopsy: Rc<RefCell<Autopsy>>,
}

impl Helper for Words {}
impl Validator for Words {}
impl Highlighter for Words {}
impl Hinter for Words {
    type Hint = String;
}

/// What can stand at a place of a line.
#[derive(Debug, PartialEq, Eq)]
enum Place<'a> {
    Command,
    Llnode,
    Class,
    Thread,
    Isolate,
    OptionOf(&'a str),
    Address,
    Nothing,
}

/// Where the word under the cursor begins, and what it can be.
fn place(before: &str) -> (usize, Place<'_>) {
    // The command under the cursor begins behind the last pipe.
    let step = before.rfind('|').map_or(0, |index| index + 1);
    let named = before[step..]
        .rfind("::")
        .map_or(step, |index| step + index + 2);
    let start = before
        .rfind(char::is_whitespace)
        .map_or(0, |index| index + 1)
        .max(named);
    let words: Vec<&str> = before[named..start].split_whitespace().collect();
    let word = &before[start..];
    let place = match (&words[..], word) {
        ([] | ["help"], _) => Place::Command,
        (["v8"], _) => Place::Llnode,
        ([.., "-t" | "--thread"], _) => Place::Thread,
        ([.., "--isolate"], _) => Place::Isolate,
        ([.., "-c" | "--constructor"], _) => Place::Class,
        ([.., name], word) if word.starts_with('-') => {
            let command = words
                .iter()
                .find(|word| **word != "v8")
                .copied()
                .unwrap_or(name);
            Place::OptionOf(command)
        }
        (words, _) if words.contains(&"findjsinstances") => Place::Class,
        (_, word) if word.is_empty() || word.starts_with(|c: char| c.is_ascii_hexdigit()) => {
            Place::Address
        }
        _ => Place::Nothing,
    };
    (start, place)
}

impl Words {
    fn candidates(&self, place: &Place<'_>, word: &str) -> Vec<String> {
        let Ok(autopsy) = self.autopsy.try_borrow() else {
            return Vec::new();
        };
        match place {
            Place::Command => commands(word),
            Place::Llnode => LLNODE.iter().map(|&word| word.to_owned()).collect(),
            Place::Class => autopsy.classes(),
            Place::Thread => autopsy
                .v8
                .threads
                .iter()
                .map(|thread| thread.tid.to_string())
                .chain(["all".to_owned()])
                .collect(),
            Place::Isolate => (0..autopsy.v8.isolates().len())
                .map(|id| id.to_string())
                .collect(),
            Place::OptionOf(name) => options(name),
            Place::Address => autopsy
                .seen()
                .iter()
                .flat_map(|address| [hex(*address), format!("{address:x}")])
                .collect(),
            Place::Nothing => Vec::new(),
        }
    }
}

/// Commands that begin so; by their other names only where no name does.
fn commands(word: &str) -> Vec<String> {
    let begun = |name: &&str| name.starts_with(word);
    let names = table::all()
        .map(|spec| spec.name)
        .chain(OWN.iter().copied());
    let mut found: Vec<&str> = names.filter(begun).collect();
    if found.is_empty() {
        let others = table::all().flat_map(|spec| spec.aliases.iter().copied());
        found = others
            .filter(begun)
            .filter(|name| !name.starts_with("v8-"))
            .collect();
    }
    found.into_iter().map(str::to_owned).collect()
}

/// `-d` and `--depth` of a command.
fn options(name: &str) -> Vec<String> {
    let Some(spec) = table::find(name) else {
        return Vec::new();
    };
    spec.command()
        .get_arguments()
        .flat_map(|argument| {
            let long = argument.get_long().map(|name| format!("--{name}"));
            let short = argument.get_short().map(|name| format!("-{name}"));
            [long, short]
        })
        .flatten()
        .collect()
}

impl Completer for Words {
    type Candidate = Pair;

    fn complete(
        &self,
        line: &str,
        at: usize,
        _: &Context<'_>,
    ) -> rustyline::Result<(usize, Vec<Pair>)> {
        let (start, place) = place(&line[..at]);
        let word = &line[start..at];
        let limit = if place == Place::Address && word.is_empty() {
            MAX_ADDRESSES / 10
        } else {
            MAX_ADDRESSES * 10
        };
        // With and without 0x is the same address: the form that was begun, and 0x where none was.
        let form =
            |name: &str| place != Place::Address || !word.is_empty() || name.starts_with("0x");
        let mut names: Vec<String> = self
            .candidates(&place, word)
            .into_iter()
            .filter(|name| name.starts_with(word) && form(name))
            // What is in the heap may be anything, and a terminal gets it here.
            .filter(|name| printable(name) == *name && !name.contains(['\'', '"', '|', '!']))
            .take(limit)
            .collect();
        if place != Place::Address {
            names.sort_unstable();
        }
        names.dedup();
        let pairs = names.into_iter().map(|name| Pair {
            replacement: if name.contains(' ') {
                format!("'{name}'")
            } else {
                name.clone()
            },
            display: name,
        });
        Ok((start, pairs.collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_completed_by_its_name_first() {
        assert_eq!(commands("isol"), ["isolates"]);
        assert_eq!(commands("getactiveh"), ["getactivehandles"]);
        assert_eq!(commands("nonsense"), Vec::<String>::new());
    }

    #[test]
    fn what_is_completed_depends_on_the_place() {
        for (line, word, expected) in [
            ("js", "js", Place::Command),
            ("help js", "js", Place::Command),
            ("0x12::js", "js", Place::Command),
            ("jsstack | js", "js", Place::Command),
            ("v8 f", "f", Place::Llnode),
            ("findjsinstances Re", "Re", Place::Class),
            ("v8 findjsinstances Re", "Re", Place::Class),
            ("findjsobjects -c Re", "Re", Place::Class),
            ("jsstack -t ", "", Place::Thread),
            ("jsprint --de", "--de", Place::OptionOf("jsprint")),
            ("v8 inspect -", "-", Place::OptionOf("inspect")),
            ("jsprint 0x1", "0x1", Place::Address),
            ("jsprint ", "", Place::Address),
        ] {
            let (start, place) = place(line);
            assert_eq!((&line[start..], place), (word, expected), "{line}");
        }
    }
}
