use std::collections::BTreeSet;
use std::io;

use clap::Args;
use serde::Serialize;
use stillcore_corefile::{End, Frame, FrameTrust, Process, Thread};

use super::threads::has_died;
use crate::address::Address;
use crate::args::CoreArgs;
use crate::error::Usage;
use crate::escape::lossy;
use crate::output::{Answer, BOLD, DIM, Text};
use crate::place::Place;
use crate::problems::check_debug_files;
use crate::session::Session;
use crate::signal;

/// Prints the native backtrace of every thread, and how each frame was found
///
/// HOW says how far a frame is to be believed: `registers` (where the thread was), `cfi` (by the unwind table), `signal` (by what
/// the kernel saved when a signal came), `fp` (by the chain of frame pointers: code without a table, such as what V8
/// compiles), `bad call` (a call led to where no code is), `scan` (a word on the stack that looks like a return address, perhaps
/// a left-over).
///
///   $ stillcore bt core.1234
///   thread 25276 crash, died of SIGSEGV
///    #0  0x55ad11efe1de  registers  depth+0x9 (crash) crash.c:7
///    #1  0x55ad11efe1d9  cfi        depth+0x4 (crash) crash.c:7
///    ...
///
/// Lines come from debug information: of the file itself, or a separate one (--debug-dir, --debuginfod).
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub struct Bt {
    #[command(flatten)]
    pub core: CoreArgs,

    /// Only this thread [may be repeated]
    #[arg(short, long, value_name = "TID")]
    thread: Vec<i32>,

    /// Only the innermost N frames of each thread
    #[arg(short = 'n', long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    frames: Option<u32>,
}

/// Backtraces; the thread that died is the first.
#[derive(Debug, Serialize)]
pub struct Listing {
    /// The threads.
    pub threads: Vec<Stack>,
    /// What should be known beside it.
    pub warnings: Vec<String>,
    #[serde(skip)]
    bad: bool,
}

/// A thread's stack.
#[derive(Debug, Serialize)]
pub struct Stack {
    /// The thread's id.
    pub tid: i32,
    /// Its name, where it is known.
    pub name: Option<String>,
    /// Whether it is the one that died of the signal.
    pub died: bool,
    /// The signal that it died of.
    pub signal: Option<String>,
    /// From the innermost to the outermost function. Those that were inlined into another have a line of their own.
    pub frames: Vec<Line>,
    /// Why there are no more: `outermost` (the first function of the thread), `kernel` (a thread of the kernel's
    /// own, which has no stack here), `missing` (memory that is needed is not there), `lost` (no unwind table, and nothing on
    /// the stack looks like a return address), `broken` (the stack makes no sense there), `limit`.
    pub end: &'static str,
}

/// A function on the stack.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Line {
    /// The number of the frame, from 0; functions that were inlined have that of the one they are in.
    pub frame: usize,
    /// Where it goes on.
    pub pc: Address,
    /// The upper end of its part of the stack, where it is known.
    pub cfa: Option<Address>,
    /// How it was found: `registers`, `cfi`, `signal`, `tail call` (it left by a jump; the debug information knows of no
    /// other way), `fp`, `bad call`, `scan`.
    pub how: &'static str,
    /// What is at `pc`.
    #[serde(flatten)]
    pub place: Place,
    /// Whether it is the kernel's way back out of a signal handler.
    pub is_signal: bool,
}

impl Bt {
    pub fn run(&self) -> anyhow::Result<Listing> {
        let mut session = Session::open(&self.core)?;
        let process = &session.process;
        let mut used = BTreeSet::new();
        if let Some(unknown) = self
            .thread
            .iter()
            .find(|&&tid| !process.threads.iter().any(|thread| thread.tid == tid))
        {
            return Err(Usage(format!(
                "--thread {unknown}: the core has no such thread; `stillcore threads` lists those it has"
            ))
            .into());
        }
        let wanted = |thread: &Thread| self.thread.is_empty() || self.thread.contains(&thread.tid);
        let all = process.threads.iter().enumerate();
        let backtraces: Vec<_> = all
            .filter(|(_, thread)| wanted(thread))
            .map(|(index, thread)| (index, thread, process.backtrace(thread)))
            .collect();
        let frames = backtraces.iter().flat_map(|(_, _, found)| &found.frames);
        process.prepare(frames.filter_map(|frame| frame.module));
        let threads = backtraces
            .into_iter()
            .map(|(index, thread, backtrace)| {
                let died = index == 0 && has_died(process);
                let backtrace = process.with_tail_calls(backtrace);
                let most = self.frames.map_or(usize::MAX, |limit| limit as usize);
                let cut = backtrace.frames.len() > most;
                let frames = backtrace.frames.iter().enumerate().take(most);
                used.extend(frames.clone().filter_map(|(_, frame)| frame.module));
                Stack {
                    tid: thread.tid,
                    name: thread.name.as_deref().map(lossy),
                    died,
                    signal: died.then(|| signal::name(thread.signal)),
                    frames: frames
                        .flat_map(|(number, frame)| lines(process, number, frame))
                        .collect(),
                    end: match backtrace.end {
                        _ if cut => "limit",
                        End::Outermost => "outermost",
                        End::Kernel => "kernel",
                        End::Missing => "missing",
                        End::Lost => "lost",
                        End::Broken => "broken",
                        End::Limit => "limit",
                    },
                }
            })
            .collect();
        let modules = used.into_iter().map(|index| &process.modules[index]);
        check_debug_files(modules, &mut session.problems);
        Ok(Listing {
            threads,
            warnings: session.problems.warnings,
            bad: session.problems.bad,
        })
    }
}

/// The function of a frame, and those inlined into it before it.
fn lines(process: &Process, number: usize, frame: &Frame) -> Vec<Line> {
    let how = match frame.trust {
        FrameTrust::Context => "registers",
        FrameTrust::Cfi => "cfi",
        FrameTrust::TailCall => "tail call",
        FrameTrust::BadCall => "bad call",
        FrameTrust::Signal => "signal",
        FrameTrust::FramePointer => "fp",
        FrameTrust::Scan => "scan",
    };
    let mut places = Place::all(process, frame.lookup, frame.pc);
    if frame.trust == FrameTrust::TailCall {
        // As gdb: one line, for what was inlined there.
        places.truncate(1);
        if let Some(only) = places.first_mut() {
            only.inlined = false;
        }
    }
    places
        .into_iter()
        .map(|place| Line {
            frame: number,
            pc: Address(frame.pc),
            cfa: frame.cfa.map(Address),
            how,
            place,
            is_signal: frame.is_signal,
        })
        .collect()
}

impl Answer for Listing {
    fn text(&self, out: &mut Text<'_>) -> io::Result<()> {
        let digits = self
            .threads
            .iter()
            .flat_map(|thread| &thread.frames)
            .map(|line| line.frame.to_string().len())
            .max()
            .unwrap_or(1);
        for (index, thread) in self.threads.iter().enumerate() {
            if index > 0 {
                out.line("")?;
            }
            let name = match &thread.name {
                Some(name) => format!(" {name}"),
                None => String::new(),
            };
            let died = match &thread.signal {
                Some(signal) => format!(", died of {signal}"),
                None => String::new(),
            };
            out.styled(BOLD, format!("thread {}{name}{died}", thread.tid))?;
            for line in &thread.frames {
                let number = if line.place.inlined {
                    " ".repeat(digits + 1)
                } else {
                    format!("{:>1$}", format!("#{}", line.frame), digits + 1)
                };
                let place = match line.place.to_string() {
                    empty if empty.is_empty() => "?".to_owned(),
                    place => place,
                };
                let signal = if line.is_signal {
                    "  <signal handler called>"
                } else {
                    ""
                };
                let how = if line.place.inlined {
                    "inlined"
                } else {
                    line.how
                };
                out.line(format!(
                    "  {number}  {:>14}  {how:<9}  {place}{signal}",
                    line.pc
                ))?;
            }
            match thread.end {
                "kernel" => out.styled(
                    DIM,
                    "  ... a thread of the kernel's own, which has no stack here (io_uring)",
                )?,
                "missing" => {
                    out.styled(DIM, "  ... the stack goes on in memory that is not there")?
                }
                "lost" => out.styled(
                    DIM,
                    "  ... nothing further up on the stack looks like a caller",
                )?,
                "broken" => out.styled(DIM, "  ... the stack makes no sense from here on")?,
                "limit" => out.styled(DIM, "  ... and more")?,
                _ => {}
            }
        }
        Ok(())
    }

    fn is_bad(&self) -> bool {
        self.bad
    }

    fn warnings(&self) -> &[String] {
        &self.warnings
    }
}
