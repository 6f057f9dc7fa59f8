//! The general registers of a thread, of either processor.

use crate::CoreFile;

/// A processor whose cores are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arch {
    /// `EM_X86_64`.
    X86_64,
    /// `EM_AARCH64`.
    Aarch64,
}

impl Arch {
    /// The processor of a core; `None` where it is another one, or one of 32 bits.
    pub fn of(core: &CoreFile) -> Option<Arch> {
        match (core.bits(), core.machine()) {
            (64, 62) => Some(Arch::X86_64),
            (64, 183) => Some(Arch::Aarch64),
            _ => None,
        }
    }

    /// As `uname -m` says it.
    pub fn name(self) -> &'static str {
        match self {
            Arch::X86_64 => "x86_64",
            Arch::Aarch64 => "aarch64",
        }
    }

    /// The names of all registers, by their number here: those with a DWARF number first, with that number.
    fn names(self) -> &'static [&'static str] {
        match self {
            Arch::X86_64 => &X86_64,
            Arch::Aarch64 => &AARCH64,
        }
    }

    /// The numbers of program counter, stack pointer and frame pointer.
    fn special(self) -> (usize, usize, usize) {
        match self {
            Arch::X86_64 => (16, 7, 6),
            Arch::Aarch64 => (32, 31, 29),
        }
    }

    /// How many registers an unwind table may have rules for that matter here: those with a DWARF number.
    pub(crate) fn unwound(self) -> usize {
        self.special().0 + 1
    }

    /// The DWARF number of the stack pointer.
    pub(crate) fn stack_column(self) -> u16 {
        self.special().1 as u16
    }

    /// How `pr_reg` orders them: the number here of each of its words.
    pub(crate) fn prstatus_order(self) -> &'static [usize] {
        match self {
            Arch::X86_64 => &[
                15, 14, 13, 12, 6, 3, 11, 10, 9, 8, 0, 2, 1, 4, 5, 26, 16, 18, 17, 7, 19, 24, 25,
                20, 21, 22, 23,
            ],
            Arch::Aarch64 => &[
                0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22,
                23, 24, 25, 26, 27, 28, 29, 30, 31, 32, 33,
            ],
        }
    }
}

/// Numbers 0 to 16 are those of the psABI's DWARF table, 16 being the return address column.
const X86_64: [&str; 27] = [
    "rax", "rdx", "rcx", "rbx", "rsi", "rdi", "rbp", "rsp", "r8", "r9", "r10", "r11", "r12", "r13",
    "r14", "r15", "rip", "eflags", "cs", "ss", "ds", "es", "fs", "gs", "fs_base", "gs_base",
    "orig_rax",
];

/// Numbers 0 to 32 are those of the DWARF table of AADWARF64; `tpidr` comes with a note of its own.
const AARCH64: [&str; 35] = [
    "x0", "x1", "x2", "x3", "x4", "x5", "x6", "x7", "x8", "x9", "x10", "x11", "x12", "x13", "x14",
    "x15", "x16", "x17", "x18", "x19", "x20", "x21", "x22", "x23", "x24", "x25", "x26", "x27",
    "x28", "x29", "x30", "sp", "pc", "pstate", "tpidr",
];

/// Register values. In frames other than the innermost only those are known that the unwinder could recover.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Registers {
    arch: Arch,
    values: [u64; 35],
    known: u64,
}

impl Registers {
    /// None known.
    pub fn new(arch: Arch) -> Registers {
        Registers {
            arch,
            values: [0; 35],
            known: 0,
        }
    }

    /// The processor.
    pub fn arch(&self) -> Arch {
        self.arch
    }

    /// By number: the DWARF number where it has one.
    pub fn number(&self, number: usize) -> Option<u64> {
        (self.known >> number.min(63) & 1 == 1).then(|| self.values[number])
    }

    /// Sets the one with this number; a number that the processor lacks is passed by.
    pub fn set(&mut self, number: usize, value: Option<u64>) {
        if number >= self.arch.names().len() {
            return;
        }
        self.known &= !(1 << number);
        if let Some(value) = value {
            self.values[number] = value;
            self.known |= 1 << number;
        }
    }

    /// By name, such as `rax` or `x19`.
    pub fn get(&self, name: &str) -> Option<u64> {
        let number = self.arch.names().iter().position(|&known| known == name)?;
        self.number(number)
    }

    /// Sets the one with this name; an unknown name is passed by.
    pub fn set_named(&mut self, name: &str, value: u64) {
        if let Some(number) = self.arch.names().iter().position(|&known| known == name) {
            self.set(number, Some(value));
        }
    }

    /// The program counter, or 0.
    pub fn pc(&self) -> u64 {
        self.number(self.arch.special().0).unwrap_or(0)
    }

    /// The stack pointer, or 0.
    pub fn sp(&self) -> u64 {
        self.number(self.arch.special().1).unwrap_or(0)
    }

    /// The frame pointer register (`rbp`, `x29`), or 0.
    pub fn fp(&self) -> u64 {
        self.number(self.arch.special().2).unwrap_or(0)
    }

    /// Sets program counter, stack pointer and frame pointer.
    pub fn set_frame(&mut self, pc: u64, sp: u64, fp: u64) {
        let (pc_number, sp_number, fp_number) = self.arch.special();
        self.set(pc_number, Some(pc));
        self.set(sp_number, Some(sp));
        self.set(fp_number, Some(fp));
    }

    /// The thread pointer: `fs_base`, or `tpidr` where the core has it.
    pub fn tls(&self) -> Option<u64> {
        self.get(match self.arch {
            Arch::X86_64 => "fs_base",
            Arch::Aarch64 => "tpidr",
        })
    }

    /// Takes the thread pointer over: it is the same in all frames of a thread.
    pub(crate) fn keep_thread_pointer(&mut self, other: &Registers) {
        let names: &[&str] = match self.arch {
            Arch::X86_64 => &["fs_base", "gs_base"],
            Arch::Aarch64 => &["tpidr"],
        };
        for name in names {
            if let Some(value) = other.get(name) {
                self.set_named(name, value);
            }
        }
    }

    /// Name and value of all that are known, in the processor's order.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        self.arch
            .names()
            .iter()
            .enumerate()
            .filter_map(|(number, &name)| Some((name, self.number(number)?)))
    }
}
