//! Compiled code: which place in the source a place in it is.
//!
//! Source position tables: V8's `codegen/source-position-table.cc`; baseline offset tables:
//! `baseline/bytecode-offset-iterator.h`; inlining positions: `codegen/source-position.h`.

use crate::constants::NO;
use crate::error::{Result, V8Error};
use crate::tagged::Tagged;
use crate::types::Kind;
use crate::v8::V8;

/// Longest table that is read.
const MAX_TABLE: u64 = 64 << 20;

/// How a function's code was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tier {
    /// Ignition's bytecode.
    Interpreted,
    /// Sparkplug.
    Baseline,
    /// Maglev.
    Maglev,
    /// TurboFan.
    Turbofan,
}

impl Tier {
    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Tier::Interpreted => "interpreted",
            Tier::Baseline => "baseline",
            Tier::Maglev => "maglev",
            Tier::Turbofan => "turbofan",
        }
    }
}

/// One place on the way from machine code to source: a function and a position in its script. The innermost is first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The SharedFunctionInfo; `None` for the function of the frame itself.
    pub shared: Option<Tagged>,
    /// Position in the script, in code units; `None` when there is no table.
    pub position: Option<u32>,
}

/// One entry of a position table: the code offset, and V8's packed SourcePosition.
fn decode_positions(bytes: &[u8], column: usize) -> Vec<(i64, i64)> {
    let mut entries = Vec::new();
    let mut at = 0;
    let mut code = -1_i64;
    let mut position = 0_i64;
    let number = |at: &mut usize| -> Option<u64> {
        let (mut value, mut shift) = (0_u64, 0);
        loop {
            let byte = *bytes.get(*at)?;
            *at += 1;
            value |= u64::from(byte & 0x7f).checked_shl(shift)?;
            if byte & 0x80 == 0 {
                return Some(value);
            }
            shift += 7;
        }
    };
    let zigzag = |value: u64| (value >> 1) as i64 ^ -((value & 1) as i64);
    while at < bytes.len() {
        let Some(first) = number(&mut at) else { break };
        let Some(second) = number(&mut at) else { break };
        let delta = if column >= 3 {
            (first >> 2) as i64
        } else {
            // A negative one marks an expression instead of a statement.
            let delta = zigzag(first);
            if delta < 0 { -(delta + 1) } else { delta }
        };
        code = code.wrapping_add(delta);
        position = position.wrapping_add(zigzag(second));
        entries.push((code, position));
    }
    entries
}

/// The script position in a packed SourcePosition: bit 0 says that it is external; bits 1 to 30 are the offset and one.
fn script_offset(raw: i64) -> Option<u32> {
    if raw & 1 == 1 {
        return None;
    }
    u32::try_from((raw >> 1 & 0x3fff_ffff) - 1).ok()
}

/// The inlining id in a packed SourcePosition: bits 31 to 46, and one.
fn inlining_id(raw: i64) -> Option<usize> {
    usize::try_from((raw >> 31 & 0xffff) - 1).ok()
}

impl V8 {
    /// The bytes of a ByteArray of either kind; none for anything else.
    fn byte_array(&self, value: Tagged) -> Option<Vec<u8>> {
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

    /// The position in the source of an offset in bytecode.
    pub fn bytecode_position(&self, bytecode: u64, offset: i64) -> Option<u32> {
        let table = self.byte_array(self.field(bytecode, self.c.bytecode_positions).ok()?)?;
        let entries = decode_positions(&table, self.column);
        let entry = entries
            .iter()
            .take_while(|entry| entry.0 <= offset)
            .last()?;
        script_offset(entry.1)
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
        let page = self.pages.page_of(pc)?.clone();
        let mut at = page.area_start;
        let mut steps = 0;
        // Instruction streams follow one another; there are at most as many as a page has room for.
        while at <= pc && at < page.area_end && steps < 1 << 17 {
            steps += 1;
            let word = Tagged(self.memory.u64(at).ok()?);
            let size = match self.map(word) {
                Some(map) => self.size_at(at, &map).ok()?,
                None => {
                    // Not filled: on to the next word that is a map.
                    at += 8;
                    continue;
                }
            };
            if pc < at + size {
                let map = self.map(word)?;
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

    /// The offset in bytecode of a return address in baseline code: the table has the length of the machine code of
    /// each bytecode, the first of the prologue.
    pub fn baseline_offset(&self, code: u64, pc_offset: u64) -> Option<(u64, i64)> {
        let bytecode = {
            let data = self.field(code, self.c.code_deopt).ok()?;
            match self.kind_of(data).ok()? {
                Kind::BytecodeArray => data.address(),
                Kind::InterpreterData => self
                    .field(data.address(), self.c.interpreter_bytecode)
                    .ok()?
                    .address(),
                _ => return None,
            }
        };
        let table = self.byte_array(self.field(code, self.c.code_positions).ok()?)?;
        let sizes = self.bytecode_sizes();
        let length = self.field(bytecode, self.c.array_length).ok()?.as_smi()? as i64;
        let mut at = 0;
        let mut number = || -> Option<u64> {
            let (mut value, mut shift) = (0_u64, 0);
            loop {
                let byte = *table.get(at)?;
                at += 1;
                value |= u64::from(byte & 0x7f).checked_shl(shift)?;
                if byte & 0x80 == 0 {
                    return Some(value);
                }
                shift += 7;
            }
        };
        let mut pc_end = number()?;
        let mut offset = 0;
        if pc_offset <= pc_end {
            return Some((bytecode, 0));
        }
        while offset < length {
            pc_end += number()?;
            if pc_offset <= pc_end {
                return Some((bytecode, offset));
            }
            offset += self.bytecode_length(bytecode, offset, &sizes)?;
        }
        None
    }

    /// `Bytecodes::kBytecodeSizes`: the length of each bytecode at each of three operand scales.
    fn bytecode_sizes(&self) -> Vec<u8> {
        let symbols = self
            .memory
            .target()
            .symbols("_ZN2v88internal11interpreter9Bytecodes14kBytecodeSizes");
        symbols
            .first()
            .and_then(|symbol| self.memory.bytes(symbol.address, symbol.size, 4096).ok())
            .unwrap_or_default()
    }

    fn bytecode_length(&self, bytecode: u64, offset: i64, sizes: &[u8]) -> Option<i64> {
        let count = sizes.len() / 3;
        if count == 0 {
            return None;
        }
        let data = self
            .at(bytecode, self.c.bytecode_data)
            .wrapping_add_signed(offset);
        let first = self.memory.u8(data).ok()?;
        // 0 and 2 are Wide and DebugBreakWide, 1 and 3 ExtraWide and DebugBreakExtraWide: prefixes of one byte.
        let (scale, op, prefix) = match first {
            0 | 2 => (1, self.memory.u8(data + 1).ok()?, 1),
            1 | 3 => (2, self.memory.u8(data + 1).ok()?, 1),
            op => (0, op, 0),
        };
        let size = *sizes.get(scale * count + usize::from(op))?;
        (size > 0).then_some(i64::from(size) + prefix)
    }

    /// The places that a return address in optimised code stands for: the innermost inlined callee first, the frame's own
    /// function last.
    ///
    /// # Errors
    /// When the code has no position table.
    pub fn optimised_places(
        &self,
        code: u64,
        pc_offset: u64,
        script: Option<u64>,
    ) -> Result<Vec<Place>> {
        let table = self.field(code, self.c.code_positions)?;
        let bytes = self
            .byte_array(table)
            .ok_or(V8Error::Missing { address: table.0 })?;
        let entries = decode_positions(&bytes, self.column);
        let Some((_, raw)) = entries
            .iter()
            .take_while(|entry| entry.0 < pc_offset as i64)
            .last()
        else {
            return Ok(vec![Place {
                shared: None,
                position: None,
            }]);
        };
        let mut raw = *raw;
        let mut places = Vec::new();
        let deopt = self.field(code, self.c.code_deopt)?;
        while let Some(id) = inlining_id(raw)
            && places.len() < 256
        {
            let positions = self.element_of(deopt, self.c.deopt_positions as u64)?;
            let literals = self.element_of(deopt, self.c.deopt_literals as u64)?;
            let bytes = self.byte_array(positions).ok_or(V8Error::Missing {
                address: positions.0,
            })?;
            let Some(entry) = bytes.get(16 * id..16 * id + 16) else {
                break;
            };
            let word =
                |at: usize| i64::from_le_bytes(entry[at..at + 8].try_into().unwrap_or_default());
            let function = word(8) as i32;
            let shared = if function < 0 {
                None
            } else {
                let literal = self.element_of(literals, function as u64)?.strong();
                match self.kind_of(literal)? {
                    Kind::SharedWrapper => Some(self.field(literal.address(), 8)?),
                    Kind::SharedFunctionInfo => Some(literal),
                    _ => None,
                }
            };
            places.push(Place {
                shared,
                position: script_offset(raw),
            });
            raw = self.call_position(word(0), word(8), &bytes, script);
        }
        places.push(Place {
            shared: None,
            position: script_offset(raw),
        });
        Ok(places)
    }

    /// The position of the call that was inlined. A copy of a loop's body that Maglev has peeled off has the loop's own
    /// position in its place: there the same call's position in the other copy is taken.
    fn call_position(&self, raw: i64, function: i64, table: &[u8], script: Option<u64>) -> i64 {
        let is_loop = |raw: i64| -> bool {
            let (Some(script), Some(position)) = (script, script_offset(raw)) else {
                return false;
            };
            let Ok(source) = self.source(script) else {
                return false;
            };
            let at = position as usize;
            let text = source
                .units
                .get(at..(at + 6).min(source.units.len()))
                .unwrap_or_default();
            let text = String::from_utf16_lossy(text);
            ["for", "while", "do"].iter().any(|word| {
                text.strip_prefix(word)
                    .is_some_and(|rest| rest.starts_with([' ', '(', '{', '\n', '\t']))
            })
        };
        if inlining_id(raw).is_some() || !is_loop(raw) {
            return raw;
        }
        table
            .chunks_exact(16)
            .map(|entry| {
                let word = |at: usize| {
                    i64::from_le_bytes(entry[at..at + 8].try_into().unwrap_or_default())
                };
                (word(0), word(8))
            })
            .find(|(other, of)| {
                *of as i32 == function as i32 && inlining_id(*other).is_none() && !is_loop(*other)
            })
            .map_or(raw, |(other, _)| other)
    }

    /// The size of an object, from its map or its own length.
    ///
    /// # Errors
    /// When its length is impossible or its type has no known formula.
    pub fn size_at(&self, object: u64, map: &crate::v8::MapInfo) -> Result<u64> {
        crate::walk::size_of(self, map, |offset| {
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
        let start = self
            .memory
            .u64(self.at(code.address(), self.c.code_start))
            .ok()?;
        let size = self
            .memory
            .u32(self.at(code.address(), self.c.code_size))
            .ok()?;
        self.pages.page_of(start).map(|_| (start, u64::from(size)))
    }

    /// Whether this version has a field.
    pub fn has(&self, field: i64) -> bool {
        field != NO
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_both_forms_of_position_tables() {
        // Code offset 0 (delta 1 from -1) at packed position 22 (offset 10), then 5 further as an expression.
        let old = [2, 44, 11, 8];
        assert_eq!(decode_positions(&old, 0), [(0, 22), (5, 26)]);
        let new = [4 | 1, 44, 5 << 2, 8];
        assert_eq!(decode_positions(&new, 3), [(0, 22), (5, 26)]);
        assert_eq!(script_offset(22), Some(10));
        assert_eq!(inlining_id(22), None);
        assert_eq!(inlining_id(22 | 3 << 31), Some(2));
    }

    #[test]
    fn a_table_that_ends_in_the_middle_gives_what_is_whole() {
        assert_eq!(decode_positions(&[2, 44, 0x80], 0), [(0, 22)]);
        assert_eq!(decode_positions(&[0xff; 40], 0), []);
    }
}
