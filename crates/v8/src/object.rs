//! Objects: their properties, elements, collections and class.
//!
//! Where a property is: V8's `objects/property-details.h`, `objects/descriptor-array.tq`, `objects/dictionary.h`. A map's
//! descriptors name the properties; each is a field in the object, a field in its property array, or a constant in the
//! descriptor. Objects with many or deleted properties have a dictionary instead.

use std::collections::HashSet;
use std::sync::Arc;

use crate::error::{Result, V8Error};
use crate::tagged::Tagged;
use crate::types::Kind;
use crate::v8::{MapInfo, V8};

/// Most entries of one object, array or table that are ever looked at.
pub const MAX_ENTRIES: u64 = 1 << 26;
/// Most maps or prototypes that are followed in a chain.
const MAX_CHAIN: usize = 512;
/// The word of an element that is absent from an array of doubles (`kHoleNanInt64`).
const DOUBLE_HOLE: u64 = 0xfff7_ffff_fff7_ffff;
/// Undefined in an array of doubles, where 26 keeps it so (`kUndefinedNanInt64`).
const DOUBLE_UNDEFINED: u64 = 0xfff6_ffff_fff6_ffff;

/// The value of a property or an element.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Slot {
    /// A tagged word.
    Value(Tagged),
    /// A number that stands in an array of doubles.
    Double(f64),
    /// Nothing: an absent element.
    Hole,
    /// A getter and a setter; each may be undefined or null.
    Accessor(Tagged, Tagged),
    /// V8 computes it when it is asked: a function's `length`, an array's.
    Native,
}

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

    /// The number of properties that a map describes.
    fn own_descriptors(&self, map: &MapInfo) -> u64 {
        (i64::from(map.bits3) & self.c.own_descriptors_mask) as u64 >> self.c.own_descriptors_shift
    }

    /// Whether objects with this map keep their properties in a dictionary.
    pub fn is_dictionary_map(&self, map: &MapInfo) -> bool {
        map.bits3 >> self.c.dictionary_shift & 1 == 1
    }

    /// The kind of elements, as V8 numbers them.
    pub fn elements_kind(&self, map: &MapInfo) -> u8 {
        ((i64::from(map.bits2) & self.c.elements_kind_mask) >> self.c.elements_kind_shift) as u8
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

    fn accessor(&self, value: Tagged) -> Slot {
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
            // Bits 8 to 30 are the order in which they were added.
            properties.push((details >> 8 & 0x7f_ffff, property));
        }
        properties.sort_by_key(|(order, _)| *order);
        Ok(properties
            .into_iter()
            .map(|(_, property)| property)
            .collect())
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
                let details = i64::from(
                    self.field(cell.address(), self.c.property_cell_details)?
                        .as_smi()
                        .unwrap_or(0),
                );
                let value = self.field(cell.address(), self.c.property_cell_value)?;
                let slot = if details & self.c.prop_kind_mask != 0 {
                    self.accessor(value)
                } else {
                    Slot::Value(value)
                };
                if matches!(slot, Slot::Value(value) if self.is_hole(value)) {
                    continue;
                }
                let property = Property {
                    key,
                    slot,
                    enumerable: details >> self.c.prop_attributes_shift & 2 == 0,
                    private: self.is_private_key(key),
                };
                properties.push((details >> 8 & 0x7f_ffff, property));
            }
        }
        properties.sort_by_key(|(order, _)| *order);
        Ok(properties
            .into_iter()
            .map(|(_, property)| property)
            .collect())
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
            && let Ok(elements) = self.elements(object, MAX_ENTRIES)
            && let Some((_, slot)) = elements.entries.into_iter().find(|(at, _)| *at == index)
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

    /// The indexed properties of an object, at most `limit` of them.
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
        if self
            .types
            .name(store_map.instance_type)
            .contains("NUMBER_DICTIONARY")
        {
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
            for index in 0..used.min(limit) {
                let bits = self.memory.u64(
                    self.at(store.address(), self.c.array_data)
                        .wrapping_add(8 * index),
                )?;
                out.entries.push((
                    index,
                    match bits {
                        DOUBLE_HOLE => Slot::Hole,
                        DOUBLE_UNDEFINED if self.column >= 3 => {
                            Slot::Value(self.root("undefined_value").unwrap_or_default())
                        }
                        bits => Slot::Double(f64::from_bits(bits)),
                    },
                ));
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
        for index in 0..used.min(limit) {
            let mut value = self.element_of(store, index)?;
            if let (Some(context), Some(slot)) = (
                context,
                mapped.get(index as usize).and_then(|slot| slot.as_smi()),
            ) {
                value = self.field(context.address(), self.c.array_data + 8 * i64::from(slot))?;
                value = self.unwrap_context_cell(value);
            }
            out.entries.push((
                index,
                if self.is_hole(value) {
                    Slot::Hole
                } else {
                    Slot::Value(value)
                },
            ));
        }
        out.count = used;
        if map.kind != Kind::JsArray {
            // Room for more is not an element.
            while matches!(out.entries.last(), Some((_, Slot::Hole))) {
                out.entries.pop();
            }
            out.length = out.entries.last().map_or(0, |entry| entry.0 + 1);
        }
        Ok(out)
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

    /// The function that a map says made its objects.
    pub fn map_constructor(&self, map: &MapInfo) -> Option<Tagged> {
        let mut at = self.field(map.address, self.c.map_constructor).ok()?;
        for _ in 0..MAX_CHAIN * 8 {
            match self.kind_of(at).ok()? {
                Kind::Map => at = self.field(at.address(), self.c.map_constructor).ok()?,
                // Tuple2 of the constructor and a value: the constructor is first.
                Kind::Internal
                    if self.types.name(self.map_of(at).ok()?.instance_type) == "TUPLE2" =>
                {
                    at = self.field(at.address(), 8).ok()?
                }
                Kind::JsFunction => return Some(at),
                _ => return None,
            }
        }
        None
    }

    /// The name of an object's class as a developer would say it. V8's rule (`JSReceiver::GetConstructorName`) without
    /// its step for `Symbol.toStringTag`, by which a class that extends Map would be called Map.
    ///
    /// # Errors
    /// When it is no object.
    pub fn class_name(&self, object: Tagged) -> Result<Arc<str>> {
        let map = self.map_of(object)?;
        if let Ok(classes) = self.classes.read()
            && let Some(known) = classes.get(&map.address)
        {
            return Ok(known.clone());
        }
        let name: Arc<str> = self.find_class(&map).into();
        if let Ok(mut classes) = self.classes.write() {
            if classes.len() > 1 << 20 {
                classes.clear();
            }
            // What a dictionary says is of one object and not of all that share its map; prototypes own their maps.
            classes.insert(map.address, name.clone());
        }
        Ok(name)
    }

    fn find_class(&self, map: &MapInfo) -> String {
        if map.kind == Kind::JsFunction || map.kind == Kind::JsBoundFunction {
            return "Function".to_owned();
        }
        let is_prototype = map.bits3 >> 20 & 1 == 1;
        let constructor = self.map_constructor(map);
        let name_of = |function: Tagged| {
            self.function_name(function)
                .ok()
                .filter(|name| !name.is_empty())
        };
        if map.bits2 & 1 == 1
            && !is_prototype
            && let Some(name) = constructor.and_then(name_of)
            && name != "Object"
        {
            return name;
        }
        let mut at = self
            .field(map.address, self.c.map_prototype)
            .unwrap_or_default();
        let mut seen = HashSet::new();
        while seen.len() < MAX_CHAIN && seen.insert(at.0) {
            let Ok(map) = self.map_of(at) else { break };
            if !map.kind.is_js_object() {
                break;
            }
            if let Some(constructor) = self.own_property(at, "constructor")
                && self
                    .kind_of(constructor)
                    .is_ok_and(|kind| kind == Kind::JsFunction)
                && let Some(name) = name_of(constructor)
                && name != "Object"
            {
                return name;
            }
            at = self
                .field(map.address, self.c.map_prototype)
                .unwrap_or_default();
        }
        match constructor.and_then(name_of) {
            Some(name) if !is_prototype => name,
            _ => self.kind_class(map).to_owned(),
        }
    }

    /// The class of an object that nothing else names.
    fn kind_class(&self, map: &MapInfo) -> &'static str {
        match map.kind {
            Kind::JsArray => "Array",
            Kind::JsArguments => "Arguments",
            Kind::JsMap => "Map",
            Kind::JsSet => "Set",
            Kind::JsPromise => "Promise",
            Kind::JsProxy => "Proxy",
            Kind::JsError => "Error",
            Kind::JsModuleNamespace => "Module",
            Kind::JsGlobalObject | Kind::JsGlobalProxy => "global",
            _ => "Object",
        }
    }
}

/// The indexed properties of an object.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Elements {
    /// Index and value, in order.
    pub entries: Vec<(u64, Slot)>,
    /// The array's length, or the highest index and one.
    pub length: u64,
    /// How many entries there are, also those beyond the limit.
    pub count: u64,
}
