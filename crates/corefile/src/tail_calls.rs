//! Functions that left the stack by jumping to another: no register tells of them, but where the debug information lists the
//! calls of every function, often only one way leads from the caller to the function that returns to it. gdb shows these
//! frames too.

use std::collections::{HashMap, HashSet};

use crate::call_sites::Target;
use crate::frame::{Backtrace, Frame, FrameTrust};
use crate::{Module, Process};

/// Most jumps in a row, and most functions that are looked at for one of them.
const MAX_DEPTH: usize = 16;
const MAX_FUNCTIONS: usize = 64;

/// A jump on the way: its module, and the address behind it in the process.
type Jump = (usize, u64);

impl Process {
    /// A backtrace with the functions that left by a jump to the one that the frame below them shows, where the debug
    /// information knows of exactly one way there. It reads the debug information of all frames' modules.
    pub fn with_tail_calls(&self, backtrace: Backtrace) -> Backtrace {
        let Backtrace { frames, end } = backtrace;
        let mut all: Vec<Frame> = Vec::with_capacity(frames.len());
        // A recursion asks for the same again and again.
        let mut known: HashMap<(u64, u64), Vec<Jump>> = HashMap::new();
        for frame in frames {
            if let Some(callee) = all.last() {
                // Innermost first, as all frames.
                let jumps = known
                    .entry((frame.pc, callee.lookup))
                    .or_insert_with(|| self.jumps(&frame, callee).unwrap_or_default());
                for &(_, after) in jumps.iter().rev() {
                    let mut registers = frame.registers;
                    registers.set_frame(after, frame.registers.sp(), frame.registers.fp());
                    let lookup = after.saturating_sub(1);
                    all.push(Frame {
                        pc: after,
                        lookup,
                        cfa: frame.cfa,
                        registers,
                        trust: FrameTrust::TailCall,
                        is_signal: false,
                        module: self.module_index(lookup),
                    });
                }
            }
            all.push(frame);
        }
        Backtrace { frames: all, end }
    }

    /// The jumps that lead from the function that `caller` called to that of `callee`, in that order.
    fn jumps(&self, caller: &Frame, callee: &Frame) -> Option<Vec<Jump>> {
        // Only where the caller's program counter is sure to be a return address.
        if caller.trust != FrameTrust::Cfi || callee.is_signal || caller.lookup == caller.pc {
            return None;
        }
        let index = caller.module?;
        let function = self.modules[index].function(caller.lookup)?;
        let bias = self.modules[index].bias;
        let called = function
            .calls
            .iter()
            .find(|call| !call.is_tail && bias.wrapping_add(call.after) == caller.pc)?;
        let other = callee.module?;
        let called = self.resolve(index, other, &called.target)?;
        let goal = self.start_of(callee)?;
        if called == goal {
            return None;
        }
        let mut search = Search {
            process: self,
            goal,
            other,
            path: Vec::new(),
            seen: HashSet::new(),
            ways: Vec::new(),
        };
        search.from(called);
        match &mut search.ways[..] {
            [only] => Some(std::mem::take(only)),
            _ => None,
        }
    }

    fn start_of(&self, frame: &Frame) -> Option<u64> {
        let module = &self.modules[frame.module?];
        match module.function(frame.lookup) {
            Some(function) => Some(module.bias.wrapping_add(function.start)),
            None => Some(module.symbol_at(frame.lookup)?.address),
        }
    }

    /// The address in the process that a call of a module leads to. A name is looked for there and in `other` only: to search
    /// all modules for every call would read all their tables.
    fn resolve(&self, index: usize, other: usize, target: &Target) -> Option<u64> {
        let module: &Module = &self.modules[index];
        match target {
            Target::Unknown => None,
            Target::Address(address) => Some(module.bias.wrapping_add(*address)),
            Target::Name(name) => {
                let name = std::str::from_utf8(name).ok()?;
                // The callee's module first: it is nearly always there, and a program's own table may be long. Without debug
                // information no jump is known there.
                let elsewhere = &self.modules[other];
                let symbol = (other != index && elsewhere.has_lines())
                    .then(|| elsewhere.symbol(name))
                    .flatten()
                    .or_else(|| module.symbol(name));
                Some(symbol?.address)
            }
        }
    }
}

/// The search for ways from a function to another by jumps.
struct Search<'a> {
    process: &'a Process,
    goal: u64,
    /// The goal's module.
    other: usize,
    path: Vec<Jump>,
    seen: HashSet<u64>,
    ways: Vec<Vec<Jump>>,
}

impl Search<'_> {
    fn from(&mut self, start: u64) {
        if self.path.len() >= MAX_DEPTH
            || self.seen.len() >= MAX_FUNCTIONS
            || !self.seen.insert(start)
        {
            return;
        }
        let Some(index) = self.process.module_index(start) else {
            return;
        };
        let module = &self.process.modules[index];
        let Some(function) = module.function(start) else {
            return;
        };
        for call in function.calls.iter().filter(|call| call.is_tail) {
            let Some(target) = self.process.resolve(index, self.other, &call.target) else {
                continue;
            };
            self.path
                .push((index, module.bias.wrapping_add(call.after)));
            if target == self.goal {
                self.ways.push(self.path.clone());
            } else {
                self.from(target);
            }
            self.path.pop();
        }
    }
}
