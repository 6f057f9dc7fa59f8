//! Strings of all shapes, symbols, numbers, BigInts.
//!
//! Shapes from the instance type (below 128): bits 0-2 the representation (0 sequential, 1 cons, 2 external, 3 sliced, 5
//! thin), bit 3 one byte a character, bit 4 an external string whose data pointer is not kept (V8's `instance-type.h`).

use crate::error::{Result, V8Error};
use crate::tagged::Tagged;
use crate::types::Kind;
use crate::v8::V8;

/// Most steps in following cons, sliced and thin strings.
const MAX_STEPS: usize = 32 << 20;
/// Most of them in a row that lead to no smaller part: a thin string of a flattened cons of a slice has three.
const MAX_IDLE: u8 = 16;

/// In place of where to begin in a string: what was copied last comes once more. `'x'.repeat(1 << 28)` is 28 cons strings,
/// each of the one below and that again, and not to be read 2^28 times.
const AGAIN: u64 = u64::MAX;

/// Most words of a BigInt that is written in decimal.
const MAX_DECIMAL: u64 = 1024;

/// A string, perhaps only its beginning.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct JsText {
    /// The characters; lone surrogates as U+FFFD.
    pub text: String,
    /// How many UTF-16 code units the whole string has.
    pub length: u64,
    /// Not all of it is in `text`.
    pub truncated: bool,
}

impl V8 {
    /// Whether a value is a string.
    pub fn is_string(&self, value: Tagged) -> bool {
        self.kind_of(value).is_ok_and(|kind| kind == Kind::String)
    }

    /// The length of a string in UTF-16 code units.
    ///
    /// # Errors
    /// When it is no string.
    pub fn string_length(&self, value: Tagged) -> Result<u64> {
        self.expect(value, Kind::String, "a string")?;
        Ok(u64::from(
            self.memory
                .u32(self.at(value.address(), self.c.string_length))?,
        ))
    }

    /// A string's text, at most `limit` code units of it.
    ///
    /// # Errors
    /// When it is no string, or nothing of it can be read.
    pub fn text(&self, value: Tagged, limit: usize) -> Result<JsText> {
        let length = self.string_length(value)?;
        let units = self.units(value, limit)?;
        Ok(JsText {
            text: String::from_utf16_lossy(&units),
            length,
            truncated: (units.len() as u64) < length,
        })
    }

    /// A part of a string: at most `limit` code units from `skip` on.
    ///
    /// # Errors
    /// As [`V8::text`].
    pub fn text_from(&self, value: Tagged, skip: u64, limit: usize) -> Result<JsText> {
        let length = self.string_length(value)?;
        let units = self.units_from(value, skip, limit)?;
        Ok(JsText {
            text: String::from_utf16_lossy(&units),
            length,
            truncated: skip.saturating_add(units.len() as u64) < length,
        })
    }

    /// A whole string of at most 4096 code units, for names.
    pub fn name_text(&self, value: Tagged) -> Option<String> {
        self.text(value, 4096).ok().map(|text| text.text)
    }

    /// The first code units of a string. Cons strings may be deep and are followed with a list, not by recursion.
    ///
    /// # Errors
    /// As [`V8::text`].
    pub fn units(&self, value: Tagged, limit: usize) -> Result<Vec<u16>> {
        self.units_from(value, 0, limit)
    }

    fn units_from(&self, value: Tagged, skip: u64, limit: usize) -> Result<Vec<u16>> {
        let mut out = Vec::new();
        // What is still to be copied, the next last: a string, where to begin in it, how many units, and how many steps led
        // here without a smaller part.
        let length = self.string_length(value)?;
        let count = length.saturating_sub(skip).min(limit as u64);
        let mut todo = vec![(value, skip.min(length), count, 0_u8)];
        let mut steps = 0;
        while let Some((value, skip, count, idle)) = todo.pop() {
            if skip == AGAIN {
                // The whole of the first half stands at the end by now, since the limit was not reached in it.
                let begin = out.len().saturating_sub(count as usize);
                let end = begin
                    + (count as usize)
                        .min(limit - out.len())
                        .min(out.len() - begin);
                out.extend_from_within(begin..end);
                continue;
            }
            steps += 1;
            if steps > MAX_STEPS || todo.len() > MAX_STEPS || idle > MAX_IDLE {
                return Err(V8Error::Damaged {
                    address: value.0,
                    what: "a string of endless parts",
                });
            }
            let count = count.min((limit - out.len()) as u64);
            if count == 0 {
                continue;
            }
            let map = self.map_of(value)?;
            if map.kind != Kind::String {
                return Err(V8Error::NotObject { address: value.0 });
            }
            let own = self.string_length(value)?;
            if skip + count > own {
                return Err(V8Error::Damaged {
                    address: value.0,
                    what: "a string shorter than the one it is part of",
                });
            }
            let at = value.address();
            let one_byte = map.instance_type & 8 != 0;
            match map.instance_type & 7 {
                0 => self.copy(
                    self.at(at, self.c.string_chars),
                    one_byte,
                    skip,
                    count,
                    &mut out,
                )?,
                1 => {
                    let first = self.field(at, self.c.cons_first)?;
                    let second = self.field(at, self.c.cons_second)?;
                    let split = self.string_length(first)?;
                    let rest = self.string_length(second)?;
                    if split + rest != own {
                        return Err(V8Error::Damaged {
                            address: value.0,
                            what: "a string of parts that are not as long as it is",
                        });
                    }
                    // Both parts are smaller, but for one that was flattened: that has an empty second part.
                    let idle = if split == own || rest == own {
                        idle + 1
                    } else {
                        0
                    };
                    let left = count.min(split.saturating_sub(skip));
                    if first == second && skip == 0 && count == own {
                        todo.push((second, AGAIN, rest, 0));
                    } else if count > left {
                        todo.push((second, skip.saturating_sub(split), count - left, idle));
                    }
                    if left > 0 {
                        todo.push((first, skip, left, idle));
                    }
                }
                2 => {
                    let resource = self.memory.u64(self.at(at, self.c.external_resource))?;
                    let uncached = map.instance_type & 16 != 0;
                    let data = if uncached {
                        0
                    } else {
                        self.memory.u64(self.at(at, self.c.external_data))?
                    };
                    // Node's resources are a vtable, the isolate, then the data.
                    let data = match data {
                        0 => [16, 8, 24].iter().find_map(|offset| {
                            let data = self.memory.u64(resource.checked_add(*offset)?).ok()?;
                            let long = self.memory.u64(resource.checked_add(*offset + 8)?).ok()?;
                            (long == own).then_some(data)
                        }),
                        data => Some(data),
                    };
                    let data = data.ok_or(V8Error::Missing { address: resource })?;
                    self.copy(data, one_byte, skip, count, &mut out)?;
                }
                3 => {
                    let parent = self.field(at, self.c.sliced_parent)?;
                    let offset = self
                        .field(at, self.c.sliced_offset)?
                        .as_smi()
                        .unwrap_or(0)
                        .max(0) as u64;
                    todo.push((parent, offset + skip, count, idle + 1));
                }
                5 => todo.push((self.field(at, self.c.thin_actual)?, skip, count, idle + 1)),
                _ => {
                    return Err(V8Error::Damaged {
                        address: value.0,
                        what: "a string of no known shape",
                    });
                }
            }
        }
        Ok(out)
    }

    fn copy(
        &self,
        data: u64,
        one_byte: bool,
        skip: u64,
        count: u64,
        out: &mut Vec<u16>,
    ) -> Result<()> {
        let width = if one_byte { 1 } else { 2 };
        let mut at = data.wrapping_add(skip * width);
        let mut left = count;
        let mut chunk = [0_u8; 4096];
        while left > 0 {
            let now = left.min(chunk.len() as u64 / width);
            let bytes = &mut chunk[..(now * width) as usize];
            self.memory.read(at, bytes)?;
            if one_byte {
                out.extend(bytes.iter().map(|byte| u16::from(*byte)));
            } else {
                out.extend(
                    bytes
                        .chunks_exact(2)
                        .map(|pair| u16::from_le_bytes([pair[0], pair[1]])),
                );
            }
            at = at.wrapping_add(now * width);
            left -= now;
        }
        Ok(())
    }

    /// What a shape of string is called: `cons one-byte` and so on.
    pub fn string_shape(&self, instance_type: u16) -> String {
        let shape = match instance_type & 7 {
            0 => "sequential",
            1 => "cons",
            2 => "external",
            3 => "sliced",
            5 => "thin",
            _ => "unknown",
        };
        let width = if instance_type & 8 != 0 {
            "one-byte"
        } else {
            "two-byte"
        };
        let internal = if instance_type & 32 == 0 {
            ", internalized"
        } else {
            ""
        };
        format!("{shape} {width}{internal}")
    }

    /// A number: a Smi or a HeapNumber.
    pub fn number(&self, value: Tagged) -> Option<f64> {
        if let Some(smi) = value.as_smi() {
            return Some(f64::from(smi));
        }
        match self.kind_of(value).ok()? {
            Kind::HeapNumber => Some(f64::from_bits(
                self.memory
                    .u64(self.at(value.address(), self.c.heap_number))
                    .ok()?,
            )),
            _ => None,
        }
    }

    /// The description of a symbol; `None` when it has none.
    ///
    /// # Errors
    /// When it is no symbol.
    pub fn symbol_description(&self, value: Tagged) -> Result<Option<String>> {
        self.expect(value, Kind::Symbol, "a symbol")?;
        let description = self.field(value.address(), self.c.symbol_name)?;
        if self.is_string(description) {
            return Ok(Some(self.text(description, 4096)?.text));
        }
        Ok(None)
    }

    /// Whether a symbol is private: the name of a `#member` or a marker of V8's own. (`Symbol::flags`, bit 0.)
    pub fn is_private_symbol(&self, value: Tagged) -> bool {
        let mask = if self.column >= 3 { 3 } else { 1 };
        self.memory
            .u32(self.at(value.address(), self.c.symbol_flags))
            .is_ok_and(|flags| flags & mask != 0)
    }

    /// Whether a private symbol stands for the private methods of a class. (`Symbol::flags`: bit 5; in 26 the lowest two
    /// bits are a number, which is then 3.)
    pub fn is_private_brand(&self, value: Tagged) -> bool {
        self.memory
            .u32(self.at(value.address(), self.c.symbol_flags))
            .is_ok_and(|flags| {
                if self.column >= 3 {
                    flags & 3 == 3
                } else {
                    flags & 0x21 == 0x21
                }
            })
    }

    /// A BigInt, at most `limit` digits of it, and how many there are more: in decimal, or in hexadecimal when it is longer
    /// than 65,536 bits, since to write it in decimal takes a time that grows with the square.
    ///
    /// # Errors
    /// When it is none.
    pub fn bigint(&self, value: Tagged, limit: usize) -> Result<(String, u64)> {
        self.expect(value, Kind::BigInt, "a BigInt")?;
        let bits = self
            .memory
            .u32(self.at(value.address(), self.c.bigint_bits))?;
        let count = u64::from((bits & 0x7fff_ffff) >> 1);
        let digit = |index: u64| {
            self.memory.u64(
                self.at(value.address(), self.c.bigint_digits)
                    .wrapping_add(8 * index),
            )
        };
        let (text, digits) = if count <= MAX_DECIMAL {
            let text = decimal((0..count).map(digit).collect::<Result<Vec<_>>>()?);
            let digits = text.len() as u64;
            (text, digits)
        } else {
            let shown = count.min(limit as u64 / 16 + 2).min(MAX_DECIMAL);
            let top = format!("{:x}", digit(count - 1)?);
            let digits = top.len() as u64 + 16 * (count - 1);
            let rest = (count - shown..count - 1).rev().map(digit);
            let mut text = top;
            for word in rest {
                text.push_str(&format!("{:016x}", word?));
            }
            (text, digits)
        };
        let shown = text.len().min(limit);
        let sign = if bits & 1 == 1 { "-" } else { "" };
        let base = if count <= MAX_DECIMAL { "" } else { "0x" };
        Ok((
            format!("{sign}{base}{}", &text[..shown]),
            digits - shown as u64,
        ))
    }

    /// The value, checked to be of a kind.
    ///
    /// # Errors
    /// [`V8Error::Kind`].
    pub fn expect(&self, value: Tagged, kind: Kind, wanted: &'static str) -> Result<u64> {
        let map = self.map_of(value)?;
        if map.kind == kind {
            return Ok(value.address());
        }
        Err(V8Error::Kind {
            address: value.0,
            wanted,
            found: self.types.name(map.instance_type),
        })
    }
}

/// Little-endian 64-bit digits in decimal.
fn decimal(mut digits: Vec<u64>) -> String {
    const TEN_19: u128 = 10_000_000_000_000_000_000;
    let mut groups = Vec::new();
    while digits.iter().any(|digit| *digit != 0) {
        let mut rest = 0_u128;
        for digit in digits.iter_mut().rev() {
            let value = rest << 64 | u128::from(*digit);
            *digit = (value / TEN_19) as u64;
            rest = value % TEN_19;
        }
        groups.push(rest as u64);
    }
    match groups.split_last() {
        None => "0".to_owned(),
        Some((first, rest)) => rest.iter().rev().fold(first.to_string(), |text, group| {
            format!("{text}{group:019}")
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_big_integers_in_decimal() {
        assert_eq!(decimal(vec![]), "0");
        assert_eq!(decimal(vec![0, 1]), "18446744073709551616");
        assert_eq!(decimal(vec![u64::MAX]), "18446744073709551615");
        // 123456789012345678901234567890n = 0x18ee90ff6_c373e0ee4e3f0ad2
        assert_eq!(
            decimal(vec![0xc373_e0ee_4e3f_0ad2, 0x1_8ee9_0ff6]),
            "123456789012345678901234567890"
        );
    }
}
