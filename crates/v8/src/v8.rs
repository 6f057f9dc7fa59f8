//! V8 in one process: its layout, its pages, its isolates. Everything else is asked of this.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, OnceLock, RwLock};

use crate::constants::{Constants, NO, Provenance, ROWS};
use crate::error::{Result, V8Error};
use crate::memory::Memory;
use crate::pages::{self, Page, PageTable};
use crate::tagged::Tagged;
use crate::target::{Symbol, Target, ThreadState};
use crate::types::{Kind, Types};

/// The four layouts that are known: V8's version times ten, Node's major.
const COLUMNS: [(u32, u32); 4] = [(113, 20), (124, 22), (136, 24), (146, 26)];

/// A version of V8.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// As `11.3.244.8-node.38`, or without the last part where it is not told.
    pub text: String,
    /// Major × 10 + minor.
    pub number: u32,
}

/// One isolate: a JavaScript heap with its threads' stacks.
#[derive(Debug, Clone)]
pub struct Isolate {
    /// Its number, from 0 on in the order of threads: 0 is the main one.
    pub id: usize,
    /// Where the `Isolate` object is.
    pub address: u64,
    /// Where its `Heap` is: pages name it.
    pub heap: u64,
    /// The thread that is in it, where one is.
    pub thread: Option<u64>,
    /// The roots, by their order in V8.
    pub roots: Vec<Tagged>,
}

/// What a map says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MapInfo {
    /// Where the map begins.
    pub address: u64,
    /// The type of objects with this map.
    pub instance_type: u16,
    /// What that type is.
    pub kind: Kind,
    /// Bytes of such an object; 0 when each has its own size.
    pub size: u32,
    /// Word at which in-object properties begin.
    pub inobject: u8,
    /// `bit_field`.
    pub bits: u8,
    /// `bit_field2`.
    pub bits2: u8,
    /// `bit_field3`.
    pub bits3: u32,
}

/// V8 in one process.
pub struct V8 {
    /// Its words.
    pub memory: Memory,
    /// Which version it is.
    pub version: Version,
    /// Which of the four layouts is in use: 0 to 3 for Node 20, 22, 24, 26.
    pub column: usize,
    /// All offsets.
    pub c: Constants,
    /// Where each offset came from, in the order of [`ROWS`].
    pub provenance: Vec<Provenance>,
    /// The heap's pages.
    pub pages: PageTable,
    /// The isolates, the main one first.
    pub isolates: Vec<Isolate>,
    /// Instance types.
    pub types: Types,
    /// The threads, as the core tells of them.
    pub threads: Vec<ThreadState>,
    root_names: Vec<String>,
    root_index: HashMap<String, usize>,
    /// Roots of the first isolate that are in read-only space: their address to their number.
    root_of: HashMap<u64, usize>,
    maps: RwLock<crate::fast::AddressMap<Option<MapInfo>>>,
    pub(crate) sources: RwLock<HashMap<u64, Arc<crate::function::Source>>>,
    pub(crate) classes: RwLock<crate::fast::AddressMap<Arc<str>>>,
    pub(crate) copies: RwLock<Vec<u64>>,
    pub(crate) copy_misses: RwLock<Vec<u64>>,
    pub(crate) frame_types: OnceLock<HashMap<i64, String>>,
    pub(crate) builtin_names: OnceLock<Vec<String>>,
    builtins: OnceLock<Vec<Symbol>>,
    blob: OnceLock<Option<(u64, u64)>>,
    /// What went wrong while opening without stopping it.
    pub warnings: Vec<String>,
}

/// How V8 is opened.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Unknown versions are read as the nearest known one.
    pub force: bool,
}

impl V8 {
    /// Finds V8 in a process: version, constants, pages, isolates, roots, types. The heap is not walked.
    ///
    /// # Errors
    /// [`V8Error::NoV8`], [`V8Error::Unsupported`], [`V8Error::Layout`].
    pub fn open(target: Arc<dyn Target>, options: &Options) -> Result<V8> {
        let memory = Memory::new(target.clone());
        let version = find_version(&memory)?;
        let column = column_of(&version, options)?;
        let (mut c, mut provenance) = Constants::load(&memory, column)?;
        let mut warnings = Vec::new();
        let root_names = root_names(&memory);
        if root_names.is_empty() {
            warnings.push("the names of V8's roots were not found (a stripped binary?): types, symbols and builtins go by number".to_owned());
        }
        let found = pages::find(&memory, column);
        if found.iter().all(|page| page.heap == 0) {
            return Err(V8Error::NoV8(
                "no page of a V8 heap is in the core".to_owned(),
            ));
        }
        let pages = PageTable::new(found);
        let threads = target.threads();
        let meta_index = root_names.iter().position(|name| name == "meta_map");
        let isolates = find_isolates(
            &memory,
            &pages,
            &threads,
            &mut c,
            &mut provenance,
            meta_index,
            &mut warnings,
        )?;
        let mut v8 = V8 {
            types: Types::new(Vec::new(), None, None, &[], column),
            memory,
            version,
            column,
            c,
            provenance,
            pages,
            isolates,
            threads,
            root_names,
            root_index: HashMap::new(),
            root_of: HashMap::new(),
            maps: RwLock::default(),
            sources: RwLock::default(),
            classes: RwLock::default(),
            copies: RwLock::default(),
            copy_misses: RwLock::default(),
            frame_types: OnceLock::new(),
            builtin_names: OnceLock::new(),
            builtins: OnceLock::new(),
            blob: OnceLock::new(),
            warnings,
        };
        v8.load_roots();
        v8.load_types();
        Ok(v8)
    }

    fn load_roots(&mut self) {
        let count = self.root_names.len().min(4096);
        for isolate in &mut self.isolates {
            let table = isolate.address.wrapping_add_signed(self.c.roots_in_isolate);
            isolate.roots = (0..count as u64)
                .map(|index| Tagged(self.memory.u64(table.wrapping_add(8 * index)).unwrap_or(0)))
                .collect();
        }
        for (index, name) in self.root_names.iter().enumerate() {
            self.root_index.entry(name.clone()).or_insert(index);
            if let Some(root) = self
                .isolates
                .first()
                .and_then(|isolate| isolate.roots.get(index))
                && root.is_pointer()
            {
                self.root_of.entry(root.address()).or_insert(index);
            }
        }
    }

    fn load_types(&mut self) {
        let symbols = self.memory.target().symbols("v8dbg_type_");
        let mut metadata = Vec::new();
        for symbol in symbols {
            if let Some((_, name)) = symbol.name.rsplit_once("__")
                && let Some(name) = name.strip_suffix("_TYPE")
                && let Ok(number) = self.memory.u32(symbol.address)
            {
                metadata.push((name.to_owned(), number as u16));
            }
        }
        let ends = |first: &str, last: &str| {
            let value = |name: &str| {
                let symbol = self.memory.target().symbol(&format!("v8dbg_{name}"))?;
                Some(self.memory.u32(symbol.address).ok()? as u16)
            };
            Some((value(first)?, value(last)?))
        };
        let contexts = ends("FirstContextType", "LastContextType");
        let functions = ends("FirstJSFunctionType", "LastJSFunctionType");
        let mut roots = Vec::new();
        if let Some(isolate) = self.isolates.first() {
            for (name, root) in self.root_names.iter().zip(&isolate.roots) {
                if let Some(base) = name.strip_suffix("_map")
                    && root.is_pointer()
                    && let Ok(number) = self.memory.u16(self.at(root.address(), self.c.map_type))
                    && let Ok(size) = self.memory.u8(self.at(root.address(), self.c.map_size))
                {
                    roots.push((base.to_uppercase(), number, size == 0));
                }
            }
        }
        self.types = Types::new(metadata, contexts, functions, &roots, self.column);
    }

    /// The address of a field.
    pub fn at(&self, object: u64, field: i64) -> u64 {
        object.wrapping_add_signed(field)
    }

    /// A field of an object that holds a tagged word.
    ///
    /// # Errors
    /// [`V8Error::Missing`], also for a field that this version does not have.
    pub fn field(&self, object: u64, field: i64) -> Result<Tagged> {
        if field == NO {
            return Err(V8Error::Missing { address: object });
        }
        Ok(Tagged(self.memory.u64(self.at(object, field))?))
    }

    /// The map of an object, checked to be one.
    ///
    /// # Errors
    /// [`V8Error::NotObject`] when the word is no pointer into the heap, or what it points to has no valid map.
    pub fn map_of(&self, value: Tagged) -> Result<MapInfo> {
        if !value.is_pointer() || self.pages.page_of(value.address()).is_none() {
            return Err(V8Error::NotObject { address: value.0 });
        }
        let word = Tagged(self.memory.u64(value.address())?);
        self.map(word)
            .ok_or(V8Error::NotObject { address: value.0 })
    }

    /// What an object is.
    ///
    /// # Errors
    /// As [`V8::map_of`].
    pub fn kind_of(&self, value: Tagged) -> Result<Kind> {
        Ok(self.map_of(value)?.kind)
    }

    /// The map that a word points to, if it points to one: the map's map is its own map, or that one's is, and its
    /// type is that of maps. Each native context has a meta map of its own since V8 12.
    pub fn map(&self, word: Tagged) -> Option<MapInfo> {
        if word.0 & 3 != 1 {
            return None;
        }
        let address = word.address();
        if let Ok(maps) = self.maps.read()
            && let Some(known) = maps.get(&address)
        {
            return *known;
        }
        let info = self.read_map(address);
        if let Ok(mut maps) = self.maps.write()
            && (info.is_some() || maps.len() < 1 << 20)
        {
            maps.insert(address, info);
        }
        info
    }

    fn read_map(&self, address: u64) -> Option<MapInfo> {
        self.pages.page_of(address)?;
        let meta = Tagged(self.memory.u64(address).ok()?);
        if meta.0 & 3 != 1 {
            return None;
        }
        self.pages.page_of(meta.address())?;
        let meta_meta = Tagged(self.memory.u64(meta.address()).ok()?);
        if meta_meta != meta {
            return None;
        }
        let map_type = self.types.number("MAP")?;
        if self
            .memory
            .u16(self.at(meta.address(), self.c.map_type))
            .ok()?
            != map_type
        {
            return None;
        }
        let instance_type = self.memory.u16(self.at(address, self.c.map_type)).ok()?;
        Some(MapInfo {
            address,
            instance_type,
            kind: self.types.kind(instance_type),
            size: u32::from(self.memory.u8(self.at(address, self.c.map_size)).ok()?) * 8,
            inobject: self.memory.u8(self.at(address, self.c.map_inobject)).ok()?,
            bits: self.memory.u8(self.at(address, self.c.map_bits)).ok()?,
            bits2: self.memory.u8(self.at(address, self.c.map_bits2)).ok()?,
            bits3: self.memory.u32(self.at(address, self.c.map_bits3)).ok()?,
        })
    }

    /// The value of a root of the first isolate by its name, as `undefined_value`.
    pub fn root(&self, name: &str) -> Option<Tagged> {
        let index = *self.root_index.get(name)?;
        self.isolates.first()?.roots.get(index).copied()
    }

    /// The name of the root that an object is, if it is one.
    pub fn root_name(&self, value: Tagged) -> Option<&str> {
        let index = *self.root_of.get(&value.strong().address())?;
        self.root_names.get(index).map(String::as_str)
    }

    /// Whether a value is `undefined`.
    pub fn is_undefined(&self, value: Tagged) -> bool {
        self.root_name(value) == Some("undefined_value")
    }

    /// Whether a value is one of the holes: no value at all.
    pub fn is_hole(&self, value: Tagged) -> bool {
        value.is_pointer()
            && (self
                .root_name(value)
                .is_some_and(|name| name.ends_with("hole_value") || name.ends_with("_hole"))
                || self.kind_of(value).is_ok_and(|kind| kind == Kind::Hole))
    }

    /// The isolate that a page belongs to; read-only pages belong to all of them.
    pub fn isolate_of(&self, page: &Page) -> Option<&Isolate> {
        self.isolates
            .iter()
            .find(|isolate| isolate.heap == page.heap)
    }

    /// The builtins of the binary, by address.
    pub fn builtins(&self) -> &[Symbol] {
        self.builtins.get_or_init(|| {
            let mut builtins = self.memory.target().symbols("Builtins_");
            builtins.sort_by_key(|symbol| symbol.address);
            builtins
        })
    }

    /// The start and size of the embedded builtins in the binary.
    pub fn blob(&self) -> Option<(u64, u64)> {
        *self.blob.get_or_init(|| {
            let target = self.memory.target();
            let start = target.symbol("v8_Default_embedded_blob_code_")?;
            let size = target.symbol("v8_Default_embedded_blob_code_size_")?;
            // The first is the code itself, the second a variable with its length.
            let start = start.address;
            let size = u64::from(self.memory.u32(size.address).ok()?);
            (size > 0).then_some((start, size))
        })
    }

    /// All offsets with their values and where they came from.
    pub fn layout(&self) -> Vec<(&'static str, Option<i64>, Provenance)> {
        let values = self.c.values();
        ROWS.iter()
            .zip(&self.provenance)
            .zip(values)
            .map(|((row, provenance), value)| {
                (row.field, (value != NO).then_some(value), *provenance)
            })
            .collect()
    }
}

/// The version, from V8's own variables or from the text in the binary.
fn find_version(memory: &Memory) -> Result<Version> {
    let part = |name: &str| {
        let mangled = format!("_ZN2v88internal7Version{}{name}E", name.len());
        let symbol = memory.target().symbol(&mangled)?;
        memory.u32(symbol.address).ok()
    };
    let text = version_text(memory);
    if let (Some(major), Some(minor)) = (part("major_"), part("minor_")) {
        let build = part("build_").unwrap_or(0);
        let patch = part("patch_").unwrap_or(0);
        let plain = format!("{major}.{minor}.{build}.{patch}");
        let text = text
            .filter(|text| text.starts_with(&plain))
            .unwrap_or(plain);
        return Ok(Version {
            text,
            number: major.saturating_mul(10).saturating_add(minor),
        });
    }
    let text = text
        .ok_or_else(|| V8Error::NoV8("its executable does not say which V8 it holds".to_owned()))?;
    let mut parts = text.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
    let (major, minor) = (parts.next().unwrap_or(0), parts.next().unwrap_or(0));
    Ok(Version {
        text,
        number: major * 10 + minor,
    })
}

/// `12.4.254.21-node.57`, as it stands in read-only data: the variable `v8::internal::Version::version_string_` points
/// to it.
fn version_text(memory: &Memory) -> Option<String> {
    let symbol = memory
        .target()
        .symbol("_ZN2v88internal7Version15version_string_E")?;
    let text = memory.c_string(memory.u64(symbol.address).ok()?, 64).ok()?;
    text.starts_with(|c: char| c.is_ascii_digit())
        .then_some(text)
}

fn column_of(version: &Version, options: &Options) -> Result<usize> {
    if let Some(column) = COLUMNS.iter().position(|column| column.0 == version.number) {
        return Ok(column);
    }
    if options.force {
        let nearest = COLUMNS
            .iter()
            .enumerate()
            .min_by_key(|(_, column)| column.0.abs_diff(version.number));
        return Ok(nearest.map_or(3, |(index, _)| index));
    }
    // Which Node that is: from V8's own table of releases (nodejs.org/dist/index.json).
    let node = match version.number {
        102 => "18",
        107 | 108 => "19",
        115..=118 => "21",
        129 => "23",
        137..=141 => "25",
        _ => "?",
    };
    Err(V8Error::Unsupported {
        version: version.text.clone(),
        node: node.to_owned(),
    })
}

/// The names of all roots in their order, from `RootsTable::root_names_`, an array of C strings.
fn root_names(memory: &Memory) -> Vec<String> {
    let Some(symbol) = memory
        .target()
        .symbol("_ZN2v88internal10RootsTable11root_names_E")
    else {
        return Vec::new();
    };
    let count = if symbol.size == 0 {
        2048
    } else {
        (symbol.size / 8).min(4096)
    };
    let mut names = Vec::new();
    for index in 0..count {
        let Ok(pointer) = memory.u64(symbol.address + 8 * index) else {
            break;
        };
        match memory.c_string(pointer, 128) {
            Ok(name) => names.push(name),
            Err(_) => break,
        }
    }
    names
}

/// The isolates: one for each heap that pages name.
#[allow(clippy::too_many_arguments)]
fn find_isolates(
    memory: &Memory,
    pages: &PageTable,
    threads: &[ThreadState],
    c: &mut Constants,
    provenance: &mut [Provenance],
    meta_index: Option<usize>,
    warnings: &mut Vec<String>,
) -> Result<Vec<Isolate>> {
    let mut heaps: BTreeMap<u64, usize> = BTreeMap::new();
    for page in pages.pages().iter().filter(|page| page.heap != 0) {
        *heaps.entry(page.heap).or_default() += 1;
    }
    // Which isolate each thread is in: V8's thread-local variable.
    let tls = memory
        .target()
        .symbol("_ZN2v88internal18g_current_isolate_E")
        .zip(memory.target().tls_block());
    let mut entered: Vec<(u64, u64)> = Vec::new();
    if let Some((symbol, (size, align))) = tls {
        let block = size.next_multiple_of(align.max(1));
        for thread in threads {
            let slot = thread.tls.wrapping_sub(block).wrapping_add(symbol.address);
            if let Ok(isolate) = memory.u64(slot)
                && isolate != 0
            {
                entered.push((thread.tid, isolate));
            }
        }
    }
    // The distance from isolate to heap, from any thread whose isolate lies below one of the heaps.
    let mut distance = c.heap_in_isolate;
    let derived = entered.iter().find_map(|(_, isolate)| {
        heaps
            .keys()
            .map(|heap| heap.wrapping_sub(*isolate) as i64)
            .find(|distance| (0x1000..0x40000).contains(distance))
    });
    if let Some(derived) = derived {
        distance = derived;
        set(
            c,
            provenance,
            "heap_in_isolate",
            derived,
            Provenance::Derived,
        );
    }
    let mut isolates = Vec::new();
    for &heap in heaps.keys() {
        let address = heap.wrapping_sub(distance as u64);
        let thread = entered
            .iter()
            .find(|(_, isolate)| *isolate == address)
            .map(|(tid, _)| *tid);
        isolates.push(Isolate {
            id: 0,
            address,
            heap,
            thread,
            roots: Vec::new(),
        });
    }
    let order = |tid: Option<u64>| {
        tid.map_or(u64::MAX, |tid| {
            if threads.iter().map(|thread| thread.tid).min() == Some(tid) {
                0
            } else {
                tid
            }
        })
    };
    isolates.sort_by_key(|isolate| (order(isolate.thread), isolate.address));
    for (id, isolate) in isolates.iter_mut().enumerate() {
        isolate.id = id;
    }
    // The roots: the smallest offset at which the meta map's slot holds a map whose map is itself.
    if let (Some(index), Some(first)) = (meta_index, isolates.first()) {
        let is_meta = |word: u64| {
            word & 3 == 1
                && pages.page_of(word & !3).is_some()
                && memory.u64(word & !3).is_ok_and(|map| map == word)
        };
        let found = (0..0x1000_u64).step_by(8).find(|offset| {
            memory
                .u64(first.address.wrapping_add(offset + 8 * index as u64))
                .is_ok_and(is_meta)
        });
        match found {
            Some(offset) => set(
                c,
                provenance,
                "roots_in_isolate",
                offset as i64,
                Provenance::Searched,
            ),
            None => warnings.push("the roots of the first isolate were not found".to_owned()),
        }
    }
    Ok(isolates)
}

fn set(c: &mut Constants, provenance: &mut [Provenance], field: &str, value: i64, how: Provenance) {
    match field {
        "heap_in_isolate" => c.heap_in_isolate = value,
        "roots_in_isolate" => c.roots_in_isolate = value,
        _ => {}
    }
    if let Some(index) = ROWS.iter().position(|row| row.field == field) {
        provenance[index] = how;
    }
}
