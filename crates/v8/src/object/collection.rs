//! Maps and Sets, strong and weak.

use crate::error::{Result, V8Error};
use crate::tagged::Tagged;
use crate::types::Kind;
use crate::v8::V8;

/// Most tables that an iterator is followed through.
const MAX_TABLES: usize = 1 << 16;

impl V8 {
    /// The used entries of a Map (key and value) or a Set (key, key), in order, and how many there are in all.
    ///
    /// # Errors
    /// When its table is damaged.
    pub fn collection(&self, object: Tagged, limit: u64) -> Result<(Vec<(Tagged, Tagged)>, u64)> {
        let pairs = self.map_of(object)?.kind == Kind::JsMap;
        let table = self.field(object.address(), self.c.js_collection_table)?;
        if self.array_length(table)? < 3 {
            return Ok((Vec::new(), 0));
        }
        let (entries, _) = self.ordered(table, pairs, 0, limit)?;
        let used = self.element_of(table, 0)?.as_smi().unwrap_or(0).max(0);
        Ok((entries, used as u64))
    }

    /// The entries of an ordered table from an index on, and how many there are. (`OrderedHashTable`: elements, deleted
    /// ones, buckets; the buckets; then entries of key, value in maps, and chain. A deleted key is a hole.)
    fn ordered(
        &self,
        table: Tagged,
        pairs: bool,
        from: u64,
        limit: u64,
    ) -> Result<(Vec<(Tagged, Tagged)>, u64)> {
        let length = self.array_length(table)?;
        let number = |index| {
            Ok::<_, V8Error>(self.element_of(table, index)?.as_smi().unwrap_or(0).max(0) as u64)
        };
        if length < 3 {
            return Ok((Vec::new(), 0));
        }
        let (used, deleted, buckets) = (number(0)?, number(1)?, number(2)?);
        let width = if pairs { 3 } else { 2 };
        let mut out = Vec::new();
        let mut count = 0;
        for index in from..used + deleted {
            let at = 3 + buckets + width * index;
            if at + width > length {
                break;
            }
            let key = self.element_of(table, at)?;
            if self.is_hole(key) {
                continue;
            }
            count += 1;
            if (out.len() as u64) < limit {
                let value = if pairs {
                    self.element_of(table, at + 1)?
                } else {
                    key
                };
                out.push((key, value));
            } else if from == 0 {
                // The table itself says how many there are.
                break;
            }
        }
        Ok((out, count))
    }

    /// What an iterator of a Map or a Set has still to give, and how many. It may stand in a table that the collection has
    /// left behind: that one names the next, and which entries were left out on the way there
    /// (`OrderedHashTableIterator::Transition`).
    ///
    /// # Errors
    /// When its table is damaged.
    pub fn collection_rest(
        &self,
        iterator: Tagged,
        limit: u64,
    ) -> Result<(Vec<(Tagged, Tagged)>, u64)> {
        let pairs = self.map_of(iterator)?.kind == Kind::JsMapIterator;
        let at = iterator.address();
        let mut table = self.field(at, self.c.js_collection_table)?;
        let index = self.field(at, self.c.js_collection_table + 8)?;
        let mut index = index.as_smi().unwrap_or(0).max(0) as u64;
        for _ in 0..MAX_TABLES {
            if self.array_length(table)? < 3 {
                return Ok((Vec::new(), 0));
            }
            let next = self.element_of(table, 0)?;
            if next.is_smi() {
                // A table's own count is of all its entries; an iterator wants those before it.
                return if index == 0 {
                    let (entries, _) = self.ordered(table, pairs, 0, limit)?;
                    Ok((entries, next.as_smi().unwrap_or(0).max(0) as u64))
                } else {
                    self.ordered(table, pairs, index, limit)
                };
            }
            let removed = self.element_of(table, 1)?.as_smi().unwrap_or(0);
            if removed < 0 {
                // The collection was cleared.
                index = 0;
            } else {
                let before = index;
                for hole in 0..removed as u64 {
                    let hole = self.element_of(table, 3 + hole)?.as_smi().unwrap_or(0);
                    if hole.max(0) as u64 >= before {
                        break;
                    }
                    index = index.saturating_sub(1);
                }
            }
            table = next;
        }
        Err(V8Error::Damaged {
            address: iterator.0,
            what: "an iterator whose tables have no end",
        })
    }

    /// What a FinalizationRegistry waits for: the target, what its callback will be told, the token to unregister; the
    /// first `limit`. (`JSFinalizationRegistry`: native context, cleanup, active cells; `WeakCell`: registry 8, target 16,
    /// token 24, holdings 32, or in 26 holdings, target, token; previous 40, next 48.)
    ///
    /// # Errors
    /// When the list of its cells is damaged.
    pub fn registered(&self, registry: Tagged, limit: u64) -> Result<Vec<[Tagged; 3]>> {
        let mut cell = self.field(registry.address(), self.c.object_header + 16)?;
        let mut out = Vec::new();
        while (out.len() as u64) < limit
            && self.kind_of(cell).is_ok_and(|kind| kind == Kind::WeakCell)
        {
            let part = |offset| self.field(cell.address(), offset);
            let [target, holdings, token] = if self.column >= 3 {
                [24, 16, 32]
            } else {
                [16, 32, 24]
            };
            out.push([part(target)?, part(holdings)?, part(token)?]);
            cell = part(48)?;
        }
        Ok(out)
    }

    /// The entries of a WeakMap or a WeakSet: an EphemeronHashTable.
    ///
    /// # Errors
    /// When its table is damaged.
    pub fn weak_collection(&self, object: Tagged) -> Result<Vec<(Tagged, Tagged)>> {
        let table = self.field(object.address(), self.c.js_collection_table)?;
        self.map_of(table)?;
        Ok(self
            .hash_table(table, 0, 2)?
            .into_iter()
            .filter_map(|entry| Some((*entry.first()?, *entry.get(1)?)))
            .collect())
    }
}
