//! Maps keyed by addresses, which are well spread already.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// A multiplication is enough of a hash for an address. The keys come from a core, so an attacker could make them
/// collide; that costs time and nothing else.
#[derive(Debug, Default, Clone, Copy)]
pub struct AddressHasher(u64);

impl Hasher for AddressHasher {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }
    fn write_u64(&mut self, value: u64) {
        let mixed = (self.0 ^ value).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = mixed ^ mixed >> 32;
    }
}

/// By address.
pub type AddressMap<T> = HashMap<u64, T, BuildHasherDefault<AddressHasher>>;
