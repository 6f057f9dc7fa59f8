//! A heap of V8's, written word by word: what the tests open, and damage first. It shares no layout with the crate; its
//! offsets are those of V8's sources (11.3, 12.4, 13.6, 14.6) written down again.
#![allow(dead_code)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use stillcore_v8::{
    NativeFrame, Options, Region, Result, Symbol, Tagged, Target, ThreadState, V8, V8Error,
};

pub const UNIT: u64 = 1 << 18;
const BINARY: u64 = 0x40_0000;
pub const ISOLATE: u64 = 0x10_0000_0000;
const HEAP: u64 = ISOLATE + 0xe000;
pub const ROOTS: u64 = ISOLATE + 0x300;
const METADATA: u64 = 0x10_0010_0000;
const TLS: u64 = 0x7f00_0000_8000;
pub const READ_ONLY: u64 = 0x20_0000_0000;
pub const OLD: u64 = 0x20_0010_0000;
pub const LARGE: u64 = 0x20_0100_0000;

/// The lines of Node.
#[derive(Clone, Copy, PartialEq, Eq, Debug, PartialOrd)]
pub enum Line {
    Node20,
    Node22,
    Node24,
    Node26,
}

pub const LINES: [Line; 4] = [Line::Node20, Line::Node22, Line::Node24, Line::Node26];

/// Instance types. Only those of strings (below 128) are V8's own numbers.
pub mod types {
    pub const INTERNALIZED_ONE_BYTE: u16 = 8;
    pub const SEQ_TWO_BYTE: u16 = 32;
    pub const SEQ_ONE_BYTE: u16 = 40;
    pub const CONS_TWO_BYTE: u16 = 33;
    pub const CONS_ONE_BYTE: u16 = 41;
    pub const EXTERNAL_ONE_BYTE: u16 = 42;
    pub const EXTERNAL_TWO_BYTE: u16 = 34;
    pub const UNCACHED_ONE_BYTE: u16 = 58;
    pub const SLICED_ONE_BYTE: u16 = 43;
    pub const THIN_ONE_BYTE: u16 = 45;
    pub const SYMBOL: u16 = 128;
    pub const BIG_INT: u16 = 129;
    pub const HEAP_NUMBER: u16 = 130;
    pub const ODDBALL: u16 = 131;
    pub const FIXED_ARRAY: u16 = 140;
    pub const DESCRIPTOR_ARRAY: u16 = 141;
    pub const NAME_DICTIONARY: u16 = 142;
    pub const PROPERTY_ARRAY: u16 = 143;
    pub const SCOPE_INFO: u16 = 144;
    pub const SHARED: u16 = 145;
    pub const NAME_TO_INDEX: u16 = 146;
    pub const ACCESSOR_PAIR: u16 = 147;
    pub const DOUBLES: u16 = 148;
    pub const HOLE: u16 = 149;
    pub const NUMBER_DICTIONARY: u16 = 150;
    pub const MAP: u16 = 160;
    pub const FREE: u16 = 161;
    pub const FIRST_CONTEXT: u16 = 170;
    pub const LAST_CONTEXT: u16 = 179;
    pub const JS_PROXY: u16 = 1024;
    pub const JS_OBJECT: u16 = 1057;
    pub const JS_FUNCTION: u16 = 1060;
    pub const JS_LAST_FUNCTION: u16 = 1070;
    pub const JS_ARRAY: u16 = 1090;
    pub const JS_ERROR: u16 = 1091;
}

const NAMES: &[(&str, u16)] = &[
    ("Symbol__SYMBOL", types::SYMBOL),
    ("HeapNumber__HEAP_NUMBER", types::HEAP_NUMBER),
    ("Oddball__ODDBALL", types::ODDBALL),
    ("FixedArray__FIXED_ARRAY", types::FIXED_ARRAY),
    ("DescriptorArray__DESCRIPTOR_ARRAY", types::DESCRIPTOR_ARRAY),
    ("PropertyArray__PROPERTY_ARRAY", types::PROPERTY_ARRAY),
    ("ScopeInfo__SCOPE_INFO", types::SCOPE_INFO),
    ("SharedFunctionInfo__SHARED_FUNCTION_INFO", types::SHARED),
    ("AccessorPair__ACCESSOR_PAIR", types::ACCESSOR_PAIR),
    ("FixedDoubleArray__FIXED_DOUBLE_ARRAY", types::DOUBLES),
    ("Hole__HOLE", types::HOLE),
    ("Map__MAP", types::MAP),
    ("JSProxy__JS_PROXY", types::JS_PROXY),
    ("JSObject__JS_OBJECT", types::JS_OBJECT),
    ("JSFunction__JS_FUNCTION", types::JS_FUNCTION),
    ("JSArray__JS_ARRAY", types::JS_ARRAY),
    ("JSError__JS_ERROR", types::JS_ERROR),
];

/// The order of the roots, which is all that the crate knows of them.
const ROOT_NAMES: &[&str] = &[
    "free_space_map",
    "one_pointer_filler_map",
    "name_dictionary_map",
    "number_dictionary_map",
    "name_to_index_hash_table_map",
    "meta_map",
    "undefined_value",
    "null_value",
    "the_hole_value",
    "true_value",
    "false_value",
    "empty_string",
];

/// A small integer as a word.
pub fn smi(value: i64) -> u64 {
    (value as u64) << 32
}

/// What a map says beside its type.
#[derive(Clone, Copy, Default)]
pub struct MapShape {
    /// Words of an object; 0 when each has its own size.
    pub words: u8,
    /// Word at which properties in the object begin.
    pub inobject: u8,
    pub descriptors: u64,
    pub count: u32,
    pub dictionary: bool,
    pub prototype: u64,
    pub constructor: u64,
    pub elements_kind: u8,
}

/// The synthetic process.
pub struct Heap {
    pub line: Line,
    /// Stretches of memory by their address.
    memory: BTreeMap<u64, Vec<u8>>,
    symbols: Vec<Symbol>,
    /// Next free byte of each page, and of the binary.
    tops: BTreeMap<u64, u64>,
    pub meta: u64,
    pub undefined: u64,
    pub hole: u64,
    pub threads: Vec<ThreadState>,
    /// Threads that are in no isolate.
    pub nameless: Vec<u64>,
    /// Where a read began that began where a page may.
    pub begun: Arc<Mutex<BTreeSet<u64>>>,
    maps: BTreeMap<u16, u64>,
}

impl Heap {
    /// A heap with the roots that every V8 has, on a read-only page, and an empty old page.
    pub fn new(line: Line) -> Heap {
        let mut heap = Heap {
            line,
            memory: BTreeMap::new(),
            symbols: Vec::new(),
            tops: BTreeMap::new(),
            meta: 0,
            undefined: 0,
            hole: 0,
            threads: vec![ThreadState {
                tid: 1,
                name: None,
                pc: 0,
                sp: TLS - 0x1000,
                fp: 0,
                tls: TLS,
                registers: Vec::new(),
            }],
            nameless: Vec::new(),
            begun: Arc::default(),
            maps: BTreeMap::new(),
        };
        heap.memory.insert(BINARY, vec![0; 0x20000]);
        heap.tops.insert(BINARY, BINARY + 0x100);
        heap.memory.insert(ISOLATE, vec![0; 0x20000]);
        heap.memory.insert(METADATA, vec![0; 0x10000]);
        heap.memory.insert(TLS - 0x8000, vec![0; 0x10000]);
        heap.page(READ_ONLY, UNIT, 0, false);
        heap.page(OLD, UNIT, 2, false);
        heap.put(TLS - 0x40, ISOLATE);

        let version = match line {
            Line::Node20 => [11, 3, 244, 8],
            Line::Node22 => [12, 4, 254, 21],
            Line::Node24 => [13, 6, 233, 17],
            Line::Node26 => [14, 6, 202, 34],
        };
        for (name, value) in ["6major_", "6minor_", "6build_", "6patch_"]
            .iter()
            .zip(version)
        {
            heap.variable(&format!("_ZN2v88internal7Version{name}E"), value);
        }
        for (name, number) in NAMES {
            heap.variable(&format!("v8dbg_type_{name}_TYPE"), u32::from(*number));
        }
        for (name, number) in [
            ("FirstContextType", types::FIRST_CONTEXT),
            ("LastContextType", types::LAST_CONTEXT),
            ("FirstJSFunctionType", types::JS_FUNCTION),
            ("LastJSFunctionType", types::JS_LAST_FUNCTION),
        ] {
            heap.variable(&format!("v8dbg_{name}"), u32::from(number));
        }

        let start = heap.tops[&READ_ONLY];
        heap.meta = start | 1;
        let map_shape = MapShape {
            words: 9,
            ..MapShape::default()
        };
        assert_eq!(heap.map(types::MAP, map_shape), heap.meta);
        heap.maps.insert(types::MAP, heap.meta);
        let oddballs = heap.read_only_map(
            types::ODDBALL,
            MapShape {
                words: 6,
                ..MapShape::default()
            },
        );
        let oddball =
            |heap: &mut Heap, kind: i64| heap.alloc(READ_ONLY, &[oddballs, 0, 0, 0, 0, smi(kind)]);
        heap.undefined = oddball(&mut heap, if line == Line::Node20 { 5 } else { 4 });
        let null = oddball(&mut heap, 3);
        heap.hole = oddball(&mut heap, 2);
        let yes = oddball(&mut heap, 1);
        let no = oddball(&mut heap, 0);
        let fixed = MapShape::default();
        let roots: Vec<u64> = vec![
            heap.read_only_map(types::FREE, fixed),
            heap.read_only_map(types::FREE + 1, fixed),
            heap.read_only_map(types::NAME_DICTIONARY, fixed),
            heap.read_only_map(types::NUMBER_DICTIONARY, fixed),
            heap.read_only_map(types::NAME_TO_INDEX, fixed),
            heap.meta,
            heap.undefined,
            null,
            heap.hole,
            yes,
            no,
            heap.string(""),
        ];
        let names: Vec<u64> = ROOT_NAMES.iter().map(|name| heap.text(name)).collect();
        let table = heap.take(BINARY, 8 * names.len() as u64);
        for (index, name) in names.iter().enumerate() {
            heap.put(table + 8 * index as u64, *name);
        }
        heap.symbols.push(Symbol {
            name: "_ZN2v88internal10RootsTable11root_names_E".to_owned(),
            address: table,
            size: 8 * names.len() as u64,
        });
        for (index, root) in roots.into_iter().enumerate() {
            heap.put(ROOTS + 8 * index as u64, root);
        }
        heap
    }

    /// A page of a space, and room for its objects.
    pub fn page(&mut self, base: u64, size: u64, space: u32, large: bool) {
        self.memory.insert(base, vec![0; size as usize]);
        // Each page's metadata and space have a place of their own.
        let number = self.tops.len() as u64;
        let owner = if space == 0 {
            0
        } else {
            METADATA + 0x1000 + 0x100 * number
        };
        let heap = if space == 0 { 0 } else { HEAP };
        if owner != 0 {
            self.put(owner + 8, HEAP);
            self.put(owner + 16, u64::from(space));
        }
        let large_bit = match self.line {
            Line::Node24 => 10,
            _ => 7,
        };
        let read_only_bit = match self.line {
            Line::Node26 => 10,
            _ => 6,
        };
        let flags = u64::from(large) << large_bit | u64::from(space == 0) << read_only_bit;
        let start = base
            + match self.line {
                Line::Node20 => 0x1148,
                Line::Node22 => 0x1140,
                _ => 0x10,
            };
        let end = base + size;
        match self.line {
            Line::Node20 => {
                let words = [size, flags, heap, start, end, 0, 0, 0, owner];
                self.put_all(base, &words);
            }
            Line::Node22 => {
                let words = [flags, base, size, heap, start, end, 0, 0, 0, owner];
                self.put_all(base, &words);
            }
            Line::Node24 | Line::Node26 => {
                let metadata = METADATA + 0x100 * number;
                self.put_all(base, &[flags, metadata]);
                let words = [0, base, size, 0, 0, 0, size, end, heap, start, owner];
                self.put_all(metadata, &words);
            }
        }
        self.tops.insert(base, start);
    }

    /// Where the word of a page's header is that says where its objects end.
    pub fn area_end_at(&self, base: u64) -> u64 {
        match self.line {
            Line::Node20 => base + 32,
            Line::Node22 => base + 40,
            _ => self.get(base + 8) + 56,
        }
    }

    /// What of a page is left over becomes free space, as V8 leaves it.
    pub fn fill(&mut self) {
        let map = self.get(ROOTS);
        let pages: Vec<_> = self
            .tops
            .iter()
            .filter(|(base, _)| **base >= READ_ONLY)
            .map(|(base, top)| (*base, *top))
            .collect();
        for (base, top) in pages {
            let end = base + self.memory[&base].len() as u64;
            if end - top >= 16 {
                let amount = match self.line {
                    Line::Node20 | Line::Node22 => end - top,
                    _ => (end - top) / 8,
                };
                self.put_all(top, &[map, smi(amount as i64)]);
            }
        }
    }

    fn take(&mut self, base: u64, size: u64) -> u64 {
        let top = self.tops.get_mut(&base).expect("a page");
        let at = *top;
        *top += (size + 7) & !7;
        at
    }

    /// An object of these words; its tagged pointer.
    pub fn alloc(&mut self, page: u64, words: &[u64]) -> u64 {
        let at = self.take(page, 8 * words.len() as u64);
        self.put_all(at, words);
        at | 1
    }

    /// An object with a header of words and then bytes.
    pub fn alloc_bytes(&mut self, page: u64, words: &[u64], bytes: &[u8]) -> u64 {
        let at = self.take(page, (8 * words.len() + bytes.len()) as u64);
        self.put_all(at, words);
        for (index, byte) in bytes.iter().enumerate() {
            self.put_byte(at + (8 * words.len() + index) as u64, *byte);
        }
        at | 1
    }

    fn map_words(&self, instance_type: u16, shape: MapShape) -> [u64; 9] {
        let sizes = u64::from(shape.words)
            | u64::from(shape.inobject) << 8
            | u64::from(instance_type) << 32
            | u64::from(shape.elements_kind << 2) << 56;
        let bits3 = u64::from(shape.count) << 10 | u64::from(shape.dictionary) << 21;
        [
            self.meta,
            sizes,
            bits3,
            shape.prototype,
            shape.constructor,
            shape.descriptors,
            0,
            0,
            0,
        ]
    }

    fn read_only_map(&mut self, instance_type: u16, shape: MapShape) -> u64 {
        let words = self.map_words(instance_type, shape);
        let map = self.alloc(READ_ONLY, &words);
        self.maps.insert(instance_type, map);
        map
    }

    /// A new map on the read-only page.
    pub fn map(&mut self, instance_type: u16, shape: MapShape) -> u64 {
        let words = self.map_words(instance_type, shape);
        self.alloc(READ_ONLY, &words)
    }

    /// The one map of all objects of a type that each has its own size, or a fixed one.
    pub fn map_for(&mut self, instance_type: u16, words: u8) -> u64 {
        if let Some(map) = self.maps.get(&instance_type) {
            return *map;
        }
        self.read_only_map(
            instance_type,
            MapShape {
                words,
                ..MapShape::default()
            },
        )
    }

    /// A sequential string of one byte a character.
    pub fn string(&mut self, text: &str) -> u64 {
        let map = self.map_for(types::SEQ_ONE_BYTE, 0);
        self.alloc_bytes(OLD, &[map, (text.len() as u64) << 32], text.as_bytes())
    }

    /// One of two bytes a character.
    pub fn wide_string(&mut self, text: &str) -> u64 {
        let map = self.map_for(types::SEQ_TWO_BYTE, 0);
        let units: Vec<u16> = text.encode_utf16().collect();
        let bytes: Vec<u8> = units.iter().flat_map(|unit| unit.to_le_bytes()).collect();
        self.alloc_bytes(OLD, &[map, (units.len() as u64) << 32], &bytes)
    }

    /// A string made of others: cons, sliced, thin.
    pub fn string_of(&mut self, instance_type: u16, length: u64, fields: &[u64]) -> u64 {
        let words = 2 + fields.len() as u8;
        let map = self.map_for(instance_type, words);
        let mut all = vec![map, length << 32];
        all.extend(fields);
        self.alloc(OLD, &all)
    }

    /// A FixedArray, or a table that is laid out as one.
    pub fn array(&mut self, instance_type: u16, elements: &[u64]) -> u64 {
        let map = self.map_for(instance_type, 0);
        let mut words = vec![map, smi(elements.len() as i64)];
        words.extend(elements);
        self.alloc(OLD, &words)
    }

    /// A DescriptorArray of (key, details, value).
    pub fn descriptors(&mut self, entries: &[(u64, i64, u64)]) -> u64 {
        let map = self.map_for(types::DESCRIPTOR_ARRAY, 0);
        let mut words = vec![map, entries.len() as u64, 0];
        if self.line == Line::Node26 {
            words.push(0);
        }
        for (key, details, value) in entries {
            words.extend([*key, smi(*details), *value]);
        }
        self.alloc(OLD, &words)
    }

    /// A plain object: its map, properties, elements, then the words inside it.
    pub fn object(&mut self, map: u64, properties: u64, elements: u64, inside: &[u64]) -> u64 {
        let mut words = vec![map, properties, elements];
        words.extend(inside);
        self.alloc(OLD, &words)
    }

    /// A C string in the binary.
    fn text(&mut self, text: &str) -> u64 {
        let at = self.take(BINARY, text.len() as u64 + 1);
        for (index, byte) in text.bytes().enumerate() {
            self.put_byte(at + index as u64, byte);
        }
        at
    }

    /// A variable of four bytes in the binary.
    pub fn variable(&mut self, name: &str, value: u32) {
        let at = self.take(BINARY, 8);
        self.put(at, u64::from(value));
        self.symbols.push(Symbol {
            name: name.to_owned(),
            address: at,
            size: 4,
        });
    }

    /// Removes symbols, as stripping does.
    pub fn strip(&mut self, prefix: &str) {
        self.symbols
            .retain(|symbol| !symbol.name.starts_with(prefix));
    }

    /// Memory that is nothing of V8's.
    pub fn native(&mut self, at: u64, bytes: &[u8]) {
        self.memory.insert(at, bytes.to_vec());
    }

    fn stretch(&mut self, at: u64, len: u64) -> &mut [u8] {
        let (start, bytes) = self.memory.range_mut(..=at).next_back().expect("memory");
        let offset = (at - start) as usize;
        &mut bytes[offset..offset + len as usize]
    }

    /// Writes a word.
    pub fn put(&mut self, at: u64, word: u64) {
        self.stretch(at, 8).copy_from_slice(&word.to_le_bytes());
    }

    fn put_byte(&mut self, at: u64, byte: u8) {
        self.stretch(at, 1)[0] = byte;
    }

    fn put_all(&mut self, at: u64, words: &[u64]) {
        let bytes = self.stretch(at, 8 * words.len() as u64);
        for (place, word) in bytes.chunks_exact_mut(8).zip(words) {
            place.copy_from_slice(&word.to_le_bytes());
        }
    }

    /// Reads a word.
    pub fn get(&self, at: u64) -> u64 {
        let (start, bytes) = self.memory.range(..=at).next_back().expect("memory");
        let offset = (at - start) as usize;
        u64::from_le_bytes(bytes[offset..offset + 8].try_into().expect("a word"))
    }

    /// The word of a field of an object.
    pub fn set(&mut self, object: u64, offset: u64, word: u64) {
        self.put((object & !3) + offset, word);
    }

    /// Opens it.
    pub fn open(mut self) -> Result<V8> {
        self.fill();
        V8::open(Arc::new(self), &Options::default())
    }

    /// Opens it, which must succeed.
    pub fn opened(self) -> V8 {
        self.open().expect("a heap that can be read")
    }
}

impl Target for Heap {
    fn read(&self, address: u64, buf: &mut [u8]) -> Result<()> {
        if address.is_multiple_of(UNIT) {
            self.begun.lock().unwrap().insert(address);
        }
        let missing = V8Error::Missing { address };
        let (start, bytes) = self
            .memory
            .range(..=address)
            .next_back()
            .ok_or(missing.clone())?;
        let offset = usize::try_from(address - start).map_err(|_| missing.clone())?;
        let held = bytes
            .get(offset..)
            .and_then(|rest| rest.get(..buf.len()))
            .ok_or(missing)?;
        buf.copy_from_slice(held);
        Ok(())
    }

    fn regions(&self) -> Vec<Region> {
        self.memory
            .iter()
            .map(|(start, bytes)| Region {
                range: *start..start + bytes.len() as u64,
                writable: *start != BINARY,
                executable: false,
                file: (*start == BINARY).then(|| "node".to_owned()),
                held: bytes.len() as u64,
            })
            .collect()
    }

    fn symbol(&self, name: &str) -> Option<Symbol> {
        self.symbols
            .iter()
            .find(|symbol| symbol.name == name)
            .cloned()
    }

    fn symbols(&self, prefix: &str) -> Vec<Symbol> {
        self.symbols
            .iter()
            .filter(|symbol| symbol.name.starts_with(prefix))
            .cloned()
            .collect()
    }

    fn function_at(&self, _: u64) -> Option<(String, u64)> {
        None
    }

    fn threads(&self) -> Vec<ThreadState> {
        self.threads.clone()
    }

    fn thread_local(&self, tid: u64, name: &str) -> Option<u64> {
        let named = name == "_ZN2v88internal18g_current_isolate_E";
        // One variable for all of them: they are in the same isolate.
        (!self.nameless.contains(&tid)
            && named
            && self
                .symbol("_ZN2v88internal10RootsTable11root_names_E")
                .is_some())
        .then_some(TLS - 0x40)
    }

    fn binary(&self) -> Vec<Region> {
        self.regions()
            .into_iter()
            .filter(|region| region.file.is_some())
            .collect()
    }

    fn unwind(&self, _: u64) -> Vec<NativeFrame> {
        Vec::new()
    }
}

/// A tagged word.
pub fn tagged(word: u64) -> Tagged {
    Tagged(word)
}
