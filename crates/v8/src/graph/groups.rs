//! Objects grouped: by constructor and property names, by class.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::census::{Census, Tally};
use super::{HeapGraph, Object, Stop};
use crate::error::Result;
use crate::parallel::parallel;
use crate::tagged::Tagged;

/// Names that are told of an object whose properties are in a dictionary: it may be a table of a million.
pub const NAMES: usize = 64;

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
    /// Bytes outside of the heap that belong to them: stores of ArrayBuffers; of Buffers and typed arrays the part of a
    /// store that they show.
    pub external: u64,
    /// The first of them that was met: `findjsobjects ADDR` lists the others.
    pub example: u64,
}

impl HeapGraph {
    /// JavaScript objects by constructor and property names, the most first. Those with a dictionary tell their first
    /// [`NAMES`] names, and `property` where they have it.
    pub fn groups(&self, reachable: bool, property: Option<&str>) -> Vec<Group> {
        let census = self.with_census(reachable, Census::objects);
        let mut groups: BTreeMap<(String, Vec<String>), Tally> = BTreeMap::new();
        for (map, tally) in census.maps {
            groups
                .entry(self.shape(map, tally.example))
                .or_default()
                .add(&tally);
        }
        for (shape, tally) in self.dictionary_groups(&census.dictionaries, property) {
            groups.entry(shape).or_default().add(&tally);
        }
        let mut groups: Vec<Group> = groups
            .into_iter()
            .map(|((constructor, properties), tally)| Group {
                constructor,
                properties,
                count: tally.count,
                bytes: tally.bytes,
                external: tally.external,
                example: tally.example,
            })
            .collect();
        groups.sort_by(|a, b| {
            (b.bytes + b.external, b.count, &a.constructor).cmp(&(
                a.bytes + a.external,
                a.count,
                &b.constructor,
            ))
        });
        groups
    }

    /// Objects with dictionaries of their own, by class and by the words of their keys: a program may have a million of
    /// them, so names are made once for each list of keys.
    fn dictionary_groups(
        &self,
        objects: &[(u64, u64, u64)],
        property: Option<&str>,
    ) -> Vec<((String, Vec<String>), Tally)> {
        const CHUNK: usize = 4096;
        type Shapes = HashMap<(u64, Vec<u64>), Tally>;
        let states = parallel(
            objects.len().div_ceil(CHUNK),
            &Stop::new(false),
            Shapes::default,
            |shapes: &mut Shapes, index| {
                let chunk = &objects[index * CHUNK..((index + 1) * CHUNK).min(objects.len())];
                for &(address, map, bytes) in chunk {
                    shapes
                        .entry((map, self.dictionary_keys(address, property)))
                        .or_default()
                        .add(&Tally {
                            count: 1,
                            bytes,
                            external: 0,
                            example: address,
                        });
                }
            },
        );
        let mut shapes = Shapes::default();
        for state in states {
            for (key, tally) in state {
                shapes.entry(key).or_default().add(&tally);
            }
        }
        shapes
            .into_iter()
            .map(|((_, keys), tally)| {
                let names = keys
                    .into_iter()
                    .filter_map(|key| self.v8.name_text(Tagged(key)))
                    .collect();
                ((self.class(tally.example), names), tally)
            })
            .collect()
    }

    fn dictionary_keys(&self, address: u64, property: Option<&str>) -> Vec<u64> {
        let properties = self.v8.properties(Tagged::of(address)).unwrap_or_default();
        let mut keys: Vec<u64> = properties
            .iter()
            .take(NAMES)
            .map(|property| property.key.0)
            .collect();
        if let Some(name) = property
            && let Some(found) = properties
                .iter()
                .skip(NAMES)
                .find(|property| self.v8.name_text(property.key).as_deref() == Some(name))
        {
            keys.push(found.key.0);
        }
        keys
    }

    fn class(&self, address: u64) -> String {
        self.v8
            .class_name(Tagged::of(address))
            .map_or_else(|_| "?".to_owned(), |name| name.to_string())
    }

    fn shape(&self, map: u64, example: u64) -> (String, Vec<String>) {
        let info = self.v8.map(Tagged::of(map));
        let keys = info
            .and_then(|map| self.v8.map_keys(&map).ok())
            .unwrap_or_default();
        let names = keys
            .into_iter()
            .filter_map(|(key, _, _)| self.v8.name_text(key))
            .collect();
        (self.class(example), names)
    }

    fn dictionary_shape(&self, address: u64) -> (String, Vec<String>) {
        let names = self
            .dictionary_keys(address, None)
            .into_iter()
            .filter_map(|key| self.v8.name_text(Tagged(key)))
            .collect();
        (self.class(address), names)
    }

    /// The JavaScript objects that are in the group of an object: of its constructor and property names.
    ///
    /// # Errors
    /// When it is no object.
    pub fn like(&self, address: u64, reachable: bool) -> Result<Vec<u64>> {
        let map = self.v8.map_of(Tagged::of(address))?;
        let wanted = if self.v8.is_dictionary_map(&map) {
            self.dictionary_shape(address)
        } else {
            self.shape(map.address, address)
        };
        let census = self.with_census(reachable, Census::objects);
        let maps: HashSet<u64> = census
            .maps
            .iter()
            .filter(|(map, tally)| self.shape(**map, tally.example) == wanted)
            .map(|(map, _)| *map)
            .collect();
        let mut out: Vec<u64> = census
            .dictionaries
            .iter()
            .filter(|(address, _, _)| self.dictionary_shape(*address) == wanted)
            .map(|(address, _, _)| *address)
            .collect();
        self.each_of(reachable, &maps, |object| out.push(object.address));
        out.sort_unstable();
        Ok(out)
    }

    /// The JavaScript objects of a class.
    pub fn instances(&self, class: &str, reachable: bool) -> Vec<Object> {
        let census = self.with_census(reachable, Census::objects);
        let mut maps: HashSet<u64> = census
            .maps
            .iter()
            .filter(|(_, tally)| self.class(tally.example) == class)
            .map(|(map, _)| *map)
            .collect();
        maps.extend(
            census
                .dictionaries
                .iter()
                .filter(|(address, _, _)| self.class(*address) == class)
                .map(|(_, map, _)| *map),
        );
        let mut out = Vec::new();
        self.each_of(reachable, &maps, |object| out.push(*object));
        out
    }

    /// The JavaScript objects that have a property of their own of this name.
    pub fn having(&self, property: &str, reachable: bool) -> Vec<u64> {
        let census = self.with_census(reachable, Census::objects);
        let has = |key: Tagged| self.v8.name_text(key).as_deref() == Some(property);
        let maps: HashSet<u64> = census
            .maps
            .keys()
            .copied()
            .filter(|map| {
                self.v8
                    .map(Tagged::of(*map))
                    .and_then(|map| self.v8.map_keys(&map).ok())
                    .is_some_and(|keys| keys.iter().any(|(key, _, _)| has(*key)))
            })
            .collect();
        let mut out: Vec<u64> = census
            .dictionaries
            .iter()
            .map(|(address, _, _)| *address)
            .filter(|address| {
                self.v8
                    .properties(Tagged::of(*address))
                    .is_ok_and(|all| all.iter().any(|property| has(property.key)))
            })
            .collect();
        self.each_of(reachable, &maps, |object| out.push(object.address));
        out.sort_unstable();
        out
    }

    /// Calls `visit` with the objects that have one of these maps.
    fn each_of(&self, reachable: bool, maps: &HashSet<u64>, mut visit: impl FnMut(&Object)) {
        if maps.is_empty() {
            return;
        }
        self.each(reachable, |object| {
            if maps.contains(&object.map.address) {
                visit(object);
            }
        });
    }

    /// The classes of all objects with their counts: for completion and suggestions.
    pub fn classes(&self, reachable: bool) -> BTreeMap<String, u64> {
        let mut out = BTreeMap::new();
        for group in self.groups(reachable, None) {
            *out.entry(group.constructor).or_default() += group.count;
        }
        out
    }
}
