//! From the registers of a thread to its callers, and how each was found.

use crate::{Process, Registers, Thread};

/// Most frames of one thread.
const MAX_FRAMES: usize = 10_000;

/// How a frame was found: how far it is to be believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameTrust {
    /// The registers that the core has for the thread.
    Context,
    /// By the unwind table of the callee's module (`.eh_frame`, `.debug_frame`).
    Cfi,
    /// By the registers that the kernel saved when a signal came.
    Signal,
    /// By the chain of frame pointers: code without a table, such as what V8 compiles.
    FramePointer,
    /// A word on the stack that looks like a return address. It may be a left-over of an earlier call.
    Scan,
}

impl FrameTrust {
    /// A short name.
    pub fn name(self) -> &'static str {
        match self {
            FrameTrust::Context => "context",
            FrameTrust::Cfi => "cfi",
            FrameTrust::Signal => "signal",
            FrameTrust::FramePointer => "frame pointer",
            FrameTrust::Scan => "scan",
        }
    }
}

/// A frame of a thread's stack.
#[derive(Debug, Clone)]
pub struct Frame {
    /// Where it goes on: the program counter, or the return address of its callee.
    pub pc: u64,
    /// The address to look up: `pc`, or one less where that is a return address, which may lie behind the function.
    pub lookup: u64,
    /// The canonical frame address: the stack pointer of the caller at the call, which is this frame's upper end.
    /// `None` for the last frame.
    pub cfa: Option<u64>,
    /// The registers at `pc`, as far as they are known; stack and frame pointer are.
    pub registers: Registers,
    /// How it was found.
    pub trust: FrameTrust,
    /// Whether it is the kernel's trampoline out of a signal handler.
    pub is_signal: bool,
    /// Its module, in [`Process::modules`].
    pub module: Option<usize>,
}

/// Why there are no more frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The outermost function was reached.
    Outermost,
    /// The stack, or what is needed to read it, is not in the core.
    Missing,
    /// The next frame would not lie above the one before: a broken stack.
    Broken,
    /// There were too many.
    Limit,
}

/// The frames of a thread, innermost first.
#[derive(Debug, Clone)]
pub struct Backtrace {
    /// At least one.
    pub frames: Vec<Frame>,
    /// Why it ends.
    pub end: End,
}

impl Process {
    /// The frames of a thread.
    pub fn backtrace(&self, thread: &Thread) -> Backtrace {
        let mut registers = thread.registers;
        let mut frames = vec![Frame {
            pc: registers.pc(),
            lookup: registers.pc(),
            cfa: None,
            registers,
            trust: FrameTrust::Context,
            is_signal: false,
            module: self.module_index(registers.pc()),
        }];
        let end = loop {
            if frames.len() >= MAX_FRAMES {
                break End::Limit;
            }
            let fp = registers.fp();
            if fp == 0 {
                break End::Outermost;
            }
            let (Ok(caller), Ok(pc)) = (
                self.memory.read_u64(fp),
                self.memory.read_u64(fp.wrapping_add(8)),
            ) else {
                break End::Missing;
            };
            if pc == 0 {
                break End::Outermost;
            }
            let cfa = fp.wrapping_add(16);
            if cfa <= registers.sp() || (caller != 0 && caller <= fp) {
                break End::Broken;
            }
            if let Some(last) = frames.last_mut() {
                last.cfa = Some(cfa);
            }
            registers = Registers::new(self.arch);
            registers.set_frame(pc, cfa, caller);
            frames.push(Frame {
                pc,
                lookup: pc.wrapping_sub(1),
                cfa: None,
                registers,
                trust: FrameTrust::FramePointer,
                is_signal: false,
                module: self.module_index(pc.wrapping_sub(1)),
            });
        };
        Backtrace { frames, end }
    }
}
