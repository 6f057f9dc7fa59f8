//! One frame.

use super::WasmPlace;
use crate::code::{FrameValue, Tier};
use crate::function::Location;
use crate::tagged::Tagged;
use crate::target::NativeFrame;
use crate::v8::V8;

/// What a frame is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameKind {
    /// A JavaScript function, by the tier of its code.
    Js(Tier),
    /// A function of a WebAssembly module, by the tier of its code.
    Wasm(Tier),
    /// A function of the language that V8 has built in, such as `Array.prototype.map`.
    Builtin,
    /// A piece of V8's own machine code: trampolines, adapters, entry.
    Internal,
    /// Compiled C or C++.
    Native,
    /// A suspended function that awaits the one above.
    Async,
}

impl FrameKind {
    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            FrameKind::Js(_) => "js",
            FrameKind::Wasm(_) => "wasm",
            FrameKind::Builtin => "builtin",
            FrameKind::Internal => "internal",
            FrameKind::Native => "native",
            FrameKind::Async => "async",
        }
    }
}

/// One frame.
#[derive(Debug, Clone, PartialEq)]
pub struct Frame {
    /// What it is of.
    pub kind: FrameKind,
    /// The name as V8's traces have it, or the native function's.
    pub name: String,
    /// Where in the source.
    pub location: Option<Location>,
    /// The same of WebAssembly: its modules have no lines.
    pub wasm: Option<WasmPlace>,
    /// The program counter.
    pub pc: u64,
    /// The frame pointer; of a native frame its stack pointer where it has none.
    pub fp: u64,
    /// The function, for JavaScript.
    pub function: Option<Tagged>,
    /// Where the SharedFunctionInfo is.
    pub shared: Option<u64>,
    /// `this`.
    pub receiver: Option<FrameValue>,
    /// The arguments that were passed; of an inlined function that was passed as many as it has parameters, those.
    pub arguments: Vec<FrameValue>,
    /// The context it runs in: the innermost scope with variables that closures hold.
    pub context: Option<FrameValue>,
    /// The interpreter's registers, where the compiler tells of them (of optimised code).
    pub registers: Vec<FrameValue>,
    /// It has no frame of its own: the compiler put it into the one below.
    pub inlined: bool,
    /// Called with `new`.
    pub constructor: bool,
    /// Not the program's own: Node's or V8's.
    pub internal: bool,
    /// How it was found.
    pub trust: &'static str,
}

impl Frame {
    /// Where in the source, as V8's traces write it.
    pub fn place(&self) -> Option<String> {
        let location = self.location.as_ref()?;
        Some(match self.wasm {
            None => location.to_string(),
            Some(WasmPlace { function, offset }) => {
                let script = match location.script.as_str() {
                    "" => "<anonymous>",
                    script => script,
                };
                format!("{script}:wasm-function[{function}]:{offset:#x}")
            }
        })
    }
}

impl V8 {
    pub(crate) fn native_frame(&self, frame: &NativeFrame) -> Frame {
        let name = match self.memory.target().function_at(frame.pc) {
            Some((name, offset)) => format!("{name}+{offset:#x}"),
            None => String::new(),
        };
        Frame {
            pc: frame.pc,
            fp: frame.fp,
            trust: frame.trust,
            ..self.blank(FrameKind::Native, name)
        }
    }

    pub(crate) fn blank(&self, kind: FrameKind, name: String) -> Frame {
        Frame {
            kind,
            name,
            location: None,
            wasm: None,
            pc: 0,
            fp: 0,
            function: None,
            shared: None,
            receiver: None,
            arguments: Vec::new(),
            context: None,
            registers: Vec::new(),
            inlined: false,
            constructor: false,
            internal: true,
            trust: "frame pointer",
        }
    }
}
