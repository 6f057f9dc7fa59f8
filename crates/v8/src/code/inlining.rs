//! Optimised code by its source positions: the functions that were inlined there. (V8's `codegen/source-position.h`.)

use super::positions::{decode_positions, inlining_id, script_offset};
use crate::error::{Result, V8Error};
use crate::tagged::Tagged;
use crate::types::Kind;
use crate::v8::V8;

/// One place on the way from machine code to source: a function and a position in its script. The innermost is first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The SharedFunctionInfo; `None` for the function of the frame itself.
    pub shared: Option<Tagged>,
    /// Position in the script, in code units; `None` when there is no table.
    pub position: Option<u32>,
}

impl V8 {
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
}
