//! A page with its objects: its bytes, where objects begin, which of them can be reached.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::pages::Page;

/// A page with its objects.
pub(super) struct Loaded {
    pub(super) page: Page,
    pub(super) bytes: Vec<u8>,
    /// One bit for each 8 bytes of the area: an object begins here.
    pub(super) starts: Vec<u64>,
    /// The same: it can be reached.
    pub(super) marks: Vec<AtomicU64>,
}

impl Loaded {
    pub(super) fn word(&self, at: u64) -> Option<u64> {
        let offset = at.wrapping_sub(self.page.area_start) as usize;
        Some(u64::from_le_bytes(
            self.bytes
                .get(offset..offset.checked_add(8)?)?
                .try_into()
                .ok()?,
        ))
    }

    pub(super) fn bit(&self, at: u64) -> Option<(usize, u64)> {
        let index = (at.wrapping_sub(self.page.area_start) >> 3) as usize;
        (index / 64 < self.starts.len()).then_some((index / 64, 1 << (index % 64)))
    }

    pub(super) fn is_start(&self, at: u64) -> bool {
        at & 7 == 0
            && self
                .bit(at)
                .is_some_and(|(word, bit)| self.starts[word] & bit != 0)
    }

    pub(super) fn is_marked(&self, at: u64) -> bool {
        self.bit(at)
            .is_some_and(|(word, bit)| self.marks[word].load(Ordering::Relaxed) & bit != 0)
    }

    /// Whether it was not marked before.
    pub(super) fn mark(&self, at: u64) -> bool {
        self.bit(at)
            .is_some_and(|(word, bit)| self.marks[word].fetch_or(bit, Ordering::Relaxed) & bit == 0)
    }
}
