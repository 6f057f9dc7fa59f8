//! Compiled code: what tier it is of, where it lies, and which place in the source a place in it is.

mod baseline;
mod deopt;
mod inlining;
mod positions;
mod safepoints;
mod tier;
mod translation;
mod value;
mod vlq;
mod wasm;
mod wasm_module;

pub use self::deopt::{Physical, TranslatedFrame};
pub use self::inlining::Place;
pub use self::safepoints::Safepoint;
pub use self::tier::Tier;
pub use self::translation::FrameOp;
pub use self::value::{FrameValue, Unmade};
pub(crate) use self::wasm::WasmModule;

use crate::constants::NO;
use crate::error::{Result, V8Error};
use crate::tagged::Tagged;
use crate::types::Kind;
use crate::v8::V8;

/// Longest table that is read.
const MAX_TABLE: u64 = 64 << 20;

impl V8 {
    /// The bytes of a ByteArray of either kind; none for anything else.
    pub(crate) fn byte_array(&self, value: Tagged) -> Option<Vec<u8>> {
        if self.kind_of(value).ok()? != Kind::ByteArray {
            return None;
        }
        let length = self
            .field(value.address(), self.c.array_length)
            .ok()?
            .as_smi()?;
        self.memory
            .bytes(
                self.at(value.address(), self.c.array_data),
                u64::try_from(length).ok()?,
                MAX_TABLE,
            )
            .ok()
    }

    /// What tier a Code object is of, unless it is a builtin or a stub.
    pub fn tier(&self, code: u64) -> Option<Tier> {
        let flags = self.memory.u32(self.at(code, self.c.code_flags)).ok()?;
        let kind = i64::from(flags) & self.c.kind_mask;
        match kind - self.c.kind_baseline {
            0 => Some(Tier::Baseline),
            1 => Some(Tier::Maglev),
            2 => Some(Tier::Turbofan),
            -1 => Some(Tier::Interpreted),
            _ => None,
        }
    }

    /// The Code whose instructions contain an address, when they are in the heap: its address, where they begin, their
    /// length.
    pub fn code_at(&self, pc: u64) -> Option<(u64, u64, u64)> {
        let page = self.pages.page_of(pc)?;
        let mut at = page.area_start;
        let mut steps = 0;
        // Instruction streams follow one another; there are at most as many as a page has room for.
        while at <= pc && at < page.area_end && steps < 1 << 17 {
            steps += 1;
            let first = self.memory.u64(at).ok()?;
            let map = self.map(Tagged(self.map_word(at, first)));
            let size = match &map {
                Some(map) => self.size_at(at, map).ok()?,
                None => {
                    // Not filled: on to the next word that is a map.
                    at += 8;
                    continue;
                }
            };
            if pc < at + size {
                let map = map?;
                if map.kind == Kind::Code && self.version.is_node_18() {
                    let (start, length) = self.instructions(at)?;
                    return (pc >= start).then_some((at, start, length));
                }
                if map.kind != Kind::InstructionStream {
                    return None;
                }
                let code = Tagged(self.memory.u64(self.at(at, self.c.stream_code)).ok()?);
                if self.kind_of(code).ok()? != Kind::Code {
                    return None;
                }
                let start = self.at(at, self.c.stream_start);
                let length = self
                    .memory
                    .u32(self.at(code.address(), self.c.code_size))
                    .ok()?;
                return Some((code.address(), start, u64::from(length)));
            }
            at += size;
        }
        None
    }

    /// Where the instructions of a Code object begin, and their length. Those of Node 18 are in the object itself.
    fn instructions(&self, code: u64) -> Option<(u64, u64)> {
        let start = self.at(code, self.c.code_start);
        let start = match self.version.is_node_18() {
            true => start,
            false => self.memory.u64(start).ok()?,
        };
        let length = self.memory.u32(self.at(code, self.c.code_size)).ok()?;
        Some((start, u64::from(length)))
    }

    /// The size of an object, from its map or its own length.
    ///
    /// # Errors
    /// When its length is impossible or its type has no known formula.
    pub fn size_at(&self, object: u64, map: &crate::v8::MapInfo) -> Result<u64> {
        crate::size::size_of(self, map, |offset| {
            self.memory.u64(object.wrapping_add(offset))
        })
        .ok_or(V8Error::Damaged {
            address: object,
            what: "an object of unknown size",
        })
    }

    /// Where a function's own machine code is, when it has any: from 24 on code hangs off a table outside of the heap, so
    /// there only baseline code is found, by the shared function.
    pub fn function_code(&self, function: Tagged) -> Option<(u64, u64)> {
        let code = match self.has(self.c.function_code) {
            true => self.field(function.address(), self.c.function_code).ok()?,
            false => {
                let shared = self.shared_of(function).ok()?;
                self.field(shared.address(), self.c.shared_data).ok()?
            }
        };
        if self.kind_of(code).ok()? != Kind::Code {
            return None;
        }
        self.tier(code.address())?;
        let (start, size) = self.instructions(code.address())?;
        self.pages.page_of(start).map(|_| (start, size))
    }

    /// Whether this version has a field.
    pub fn has(&self, field: i64) -> bool {
        field != NO
    }
}
