//! FixedArrays and the hash tables made of them: V8's own arrays, out of which objects are built.

use crate::error::{Result, V8Error};
use crate::tagged::Tagged;
use crate::v8::V8;

impl V8 {
    /// The elements of a FixedArray or of anything like one.
    ///
    /// # Errors
    /// When it is none, or its length is impossible.
    pub fn fixed_array(&self, array: Tagged) -> Result<Vec<Tagged>> {
        let length = self.array_length(array)?;
        (0..length)
            .map(|index| self.element_of(array, index))
            .collect()
    }

    /// The length of a FixedArray, checked against the page it is on.
    ///
    /// # Errors
    /// When it is impossible.
    pub fn array_length(&self, array: Tagged) -> Result<u64> {
        let damaged = V8Error::Damaged {
            address: array.0,
            what: "an array of impossible length",
        };
        let page = self
            .pages
            .page_of(array.address())
            .ok_or(V8Error::NotObject { address: array.0 })?;
        let length = self
            .field(array.address(), self.c.array_length)?
            .as_smi()
            .ok_or(damaged.clone())?;
        let length = u64::try_from(length).map_err(|_| damaged.clone())?;
        if length * 8 > page.area_end - array.address() {
            return Err(damaged);
        }
        Ok(length)
    }

    /// One element of a FixedArray.
    ///
    /// # Errors
    /// [`V8Error::Missing`].
    pub fn element_of(&self, array: Tagged, index: u64) -> Result<Tagged> {
        self.field(array.address(), self.c.array_data + 8 * index as i64)
    }

    /// The used entries of a hash table: after three words of bookkeeping and `prefix` words, `entry` words each.
    ///
    /// # Errors
    /// When it is no table.
    pub fn hash_table(&self, table: Tagged, prefix: u64, entry: u64) -> Result<Vec<Vec<Tagged>>> {
        let length = self.array_length(table)?;
        let first = self.c.dictionary_prefix as u64 + prefix;
        let mut entries = Vec::new();
        let mut at = first;
        while at + entry <= length {
            let key = self.element_of(table, at)?;
            if !self.is_undefined(key) && !self.is_hole(key) {
                entries.push(
                    (at..at + entry)
                        .map(|index| self.element_of(table, index))
                        .collect::<Result<Vec<_>>>()?,
                );
            }
            at += entry;
        }
        Ok(entries)
    }
}
