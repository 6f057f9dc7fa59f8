//! Stacks: JavaScript and native frames of a thread in one trace, and what awaits them.
//!
//! [`stack`] finds the frames of a thread, [`switch`] those on other stacks, [`js`] and [`optimised`] say which JavaScript one of V8's frames
//! is, [`title`] and [`origin`] name it and its script, [`variables`] tells of its values, [`wasm`] says what a frame of
//! WebAssembly is;
//! [`uncaught`] finds the error that ended it all, [`builtin`] names V8's own code, [`generator`] and [`awaits`] lead from what runs to what waits for it.

mod awaits;
mod builtin;
mod frame;
mod generator;
mod js;
mod optimised;
mod origin;
mod stack;
mod switch;
mod title;
mod uncaught;
mod variables;
mod wasm;

pub use self::frame::{Frame, FrameKind};
pub use self::stack::Stack;
pub use self::wasm::WasmPlace;
