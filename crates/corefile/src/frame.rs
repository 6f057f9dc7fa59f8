//! A frame of a thread's stack, and how it was found.

use crate::Registers;

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
    /// No register was saved for it: it left by a jump, and the debug information knows of no other way from its caller to
    /// its callee ([`Process::with_tail_calls`]).
    TailCall,
    /// The callee's program counter is no code at all: a call led there, and the return address is where calls leave
    /// it.
    BadCall,
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
            FrameTrust::TailCall => "tail call",
            FrameTrust::BadCall => "bad call",
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

impl Frame {
    /// Whether a signal interrupted it: it had just any registers, as a thread's innermost frame.
    pub(crate) fn is_interrupted(&self) -> bool {
        self.trust == FrameTrust::Signal
    }
}

/// Why there are no more frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The outermost function was reached.
    Outermost,
    /// There is no stack: the thread never leaves the kernel, which works for the process in it, and its registers are
    /// all zero: a worker of io_uring, as seen in cores of Node 20.9.0, not in those of 20.20.2.
    Kernel,
    /// The stack, or what is needed to read it, is not in the core.
    Missing,
    /// There is no unwind table, and nothing further up on the stack looks like a return address.
    Lost,
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
