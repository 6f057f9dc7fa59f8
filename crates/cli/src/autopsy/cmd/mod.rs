//! The commands, by what they are about. Each file has its table.

mod arguments;
mod classes;
mod functions;
mod handles;
mod heap;
mod internals;
mod isolates;
mod memory;
mod modules;
mod node;
mod objects;
mod print;
mod promises;
mod references;
mod stack;
mod timers;
mod walk;

pub use modules::list_modules;

use super::spec::Spec;

/// All commands, by what they are about.
pub const GROUPS: &[(&str, &[&[Spec]])] = &[
    ("stacks: what runs, what hangs", &[stack::TABLE]),
    ("values", &[print::TABLE]),
    (
        "objects: what leaks, who holds it",
        &[objects::TABLE, references::TABLE],
    ),
    ("functions and their source", &[functions::TABLE]),
    (
        "Node: the process, its handles, what it waits for",
        &[
            node::TABLE,
            isolates::TABLE,
            handles::TABLE,
            timers::TABLE,
            promises::TABLE,
            modules::TABLE,
        ],
    ),
    ("memory", &[heap::TABLE, memory::TABLE]),
    (
        "V8 itself",
        &[internals::TABLE, classes::TABLE, walk::TABLE],
    ),
];
