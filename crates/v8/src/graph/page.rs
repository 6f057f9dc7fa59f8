//! A page with its objects: where they begin, which of them can be reached, and its bytes when there is room for them.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::pages::Page;

/// A page that was walked.
pub(super) struct Walked {
    pub(super) page: Page,
    /// Bytes of the area that the core holds.
    pub(super) held: u64,
    /// One bit for each 8 bytes of the area: an object begins here. Of a large page only its first word.
    pub(super) starts: Vec<u64>,
    /// The same geometry, two bits an object: at its start, that it can be reached; behind that, that its own pointers
    /// were followed. (No object that can be reached has a single word, so the second bit is nobody else's.) One word
    /// more than `starts`, for the second bit of the last object.
    pub(super) marks: Vec<AtomicU64>,
    /// In a page that is being emptied, one bit for each object that has been moved away; else nothing.
    pub(super) moved: Vec<u64>,
    /// Which maps its JavaScript objects have: one bit of [`Walked::map_bit`] for each.
    pub(super) maps: u64,
    /// The bytes of the area, when they are kept.
    pub(super) bytes: Option<Box<[u8]>>,
    /// It waits for a worker, see `reach.rs`.
    pub(super) queued: AtomicBool,
    /// Bytes of its objects, without what is free; and of those that were reached.
    pub(super) used: u64,
    pub(super) reached: AtomicU64,
}

impl Walked {
    /// Over a page whose objects begin where `starts` says.
    pub(super) fn new(page: Page, held: u64, starts: Vec<u64>, used: u64) -> Walked {
        let marks = (0..=starts.len()).map(|_| AtomicU64::new(0)).collect();
        Walked {
            page,
            held,
            starts,
            marks,
            moved: Vec::new(),
            maps: 0,
            bytes: None,
            queued: AtomicBool::new(false),
            used,
            reached: AtomicU64::new(0),
        }
    }

    /// The bit of a map among those of a page: pages without it have no such object.
    pub(super) fn map_bit(map: u64) -> u64 {
        1 << (map.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 58)
    }

    /// Where the bit of an address is.
    fn bit(&self, at: u64) -> (usize, u64) {
        let index = at.wrapping_sub(self.page.area_start) >> 3;
        ((index / 64) as usize, 1 << (index % 64))
    }

    /// Whether an object begins there.
    pub(super) fn is_start(&self, at: u64) -> bool {
        let (word, bit) = self.bit(at);
        at & 7 == 0 && self.starts.get(word).is_some_and(|word| word & bit != 0)
    }

    /// Notes from where objects have been moved away.
    pub(super) fn note_moved(&mut self, from: &[u64]) {
        if from.is_empty() {
            return;
        }
        self.moved = vec![0; self.starts.len()];
        for at in from {
            let (word, bit) = self.bit(*at);
            if let Some(word) = self.moved.get_mut(word) {
                *word |= bit;
            }
        }
    }

    /// Whether an object was there that has been moved away.
    pub(super) fn is_moved(&self, at: u64) -> bool {
        if self.moved.is_empty() {
            return false;
        }
        let (word, bit) = self.bit(at);
        at & 7 == 0 && self.moved.get(word).is_some_and(|word| word & bit != 0)
    }

    /// Calls `visit` with each place from where an object has been moved away.
    pub(super) fn each_moved(&self, mut visit: impl FnMut(u64)) {
        for (index, bits) in self.moved.iter().enumerate() {
            let mut bits = *bits;
            while bits != 0 {
                let bit = u64::from(bits.trailing_zeros());
                bits &= bits - 1;
                visit(self.page.area_start + 8 * (64 * index as u64 + bit));
            }
        }
    }

    /// Whether an object that begins there can be reached.
    pub(super) fn is_marked(&self, at: u64) -> bool {
        self.page.heap == 0 || self.has(at)
    }

    fn has(&self, at: u64) -> bool {
        let (word, bit) = self.bit(at);
        self.marks
            .get(word)
            .is_some_and(|word| word.load(Ordering::Relaxed) & bit != 0)
    }

    /// Marks an object; whether one begins there that was not marked before. Read-only objects are never new.
    pub(super) fn mark(&self, at: u64) -> bool {
        let (word, bit) = self.bit(at);
        let Some(marks) = self.marks.get(word) else {
            return false;
        };
        marks.load(Ordering::Relaxed) & bit == 0
            && self.is_start(at)
            && marks.fetch_or(bit, Ordering::Relaxed) & bit == 0
    }

    /// Notes that the pointers of a marked object are followed now; whether they were not before.
    pub(super) fn begin_scan(&self, at: u64) -> bool {
        let (word, bit) = self.bit(at + 8);
        self.marks
            .get(word)
            .is_some_and(|word| word.fetch_or(bit, Ordering::Relaxed) & bit == 0)
    }

    /// Calls `visit` with the start of each object, or of each that can be reached.
    pub(super) fn each_start(&self, reachable: bool, mut visit: impl FnMut(u64)) {
        for (index, starts) in self.starts.iter().enumerate() {
            let mut bits = *starts;
            if reachable && self.page.heap != 0 {
                bits &= self
                    .marks
                    .get(index)
                    .map_or(0, |word| word.load(Ordering::Relaxed));
            }
            while bits != 0 {
                let bit = u64::from(bits.trailing_zeros());
                bits &= bits - 1;
                visit(self.page.area_start + 8 * (64 * index as u64 + bit));
            }
        }
    }

    /// Calls `visit` with each marked object whose pointers were not followed yet, as it stands at that moment, and
    /// notes that they are now.
    pub(super) fn each_pending(&self, mut visit: impl FnMut(u64)) {
        for index in 0..self.starts.len() {
            loop {
                let marks = self.marks[index].load(Ordering::Relaxed);
                // The second bit of the last object may be the first of the next word.
                let next = self.marks[index + 1].load(Ordering::Relaxed);
                let scanned = marks >> 1 | next << 63;
                let bits = self.starts[index] & marks & !scanned;
                if bits == 0 {
                    break;
                }
                let bit = u64::from(bits.trailing_zeros());
                let at = self.page.area_start + 8 * (64 * index as u64 + bit);
                if self.begin_scan(at) {
                    visit(at);
                }
            }
        }
    }

    /// How many objects wait for that.
    pub(super) fn pending(&self) -> u32 {
        let mut count = 0;
        for (index, starts) in self.starts.iter().enumerate() {
            let marks = self.marks[index].load(Ordering::Relaxed);
            let next = self.marks[index + 1].load(Ordering::Relaxed);
            count += (starts & marks & !(marks >> 1 | next << 63)).count_ones();
        }
        count
    }
}
