//! The dynamic linker's index over the names of a file's symbols (`.gnu.hash`): a name is found by a few words, where an index
//! of our own would have to read every name first.
//!
//! Its words: number of buckets, number of the first symbol in it, words of the Bloom filter, a shift; the filter (64 bits a
//! word); for each bucket its first symbol; for each symbol its hash, whose lowest bit ends the bucket.

use std::sync::Arc;

use goblin::elf::section_header::SHT_GNU_HASH;

use crate::elf_file::ElfFile;
use crate::source::Source;

/// Size of the words before the filter.
const HEADER: u64 = 16;

/// Most symbols of one bucket that are looked at.
const MAX_STEPS: u32 = 4096;

pub(crate) struct GnuHash {
    source: Arc<dyn Source>,
    /// Where the buckets are in the file, and how many.
    buckets: (u64, u32),
    /// Where the hashes are, and how many.
    hashes: (u64, u32),
    /// The number of the first symbol that has one.
    first: u32,
}

impl GnuHash {
    /// That of a file; nothing where it has none, or one that makes no sense.
    pub(crate) fn of(file: &ElfFile) -> Option<GnuHash> {
        let section = file.section_of_type(SHT_GNU_HASH)?;
        let end = section.sh_offset.checked_add(section.sh_size)?;
        let source = file.source().clone();
        let [buckets, first, filter, _] = words(&*source, section.sh_offset)?;
        let at = section.sh_offset.checked_add(HEADER)?;
        let at = at.checked_add(8 * u64::from(filter))?;
        let hashes = at.checked_add(4 * u64::from(buckets))?;
        let count = u32::try_from(end.checked_sub(hashes)? / 4).ok()?;
        (buckets > 0).then_some(GnuHash {
            source,
            buckets: (at, buckets),
            hashes: (hashes, count),
            first,
        })
    }

    /// The numbers of the symbols whose names have the same hash as this.
    pub(crate) fn with_hash_of(&self, name: &[u8]) -> impl Iterator<Item = u32> {
        let wanted = hash(name);
        let (buckets, count) = self.buckets;
        let bucket = words(&*self.source, buckets + 4 * u64::from(wanted % count));
        let [begin] = bucket.unwrap_or([0]);
        let mut next = begin.checked_sub(self.first);
        let mut steps = 0;
        std::iter::from_fn(move || {
            loop {
                let index = next.filter(|index| *index < self.hashes.1 && steps < MAX_STEPS)?;
                let [known] = words(&*self.source, self.hashes.0 + 4 * u64::from(index))?;
                next = (known & 1 == 0).then(|| index + 1);
                steps += 1;
                if known | 1 == wanted | 1 {
                    return self.first.checked_add(index);
                }
            }
        })
    }
}

/// That of the dynamic linker: times 33, from 5381 on.
fn hash(name: &[u8]) -> u32 {
    name.iter().fold(5381, |hash: u32, &byte| {
        hash.wrapping_mul(33).wrapping_add(u32::from(byte))
    })
}

fn words<const N: usize>(source: &dyn Source, at: u64) -> Option<[u32; N]> {
    let mut bytes = [[0; 4]; N];
    let flat = bytes.as_flattened_mut();
    let got = source.read_at(at, flat).ok()?;
    (got == flat.len()).then(|| bytes.map(u32::from_le_bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_hash_as_the_dynamic_linker_has_it() {
        // From the description of DT_GNU_HASH.
        assert_eq!(hash(b""), 0x0000_1505);
        assert_eq!(hash(b"printf"), 0x156b_2bb8);
        assert_eq!(hash(b"exit"), 0x7c96_7e3f);
        assert_eq!(hash(b"syscall"), 0xbac2_12a0);
        assert_eq!(hash(b"flapenguin.me"), 0x8ae9_f18e);
    }
}
