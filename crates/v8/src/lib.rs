//! Understands the JavaScript inside a core of Node.js 20, 22, 24 and 26.
//!
//! You give a [`Target`]: memory, symbols and threads of a dumped process. You get a [`V8`]: its isolates, the pages of
//! their heaps, every object on them as a developer would write it, the JavaScript stacks of all threads, and the graph
//! of what holds what. Nothing here opens a file or prints.
//!
//! A core may come from anywhere, and may have been written in the middle of a garbage collection: every read can fail,
//! every loop over dumped memory has a bound, chains are followed without recursion, cycles by a visited set.
//!
//! The layouts are rows in `constants.rs`; most are loaded from the `v8dbg_*` symbols of the binary itself.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod allocators;
mod buffer;
mod code;
mod constants;
mod error;
mod fast;
mod frames;
mod free_space;
mod function;
mod gaps;
mod graph;
mod isolates;
mod labs;
mod memory;
mod moved;
mod node;
mod object;
mod page_table;
mod pages;
mod parallel;
mod present;
mod print;
mod process;
mod scope;
mod semispace;
mod size;
mod string;
mod stripped;
mod tagged;
mod target;
mod thrown;
mod types;
mod uv;
mod v8;
mod version;
mod walk;

pub use crate::buffer::{BufferInfo, ViewInfo};
pub use crate::code::{
    FrameOp, FrameValue, Physical, Place, Safepoint, Tier, TranslatedFrame, Unmade,
};
pub use crate::constants::{Constants, NO, Provenance, ROWS, Row};
pub use crate::error::{Result, V8Error};
pub use crate::fast::AddressMap;
pub use crate::frames::{Frame, FrameKind, Stack, WasmPlace};
pub use crate::function::{Location, Script, Shared, Source};
pub use crate::gaps::Gaps;
pub use crate::graph::{
    Group, HeapGraph, Object, Outside, Path, Reference, RootKind, Roots, SpaceUse, Stop,
};
pub use crate::isolates::Isolate;
pub use crate::labs::FreeAreas;
pub use crate::memory::Memory;
pub use crate::node::{Clocks, Wrap};
pub use crate::object::{Elements, Property, Slot};
pub use crate::page_table::PageTable;
pub use crate::pages::{Page, Space};
pub use crate::present::Present;
pub use crate::print::{Entry, MAX_CHARACTERS, PrintOptions, Value, key_text, number_text, quoted};
pub use crate::process::CoreTarget;
pub use crate::scope::{Scope, ScopeParts};
pub use crate::string::JsText;
pub use crate::tagged::Tagged;
pub use crate::target::{NativeFrame, Region, Symbol, Target, ThreadState};
pub use crate::types::{Kind, Types};
pub use crate::uv::Uv;
pub use crate::v8::{MapInfo, Options, V8};
pub use crate::version::{COLUMNS, Column, Version};
pub use crate::walk::{Found, MapCache, WalkBuffer};
