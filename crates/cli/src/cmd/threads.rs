use std::io;

use clap::Args;
use serde::{Serialize, Serializer};
use stillcore_corefile::Process;

use crate::address::Address;
use crate::args::CoreArgs;
use crate::escape::lossy;
use crate::output::{Answer, BOLD, Text};
use crate::place::Place;
use crate::session::Session;
use crate::signal;
use crate::table::{Align, Table};

/// Lists the threads: which one died, their names where known, and where they were
///
/// The first is the one that died, and has a star, or the one that asked for the core. The kernel writes the name of
/// the process only; cores that stillcore took have those of all threads.
///
///   $ stillcore threads core.1234
///        TID  NAME   SIGNAL               PC              SP  WHERE
///   *  25276  crash  SIGSEGV  0x55ad11efe1de  0x7fff13e79f38  depth+0x9 (crash)
///      25277  -      -        0x7f5e6c2f0df2  0x7f5e6c218ea0  pause+0x12 (libc.so.6)
///
/// With -r the registers of each.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub struct Threads {
    #[command(flatten)]
    pub core: CoreArgs,

    /// The registers too
    #[arg(short, long)]
    pub registers: bool,
}

/// The threads; the one that died is the first.
#[derive(Debug, Serialize)]
pub struct Listing {
    /// The threads.
    pub threads: Vec<Entry>,
    /// What should be known beside it.
    pub warnings: Vec<String>,
    #[serde(skip)]
    bad: bool,
}

/// A thread.
#[derive(Debug, Serialize)]
pub struct Entry {
    /// Its id as the process saw it.
    pub tid: i32,
    /// Its name, where it is known.
    pub name: Option<String>,
    /// Whether it is the one that died of the signal.
    pub died: bool,
    /// The signal that it died of: `SIGSEGV`.
    pub signal: Option<String>,
    /// The program counter.
    pub pc: Address,
    /// The stack pointer.
    pub sp: Address,
    /// What is at the program counter.
    #[serde(flatten)]
    pub place: Place,
    /// The general registers by their names; only with `-r`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub registers: Option<Registers>,
}

/// Names and contents, in the kernel's order. In JSON an object.
#[derive(Debug)]
pub struct Registers(Vec<(&'static str, Address)>);

impl Serialize for Registers {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().copied())
    }
}

impl Threads {
    pub fn run(&self) -> anyhow::Result<Listing> {
        let session = Session::open(&self.core)?;
        let process = &session.process;
        let entries = process.threads.iter().enumerate();
        let threads = entries
            .map(|(index, thread)| Entry {
                tid: thread.tid,
                name: thread.name.as_deref().map(lossy),
                died: index == 0 && has_died(process),
                // The kernel writes the same signal into all of them.
                signal: (index == 0 && has_died(process)).then(|| signal::name(thread.signal)),
                pc: Address(thread.registers.pc()),
                sp: Address(thread.registers.sp()),
                place: Place::of(process, thread.registers.pc()),
                registers: self.registers.then(|| {
                    let all = thread.registers.iter();
                    Registers(all.map(|(name, value)| (name, Address(value))).collect())
                }),
            })
            .collect();
        Ok(Listing {
            threads,
            warnings: session.problems.warnings,
            bad: session.problems.bad,
        })
    }
}

/// Whether a signal ended the process: cores of stillcore's and of gcore are of processes that lived on.
pub fn has_died(process: &Process) -> bool {
    process.about.capture.is_none()
        && process
            .threads
            .first()
            .is_some_and(|thread| deadly(thread.signal))
}

/// Whether the kernel dumps core for this signal. A debugger's stop (SIGTRAP without a breakpoint, SIGSTOP) is none of them.
fn deadly(signal: i32) -> bool {
    matches!(signal, 3 | 4 | 5 | 6 | 7 | 8 | 11 | 24 | 25 | 31)
}

impl Answer for Listing {
    fn text(&self, out: &mut Text<'_>) -> io::Result<()> {
        let mut table = Table::new(&[
            ("", Align::Left),
            ("TID", Align::Right),
            ("NAME", Align::Left),
            ("SIGNAL", Align::Left),
            ("PC", Align::Right),
            ("SP", Align::Right),
            ("WHERE", Align::Left),
        ]);
        for thread in &self.threads {
            table.styled_row(
                thread.died.then_some(BOLD),
                [
                    if thread.died { "*" } else { " " }.to_owned(),
                    thread.tid.to_string(),
                    thread.name.clone().unwrap_or_default(),
                    thread.signal.clone().unwrap_or_default(),
                    thread.pc.to_string(),
                    thread.sp.to_string(),
                    thread.place.to_string(),
                ],
            );
            if let Some(registers) = &thread.registers {
                for four in registers.0.chunks(4) {
                    let cells = four
                        .iter()
                        .map(|(name, value)| format!("{name:>9} {value:<18}"));
                    table.below(cells.collect::<Vec<_>>().concat());
                }
            }
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
