//! A core as a [`Target`].

use std::sync::OnceLock;

use stillcore_corefile::{Process, Thread};

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
}

impl CoreTarget {
    /// Over an open core.
    pub fn new(process: Process) -> CoreTarget {
        CoreTarget {
            process,
            listed: OnceLock::new(),
        }
    }

    /// The process.
    pub fn process(&self) -> &Process {
        &self.process
    }

    fn listed(&self) -> &[Symbol] {
        self.listed.get_or_init(|| {
            let Some(module) = self.process.executable() else {
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
                    held: if matches!(range.backing, Backing::Missing) {
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
        let symbol = self.process.executable()?.symbol(name)?;
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

    fn tls_block(&self) -> Option<(u64, u64)> {
        self.process.executable()?.thread_locals()
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
