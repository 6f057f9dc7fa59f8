//! Objects grouped: by constructor and property names, by class.

use std::collections::{BTreeMap, HashMap};

use super::{HeapGraph, Object};
use crate::error::Result;
use crate::fast::AddressMap;
use crate::tagged::Tagged;
use crate::types::Kind;

/// Objects of one constructor with one set of property names.
#[derive(Debug, Clone, PartialEq)]
pub struct Group {
    /// The constructor's name.
    pub constructor: String,
    /// The names of the properties, in order.
    pub properties: Vec<String>,
    /// How many objects.
    pub count: u64,
    /// Their bytes on the heap, without what they refer to.
    pub bytes: u64,
    /// Bytes outside of the heap that belong to them: stores of ArrayBuffers.
    pub external: u64,
    /// The first of them that was met: `findjsobjects ADDR` lists the others.
    pub example: u64,
}

impl HeapGraph {
    /// JavaScript objects by constructor and property names, the most first.
    pub fn groups(&self, reachable: bool) -> Vec<Group> {
        let mut by_map: AddressMap<(u64, u64, u64, u64)> = AddressMap::default();
        let mut groups: BTreeMap<(String, Vec<String>), Group> = BTreeMap::new();
        let mut dictionaries: HashMap<u64, Vec<(u64, u64)>> = HashMap::new();
        self.each(reachable, |object| {
            if !object.map.kind.is_js_object() {
                return;
            }
            let external = if object.map.kind == Kind::JsArrayBuffer {
                self.v8
                    .array_buffer(object.tagged())
                    .map_or(0, |(_, length)| length)
            } else {
                0
            };
            if self.v8.is_dictionary_map(&object.map) {
                dictionaries
                    .entry(object.map.address)
                    .or_default()
                    .push((object.address, object.size));
                return;
            }
            let entry = by_map
                .entry(object.map.address)
                .or_insert((0, 0, 0, object.address));
            entry.0 += 1;
            entry.1 += object.size;
            entry.2 += external;
        });
        let mut add =
            |key: (String, Vec<String>), count: u64, bytes: u64, external: u64, example: u64| {
                let group = groups.entry(key.clone()).or_insert(Group {
                    constructor: key.0,
                    properties: key.1,
                    count: 0,
                    bytes: 0,
                    external: 0,
                    example,
                });
                group.count += count;
                group.bytes += bytes;
                group.external += external;
                group.example = group.example.min(example);
            };
        for (map, (count, bytes, external, example)) in by_map {
            add(self.shape(map, example), count, bytes, external, example);
        }
        for objects in dictionaries.into_values() {
            for (address, size) in objects {
                add(self.dictionary_shape(address), 1, size, 0, address);
            }
        }
        let mut groups: Vec<_> = groups.into_values().collect();
        groups.sort_by(|a, b| {
            (b.bytes + b.external, b.count, &a.constructor).cmp(&(
                a.bytes + a.external,
                a.count,
                &b.constructor,
            ))
        });
        groups
    }

    fn shape(&self, map: u64, example: u64) -> (String, Vec<String>) {
        let class = self
            .v8
            .class_name(Tagged::of(example))
            .map_or_else(|_| "?".to_owned(), |name| name.to_string());
        let info = self.v8.map(Tagged::of(map));
        let keys = info
            .and_then(|map| self.v8.map_keys(&map).ok())
            .unwrap_or_default();
        let names = keys
            .into_iter()
            .filter_map(|(key, _, _)| self.v8.name_text(key))
            .collect();
        (class, names)
    }

    fn dictionary_shape(&self, address: u64) -> (String, Vec<String>) {
        let object = Tagged::of(address);
        let class = self
            .v8
            .class_name(object)
            .map_or_else(|_| "?".to_owned(), |name| name.to_string());
        let mut names: Vec<_> = self
            .v8
            .properties(object)
            .unwrap_or_default()
            .iter()
            .filter_map(|property| self.v8.name_text(property.key))
            .collect();
        names.truncate(64);
        (class, names)
    }

    /// The JavaScript objects that are in the group of an object: of its constructor and property names.
    pub fn like(&self, address: u64, reachable: bool) -> Result<Vec<u64>> {
        let map = self.v8.map_of(Tagged::of(address))?;
        let dictionary = self.v8.is_dictionary_map(&map);
        let wanted = if dictionary {
            self.dictionary_shape(address)
        } else {
            self.shape(map.address, address)
        };
        let mut known: AddressMap<bool> = AddressMap::default();
        let mut out = Vec::new();
        self.each(reachable, |object| {
            if !object.map.kind.is_js_object() {
                return;
            }
            let hit = if self.v8.is_dictionary_map(&object.map) {
                dictionary && self.dictionary_shape(object.address) == wanted
            } else {
                *known.entry(object.map.address).or_insert_with(|| {
                    !dictionary && self.shape(object.map.address, object.address) == wanted
                })
            };
            if hit {
                out.push(object.address);
            }
        });
        Ok(out)
    }

    /// The JavaScript objects of a class.
    pub fn instances(&self, class: &str, reachable: bool) -> Vec<Object> {
        let mut out = Vec::new();
        self.each(reachable, |object| {
            if object.map.kind.is_js_object()
                && self
                    .v8
                    .class_name(object.tagged())
                    .is_ok_and(|name| &*name == class)
            {
                out.push(*object);
            }
        });
        out
    }

    /// The classes of all objects with their counts: for completion and suggestions.
    pub fn classes(&self, reachable: bool) -> BTreeMap<String, u64> {
        let mut out = BTreeMap::new();
        for group in self.groups(reachable) {
            *out.entry(group.constructor).or_default() += group.count;
        }
        out
    }
}
