//! Maps and Sets, strong and weak.

use crate::error::{Result, V8Error};
use crate::tagged::Tagged;
use crate::types::Kind;
use crate::v8::V8;

impl V8 {
    /// The used entries of a Map (key and value) or a Set (key, key), in order.
    ///
    /// # Errors
    /// When its table is damaged.
    pub fn collection(&self, object: Tagged, limit: u64) -> Result<(Vec<(Tagged, Tagged)>, u64)> {
        let map = self.map_of(object)?;
        let pairs = map.kind == Kind::JsMap;
        let table = self.field(object.address(), self.c.js_collection_table)?;
        let length = self.array_length(table)?;
        // OrderedHashTable: elements, deleted, buckets; the buckets; then entries of key, (value,) chain.
        let smi = |index| {
            Ok::<_, V8Error>(self.element_of(table, index)?.as_smi().unwrap_or(0).max(0) as u64)
        };
        if length < 3 {
            return Ok((Vec::new(), 0));
        }
        let (used, deleted, buckets) = (smi(0)?, smi(1)?, smi(2)?);
        let width = if pairs { 3 } else { 2 };
        let mut out = Vec::new();
        for index in 0..used + deleted {
            let at = 3 + buckets + width * index;
            if at + width > length || out.len() as u64 >= limit {
                break;
            }
            let key = self.element_of(table, at)?;
            if self.is_hole(key) {
                continue;
            }
            out.push((
                key,
                if pairs {
                    self.element_of(table, at + 1)?
                } else {
                    key
                },
            ));
        }
        Ok((out, used))
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
