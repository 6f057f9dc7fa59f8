//! Source position tables: V8's `codegen/source-position-table.cc`, `codegen/source-position.h`.

use super::vlq::number;
use crate::v8::V8;

/// One entry of a position table: the code offset, and V8's packed SourcePosition.
pub(crate) fn decode_positions(bytes: &[u8], column: usize) -> Vec<(i64, i64)> {
    let mut entries = Vec::new();
    let mut at = 0;
    let mut code = -1_i64;
    let mut position = 0_i64;
    let zigzag = |value: u64| (value >> 1) as i64 ^ -((value & 1) as i64);
    while at < bytes.len() {
        let Some(first) = number(bytes, &mut at) else {
            break;
        };
        let Some(second) = number(bytes, &mut at) else {
            break;
        };
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
pub(crate) fn script_offset(raw: i64) -> Option<u32> {
    if raw & 1 == 1 {
        return None;
    }
    u32::try_from((raw >> 1 & 0x3fff_ffff) - 1).ok()
}

/// The inlining id in a packed SourcePosition: bits 31 to 46, and one.
pub(crate) fn inlining_id(raw: i64) -> Option<usize> {
    usize::try_from((raw >> 31 & 0xffff) - 1).ok()
}

impl V8 {
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
