//! Roots: the words outside of the heap that keep objects alive.

use std::sync::atomic::Ordering;

use super::{HeapGraph, Stop};
use crate::pages::{UNIT, UNIT_SHIFT};

impl HeapGraph {
    /// The words of native memory that look like pointers to objects.
    pub(super) fn native_words(&self, stop: &Stop) -> Vec<u64> {
        let mut out = Vec::new();
        self.each_native_word(stop, |_, word| out.push(word));
        out
    }

    /// Calls `visit` with the address and the content of each word of writable native memory that has the form of a
    /// pointer to an object on a page of this graph. Of stacks only what is in use.
    pub fn each_native_word(&self, stop: &Stop, mut visit: impl FnMut(u64, u64)) {
        let mut buf = vec![0_u8; 1 << 20];
        for region in self.v8.memory.target().regions() {
            // Executable memory is V8's code, whose pages are walked.
            if !region.writable || region.executable || region.held == 0 {
                continue;
            }
            let stack = self
                .v8
                .threads
                .iter()
                .filter(|thread| region.range.contains(&thread.sp))
                .map(|thread| thread.sp)
                .min();
            let mut at = stack.map_or(region.range.start, |sp| sp & !7);
            while at < region.range.end && !stop.load(Ordering::Relaxed) {
                // V8's own pages are no roots.
                if let Some(page) = self.v8.pages.page_of(at.next_multiple_of(UNIT) + 0x4000)
                    && at.is_multiple_of(UNIT)
                    && page.base == at
                {
                    at = (page.base + page.size).next_multiple_of(0x1000);
                    continue;
                }
                let until = (at / UNIT + 1) * UNIT;
                let len = (region.range.end - at)
                    .min(until - at)
                    .min(buf.len() as u64) as usize;
                if self.v8.memory.target().read(at, &mut buf[..len]).is_ok()
                    && buf[..len].iter().any(|byte| *byte != 0)
                {
                    for (index, word) in buf[..len].chunks_exact(8).enumerate() {
                        let word = u64::from_le_bytes(word.try_into().unwrap_or_default());
                        if word & 1 == 1
                            && word > 0x1_0000
                            && self.units.contains_key(&(word >> UNIT_SHIFT))
                        {
                            visit(at + 8 * index as u64, word);
                        }
                    }
                }
                at += len as u64;
            }
        }
    }
}
