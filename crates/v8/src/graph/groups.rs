//! Objects grouped: by constructor and property names, by class.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::census::{Census, Tally};
use super::page::Walked;
use super::reader::{Reader, word};
use super::{HeapGraph, Stop};
use crate::error::Result;
use crate::fast::AddressMap;
use crate::parallel::parallel;
use crate::tagged::Tagged;
use crate::types::Kind;

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
        let maps: Vec<(u64, Tally)> = census.maps.into_iter().collect();
        let shapes = parallel(
            maps.len(),
            &Stop::new(false),
            Vec::new,
            |shapes: &mut Vec<_>, index| {
                let (map, tally) = maps[index];
                shapes.push((self.shape(map, tally.example), tally));
            },
        );
        for (shape, tally) in shapes.into_iter().flatten() {
            groups.entry(shape).or_default().add(&tally);
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

    fn dictionary_shape(&self, address: u64, property: Option<&str>) -> (String, Vec<String>) {
        let names = self
            .dictionary_keys(address, property)
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
            self.dictionary_shape(address, None)
        } else {
            self.shape(map.address, address)
        };
        let shapes = HashMap::from([(wanted, 0)]);
        Ok(self
            .of_shapes(&shapes, None, reachable)
            .remove(&0)
            .unwrap_or_default())
    }

    /// The objects of groups that [`HeapGraph::groups`] gave for the same property: group by group, in their order.
    pub fn members(
        &self,
        groups: &[Group],
        property: Option<&str>,
        reachable: bool,
    ) -> Vec<Vec<u64>> {
        let shapes = groups
            .iter()
            .enumerate()
            .map(|(index, group)| ((group.constructor.clone(), group.properties.clone()), index));
        let mut all = self.of_shapes(&shapes.collect(), property, reachable);
        (0..groups.len())
            .map(|index| all.remove(&index).unwrap_or_default())
            .collect()
    }

    /// The objects of some shapes, by the shape's number.
    fn of_shapes(
        &self,
        shapes: &HashMap<(String, Vec<String>), usize>,
        property: Option<&str>,
        reachable: bool,
    ) -> HashMap<usize, Vec<u64>> {
        let census = self.with_census(reachable, Census::objects);
        let maps: AddressMap<usize> = census
            .maps
            .iter()
            .filter_map(|(map, tally)| Some((*map, *shapes.get(&self.shape(*map, tally.example))?)))
            .collect();
        let mut out: HashMap<usize, Vec<u64>> = HashMap::new();
        // Lists of millions take the room that they need, and not up to twice as much.
        for (map, shape) in &maps {
            let count = census.maps.get(map).map_or(0, |tally| tally.count);
            let list = out.entry(*shape).or_default();
            list.reserve_exact(list.capacity() + count as usize);
        }
        // Many objects with dictionaries have the same keys.
        let mut known: HashMap<(u64, Vec<u64>), Option<usize>> = HashMap::new();
        for &(address, map, _) in &census.dictionaries {
            let shape = *known
                .entry((map, self.dictionary_keys(address, property)))
                .or_insert_with(|| {
                    shapes
                        .get(&self.dictionary_shape(address, property))
                        .copied()
                });
            if let Some(shape) = shape {
                out.entry(shape).or_default().push(address);
            }
        }
        self.of_maps(
            reachable,
            |map| maps.contains_key(&map),
            maps.keys(),
            |address, map| {
                if let Some(shape) = maps.get(&map) {
                    out.entry(*shape).or_default().push(address);
                }
            },
        );
        for addresses in out.values_mut() {
            addresses.sort_unstable();
        }
        out
    }

    /// The JavaScript objects of a class.
    pub fn instances(&self, class: &str, reachable: bool) -> Vec<Tagged> {
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
        self.with_maps(reachable, &maps)
            .into_iter()
            .map(Tagged::of)
            .collect()
    }

    /// The JavaScript objects of a kind.
    pub fn of_kind(&self, kind: Kind, reachable: bool) -> Vec<Tagged> {
        let census = self.with_census(reachable, Census::objects);
        let maps = census.maps.into_keys();
        let maps = maps.chain(census.dictionaries.into_iter().map(|(_, map, _)| map));
        let is_it = |map: &u64| {
            self.v8
                .map(Tagged::of(*map))
                .is_some_and(|map| map.kind == kind)
        };
        self.with_maps(reachable, &maps.filter(is_it).collect())
            .into_iter()
            .map(Tagged::of)
            .collect()
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
        out.extend(self.with_maps(reachable, &maps));
        out.sort_unstable();
        out
    }

    /// The objects that have one of these maps, in order.
    fn with_maps(&self, reachable: bool, maps: &HashSet<u64>) -> Vec<u64> {
        let mut all = Vec::new();
        self.of_maps(
            reachable,
            |map| maps.contains(&map),
            maps.iter(),
            |address, _| {
                all.push(address);
            },
        );
        all
    }

    /// Calls `visit` with each object that has one of these maps, and its map, in the order of addresses. Only pages that may
    /// have one are read, and so many at a time that what is found in them takes little room.
    fn of_maps<'m>(
        &self,
        reachable: bool,
        has: impl Fn(u64) -> bool + Sync,
        maps: impl Iterator<Item = &'m u64>,
        mut visit: impl FnMut(u64, u64),
    ) {
        /// Pages that are gone through before what was found in them is told: 32 MB of heap.
        const AT_ONCE: usize = 128;
        let bits = maps.fold(0, |bits, map| bits | Walked::map_bit(*map));
        let pages: Vec<usize> = (0..self.pages.len())
            .filter(|page| self.pages[*page].maps & bits != 0)
            .collect();
        for pages in pages.chunks(AT_ONCE) {
            let states = parallel(
                pages.len(),
                &Stop::new(false),
                || (Reader::new(self), Vec::new()),
                |(reader, found): &mut (Reader<'_>, Vec<(u64, u64)>), index| {
                    let walked = reader.open(pages[index], u32::MAX);
                    walked.each_start(reachable, |at| {
                        let first = word(reader.bytes(at, 8), 0).unwrap_or(0);
                        let map = self.v8.map_word(at, first) & !3;
                        if has(map) {
                            found.push((at, map));
                        }
                    });
                },
            );
            let mut found: Vec<_> = states.into_iter().flat_map(|(_, found)| found).collect();
            found.sort_unstable();
            for (address, map) in found {
                visit(address, map);
            }
        }
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
