//! A core that was opened for the commands about JavaScript.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use anstream::ColorChoice;
use anyhow::Context;
use stillcore_corefile::Process;
use stillcore_v8::{CoreTarget, HeapGraph, Options, Stop, Tagged, V8, V8Error};

use super::address::address;
use super::answer::Answer;
use crate::address::hex as build_id;
use crate::args::CoreArgs;
use crate::error::Usage;
use crate::escape::lossy;
use crate::output;
use crate::problems::Problems;
use crate::session::Session;

/// Addresses that are kept for completion.
const MAX_SEEN: usize = 2000;

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
    /// Colours of the output.
    pub color: ColorChoice,
    /// Objects that `findjsobjects -m` marked, for -r.
    pub marked: RefCell<Vec<Tagged>>,
    /// Addresses that were printed, the newest first: for completion.
    seen: RefCell<VecDeque<u64>>,
    graphs: RefCell<HashMap<Option<usize>, Arc<HeapGraph>>>,
    /// The command that runs has asked for a graph.
    walked: Cell<bool>,
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
        let v8 = V8::open(target.clone(), &options)
            .map_err(|error| without_binary(error, target.process()))
            // That the core is cut off, or files are missing, may well be why.
            .inspect_err(|_| {
                for warning in &problems.warnings {
                    output::warn(warning);
                }
            })
            .with_context(|| name.clone())?;
        for warning in &v8.warnings {
            problems.note(warning.clone());
        }
        Ok(Autopsy {
            v8: Arc::new(v8),
            target,
            problems,
            isolate: None,
            stop: Arc::new(Stop::new(false)),
            color: ColorChoice::Auto,
            marked: RefCell::default(),
            seen: RefCell::default(),
            graphs: RefCell::default(),
            walked: Cell::new(false),
        })
    }

    /// Whether the isolate in question exists.
    ///
    /// # Errors
    /// When it does not.
    pub fn check_isolate(&self) -> anyhow::Result<()> {
        match self.isolate {
            Some(id) if self.v8.isolate(id).is_none() => Err(Usage(format!(
                "there is no isolate {id}: there are {}, from 0 on",
                self.v8.isolates().len()
            ))
            .into()),
            _ => Ok(()),
        }
    }

    /// An answer that was made from the graph of a heap that could not be walked whole says so, and so does an error: what
    /// is said not to be there may be where the walk could not go.
    pub(super) fn noting_gaps(
        &self,
        ask: impl FnOnce() -> anyhow::Result<Answer>,
    ) -> anyhow::Result<Answer> {
        self.walked.set(false);
        let answer = ask();
        let graph = match self.walked.get() {
            true => self.graphs.borrow().get(&self.isolate).cloned(),
            false => None,
        };
        match (answer, graph.and_then(|graph| gaps_note(&graph))) {
            (Ok(mut answer), Some(gaps)) => {
                answer.notes.push(gaps);
                Ok(answer)
            }
            (Err(error), Some(gaps)) => Err(error.context(gaps)),
            (answer, None) => answer,
        }
    }

    /// The graph of the objects of the isolates in question, walked when it is first asked for.
    ///
    /// # Errors
    /// When it was stopped.
    pub fn graph(&self) -> anyhow::Result<Arc<HeapGraph>> {
        self.walked.set(true);
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

    /// Says so when something that holds objects was not recognised, so that more counts as reachable than is.
    ///
    /// # Errors
    /// When it was stopped.
    pub fn note_roots(&self, graph: &HeapGraph, answer: &mut Answer) -> anyhow::Result<()> {
        let roots = graph.roots(&self.stop)?;
        if !roots.missing.is_empty() {
            answer.notes.push(format!(
                "V8's {} were not found, so every word of native memory that looks like a pointer counts as one: some of \
                 what is shown as reachable may be garbage",
                roots.missing.join(" and ")
            ));
        }
        Ok(())
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

    /// The names of all classes of objects: walks the heap if nothing has yet. Empty when that was stopped.
    pub fn classes(&self) -> Vec<String> {
        self.graph().map_or_else(
            |_| Vec::new(),
            |graph| graph.classes(false).into_keys().collect(),
        )
    }

    /// Keeps addresses for completion.
    pub(super) fn remember(&self, addresses: &[u64]) {
        let mut seen = self.seen.borrow_mut();
        for &address in addresses.iter().take(MAX_SEEN).rev() {
            if seen.front() != Some(&address) {
                seen.push_front(address);
            }
        }
        seen.truncate(MAX_SEEN);
    }

    /// The addresses that were printed last.
    pub(super) fn seen(&self) -> Vec<u64> {
        self.seen.borrow().iter().copied().collect()
    }

    /// Whether Ctrl-C was pressed.
    pub fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

/// What is said when more than one in a hundred bytes of the heap could not be walked.
fn gaps_note(graph: &HeapGraph) -> Option<String> {
    let share = graph.gaps.share();
    (share > 0.01).then(|| {
        format!(
            "{:.1} % of the heap could not be walked, so this is a part of the answer (see layout)",
            100.0 * share
        )
    })
}

/// Why V8 was not found, where the node binary was not: its symbols say what is where.
fn without_binary(error: V8Error, process: &Process) -> anyhow::Error {
    let Some(executable) = process.executable() else {
        return error.into();
    };
    if !matches!(error, V8Error::NoV8(_)) {
        return error.into();
    }
    // Debian's node is a small program; V8 is in a library.
    let library = process
        .modules
        .iter()
        .find(|module| module.file.is_none() && module.name().starts_with(b"libnode.so"));
    let (wanted, what, name_it) = match (library, executable.file.is_none()) {
        (Some(library), _) => (
            library,
            "library that has V8",
            "Name the folder that the files of its system lie below",
        ),
        (None, true) => (
            executable,
            "node binary",
            "Name the binary (stillcore autopsy NODE CORE, or --exe NODE), or the folder that it lies below",
        ),
        (None, false) => return error.into(),
    };
    let path = lossy(&wanted.path);
    let id = wanted.build_id.as_deref().map_or(String::new(), |id| {
        format!(" with build-id {}", build_id(id))
    });
    let others: Vec<String> = wanted
        .mismatches
        .iter()
        .map(|other| {
            let path = other.path.display();
            match other.unchecked {
                true => format!("{path} may be it, but nothing tells (--force believes it); "),
                false => format!("{path} is another build; "),
            }
        })
        .collect();
    anyhow::anyhow!(
        "the {what} of this core is wanted, since its symbols say what is where, and it was not found: {}the core \
         names {path}{id}. {name_it} as in a container's root (--sysroot DIR)",
        others.concat()
    )
}
