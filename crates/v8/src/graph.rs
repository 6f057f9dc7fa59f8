//! The graph of all objects: which there are, which can be reached, who refers to whom.
//!
//! The pages are walked in parallel, and their bytes are kept while the graph is. Which objects can be reached is told
//! conservatively: every word of native memory, of stacks and of registers that is a pointer to the start of an object
//! counts as a root. What is only held weakly (weak pointers, keys of ephemerons) is not reached by that.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use crate::error::{Result, V8Error};
use crate::fast::AddressMap;
use crate::pages::{Page, UNIT, UNIT_SHIFT};
use crate::tagged::Tagged;
use crate::types::{Kind, Sizing};
use crate::v8::{MapInfo, V8};
use crate::walk::{Gaps, MapCache};

/// A page with its objects.
struct Loaded {
    page: Page,
    bytes: Vec<u8>,
    /// One bit for each 8 bytes of the area: an object begins here.
    starts: Vec<u64>,
    /// The same: it can be reached.
    marks: Vec<AtomicU64>,
}

impl Loaded {
    fn word(&self, at: u64) -> Option<u64> {
        let offset = at.wrapping_sub(self.page.area_start) as usize;
        Some(u64::from_le_bytes(
            self.bytes
                .get(offset..offset.checked_add(8)?)?
                .try_into()
                .ok()?,
        ))
    }

    fn bit(&self, at: u64) -> Option<(usize, u64)> {
        let index = (at.wrapping_sub(self.page.area_start) >> 3) as usize;
        (index / 64 < self.starts.len()).then_some((index / 64, 1 << (index % 64)))
    }

    fn is_start(&self, at: u64) -> bool {
        at & 7 == 0
            && self
                .bit(at)
                .is_some_and(|(word, bit)| self.starts[word] & bit != 0)
    }

    fn is_marked(&self, at: u64) -> bool {
        self.bit(at)
            .is_some_and(|(word, bit)| self.marks[word].load(Ordering::Relaxed) & bit != 0)
    }

    /// Whether it was not marked before.
    fn mark(&self, at: u64) -> bool {
        self.bit(at)
            .is_some_and(|(word, bit)| self.marks[word].fetch_or(bit, Ordering::Relaxed) & bit == 0)
    }
}

/// The objects of an isolate, or of all of them.
pub struct HeapGraph {
    v8: Arc<V8>,
    pages: Vec<Loaded>,
    units: AddressMap<u32>,
    /// What could not be walked.
    pub gaps: Gaps,
    marked: AtomicBool,
}

/// An object of the graph.
#[derive(Debug, Clone, Copy)]
pub struct Object {
    /// Where it begins.
    pub address: u64,
    /// Its map.
    pub map: MapInfo,
    /// Its bytes on the heap.
    pub size: u64,
}

impl Object {
    /// The pointer to it.
    pub fn tagged(&self) -> Tagged {
        Tagged::of(self.address)
    }
}

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

/// Something that refers to an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    /// The object that refers.
    pub from: u64,
    /// Where in it.
    pub offset: u64,
    /// It does not keep the object alive.
    pub weak: bool,
}

/// The fields by which an object holds others weakly, though the pointers look strong. (`JSWeakRef`: target 24;
/// `WeakCell`: target 16, unregister token 24.)
fn weak_fields(kind: Kind) -> &'static [u64] {
    match kind {
        Kind::JsWeakRef => &[24],
        Kind::WeakCell => &[16, 24],
        _ => &[],
    }
}

/// A stop from outside: Ctrl-C.
pub type Stop = AtomicBool;

impl HeapGraph {
    /// Walks the pages of an isolate and the shared ones, or of all isolates. Uses two threads or as many as there are
    /// processors.
    ///
    /// # Errors
    /// When it was stopped.
    pub fn build(v8: &Arc<V8>, isolate: Option<usize>, stop: &Stop) -> Result<HeapGraph> {
        let mut free = v8.free_areas();
        v8.search_free_areas(&mut free);
        let pages = v8.pages_of(isolate);
        let next = AtomicUsize::new(0);
        let done: Mutex<(Vec<Loaded>, Gaps)> = Mutex::default();
        let workers = std::thread::available_parallelism()
            .map_or(2, usize::from)
            .clamp(1, 16);
        std::thread::scope(|scope| {
            for _ in 0..workers.min(pages.len().max(1)) {
                scope.spawn(|| {
                    let mut maps = MapCache::default();
                    loop {
                        let index = next.fetch_add(1, Ordering::Relaxed);
                        let Some(page) = pages.get(index) else { break };
                        if stop.load(Ordering::Relaxed) {
                            break;
                        }
                        let mut starts = vec![
                            0_u64;
                            ((page.area_end - page.area_start) / 8)
                                .div_ceil(64)
                                .min(1 << 30) as usize
                        ];
                        if page.large {
                            starts.truncate(1);
                        }
                        let (bytes, gaps) = v8.walk_page_with(page, &free, &mut maps, |found| {
                            let index = ((found.address - page.area_start) >> 3) as usize;
                            if let Some(word) = starts.get_mut(index / 64) {
                                *word |= 1 << (index % 64);
                            }
                        });
                        let marks = starts.iter().map(|_| AtomicU64::new(0)).collect();
                        if let Ok(mut done) = done.lock() {
                            done.0.push(Loaded {
                                page: (*page).clone(),
                                bytes,
                                starts,
                                marks,
                            });
                            done.1.add(gaps);
                        }
                    }
                });
            }
        });
        if stop.load(Ordering::Relaxed) {
            return Err(V8Error::Other("stopped".to_owned()));
        }
        let (mut pages, gaps) = done.into_inner().unwrap_or_default();
        pages.sort_by_key(|page| page.page.base);
        let mut units = AddressMap::default();
        for (index, loaded) in pages.iter().enumerate() {
            let count = (loaded.bytes.len() as u64 + 0x4000).div_ceil(UNIT);
            // Only the first unit of a large page has the start of an object.
            for unit in 0..if loaded.page.large {
                1
            } else {
                count.min(1 << 16)
            } {
                units
                    .entry((loaded.page.base >> UNIT_SHIFT) + unit)
                    .or_insert(index as u32);
            }
        }
        Ok(HeapGraph {
            v8: v8.clone(),
            pages,
            units,
            gaps,
            marked: AtomicBool::new(false),
        })
    }

    fn loaded(&self, address: u64) -> Option<&Loaded> {
        self.units
            .get(&(address >> UNIT_SHIFT))
            .map(|index| &self.pages[*index as usize])
    }

    /// Whether an object begins at an address.
    pub fn is_object(&self, address: u64) -> bool {
        self.loaded(address)
            .is_some_and(|page| page.is_start(address))
    }

    /// The object that an address lies in.
    pub fn object_around(&self, address: u64) -> Option<Object> {
        let index = self.v8.pages.index_of(address)?;
        let base = self.v8.pages.pages()[index].base;
        let loaded = self.loaded(base)?;
        let mut at = address & !7;
        while at >= loaded.page.area_start {
            if loaded.is_start(at) {
                let object = self.object_in(loaded, at)?;
                return (address < at + object.size).then_some(object);
            }
            if loaded.page.large {
                at = loaded.page.area_start;
                if !loaded.is_start(at) {
                    return None;
                }
                continue;
            }
            at -= 8;
        }
        None
    }

    fn object_in(&self, loaded: &Loaded, at: u64) -> Option<Object> {
        let map = self.v8.map(Tagged(loaded.word(at)?))?;
        let size = crate::walk::size_of(&self.v8, &map, |offset| {
            loaded
                .word(at + offset)
                .ok_or(V8Error::Missing { address: at })
        })?;
        Some(Object {
            address: at,
            map,
            size,
        })
    }

    /// The object that begins at an address.
    pub fn object(&self, address: u64) -> Option<Object> {
        let loaded = self.loaded(address)?;
        loaded
            .is_start(address)
            .then(|| self.object_in(loaded, address))
            .flatten()
    }

    /// Calls `visit` with every object, in the order of addresses; only with those that can be reached, if so wanted.
    pub fn each(&self, reachable: bool, mut visit: impl FnMut(&Object)) {
        for loaded in &self.pages {
            for (index, starts) in loaded.starts.iter().enumerate() {
                let marks = if reachable {
                    loaded.marks[index].load(Ordering::Relaxed)
                } else {
                    u64::MAX
                };
                let mut bits = starts & marks;
                while bits != 0 {
                    let bit = u64::from(bits.trailing_zeros());
                    bits &= bits - 1;
                    let at = loaded.page.area_start + 8 * (64 * index as u64 + bit);
                    if let Some(object) = self.object_in(loaded, at) {
                        visit(&object);
                    }
                }
            }
        }
    }

    /// Marks what can be reached. The second call does nothing.
    ///
    /// # Errors
    /// When it was stopped.
    pub fn mark(&self, stop: &Stop) -> Result<()> {
        if self.marked.load(Ordering::Relaxed) {
            return Ok(());
        }
        let mut todo: Vec<u64> = Vec::new();
        let root = |word: u64, todo: &mut Vec<u64>| {
            if word & 3 == 1
                && let Some(loaded) = self.loaded(word)
                && loaded.is_start(word & !3)
                && loaded.mark(word & !3)
            {
                todo.push(word & !3);
            }
        };
        for thread in &self.v8.threads {
            for register in &thread.registers {
                root(*register, &mut todo);
            }
        }
        for word in self.native_words(stop) {
            root(word, &mut todo);
        }
        for loaded in self.pages.iter().filter(|loaded| loaded.page.heap == 0) {
            for (index, starts) in loaded.starts.iter().enumerate() {
                let new = starts & !loaded.marks[index].fetch_or(*starts, Ordering::Relaxed);
                let mut bits = new;
                while bits != 0 {
                    todo.push(
                        loaded.page.area_start
                            + 8 * (64 * index as u64 + u64::from(bits.trailing_zeros())),
                    );
                    bits &= bits - 1;
                }
            }
        }
        let mut ephemerons = Vec::new();
        loop {
            while let Some(at) = todo.pop() {
                if todo.len() & 0xfff == 0 && stop.load(Ordering::Relaxed) {
                    return Err(V8Error::Other("stopped".to_owned()));
                }
                let Some(loaded) = self.loaded(at) else {
                    continue;
                };
                let Some(object) = self.object_in(loaded, at) else {
                    continue;
                };
                if self.v8.types.name_is_ephemeron(object.map.instance_type) {
                    ephemerons.push(at);
                }
                self.edges(loaded, &object, |_, word| {
                    if word & 3 == 1
                        && let Some(target) = self.loaded(word)
                        && target.is_start(word & !3)
                        && target.mark(word & !3)
                    {
                        todo.push(word & !3);
                    }
                });
            }
            // Values of ephemerons whose keys are alive, until nothing new is reached.
            for table in &ephemerons {
                for entry in self
                    .v8
                    .hash_table(Tagged::of(*table), 0, 2)
                    .unwrap_or_default()
                {
                    let [key, value] = entry[..] else { continue };
                    let alive = !key.is_pointer()
                        || self
                            .loaded(key.address())
                            .is_none_or(|loaded| loaded.is_marked(key.address()));
                    if alive {
                        root(value.0, &mut todo);
                    }
                }
            }
            if todo.is_empty() {
                break;
            }
        }
        self.marked.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Whether an object can be reached; only after [`HeapGraph::mark`].
    pub fn is_reachable(&self, address: u64) -> bool {
        self.loaded(address)
            .is_some_and(|loaded| loaded.is_marked(address))
    }

    /// The words of native memory that look like pointers to objects.
    fn native_words(&self, stop: &Stop) -> Vec<u64> {
        let mut out = Vec::new();
        self.each_native_word(stop, |_, word| out.push(word));
        out
    }

    /// Calls `visit` with the address and the content of each word of writable native memory that has the form of a
    /// pointer to an object on a page of this graph. Of stacks only what is in use.
    pub fn each_native_word(&self, stop: &Stop, mut visit: impl FnMut(u64, u64)) {
        let mut buf = vec![0_u8; 1 << 20];
        for region in self.v8.memory.target().regions() {
            // Executable memory is V8's code, whose pages are walked.
            if !region.writable || region.executable || region.held == 0 {
                continue;
            }
            let stack = self
                .v8
                .threads
                .iter()
                .filter(|thread| region.range.contains(&thread.sp))
                .map(|thread| thread.sp)
                .min();
            let mut at = stack.map_or(region.range.start, |sp| sp & !7);
            while at < region.range.end && !stop.load(Ordering::Relaxed) {
                // V8's own pages are no roots.
                if let Some(page) = self.v8.pages.page_of(at.next_multiple_of(UNIT) + 0x4000)
                    && at.is_multiple_of(UNIT)
                    && page.base == at
                {
                    at = (page.base + page.size).next_multiple_of(0x1000);
                    continue;
                }
                let until = (at / UNIT + 1) * UNIT;
                let len = (region.range.end - at)
                    .min(until - at)
                    .min(buf.len() as u64) as usize;
                if self.v8.memory.target().read(at, &mut buf[..len]).is_ok()
                    && buf[..len].iter().any(|byte| *byte != 0)
                {
                    for (index, word) in buf[..len].chunks_exact(8).enumerate() {
                        let word = u64::from_le_bytes(word.try_into().unwrap_or_default());
                        if word & 1 == 1
                            && word > 0x1_0000
                            && self.units.contains_key(&(word >> UNIT_SHIFT))
                        {
                            visit(at + 8 * index as u64, word);
                        }
                    }
                }
                at += len as u64;
            }
        }
    }

    /// Calls `visit` with each word of an object that may be a pointer: its offset and content. Raw data and what does
    /// not keep alive is left out; weak pointers (low bits 11) are passed.
    fn edges(&self, loaded: &Loaded, object: &Object, mut visit: impl FnMut(u64, u64)) {
        let v8 = &self.v8;
        if let Some(map) = loaded.word(object.address) {
            visit(0, map);
        }
        if object.map.kind == Kind::HeapNumber
            || object.map.instance_type < 128 && object.map.instance_type & 7 == 0
        {
            return;
        }
        match v8.types.sizing(object.map.instance_type) {
            Sizing::Bytes
            | Sizing::Doubles
            | Sizing::BigInt
            | Sizing::FreeSpace
            | Sizing::Coverage
            | Sizing::FeedbackMetadata => return,
            // The keys and values of weak collections count when both are alive: see `mark`.
            _ if v8.types.name_is_ephemeron(object.map.instance_type) => return,
            _ => {}
        }
        let weak = weak_fields(object.map.kind);
        let end = object
            .size
            .min((loaded.page.area_end).saturating_sub(object.address));
        let mut offset = 8;
        while offset + 8 <= end {
            let Some(word) = loaded.word(object.address + offset) else {
                break;
            };
            if word & 1 == 1 && !weak.contains(&offset) {
                visit(offset, word);
            }
            offset += 8;
        }
    }

    /// All objects that refer to one. An ephemeron's key does not keep it alive.
    ///
    /// # Errors
    /// When it was stopped.
    pub fn references(&self, targets: &[u64], stop: &Stop) -> Result<AddressMap<Vec<Reference>>> {
        let mut found: AddressMap<Vec<Reference>> =
            targets.iter().map(|target| (*target, Vec::new())).collect();
        for loaded in &self.pages {
            if stop.load(Ordering::Relaxed) {
                return Err(V8Error::Other("stopped".to_owned()));
            }
            // First whether the page has such a word at all: most have not.
            let hit = loaded.bytes.chunks_exact(8).any(|word| {
                let word = u64::from_le_bytes(word.try_into().unwrap_or_default());
                word & 1 == 1 && found.contains_key(&(word & !3))
            });
            if !hit {
                continue;
            }
            for (index, starts) in loaded.starts.iter().enumerate() {
                let mut bits = *starts;
                while bits != 0 {
                    let at = loaded.page.area_start
                        + 8 * (64 * index as u64 + u64::from(bits.trailing_zeros()));
                    bits &= bits - 1;
                    let Some(object) = self.object_in(loaded, at) else {
                        continue;
                    };
                    let ephemeron = self.v8.types.name_is_ephemeron(object.map.instance_type);
                    let mut note = |offset: u64, word: u64, weak: bool| {
                        if let Some(list) = found.get_mut(&(word & !3)) {
                            list.push(Reference {
                                from: at,
                                offset,
                                weak: weak || word & 3 == 3,
                            });
                        }
                    };
                    if ephemeron {
                        for offset in (16..object.size).step_by(8) {
                            if let Some(word) =
                                loaded.word(at + offset).filter(|word| word & 1 == 1)
                            {
                                // Pairs of key and value from the third word of the data on.
                                note(offset, word, (offset - 16) / 8 % 2 == 1);
                            }
                        }
                        continue;
                    }
                    for offset in weak_fields(object.map.kind) {
                        if let Some(word) = loaded.word(at + offset) {
                            note(*offset, word, true);
                        }
                    }
                    self.edges(loaded, &object, |offset, word| note(offset, word, false));
                }
            }
        }
        Ok(found)
    }

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
