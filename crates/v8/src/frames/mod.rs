//! Stacks: JavaScript and native frames of a thread in one trace, and what awaits them.
//!
//! [`stack`] finds the frames of a thread, [`js`] says which JavaScript one of V8's frames is, [`title`] names it;
//! [`builtin`] names V8's own code, [`generator`] and [`awaits`] lead from what runs to what waits for it.

mod awaits;
mod builtin;
mod frame;
mod generator;
mod js;
mod stack;
mod title;

pub use self::frame::{Frame, FrameKind};
pub use self::stack::Stack;
