//! Safepoints of optimised code: the return addresses at which V8 knows where everything is. Each names an entry of the
//! deoptimisation data. (V8's `codegen/safepoint-table.h`, `codegen/maglev-safepoint-table.h`.)

use super::{MAX_TABLE, Tier};
use crate::v8::V8;

/// One safepoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Safepoint {
    /// The return address, from the start of the code.
    pub pc: u64,
    /// Which entry of the deoptimisation data describes the frame there; Maglev's stack checks have none.
    pub deopt: Option<usize>,
    /// Where the call returns to instead when the code was thrown out meanwhile.
    trampoline: Option<u64>,
}

/// Decodes a table. `new` ones begin with the count of stack slots (13.6), and Maglev's have one more word in the header
/// and one more byte in each entry.
fn decode(bytes: &[u8], new: bool, maglev: bool) -> Option<Vec<Safepoint>> {
    let word = |at: usize| -> Option<u32> {
        Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
    };
    let first = if new { 4 } else { 0 };
    let (length, configuration) = (word(first)? as usize, word(first + 4)?);
    let header = first + 8 + if maglev { 4 } else { 0 };
    let has_deopt = configuration & 1 == 1;
    let (registers, pcs, indices) = (
        (configuration >> 1 & 7) as usize,
        (configuration >> 4 & 7) as usize,
        (configuration >> 7 & 7) as usize,
    );
    let size = pcs + if has_deopt { indices + pcs } else { 0 } + usize::from(maglev) + registers;
    if size == 0 || pcs == 0 || length > bytes.len() {
        return None;
    }
    let number = |at: usize, count: usize| -> u64 {
        bytes[at..at + count]
            .iter()
            .rev()
            .fold(0, |value, byte| value << 8 | u64::from(*byte))
    };
    bytes
        .get(header..)?
        .chunks_exact(size)
        .take(length)
        .enumerate()
        .map(|(index, _)| {
            let at = header + index * size;
            let (deopt, trampoline) = if has_deopt {
                // Both are stored with one added: 0 says that there is none.
                (number(at + pcs, indices), number(at + pcs + indices, pcs))
            } else {
                (0, 0)
            };
            Some(Safepoint {
                pc: number(at, pcs),
                deopt: usize::try_from(deopt).ok()?.checked_sub(1),
                trampoline: trampoline.checked_sub(1),
            })
        })
        .collect()
}

impl V8 {
    /// The safepoint that a return address is at, exactly, or for which it was put on the stack when the code was thrown
    /// out. `start` and `length` are those of the instructions; the table follows them.
    pub fn safepoint(&self, tier: Tier, start: u64, length: u64, pc: u64) -> Option<Safepoint> {
        let at = start.checked_add(length)?;
        let (new, maglev) = (self.column >= 2, tier == Tier::Maglev);
        let head = self.memory.bytes(at, 16, 16).ok()?;
        let word = |at: usize| u32::from_le_bytes(head[at..at + 4].try_into().unwrap_or_default());
        let first = if new { 4 } else { 0 };
        let (count, configuration) = (u64::from(word(first)), word(first + 4));
        // An entry is at most three numbers of seven bytes and one.
        let most = 8 + 2 * u64::from(configuration >> 4 & 7) + u64::from(configuration >> 7 & 7);
        let want = count.checked_mul(most)?.checked_add(16)?;
        let page = self.pages.page_of(start)?;
        let bytes = self
            .memory
            .bytes(at, want.min(page.area_end.saturating_sub(at)), MAX_TABLE)
            .ok()?;
        let offset = pc.wrapping_sub(start);
        decode(&bytes, new, maglev)?
            .into_iter()
            .find(|entry| entry.pc == offset || entry.trampoline == Some(offset))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_both_layouts() {
        // One entry; deoptimisation data, no registers, pcs of two bytes, indices of one.
        let configuration = 1 | 2 << 4 | 1 << 7;
        let mut old = vec![1, 0, 0, 0];
        old.extend(u32::to_le_bytes(configuration));
        old.extend([0x34, 0x12, 8, 0x01, 0x02]);
        let entry = Safepoint {
            pc: 0x1234,
            deopt: Some(7),
            trampoline: Some(0x200),
        };
        assert_eq!(decode(&old, false, false), Some(vec![entry]));
        let mut new = vec![9, 0, 0, 0];
        new.extend(&old[..8]);
        new.extend([5, 0, 0, 0, 0x34, 0x12, 0, 0, 0, 0xff]);
        let entry = Safepoint {
            pc: 0x1234,
            deopt: None,
            trampoline: None,
        };
        assert_eq!(decode(&new, true, true), Some(vec![entry]));
    }

    #[test]
    fn a_broken_table_is_none() {
        assert_eq!(decode(&[], false, false), None);
        assert_eq!(decode(&[0xff; 8], false, false), None);
        assert_eq!(decode(&[1, 0, 0, 0, 0, 0, 0, 0], true, true), None);
    }
}
