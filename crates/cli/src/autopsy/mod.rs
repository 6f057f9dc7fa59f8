//! The JavaScript inside a core: one table of commands for the prompt and for the command line.
//!
//! A command is a row in a table ([`spec::Spec`]): its names, its arguments as clap sees them, what it does. `stillcore jsprint
//! CORE ADDR -d 3` and `ADDR::jsprint -d 3` at the prompt run the same function.

mod address;
mod answer;
mod cmd;
mod complete;
mod execute;
mod help;
pub mod line;
mod near;
mod opened;
mod pager;
mod paint;
mod prompt;
mod run;
mod settings;
mod spec;
pub mod table;
mod tongues;

pub use address::{address, hex};
pub use answer::Answer;
pub use opened::Autopsy;
pub use run::Autopsy as AutopsyArgs;
pub use table::{JsCommand, js_modules};
