//! Pages by address: a table of units that is asked for every pointer of the heap.

use crate::pages::{UNIT, UNIT_SHIFT};

/// Open addressing over the numbers of units; at most half full.
pub(super) struct Units {
    slots: Vec<(u64, u32)>,
    mask: usize,
}

const EMPTY: u64 = u64::MAX;

impl Units {
    /// Over the first address and the bytes of each page; the value is the number of the page.
    pub(super) fn new(pages: impl Iterator<Item = (u64, u64)> + Clone) -> Units {
        let count: usize = pages
            .clone()
            .map(|(_, bytes)| bytes.div_ceil(UNIT) as usize)
            .sum();
        let size = (2 * count).next_power_of_two().max(16);
        let mut units = Units {
            slots: vec![(EMPTY, 0); size],
            mask: size - 1,
        };
        for (index, (base, bytes)) in pages.enumerate() {
            for unit in 0..bytes.div_ceil(UNIT) {
                units.insert((base >> UNIT_SHIFT) + unit, index as u32);
            }
        }
        units
    }

    fn insert(&mut self, unit: u64, page: u32) {
        let mut at = self.slot_of(unit);
        while self.slots[at].0 != EMPTY {
            if self.slots[at].0 == unit {
                return;
            }
            at = (at + 1) & self.mask;
        }
        self.slots[at] = (unit, page);
    }

    fn slot_of(&self, unit: u64) -> usize {
        (unit.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as usize & self.mask
    }

    /// The number of the page that has the unit of an address.
    pub(super) fn page(&self, address: u64) -> Option<usize> {
        let unit = address >> UNIT_SHIFT;
        let mut at = self.slot_of(unit);
        loop {
            let (key, page) = self.slots[at];
            if key == unit {
                return Some(page as usize);
            }
            if key == EMPTY {
                return None;
            }
            at = (at + 1) & self.mask;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_was_put_in_and_nothing_else() {
        let pages: Vec<(u64, u64)> = (0..1000)
            .map(|n| (n * 7 * UNIT, if n % 5 == 0 { 2 * UNIT } else { UNIT }))
            .collect();
        let units = Units::new(pages.iter().copied());
        for (index, (base, bytes)) in pages.iter().enumerate() {
            assert_eq!(units.page(*base), Some(index));
            assert_eq!(units.page(base + bytes - 1), Some(index));
            assert_eq!(units.page(base + bytes), None);
        }
        assert_eq!(units.page(u64::MAX), None);
    }
}
