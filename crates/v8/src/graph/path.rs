//! The way from a root to an object: who holds it, and who holds that.

use std::collections::VecDeque;

use super::reader::Reader;
use super::{HeapGraph, RootKind, Stop, stopped};
use crate::error::{Result, V8Error};
use crate::tagged::Tagged;

/// A way from a root.
#[derive(Debug, Clone)]
pub struct Path {
    /// What kind of place the root is.
    pub root: RootKind,
    /// Its address; 0 for a register.
    pub slot: u64,
    /// How many objects there are from the one that the root refers to, to the one that was asked for.
    pub length: usize,
    /// Those, in this order; of a longer way only the first and the last [`Path::ENDS`].
    pub objects: Vec<u64>,
}

impl Path {
    /// So many objects at each end are told at most: a list may have ten million.
    pub const ENDS: usize = 64;
}

/// Numbers for objects, in the order of their addresses, from 1 on: 0 is no object.
struct Numbers {
    /// Of each page the objects before it, and before each word of its starts.
    pages: Vec<(u32, Vec<u16>)>,
}

impl Numbers {
    fn new(graph: &HeapGraph) -> (Numbers, usize) {
        let mut count = 1_usize;
        let mut pages = Vec::with_capacity(graph.pages.len());
        for walked in &graph.pages {
            let first = count as u32;
            let mut within = 0_u32;
            let mut ranks = Vec::with_capacity(walked.starts.len());
            for word in &walked.starts {
                ranks.push(within as u16);
                within += word.count_ones();
            }
            count += within as usize;
            pages.push((first, ranks));
        }
        (Numbers { pages }, count)
    }

    fn of(&self, graph: &HeapGraph, page: usize, at: u64) -> u32 {
        let walked = &graph.pages[page];
        let index = at.wrapping_sub(walked.page.area_start) >> 3;
        let (word, bit) = ((index / 64) as usize, index % 64);
        let (first, ranks) = &self.pages[page];
        let rank = ranks.get(word).copied().unwrap_or(0);
        let before = walked
            .starts
            .get(word)
            .map_or(0, |starts| (starts & ((1_u64 << bit) - 1)).count_ones());
        first + u32::from(rank) + before
    }

    fn address(&self, graph: &HeapGraph, number: u32) -> Option<u64> {
        let page = self
            .pages
            .partition_point(|(first, _)| *first <= number)
            .checked_sub(1)?;
        let (first, ranks) = &self.pages[page];
        let inside = number - first;
        let word = ranks
            .partition_point(|rank| u32::from(*rank) <= inside)
            .checked_sub(1)?;
        let mut bits = *graph.pages[page].starts.get(word)?;
        for _ in 0..inside - u32::from(ranks[word]) {
            bits &= bits.wrapping_sub(1);
        }
        (bits != 0).then(|| {
            graph.pages[page].page.area_start
                + 8 * (64 * word as u64 + u64::from(bits.trailing_zeros()))
        })
    }
}

impl HeapGraph {
    /// A shortest way from a root to an object that can be reached; `None` when no root leads there. Takes four bytes for
    /// each object of the heap.
    ///
    /// # Errors
    /// When it was stopped, or there are more objects than numbers.
    pub fn path(&self, target: u64, stop: &Stop) -> Result<Option<Path>> {
        self.mark(stop)?;
        let Some((_, target)) = self.target(target) else {
            return Ok(None);
        };
        if !self.is_reachable(target) {
            return Ok(None);
        }
        let (numbers, count) = Numbers::new(self);
        if u32::try_from(count).is_err() {
            return Err(V8Error::Other("there are too many objects".to_owned()));
        }
        // Of each object the one that led to it; a root's own number is its own.
        let mut parents = vec![0_u32; count];
        let mut line: VecDeque<u64> = VecDeque::new();
        let roots = self.roots(stop)?;
        let mut reader = Reader::new(self);
        let mut looked = 0_u32;
        let mut found = false;
        // Words on stacks may be left over from calls that are long done: they are believed where nothing else leads there.
        for guessed in [false, true] {
            for (&root, (kind, _)) in roots.words.iter().zip(&roots.places) {
                if kind.is_guessed() == guessed
                    && let Some((page, at)) = self.target(root & !3)
                    && self.pages[page].is_start(at)
                {
                    let number = numbers.of(self, page, at);
                    if parents[number as usize] == 0 {
                        parents[number as usize] = number;
                        line.push_back(at);
                        found |= at == target;
                    }
                }
            }
            while !found && let Some(at) = line.pop_front() {
                looked = looked.wrapping_add(1);
                if looked.is_multiple_of(4096) {
                    stopped(stop)?;
                }
                let Some(page) = self.units.page(at) else {
                    continue;
                };
                let own = numbers.of(self, page, at);
                reader.open(page, 1);
                let Some(object) = reader.object(at) else {
                    continue;
                };
                let mut follow = |word: u64| {
                    if word & 3 == 1
                        && let Some((page, to)) = self.target(word & !3)
                        && self.pages[page].is_start(to)
                    {
                        let number = numbers.of(self, page, to) as usize;
                        if parents[number] == 0 {
                            parents[number] = own;
                            line.push_back(to);
                            found |= to == target;
                        }
                    }
                };
                if self.v8.types.name_is_ephemeron(object.map.instance_type) {
                    for entry in self.v8.hash_table(Tagged::of(at), 0, 2).unwrap_or_default() {
                        if let [key, value] = entry[..]
                            && (!key.is_pointer() || self.is_reachable(key.address()))
                        {
                            follow(value.0);
                        }
                    }
                } else {
                    reader.edges(&object, |_, word| follow(word));
                }
            }
        }
        if !found {
            return Ok(None);
        }
        let Some(page) = self.units.page(target) else {
            return Ok(None);
        };
        // From the object back to the root, whose parent it is itself.
        let back = |number: &u32| {
            let parent = parents[*number as usize];
            (parent != *number).then_some(parent)
        };
        let way = || std::iter::successors(Some(numbers.of(self, page, target)), back).take(count);
        let length = way().count();
        let mut objects: Vec<u64> = way()
            .enumerate()
            .filter(|(step, _)| *step < Path::ENDS || *step + Path::ENDS >= length)
            .filter_map(|(_, number)| numbers.address(self, number))
            .collect();
        objects.reverse();
        let first = objects.first().copied().unwrap_or(target);
        let place = roots
            .words
            .iter()
            .position(|root| self.target(root & !3).is_some_and(|(_, at)| at == first))
            .and_then(|index| roots.places.get(index));
        Ok(place.map(|(root, slot)| Path {
            root: *root,
            slot: *slot,
            length,
            objects,
        }))
    }
}
