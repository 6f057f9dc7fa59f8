//! The JavaScript inside a core: one table of commands for the prompt and for the command line.
//!
//! A command is a row in a table ([`table::Spec`]): its names, its arguments as clap sees them, what it does. `stillcore jsprint
//! CORE ADDR -d 3` and `ADDR::jsprint -d 3` at the prompt run the same function.

mod cmd;
pub mod line;
mod prompt;
mod run;
pub mod table;

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use anyhow::Context;
use serde_json::Value as Json;
use stillcore_v8::{CoreTarget, HeapGraph, Options, Stop, Tagged, V8};

use crate::args::CoreArgs;
use crate::error::Usage;
use crate::session::{Problems, Session};

pub use run::Autopsy as AutopsyArgs;
pub use table::JsCommand;

/// An open core with V8 in it.
pub struct Autopsy {
    /// V8.
    pub v8: Arc<V8>,
    /// The core's process.
    pub target: Arc<CoreTarget>,
    /// What is wrong with the core and its files.
    pub problems: Problems,
    /// The isolate that commands look at; none for all of them.
    pub isolate: Option<usize>,
    /// Set by Ctrl-C.
    pub stop: Arc<Stop>,
    graphs: RefCell<HashMap<Option<usize>, Arc<HeapGraph>>>,
}

/// What a command found.
#[derive(Debug, Default)]
pub struct Answer {
    /// For people.
    pub lines: Vec<String>,
    /// For programs.
    pub json: Json,
    /// The addresses that it is about, for the next command of a pipe.
    pub addresses: Vec<u64>,
    /// What should be known beside it.
    pub notes: Vec<String>,
}

impl Answer {
    /// One line, and its value.
    pub fn line(text: impl Into<String>, json: Json) -> Answer {
        Answer {
            lines: vec![text.into()],
            json,
            ..Answer::default()
        }
    }
}

impl Autopsy {
    /// Opens a core and finds V8 in it.
    ///
    /// # Errors
    /// The core cannot be read, or there is no V8 that can be read in it.
    pub fn open(args: &CoreArgs) -> anyhow::Result<Autopsy> {
        let Session {
            process,
            name,
            mut problems,
            ..
        } = Session::open(args)?;
        let target = Arc::new(CoreTarget::new(process));
        let options = Options {
            force: args.files.force,
        };
        let v8 = V8::open(target.clone(), &options).with_context(|| name.clone())?;
        for warning in &v8.warnings {
            problems.note(warning.clone());
        }
        Ok(Autopsy {
            v8: Arc::new(v8),
            target,
            problems,
            isolate: None,
            stop: Arc::new(Stop::new(false)),
            graphs: RefCell::default(),
        })
    }

    /// The graph of the objects of the isolates in question, walked when it is first asked for.
    ///
    /// # Errors
    /// When it was stopped.
    pub fn graph(&self) -> anyhow::Result<Arc<HeapGraph>> {
        if let Some(graph) = self.graphs.borrow().get(&self.isolate) {
            return Ok(graph.clone());
        }
        let graph = Arc::new(HeapGraph::build(&self.v8, self.isolate, &self.stop)?);
        self.graphs.borrow_mut().insert(self.isolate, graph.clone());
        Ok(graph)
    }

    /// The same with what can be reached marked.
    ///
    /// # Errors
    /// When it was stopped.
    pub fn reachable(&self) -> anyhow::Result<Arc<HeapGraph>> {
        let graph = self.graph()?;
        graph.mark(&self.stop)?;
        Ok(graph)
    }

    /// Says so when more than one in a hundred bytes of the heap could not be walked.
    pub fn note_gaps(&self, graph: &HeapGraph, answer: &mut Answer) {
        if graph.gaps.share() > 0.01 {
            answer.notes.push(format!(
                "{:.1} % of the heap could not be walked, so this is a part of the answer (see layout)",
                100.0 * graph.gaps.share()
            ));
        }
    }

    /// An address as people write it, as the tagged pointer it means. One that begins an object may lack its tag.
    ///
    /// # Errors
    /// When it is no hexadecimal number.
    pub fn value(&self, text: &str) -> anyhow::Result<Tagged> {
        let word = address(text)?;
        let tagged = Tagged(word);
        if tagged.is_pointer() || tagged.is_smi() && word != 0 && word >> 47 != 0 {
            return Ok(tagged.strong());
        }
        let with_tag = Tagged::of(word);
        Ok(if self.v8.map_of(with_tag).is_ok() {
            with_tag
        } else {
            tagged
        })
    }

    /// Whether Ctrl-C was pressed.
    pub fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

/// `modules --js`: the modules of JavaScript in a core, and whether something is wrong with it.
///
/// # Errors
/// The core cannot be read.
pub fn js_modules(core: &CoreArgs) -> anyhow::Result<(Answer, bool)> {
    let autopsy = Autopsy::open(core)?;
    let mut answer = cmd::list_modules(&autopsy)?;
    answer
        .notes
        .extend(autopsy.problems.warnings.iter().cloned());
    Ok((answer, autopsy.problems.bad))
}

/// A hexadecimal address with or without 0x.
///
/// # Errors
/// When it is none.
pub fn address(text: &str) -> anyhow::Result<u64> {
    let digits = text
        .strip_prefix("0x")
        .or_else(|| text.strip_prefix("0X"))
        .unwrap_or(text);
    u64::from_str_radix(digits, 16).map_err(|_| Usage(format!("{text:?} is not an address")).into())
}

/// An address as all commands print it.
pub fn hex(address: u64) -> String {
    format!("{address:#x}")
}
