//! A core as a [`Target`].

use std::sync::OnceLock;

use stillcore_corefile::{Arch, Module, ModuleKind, Process, Thread};

use crate::error::{Result, V8Error};
use crate::target::{NativeFrame, Region, Symbol, Target, ThreadState};

/// The symbols that are asked for by prefix.
const PREFIXES: [&str; 4] = [
    "v8dbg_",
    "nodedbg_",
    "Builtins_",
    "_ZN2v88internal11interpreter9Bytecodes14kBytecodeSizes",
];

/// A core's process, with the symbols of its executable that V8 is read by.
pub struct CoreTarget {
    process: Process,
    listed: OnceLock<Vec<Symbol>>,
    binary: OnceLock<Option<usize>>,
}

impl CoreTarget {
    /// Over an open core.
    pub fn new(process: Process) -> CoreTarget {
        CoreTarget {
            process,
            listed: OnceLock::new(),
            binary: OnceLock::new(),
        }
    }

    /// The module with V8 in it: the program, or where that has none of V8's metadata a library that has it (Debian's
    /// libnode.so).
    fn module(&self) -> Option<&Module> {
        let index = *self.binary.get_or_init(|| {
            let modules = &self.process.modules;
            let program = modules
                .iter()
                .position(|module| module.kind == ModuleKind::Executable);
            let has = |module: &Module| module.symbol("v8dbg_SmiTag").is_some();
            if program.is_some_and(|index| has(&modules[index])) {
                return program;
            }
            modules.iter().position(has).or(program)
        });
        self.process.modules.get(index?)
    }

    /// The process.
    pub fn process(&self) -> &Process {
        &self.process
    }

    fn listed(&self) -> &[Symbol] {
        self.listed.get_or_init(|| {
            let Some(module) = self.module() else {
                return Vec::new();
            };
            let mut listed: Vec<_> = module
                .symbols(|name| {
                    PREFIXES
                        .iter()
                        .any(|prefix| name.starts_with(prefix.as_bytes()))
                })
                .into_iter()
                .map(|symbol| Symbol {
                    name: String::from_utf8_lossy(&symbol.name).into_owned(),
                    address: symbol.address,
                    size: symbol.size,
                })
                .collect();
            listed.sort_by(|a, b| (&a.name, a.address).cmp(&(&b.name, b.address)));
            listed.dedup_by(|a, b| a.name == b.name && a.address == b.address);
            listed
        })
    }

    fn thread(&self, tid: u64) -> Option<&Thread> {
        self.process
            .threads
            .iter()
            .find(|thread| thread.tid as u64 == tid)
    }
}

impl Target for CoreTarget {
    fn read(&self, address: u64, buf: &mut [u8]) -> Result<()> {
        self.process
            .memory
            .read(address, buf)
            .map_err(|error| match error {
                stillcore_corefile::CoreError::Missing { address } => V8Error::Missing { address },
                _ => V8Error::Missing { address },
            })
    }

    fn regions(&self) -> Vec<Region> {
        use stillcore_corefile::Backing;
        self.process
            .memory
            .ranges()
            .iter()
            .map(|range| {
                let flags = range.flags.unwrap_or(4);
                Region {
                    range: range.start..range.end,
                    writable: flags & 2 != 0,
                    executable: flags & 1 != 0,
                    file: self
                        .process
                        .module_at(range.start)
                        .map(|module| String::from_utf8_lossy(&module.path).into_owned()),
                    // What was never touched has nothing to look for, and may be gigabytes.
                    held: if matches!(range.backing, Backing::Missing | Backing::Zero) {
                        0
                    } else {
                        range.end - range.start
                    },
                }
            })
            .collect()
    }

    fn symbol(&self, name: &str) -> Option<Symbol> {
        if name.starts_with("v8dbg_") || name.starts_with("nodedbg_") {
            let listed = self.listed();
            let index = listed.partition_point(|symbol| symbol.name.as_str() < name);
            return listed
                .get(index)
                .filter(|symbol| symbol.name == name)
                .cloned();
        }
        let symbol = self.module()?.symbol(name)?;
        Some(Symbol {
            name: name.to_owned(),
            address: symbol.address,
            size: symbol.size,
        })
    }

    fn symbols(&self, prefix: &str) -> Vec<Symbol> {
        let listed = self.listed();
        let from = listed.partition_point(|symbol| symbol.name.as_str() < prefix);
        listed[from..]
            .iter()
            .take_while(|symbol| symbol.name.starts_with(prefix))
            .cloned()
            .collect()
    }

    fn function_at(&self, address: u64) -> Option<(String, u64)> {
        let symbol = self.process.module_at(address)?.symbol_at(address)?;
        Some((symbol.demangled(), address.saturating_sub(symbol.address)))
    }

    fn code_alignment(&self) -> u64 {
        match self.process.arch {
            Arch::X86_64 => 64,
            Arch::Aarch64 => 32,
        }
    }

    fn threads(&self) -> Vec<ThreadState> {
        self.process
            .threads
            .iter()
            .map(|thread| ThreadState {
                tid: thread.tid as u64,
                name: thread
                    .name
                    .as_ref()
                    .map(|name| String::from_utf8_lossy(name).into_owned()),
                pc: thread.registers.pc(),
                sp: thread.registers.sp(),
                fp: thread.registers.fp(),
                tls: thread.registers.tls().unwrap_or(0),
                registers: thread.registers.iter().map(|(_, value)| value).collect(),
            })
            .collect()
    }

    fn thread_local(&self, tid: u64, name: &str) -> Option<u64> {
        let module = self.module()?;
        // Where a library's block is only the dynamic linker knows.
        if module.kind != ModuleKind::Executable {
            return None;
        }
        let symbol = module.symbol(name)?;
        self.process.thread_local(self.thread(tid)?, symbol.address)
    }

    fn binary(&self) -> Vec<Region> {
        let Some(module) = self.module() else {
            return Vec::new();
        };
        self.regions()
            .into_iter()
            .filter(|region| {
                module.range.start <= region.range.start && region.range.end <= module.range.end
            })
            .collect()
    }

    fn original(&self, address: u64) -> u64 {
        let found = || {
            let module = self.module()?;
            if module.range.contains(&address) {
                return None;
            }
            let again = self
                .process
                .about
                .files
                .iter()
                .find(|file| file.range.contains(&address) && file.path == module.path)?;
            let offset = again.offset.checked_add(address - again.range.start)?;
            module.mapped.iter().find_map(|(range, first)| {
                let address = range.start.checked_add(offset.checked_sub(*first)?)?;
                (module.range.contains(&address) && range.contains(&address)).then_some(address)
            })
        };
        found().unwrap_or(address)
    }

    fn unwind(&self, tid: u64) -> Vec<NativeFrame> {
        let Some(thread) = self.thread(tid) else {
            return Vec::new();
        };
        self.process
            .backtrace(thread)
            .frames
            .iter()
            .map(|frame| NativeFrame {
                pc: frame.pc,
                sp: frame.registers.sp(),
                fp: frame.registers.fp(),
                trust: frame.trust.name(),
            })
            .collect()
    }
}
