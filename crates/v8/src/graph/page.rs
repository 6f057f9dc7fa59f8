//! A page with its objects: where they begin, and which of them can be reached.

use std::sync::OnceLock;
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
    /// more than `starts`, for the second bit of the last object. There are none before something is marked.
    marks: OnceLock<Box<[AtomicU64]>>,
    /// In a page that is being emptied, one bit for each object that has been moved away; else nothing.
    pub(super) moved: Vec<u64>,
    /// Which maps its JavaScript objects have: one bit of [`Walked::map_bit`] for each.
    pub(super) maps: u64,
    /// It waits for a worker, see `reach.rs`.
    pub(super) queued: AtomicBool,
    /// Bytes of its objects, without what is free; and of those that were reached.
    pub(super) used: u64,
    pub(super) reached: AtomicU64,
}

impl Walked {
    /// Over a page whose objects begin where `starts` says.
    pub(super) fn new(page: Page, held: u64, starts: Vec<u64>, used: u64) -> Walked {
        Walked {
            page,
            held,
            starts,
            marks: OnceLock::new(),
            moved: Vec::new(),
            maps: 0,
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

    /// The marks, made when the first object is marked.
    fn marks(&self) -> &[AtomicU64] {
        self.marks
            .get_or_init(|| (0..=self.starts.len()).map(|_| AtomicU64::new(0)).collect())
    }

    /// The marks of 64 words of the area.
    fn marks_of(&self, word: usize) -> u64 {
        self.marks
            .get()
            .and_then(|marks| marks.get(word))
            .map_or(0, |word| word.load(Ordering::Relaxed))
    }

    /// Whether an object that begins there can be reached.
    pub(super) fn is_marked(&self, at: u64) -> bool {
        let (word, bit) = self.bit(at);
        self.page.heap == 0 || self.marks_of(word) & bit != 0
    }

    /// Marks an object; whether one begins there that was not marked before. Read-only objects are never new.
    pub(super) fn mark(&self, at: u64) -> bool {
        let (word, bit) = self.bit(at);
        if self.page.heap == 0 || !self.is_start(at) {
            return false;
        }
        let marks = &self.marks()[word];
        marks.load(Ordering::Relaxed) & bit == 0
            && marks.fetch_or(bit, Ordering::Relaxed) & bit == 0
    }

    /// Marks an object whose pointers are followed at once; whether one begins there whose pointers were not followed.
    pub(super) fn mark_and_scan(&self, at: u64) -> bool {
        let (word, bit) = self.bit(at);
        if !self.is_start(at) {
            return false;
        }
        let Some(behind) = bit.checked_shl(1).filter(|behind| *behind != 0) else {
            self.mark(at);
            return self.begin_scan(at);
        };
        let marks = &self.marks()[word];
        marks.load(Ordering::Relaxed) & behind == 0
            && marks.fetch_or(bit | behind, Ordering::Relaxed) & behind == 0
    }

    /// Notes that the pointers of a marked object are followed now; whether they were not before.
    fn begin_scan(&self, at: u64) -> bool {
        let (word, bit) = self.bit(at + 8);
        self.marks()
            .get(word)
            .is_some_and(|word| word.fetch_or(bit, Ordering::Relaxed) & bit == 0)
    }

    /// Calls `visit` with the start of each object, or of each that can be reached.
    pub(super) fn each_start(&self, reachable: bool, mut visit: impl FnMut(u64)) {
        for (index, starts) in self.starts.iter().enumerate() {
            let mut bits = *starts;
            if reachable && self.page.heap != 0 {
                bits &= self.marks_of(index);
            }
            while bits != 0 {
                let bit = u64::from(bits.trailing_zeros());
                bits &= bits - 1;
                visit(self.page.area_start + 8 * (64 * index as u64 + bit));
            }
        }
    }

    /// The marked objects among 64 words whose pointers were not followed.
    fn pending_of(&self, word: usize) -> u64 {
        let marks = self.marks_of(word);
        if marks == 0 {
            return 0;
        }
        // The second bit of the last object may be the first of the next word.
        let scanned = marks >> 1 | self.marks_of(word + 1) << 63;
        self.starts[word] & marks & !scanned
    }

    /// Calls `visit` with each marked object whose pointers were not followed yet, as it stands at that moment, and
    /// notes that they are now.
    pub(super) fn each_pending(&self, mut visit: impl FnMut(u64)) {
        for index in 0..self.starts.len() {
            loop {
                let mut bits = self.pending_of(index);
                if bits == 0 {
                    break;
                }
                while bits != 0 {
                    let bit = u64::from(bits.trailing_zeros());
                    bits &= bits - 1;
                    let at = self.page.area_start + 8 * (64 * index as u64 + bit);
                    if self.begin_scan(at) {
                        visit(at);
                    }
                }
            }
        }
    }

    /// How many objects wait for that.
    pub(super) fn pending(&self) -> u32 {
        (0..self.starts.len())
            .map(|index| self.pending_of(index).count_ones())
            .sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pages::Space;

    const START: u64 = 0x4_0010;

    /// A page with objects at these words of its area.
    fn page(heap: u64, words: &[u64]) -> Walked {
        let page = Page {
            base: 0x4_0000,
            size: 0x4_0000,
            area_start: START,
            area_end: 0x8_0000,
            heap,
            space: Space::Old,
            owner: 8,
            metadata: 0x4_0000,
            large: false,
            from: false,
            candidate: false,
        };
        let mut starts = vec![0; 4];
        for word in words {
            starts[(word / 64) as usize] |= 1 << (word % 64);
        }
        Walked::new(page, 0x3_fff0, starts, 0)
    }

    fn at(word: u64) -> u64 {
        START + 8 * word
    }

    #[test]
    fn every_object_is_followed_once_also_at_the_end_of_a_word_of_marks() {
        let page = page(0x1000, &[0, 63, 66, 70, 127, 255]);
        assert!(!page.is_marked(at(0)) && page.pending() == 0);
        // From another page: marked, and to be followed. Again: nothing new.
        assert!(page.mark(at(63)) && !page.mark(at(63)));
        assert!(page.is_marked(at(63)) && page.pending() == 1);
        // From the page itself, what was marked is still to be followed, and then no more.
        assert!(page.mark_and_scan(at(63)) && !page.mark_and_scan(at(63)));
        assert!(page.mark_and_scan(at(255)) && !page.mark_and_scan(at(255)));
        assert_eq!(page.pending(), 0);
        assert!(!page.mark(at(63)) && !page.mark(at(1)) && !page.mark_and_scan(at(1)));
        assert!(page.mark(at(0)) && page.mark(at(66)) && page.mark(at(127)));
        let mut followed = Vec::new();
        page.each_pending(|object| {
            followed.push(object);
            // What is marked meanwhile is followed as well.
            if object == at(66) {
                assert!(page.mark(at(70)));
            }
        });
        followed.sort_unstable();
        assert_eq!(followed, [at(0), at(66), at(70), at(127)]);
        assert_eq!(page.pending(), 0);
        let mut reached = Vec::new();
        page.each_start(true, |object| reached.push(object));
        assert_eq!(reached, [at(0), at(63), at(66), at(70), at(127), at(255)]);
    }

    #[test]
    fn what_is_read_only_is_never_to_be_followed() {
        let page = page(0, &[0]);
        assert!(page.is_marked(at(0)) && !page.mark(at(0)) && page.pending() == 0);
    }
}
