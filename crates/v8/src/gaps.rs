//! What a walk could not make sense of, and what it left out.

/// What was found where no object was.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Gaps {
    /// Bytes between objects that are none.
    pub bytes: u64,
    /// Bytes that were walked.
    pub walked: u64,
    /// Bytes of the area that were skipped because they are free for allocation.
    pub free: u64,
    /// Where the first few gaps begin, and their length.
    pub first: Vec<(u64, u64)>,
    /// Bytes that could not be read.
    pub missing: u64,
    /// Bytes of objects that had been given their place and were not written yet when the process died.
    pub begun: u64,
    /// Where each of those is, and its bytes.
    pub(crate) unwritten: Vec<(u64, u64)>,
    /// The last objects of areas that were being filled, likewise: these may be written in part.
    pub(crate) last: Vec<(u64, u64)>,
}

impl Gaps {
    /// Adds another page's.
    pub fn add(&mut self, other: Gaps) {
        self.bytes += other.bytes;
        self.walked += other.walked;
        self.free += other.free;
        self.missing += other.missing;
        self.begun += other.begun;
        self.unwritten.extend(other.unwritten);
        self.last.extend(other.last);
        self.first.extend(other.first);
        self.first.truncate(64);
    }

    /// The part of the heap that could not be walked, from 0 to 1.
    pub fn share(&self) -> f64 {
        if self.walked == 0 {
            0.0
        } else {
            (self.bytes + self.missing) as f64 / (self.walked + self.missing) as f64
        }
    }
}
