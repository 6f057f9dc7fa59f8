//! The words of V8's heap: a small integer, or a pointer whose low bits say that it is one.

use std::fmt;

/// A tagged word of a build without pointer compression: low bits 01 for a strong pointer, 11 for a weak one, bit 0
/// clear for a Smi, whose value is the upper half.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Tagged(pub u64);

/// The word of a weak reference that the garbage collector has cleared.
const CLEARED: u64 = 3;

impl Tagged {
    /// A Smi.
    pub fn smi(value: i32) -> Tagged {
        Tagged((value as u32 as u64) << 32)
    }

    /// Whether it is a small integer. The lower half of one is zero.
    pub fn is_smi(self) -> bool {
        self.0 & 0xffff_ffff == 0
    }

    /// The value of a Smi.
    pub fn as_smi(self) -> Option<i32> {
        self.is_smi().then_some((self.0 >> 32) as i32)
    }

    /// Whether it points to an object, strongly or weakly.
    pub fn is_pointer(self) -> bool {
        self.0 & 1 == 1 && self.0 & 0xffff_ffff != CLEARED
    }

    /// Whether it is a weak pointer that was not cleared.
    pub fn is_weak(self) -> bool {
        self.0 & 3 == 3 && self.is_pointer()
    }

    /// Whether it is a weak pointer whose object is gone.
    pub fn is_cleared(self) -> bool {
        self.0 & 0xffff_ffff == CLEARED
    }

    /// Where the object begins.
    pub fn address(self) -> u64 {
        self.0 & !3
    }

    /// The strong pointer to an object that begins here.
    pub fn of(address: u64) -> Tagged {
        Tagged(address & !3 | 1)
    }

    /// The same object by a strong pointer.
    pub fn strong(self) -> Tagged {
        if self.is_weak() {
            Tagged(self.0 & !2)
        } else {
            self
        }
    }
}

impl fmt::Display for Tagged {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:#x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_integers_from_pointers() {
        assert_eq!(Tagged::smi(-42).as_smi(), Some(-42));
        assert_eq!(Tagged(0xffff_ffd6_0000_0000).as_smi(), Some(-42));
        assert!(Tagged(0x3bb3_7844_1991).is_pointer());
        assert_eq!(Tagged(0x3bb3_7844_1993).strong(), Tagged(0x3bb3_7844_1991));
        assert!(Tagged(3).is_cleared() && !Tagged(3).is_pointer());
        assert!(!Tagged(0x1000).is_smi() && !Tagged(0x1000).is_pointer());
    }
}
