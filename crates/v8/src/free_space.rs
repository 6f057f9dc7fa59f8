//! In what a FreeSpace tells its size: bytes up to V8 12, words in 14, and in 13.6 either: Node 24 went from the one to the
//! other between two patch releases (bytes in 24.11, words in 24.21). Which it is, the pages tell.

use crate::constants::Provenance;
use crate::tagged::Tagged;
use crate::types::Sizing;
use crate::v8::V8;

/// Most pages, and votes, that are asked.
const MAX_PAGES: usize = 64;
const MAX_VOTES: i32 = 16;
/// Most objects of a page that are stepped over on the way to a free space.
const MAX_OBJECTS: usize = 1 << 15;

impl V8 {
    /// How many bytes one unit of a FreeSpace's size is: 1 or 8.
    pub(crate) fn free_space_unit(&self) -> u64 {
        match self.column {
            0 | 1 => 1,
            2 => self.free_unit.get_or_init(|| self.vote()).0,
            _ => 8,
        }
    }

    /// The same for `layout`.
    pub(crate) fn free_space_row(&self) -> (i64, Provenance) {
        let unit = self.free_space_unit();
        let how = self
            .free_unit
            .get()
            .map_or(Provenance::Table, |unit| unit.1);
        (unit as i64, how)
    }

    /// Looks at the first free space of some pages: whether its size in bytes or in words leads to a map or to the end.
    fn vote(&self) -> (u64, Provenance) {
        let mut votes = 0;
        let pages = self.pages.pages().iter();
        for page in pages
            .filter(|page| page.heap != 0 && !page.large && !page.from)
            .take(MAX_PAGES)
        {
            let mut at = page.area_start;
            for _ in 0..MAX_OBJECTS {
                let Some(map) = self
                    .memory
                    .u64(at)
                    .ok()
                    .and_then(|word| self.map(Tagged(word)))
                else {
                    break;
                };
                if self.types.sizing(map.instance_type) == Sizing::FreeSpace && map.size == 0 {
                    votes += self.vote_of(at, page.area_end);
                    break;
                }
                match self.size_at(at, &map) {
                    Ok(size) if size < page.area_end - at => at += size,
                    _ => break,
                }
            }
            if votes.abs() >= MAX_VOTES {
                break;
            }
        }
        match votes {
            0 => (8, Provenance::Table),
            ..0 => (1, Provenance::Searched),
            1.. => (8, Provenance::Searched),
        }
    }

    /// -1 for bytes, 1 for words, 0 when neither or both make sense.
    fn vote_of(&self, at: u64, end: u64) -> i32 {
        let amount = self
            .memory
            .u64(at + 8)
            .ok()
            .and_then(|word| Tagged(word).as_smi())
            .and_then(|amount| u64::try_from(amount).ok())
            .unwrap_or(0);
        let leads = |size: u64| {
            size >= 16
                && size.is_multiple_of(8)
                && (at + size == end
                    || at + size < end
                        && self
                            .memory
                            .u64(at + size)
                            .is_ok_and(|word| self.map(Tagged(word)).is_some()))
        };
        i32::from(leads(8 * amount)) - i32::from(leads(amount))
    }
}
