//! WebAssembly's machine code: a module's functions by address, and which place in the module one of theirs is.
//!
//! Nothing of it is in the heap. An instance, which each frame has, leads to the module object; that to V8's
//! `NativeModule` (`wasm/wasm-code-manager.h`), which owns the code and keeps the module's bytes. What stands where in a
//! `NativeModule` changes with every release, so nothing is taken from a fixed place in it: the bytes are known by their
//! magic number and by their end, pieces of code by that they point back at their module.

use std::collections::HashSet;
use std::sync::Arc;

use super::positions::{decode_positions, inlining_id, script_offset};
use super::wasm_module::WasmBytes;
use super::{MAX_TABLE, Tier};
use crate::tagged::Tagged;
use crate::v8::V8;

/// Bytes of a `NativeModule` that are looked at; it has 0x220 to 0x2c0.
const MAX_NATIVE: u64 = 0x400;
/// Largest module: V8's own limit is 1 GiB.
const MAX_MODULE: u64 = 1 << 30;
/// Most pieces of code of one module: its limit is a million functions, each of which may have two.
const MAX_CODE: usize = 1 << 22;
/// Longest code of one function.
const MAX_INSTRUCTIONS: u32 = 1 << 30;

/// A module whose code runs.
#[derive(Debug)]
pub(crate) struct WasmModule {
    /// Its script: for its name.
    pub script: Option<u64>,
    /// What its bytes tell.
    pub bytes: WasmBytes,
    /// Its code by where it begins.
    codes: Vec<WasmCode>,
}

/// A piece of code: a function, or a wrapper or table that has no number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct WasmCode {
    /// The `WasmCode`.
    address: u64,
    /// Where its instructions begin.
    pub start: u64,
    /// Their bytes.
    pub size: u64,
}

/// A function at a place in code: several when some were inlined there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct WasmFunction {
    /// Its number in the module.
    pub index: u32,
    /// The place in its body.
    pub offset: i64,
}

impl WasmModule {
    /// The code at an address.
    pub fn code_at(&self, pc: u64) -> Option<WasmCode> {
        let index = self.codes.partition_point(|code| code.start <= pc);
        let code = *self.codes.get(index.checked_sub(1)?)?;
        (pc - code.start < code.size).then_some(code)
    }
}

impl V8 {
    /// The module of an instance, as frames hold it: since Node 22 what is trusted of one.
    pub(crate) fn wasm_module(&self, instance: Tagged) -> Option<Arc<WasmModule>> {
        if let Ok(known) = self.wasm.read()
            && let Some(module) = known.get(&instance.0)
        {
            return module.clone();
        }
        let module = self.read_wasm_module(instance).map(Arc::new);
        if let Ok(mut known) = self.wasm.write() {
            known.insert(instance.0, module.clone());
        }
        module
    }

    fn read_wasm_module(&self, instance: Tagged) -> Option<WasmModule> {
        let object = self.wasm_module_object(instance)?;
        let fields = self.object_fields(object)?;
        let script = fields
            .iter()
            .find(|field| self.type_name_of(**field).as_deref() == Some("SCRIPT"))
            .map(|script| script.address());
        fields.into_iter().find_map(|field| {
            // A `Foreign` in front of the destructor's data, where the shared pointer is.
            (self.type_name_of(field)? == "FOREIGN").then_some(())?;
            let destructor = self.memory.u64(field.address().wrapping_add(8)).ok()?;
            let shared = self
                .memory
                .u64(self.at(destructor, self.c.managed_pointer))
                .ok()?;
            let native = self.memory.u64(shared).ok()?;
            let bytes = self.wasm_bytes(native)?;
            let codes = self.wasm_codes(native, bytes.bodies.len());
            Some(WasmModule {
                script,
                bytes,
                codes,
            })
        })
    }

    fn type_name_of(&self, value: Tagged) -> Option<String> {
        let map = self.map_of(value).ok()?;
        Some(self.types.name(map.instance_type))
    }

    /// All words of an object behind its map.
    fn object_fields(&self, object: Tagged) -> Option<Vec<Tagged>> {
        let map = self.map_of(object).ok()?;
        let size = match self.size_at(object.address(), &map) {
            Ok(size) => size.min(0x400),
            Err(_) => 0x200,
        };
        Some(
            (8..size)
                .step_by(8)
                .filter_map(|offset| self.memory.u64(object.address().wrapping_add(offset)).ok())
                .map(Tagged)
                .filter(|field| field.is_pointer())
                .collect(),
        )
    }

    /// The first field of an object that refers to one of such a type.
    pub(crate) fn field_of_type(&self, object: Tagged, name: &str) -> Option<Tagged> {
        self.object_fields(object)?
            .into_iter()
            .find(|field| self.type_name_of(*field).as_deref() == Some(name))
    }

    fn wasm_module_object(&self, instance: Tagged) -> Option<Tagged> {
        let mut at = instance;
        for _ in 0..2 {
            if let Some(module) = self.field_of_type(at, "WASM_MODULE_OBJECT") {
                return Some(module);
            }
            at = self.field_of_type(at, "WASM_INSTANCE_OBJECT")?;
        }
        None
    }

    /// The module's bytes: a `std::shared_ptr` to a vector that owns them, which `std::make_shared` has put behind its
    /// counts. What a pointer further in front leads to may end right before the vector of another module.
    fn wasm_bytes(&self, native: u64) -> Option<WasmBytes> {
        let word = |at: u64| self.memory.u64(native.wrapping_add(at)).ok();
        let pointers: Vec<(u64, u64)> = (0..MAX_NATIVE)
            .step_by(8)
            .filter_map(|offset| Some((word(offset)?, word(offset + 8)?)))
            .collect();
        let shared = pointers
            .iter()
            .filter(|(vector, counts)| vector.checked_sub(16) == Some(*counts));
        shared
            .chain(&pointers)
            .find_map(|(vector, _)| self.bytes_of_vector(*vector))
    }

    /// The bytes that a vector owns, if they are a module. In which order it has its pointer and its length, the bytes
    /// tell.
    fn bytes_of_vector(&self, vector: u64) -> Option<WasmBytes> {
        if vector & 7 != 0 || vector < 0x1000 {
            return None;
        }
        let words: Vec<u64> = (0..4)
            .map_while(|word| self.memory.u64(vector.wrapping_add(8 * word)).ok())
            .collect();
        let mut head = [0; 8];
        let data = *words.iter().find(|word| {
            **word > 0x1000
                && self.memory.read(**word, &mut head).is_ok()
                && head == *b"\0asm\x01\0\0\0"
        })?;
        words
            .iter()
            .filter(|length| (8..=MAX_MODULE).contains(*length))
            .find_map(|length| {
                let bytes = self.memory.bytes(data, *length, MAX_MODULE).ok()?;
                WasmBytes::read(&bytes)
            })
    }

    /// A `WasmCode` of this module at an address.
    fn wasm_code(&self, address: u64, native: u64) -> Option<WasmCode> {
        if address & 7 != 0 || self.memory.u64(address).ok()? != native {
            return None;
        }
        let start = self
            .memory
            .u64(self.at(address, self.c.wasm_code_start))
            .ok()?;
        let size = self
            .memory
            .u32(self.at(address, self.c.wasm_code_size))
            .ok()?;
        (start > 0x1000 && (1..MAX_INSTRUCTIONS).contains(&size)).then_some(WasmCode {
            address,
            start,
            size: u64::from(size),
        })
    }

    /// All code of a module: what it owns (`std::map`), what is not there yet (`std::vector`), and what its functions
    /// have now (an array, with gaps where they were never called).
    fn wasm_codes(&self, native: u64, functions: usize) -> Vec<WasmCode> {
        let mut codes = Vec::new();
        for offset in (0..MAX_NATIVE).step_by(8) {
            let at = native.wrapping_add(offset);
            let Ok(word) = self.memory.u64(at) else {
                break;
            };
            if word & 7 != 0 || word < 0x1000 {
                continue;
            }
            if let Some(code) = self.wasm_code(word, native) {
                codes.push(code);
                continue;
            }
            // The root of a tree points back at the header that it is in.
            let header = at.wrapping_sub(8);
            if self.memory.u64(word.wrapping_add(8)).ok() == Some(header) {
                self.tree_codes(word, native, &mut codes);
                continue;
            }
            let end = self.memory.u64(at.wrapping_add(8)).unwrap_or(0);
            let count = match end.checked_sub(word) {
                Some(bytes) if bytes & 7 == 0 && bytes / 8 < MAX_CODE as u64 => {
                    (bytes / 8) as usize
                }
                _ => functions.min(MAX_CODE),
            };
            for index in 0..count as u64 {
                let Ok(code) = self.memory.u64(word.wrapping_add(8 * index)) else {
                    break;
                };
                if code == 0 {
                    continue;
                }
                let Some(code) = self.wasm_code(code, native) else {
                    break;
                };
                codes.push(code);
            }
        }
        codes.sort_unstable_by_key(|code| (code.start, code.address));
        codes.dedup();
        codes
    }

    /// The values of a `std::map` of code. (libstdc++: colour, parent, left, right; then key and value.)
    fn tree_codes(&self, root: u64, native: u64, codes: &mut Vec<WasmCode>) {
        let mut seen = HashSet::new();
        let mut left = vec![root];
        while let Some(node) = left.pop()
            && seen.len() < MAX_CODE
        {
            let word = |offset: u64| self.memory.u64(node.wrapping_add(offset));
            if node == 0 || !seen.insert(node) {
                continue;
            }
            let Some(code) = word(40).ok().and_then(|code| self.wasm_code(code, native)) else {
                continue;
            };
            if word(32).ok() != Some(code.start) {
                continue;
            }
            codes.push(code);
            left.extend(word(16));
            left.extend(word(24));
        }
    }

    /// How a piece of code was made; `None` when it is no function's.
    pub(crate) fn wasm_tier(&self, code: WasmCode) -> Option<Tier> {
        let flags = self
            .memory
            .u8(self.at(code.address, self.c.wasm_code_flags))
            .ok()?;
        let bits = u32::try_from(self.c.wasm_kind_bits).ok()?;
        // `kWasmFunction` is the first kind; tiers are none, Liftoff, TurboFan (`ExecutionTier`).
        if u32::from(flags) & ((1 << bits) - 1) != 0 {
            return None;
        }
        match flags >> bits & 3 {
            1 => Some(Tier::Liftoff),
            2 => Some(Tier::Turbofan),
            _ => None,
        }
    }

    /// The functions at a place in code, the innermost first. `behind` is counted from where the code begins, and is one
    /// more than an address in the instruction. (`WasmFrame::Summarize` in `execution/frames.cc`.)
    pub(crate) fn wasm_functions(&self, code: WasmCode, behind: u64) -> Option<Vec<WasmFunction>> {
        let number = |field| self.memory.u32(self.at(code.address, field)).ok();
        let index = number(self.c.wasm_code_index)?;
        // One block: protected instructions, relocations, positions, inlined calls.
        let data = self
            .memory
            .u64(self.at(code.address, self.c.wasm_code_data))
            .ok()?;
        let skipped = u64::from(number(self.c.wasm_code_protected)?)
            + u64::from(number(self.c.wasm_code_relocations)?);
        let size = u64::from(number(self.c.wasm_code_positions)?);
        let positions = data.wrapping_add(skipped);
        let table = self.memory.bytes(positions, size, MAX_TABLE).ok()?;
        let raw = decode_positions(&table, self.column)
            .iter()
            .take_while(|entry| entry.0 < behind as i64)
            .last()
            .map(|entry| entry.1);
        let offset = |raw: i64| script_offset(raw).map_or(-1, i64::from);
        let Some(mut raw) = raw else {
            return Some(vec![WasmFunction { index, offset: -1 }]);
        };
        let mut functions = Vec::new();
        // Of a function that another replaced by a tail call nothing is left.
        let mut replaced = false;
        while let Some(id) = inlining_id(raw)
            && functions.len() < 256
        {
            let entry = u64::try_from(self.c.wasm_inlining_size).ok()?;
            let size = u64::from(number(self.c.wasm_code_inlining)?);
            let at = entry.checked_mul(id as u64)?;
            if at.checked_add(entry)? > size {
                return None;
            }
            let at = positions.wrapping_add(table.len() as u64).wrapping_add(at);
            let bytes = self.memory.bytes(at, entry, entry).ok()?;
            let (function, position) = (bytes.get(..4)?, bytes.get(bytes.len() - 8..)?);
            if !replaced {
                functions.push(WasmFunction {
                    index: u32::from_le_bytes(function.try_into().ok()?),
                    offset: offset(raw),
                });
            }
            replaced = bytes.len() == 13 && bytes[4] != 0;
            raw = i64::from_le_bytes(position.try_into().ok()?);
        }
        if !replaced {
            functions.push(WasmFunction {
                index,
                offset: offset(raw),
            });
        }
        Some(functions)
    }
}
