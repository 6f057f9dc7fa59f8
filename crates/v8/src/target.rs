//! The dumped process as this crate sees it: memory, symbols, threads. Nothing here opens a file.

use std::ops::Range;

use crate::error::Result;

/// A symbol of the file that holds V8.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Symbol {
    /// The name as it stands in the symbol table, mangled.
    pub name: String,
    /// Address in the process; for a thread-local symbol its offset in the module's block.
    pub address: u64,
    /// Bytes; 0 when the table does not say.
    pub size: u64,
}

/// A range of the process's memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Region {
    /// The addresses.
    pub range: Range<u64>,
    /// The process could write to it.
    pub writable: bool,
    /// The process could execute it.
    pub executable: bool,
    /// The file it is a mapping of, if any.
    pub file: Option<String>,
    /// How many of its bytes the core or a found file holds.
    pub held: u64,
}

/// A thread as it stood when the core was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ThreadState {
    /// The kernel's thread id.
    pub tid: u64,
    /// The name, where it is known.
    pub name: Option<String>,
    /// The program counter.
    pub pc: u64,
    /// The stack pointer.
    pub sp: u64,
    /// The frame pointer.
    pub fp: u64,
    /// The thread pointer (`fs_base` on x86-64).
    pub tls: u64,
    /// All general registers, in no order that matters: they may hold pointers to objects.
    pub registers: Vec<u64>,
}

/// A frame that native unwinding found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NativeFrame {
    /// The program counter.
    pub pc: u64,
    /// The stack pointer in this frame.
    pub sp: u64,
    /// The frame pointer in this frame.
    pub fp: u64,
    /// How it was found: `context`, `cfi`, `frame pointer`, `scan`.
    pub trust: &'static str,
}

/// What a core tells of its process. A core reader implements it, and the synthetic memory of the tests.
pub trait Target: Send + Sync {
    /// Fills `buf` with the memory at `address`, or fails with [`crate::V8Error::Missing`].
    ///
    /// # Errors
    /// Memory that neither the core nor a file of it holds.
    fn read(&self, address: u64, buf: &mut [u8]) -> Result<()>;
    /// The memory, sorted by address.
    fn regions(&self) -> Vec<Region>;
    /// A symbol of the file that holds V8, by its whole name.
    fn symbol(&self, name: &str) -> Option<Symbol>;
    /// All symbols of the file that holds V8 whose names begin with `prefix`.
    fn symbols(&self, prefix: &str) -> Vec<Symbol>;
    /// The name (demangled) of the function at an address of any module, and the offset in it.
    fn function_at(&self, address: u64) -> Option<(String, u64)>;
    /// What code begins at multiples of (`kCodeAlignment`): 64 bytes on x86-64, 32 on aarch64.
    fn code_alignment(&self) -> u64 {
        64
    }
    /// The threads, the one that died or was captured first.
    fn threads(&self) -> Vec<ThreadState>;
    /// The address that a thread-local variable of the executable has in a thread, by the variable's whole name.
    fn thread_local(&self, tid: u64, name: &str) -> Option<u64>;
    /// The mapped ranges of the file that holds V8: the executable, or a library such as `libnode.so`.
    fn binary(&self) -> Vec<Region>;
    /// The address at which the file that holds V8 lies first, of one at which a part of it is mapped once more; any other
    /// address as it is. (V8 maps its builtins near its other code, and its tables name them there.)
    fn original(&self, address: u64) -> u64 {
        address
    }
    /// The native frames of a thread from its registers on, until unwinding stops.
    fn unwind(&self, tid: u64) -> Vec<NativeFrame>;
}
