//! Named properties.
//!
//! Where a property is: V8's `objects/property-details.h`, `objects/descriptor-array.tq`, `objects/dictionary.h`. A map's
//! descriptors name the properties; each is a field in the object, a field in its property array, or a constant in the
//! descriptor. Objects with many or deleted properties have a dictionary instead.

use crate::error::Result;
use crate::tagged::Tagged;
use crate::types::Kind;
use crate::v8::{MapInfo, V8};

use super::{MAX_CHAIN, Slot};

/// One property.
#[derive(Debug, Clone, PartialEq)]
pub struct Property {
    /// A string or a symbol.
    pub key: Tagged,
    /// Its value.
    pub slot: Slot,
    /// It shows in `Object.keys`.
    pub enumerable: bool,
    /// A `#private` member, or a mark of V8's own.
    pub private: bool,
}

impl V8 {
    /// The number of properties that a map describes.
    fn own_descriptors(&self, map: &MapInfo) -> u64 {
        (i64::from(map.bits3) & self.c.own_descriptors_mask) as u64 >> self.c.own_descriptors_shift
    }

    /// Whether objects with this map keep their properties in a dictionary.
    pub fn is_dictionary_map(&self, map: &MapInfo) -> bool {
        map.bits3 >> self.c.dictionary_shift & 1 == 1
    }

    /// The keys that a map describes, with where each value is: what objects of one shape share.
    ///
    /// # Errors
    /// When its descriptors are damaged.
    pub fn map_keys(&self, map: &MapInfo) -> Result<Vec<(Tagged, i64, Tagged)>> {
        if self.is_dictionary_map(map) {
            return Ok(Vec::new());
        }
        let descriptors = self.field(map.address, self.c.map_descriptors)?;
        self.map_of(descriptors)?;
        let held = u64::from(
            self.memory
                .u16(self.at(descriptors.address(), self.c.descriptor_count))?,
        );
        let count = self.own_descriptors(map).min(held);
        let mut keys = Vec::with_capacity(count as usize);
        for index in 0..count as i64 {
            let entry = self.c.descriptor_header + 8 * self.c.prop_desc_size * index;
            let key = self.field(descriptors.address(), entry + 8 * self.c.prop_desc_key)?;
            let details =
                self.field(descriptors.address(), entry + 8 * self.c.prop_desc_details)?;
            let value = self.field(descriptors.address(), entry + 8 * self.c.prop_desc_value)?;
            keys.push((key, i64::from(details.as_smi().unwrap_or(0)), value));
        }
        Ok(keys)
    }

    /// The named properties of an object, in the order they were added. Elements are not among them.
    ///
    /// # Errors
    /// When the object or its tables are damaged.
    pub fn properties(&self, object: Tagged) -> Result<Vec<Property>> {
        let map = self.map_of(object)?;
        if !map.kind.is_js_object() || map.kind == Kind::JsProxy {
            return Ok(Vec::new());
        }
        if map.kind == Kind::JsGlobalObject {
            return self.global_properties(object);
        }
        if map.kind == Kind::JsGlobalProxy {
            // The global object stands behind it, as its prototype.
            let global = self.field(map.address, self.c.map_prototype)?;
            return match self.kind_of(global)? {
                Kind::JsGlobalObject => self.global_properties(global),
                _ => Ok(Vec::new()),
            };
        }
        if self.is_dictionary_map(&map) {
            return self.dictionary_properties(self.field(object.address(), self.c.properties)?);
        }
        let backing = self.field(object.address(), self.c.properties)?;
        let words = i64::from(map.size / 8);
        let mut properties = Vec::new();
        for (key, details, value) in self.map_keys(&map)? {
            let accessor = details & self.c.prop_kind_mask != 0;
            let in_descriptor = details & self.c.prop_location_mask != 0;
            let slot = if in_descriptor {
                value.strong()
            } else {
                let index = (details & self.c.prop_index_mask) >> self.c.prop_index_shift;
                let inside = words - i64::from(map.inobject);
                let field = if index < inside {
                    self.field(object.address(), 8 * (i64::from(map.inobject) + index))
                } else {
                    self.map_of(backing)?;
                    self.field(backing.address(), self.c.array_data + 8 * (index - inside))
                };
                field?
            };
            let mut slot = if accessor {
                self.accessor(slot)
            } else {
                Slot::Value(slot)
            };
            if let Slot::Value(value) = slot
                && !accessor
                && self.is_hole(value)
            {
                slot = Slot::Hole;
            }
            properties.push(Property {
                key,
                slot,
                enumerable: details >> self.c.prop_attributes_shift & 2 == 0,
                private: self.is_private_key(key),
            });
        }
        Ok(properties)
    }

    fn is_private_key(&self, key: Tagged) -> bool {
        self.kind_of(key).is_ok_and(|kind| kind == Kind::Symbol) && self.is_private_symbol(key)
    }

    pub(super) fn accessor(&self, value: Tagged) -> Slot {
        match self.kind_of(value) {
            Ok(Kind::AccessorPair) => {
                let part = |field| self.field(value.address(), field).unwrap_or_default();
                Slot::Accessor(part(self.c.accessor_getter), part(self.c.accessor_setter))
            }
            _ => Slot::Native,
        }
    }

    fn dictionary_properties(&self, table: Tagged) -> Result<Vec<Property>> {
        self.map_of(table)?;
        let entries = self.hash_table(
            table,
            self.c.name_dictionary_prefix as u64,
            self.c.name_dictionary_entry as u64,
        )?;
        let mut properties = Vec::new();
        for entry in entries {
            let [key, value, details] = entry[..] else {
                continue;
            };
            properties.push(self.with_details(key, value, details));
        }
        Ok(in_order(properties))
    }

    /// A property of a dictionary, and its place in the order in which they were added: bits 8 to 30 of its details.
    fn with_details(&self, key: Tagged, value: Tagged, details: Tagged) -> (i64, Property) {
        let details = i64::from(details.as_smi().unwrap_or(0));
        let slot = if details & self.c.prop_kind_mask != 0 {
            self.accessor(value)
        } else {
            Slot::Value(value)
        };
        let property = Property {
            key,
            slot,
            enumerable: details >> self.c.prop_attributes_shift & 2 == 0,
            private: self.is_private_key(key),
        };
        (details >> 8 & 0x7f_ffff, property)
    }

    fn global_properties(&self, object: Tagged) -> Result<Vec<Property>> {
        let table = self.field(object.address(), self.c.properties)?;
        self.map_of(table)?;
        let mut properties = Vec::new();
        // A GlobalDictionary: two words of prefix, then one PropertyCell an entry.
        for entry in self.hash_table(table, 2, 1)? {
            let Some(cell) = entry.first() else { continue };
            if self
                .kind_of(*cell)
                .is_ok_and(|kind| kind == Kind::PropertyCell)
            {
                let key = self.field(cell.address(), self.c.property_cell_name)?;
                let details = self.field(cell.address(), self.c.property_cell_details)?;
                let value = self.field(cell.address(), self.c.property_cell_value)?;
                let (order, property) = self.with_details(key, value, details);
                if !matches!(property.slot, Slot::Value(value) if self.is_hole(value)) {
                    properties.push((order, property));
                }
            }
        }
        Ok(in_order(properties))
    }

    /// An own property's value by its name, when it is a plain value.
    pub fn own_property(&self, object: Tagged, name: &str) -> Option<Tagged> {
        self.properties(object)
            .ok()?
            .into_iter()
            .find_map(|property| match property.slot {
                Slot::Value(value)
                    if !property.private
                        && self.name_text(property.key).as_deref() == Some(name) =>
                {
                    Some(value)
                }
                _ => None,
            })
    }

    /// An own or inherited property, or an element, by name.
    pub fn lookup(&self, object: Tagged, name: &str) -> Option<Slot> {
        if let Ok(index) = name.parse::<u64>()
            && let Some(slot) = self.element(object, index)
        {
            return Some(slot);
        }
        let mut at = object;
        for _ in 0..MAX_CHAIN {
            let map = self.map_of(at).ok()?;
            if !map.kind.is_js_object() {
                return None;
            }
            if map.kind == Kind::JsArray && name == "length" {
                return Some(Slot::Value(
                    self.field(at.address(), self.c.js_array_length).ok()?,
                ));
            }
            let found = self
                .properties(at)
                .ok()?
                .into_iter()
                .find(|property| self.key_text(property) == name);
            if let Some(found) = found {
                return Some(found.slot);
            }
            at = self.field(map.address, self.c.map_prototype).ok()?;
        }
        None
    }

    /// A property's key as text: a name, `Symbol(description)`, `#private`.
    pub fn key_text(&self, property: &Property) -> String {
        if let Some(name) = self.name_text(property.key) {
            return name;
        }
        match self.symbol_description(property.key) {
            Ok(Some(description)) if property.private => description,
            Ok(Some(description)) => format!("Symbol({description})"),
            Ok(None) if property.private => {
                self.root_name(property.key).map_or("#".to_owned(), |name| {
                    format!("[[{}]]", name.trim_end_matches("_symbol"))
                })
            }
            Ok(None) => "Symbol()".to_owned(),
            Err(_) => format!("<{:#x}>", property.key.0),
        }
    }
}

fn in_order(mut properties: Vec<(i64, Property)>) -> Vec<Property> {
    properties.sort_by_key(|(order, _)| *order);
    properties
        .into_iter()
        .map(|(_, property)| property)
        .collect()
}
