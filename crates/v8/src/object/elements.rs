//! Elements: the properties whose keys are indices, and the arrays they are kept in.

use crate::error::Result;
use crate::tagged::Tagged;
use crate::types::Kind;
use crate::v8::{MapInfo, V8};

use super::Slot;

/// The word of an element that is absent from an array of doubles (`kHoleNanInt64`).
const DOUBLE_HOLE: u64 = 0xfff7_ffff_fff7_ffff;
/// Undefined in an array of doubles, where 26 keeps it so (`kUndefinedNanInt64`).
const DOUBLE_UNDEFINED: u64 = 0xfff6_ffff_fff6_ffff;

/// The indexed properties of an object.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Elements {
    /// Index and value, in order.
    pub entries: Vec<(u64, Slot)>,
    /// The array's length, or the highest index and one.
    pub length: u64,
    /// How many entries there are, also those beyond the limit; of an array how many elements it holds, present or not.
    pub count: u64,
}

impl V8 {
    /// The kind of elements, as V8 numbers them since Node 20. (In 18 those of shared arrays, 12, are lacking.)
    pub fn elements_kind(&self, map: &MapInfo) -> u8 {
        let bits = i64::from(map.bits2) & self.c.elements_kind_mask;
        let kind = (bits >> self.c.elements_kind_shift) as u8;
        kind + u8::from(self.version.is_node_18() && kind >= 12)
    }

    /// The indexed properties of an object, the first `limit` of them. Absent elements are not among them, and an array
    /// is read no further than to the last of these.
    ///
    /// # Errors
    /// When its elements are damaged.
    pub fn elements(&self, object: Tagged, limit: u64) -> Result<Elements> {
        let map = self.map_of(object)?;
        let mut out = Elements::default();
        if !map.kind.is_js_object() || matches!(map.kind, Kind::JsProxy | Kind::JsTypedArray) {
            return Ok(out);
        }
        if map.kind == Kind::JsArray {
            out.length = self
                .number(self.field(object.address(), self.c.js_array_length)?)
                .unwrap_or(0.0) as u64;
        }
        let store = self.field(object.address(), self.c.elements)?;
        let store_map = self.map_of(store)?;
        if self.is_number_dictionary(store) {
            let mut entries = self.hash_table(
                store,
                self.c.number_dictionary_prefix as u64,
                self.c.number_dictionary_entry as u64,
            )?;
            entries.sort_by(|a, b| {
                let key = |entry: &Vec<Tagged>| {
                    entry
                        .first()
                        .and_then(|key| self.number(*key))
                        .unwrap_or(0.0)
                };
                key(a).total_cmp(&key(b))
            });
            out.count = entries.len() as u64;
            for entry in entries.into_iter().take(limit as usize) {
                let [key, value, details] = entry[..] else {
                    continue;
                };
                let accessor =
                    i64::from(details.as_smi().unwrap_or(0)) & self.c.prop_kind_mask != 0;
                let slot = if accessor {
                    self.accessor(value)
                } else {
                    Slot::Value(value)
                };
                out.entries
                    .push((self.number(key).unwrap_or(0.0) as u64, slot));
            }
            out.length = out
                .length
                .max(out.entries.last().map_or(0, |entry| entry.0 + 1));
            return Ok(out);
        }
        let kind = self.elements_kind(&map);
        if matches!(store_map.kind, Kind::DoubleArray) {
            let held = self.array_length(store)?;
            let used = if map.kind == Kind::JsArray {
                held.min(out.length)
            } else {
                held
            };
            for index in 0..used {
                if out.entries.len() as u64 >= limit {
                    break;
                }
                let bits = self.memory.u64(
                    self.at(store.address(), self.c.array_data)
                        .wrapping_add(8 * index),
                )?;
                let slot = match bits {
                    DOUBLE_HOLE => continue,
                    DOUBLE_UNDEFINED if self.column >= 3 => {
                        Slot::Value(self.root("undefined_value").unwrap_or_default())
                    }
                    bits => Slot::Double(f64::from_bits(bits)),
                };
                out.entries.push((index, slot));
            }
            out.count = used;
            return Ok(out);
        }
        // Sloppy arguments: the parameters that the function's variables alias are in its context. (`SloppyArgumentsElements`:
        // length 8, context 16, arguments 24, mapped entries from 32.)
        let (store, context, mapped) = if matches!(kind, 14 | 15)
            && self.types.name(store_map.instance_type) == "SLOPPY_ARGUMENTS_ELEMENTS"
        {
            let mapped = self.array_length(store)?;
            let context = self.field(store.address(), 16)?;
            let entries = (0..mapped)
                .map(|index| self.field(store.address(), 32 + 8 * index as i64))
                .collect::<Result<Vec<_>>>()?;
            (self.field(store.address(), 24)?, Some(context), entries)
        } else {
            (store, None, Vec::new())
        };
        if self.map_of(store)?.kind != Kind::FixedArray {
            return Ok(out);
        }
        let held = self.array_length(store)?;
        let mut used = if map.kind == Kind::JsArray {
            held.min(out.length)
        } else {
            held
        };
        if map.kind == Kind::JsArguments
            && let Some(length) = self.own_property(object, "length").and_then(Tagged::as_smi)
        {
            used = used.min(length.max(0) as u64);
        }
        let array = map.kind == Kind::JsArray;
        for index in 0..used {
            let full = out.entries.len() as u64 >= limit;
            if array && full {
                break;
            }
            let mut value = self.element_of(store, index)?;
            if let (Some(context), Some(slot)) = (
                context,
                mapped.get(index as usize).and_then(|slot| slot.as_smi()),
            ) {
                value = self.field(context.address(), self.c.array_data + 8 * i64::from(slot))?;
                value = self.unwrap_context_cell(value);
            }
            if self.is_hole(value) {
                continue;
            }
            out.count += 1;
            if !full {
                out.entries.push((index, Slot::Value(value)));
            }
        }
        if array {
            out.count = used;
        } else {
            out.length = out.entries.last().map_or(0, |entry| entry.0 + 1);
        }
        Ok(out)
    }

    /// One element; none when it is absent.
    pub fn element(&self, object: Tagged, index: u64) -> Option<Slot> {
        let map = self.map_of(object).ok()?;
        let store = self.field(object.address(), self.c.elements).ok()?;
        // Straight to its place in a plain array of values, which may be long.
        if map.kind == Kind::JsArray
            && self
                .kind_of(store)
                .is_ok_and(|kind| kind == Kind::FixedArray)
            && !self.is_number_dictionary(store)
        {
            let length = self.field(object.address(), self.c.js_array_length).ok()?;
            let length = self.number(length)? as u64;
            if index >= self.array_length(store).ok()?.min(length) {
                return None;
            }
            let value = self.element_of(store, index).ok()?;
            return (!self.is_hole(value)).then_some(Slot::Value(value));
        }
        let elements = self.elements(object, index.saturating_add(1)).ok()?;
        let found = elements.entries.into_iter().find(|(at, _)| *at == index);
        found.map(|(_, slot)| slot)
    }

    fn is_number_dictionary(&self, store: Tagged) -> bool {
        self.map_of(store).is_ok_and(|map| {
            self.types
                .name(map.instance_type)
                .contains("NUMBER_DICTIONARY")
        })
    }

    /// In 26 a context slot may hold a cell around its value. (`ContextCell`: tagged value 8, state i32 24, double 32.)
    pub fn unwrap_context_cell(&self, value: Tagged) -> Tagged {
        match self.kind_of(value) {
            Ok(Kind::ContextCell) => self
                .field(value.address(), self.c.context_cell_value)
                .unwrap_or(value),
            _ => value,
        }
    }
}
