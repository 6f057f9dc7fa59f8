//! V8 in one process: its layout, its pages, its isolates. Everything else is asked of this.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock, RwLock};

use crate::constants::{Constants, NO, Provenance, ROWS};
use crate::error::{Result, V8Error};
pub use crate::isolates::Isolate;
use crate::isolates::{self, Parts};
use crate::memory::Memory;
use crate::page_table::PageTable;
use crate::pages::{Page, PageLayout};
use crate::semispace;
use crate::stripped;
use crate::tagged::Tagged;
use crate::target::{Region, Symbol, Target, ThreadState};
use crate::types::{Kind, Types};
use crate::version::{self, Version};

/// Most roots that are read: V8 has about a thousand.
const MAX_ROOTS: usize = 4096;

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
    pub memory: Arc<Memory>,
    /// Which version it is.
    pub version: Version,
    /// What code begins at multiples of.
    pub(crate) code_alignment: u64,
    /// Which of the four layouts is in use: 0 to 3 for Node 20, 22, 24, 26.
    pub column: usize,
    /// All offsets.
    pub c: Constants,
    /// Where each offset came from, in the order of [`ROWS`].
    pub provenance: Vec<Provenance>,
    /// The heap's pages.
    pub pages: PageTable,
    /// The isolates that a thread is in, the main one first.
    entered: Vec<Isolate>,
    /// Those and behind them the others, and where an isolate's parts are, by which they are found.
    isolates: OnceLock<Vec<Isolate>>,
    parts: Parts,
    meta_index: u64,
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
    /// WebAssembly modules by the instances that frames have.
    pub(crate) wasm: RwLock<HashMap<u64, Option<Arc<crate::code::WasmModule>>>>,
    pub(crate) builtin_names: OnceLock<Vec<String>>,
    builtins: OnceLock<Vec<Symbol>>,
    blob: OnceLock<Option<(u64, u64)>>,
    pub(crate) free_unit: OnceLock<(u64, Provenance)>,
    pub(crate) moving: OnceLock<Vec<u64>>,
    pub(crate) surviving: OnceLock<HashMap<u64, u64>>,
    regions: OnceLock<Vec<Region>>,
    pub(crate) bytecode_sizes: OnceLock<Vec<u8>>,
    /// Tables that were read whole: what of, how many entries, how they were told.
    tables: Vec<(&'static str, usize, Provenance)>,
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
    /// [`V8Error::NoV8`], [`V8Error::Unsupported`], [`V8Error::Compressed`], [`V8Error::Layout`].
    pub fn open(target: Arc<dyn Target>, options: &Options) -> Result<V8> {
        let memory = Arc::new(Memory::new(target.clone()));
        let version = version::find(&memory)?;
        let (column, caveat) = version.column(options)?;
        check_build(&memory, &version)?;
        let (mut c, mut provenance) = Constants::load(&memory, &version, column)?;
        let warnings: Vec<String> = caveat.into_iter().collect();
        let mut tables = Vec::new();
        let mut root_names = root_names(&memory);
        let told = !root_names.is_empty();
        if !told {
            root_names = stripped::root_names(&memory);
        }
        let how = Provenance::of_search(told, !root_names.is_empty());
        tables.push(("root_names", root_names.len(), how));
        let meta_index = root_names
            .iter()
            .position(|name| name == "meta_map")
            .ok_or_else(|| {
                V8Error::Layout(
                    "the names of V8's roots (the binary was not found, or is stripped in an unusual way)"
                        .to_owned(),
                )
            })?;
        let layout = PageLayout {
            column,
            node_18: version.is_node_18(),
        };
        let mut pages = PageTable::new(memory.clone(), layout);
        let threads = target.threads();
        let search = isolates::Search {
            memory: &memory,
            pages: &pages,
            threads: &threads,
            roots: root_names.len().min(MAX_ROOTS),
            meta_index: meta_index as u64,
        };
        let found = search.run(&c)?;
        isolates::settle(found.parts, &mut c, &mut provenance);
        if version.is_node_18() {
            let isolates = found.all.as_ref().unwrap_or(&found.entered);
            semispace::settle(&memory, isolates, &mut pages, &mut c, &mut provenance);
        }
        let mut v8 = V8 {
            types: Types::new(Vec::new(), None, None, &[], column),
            memory,
            version,
            column,
            c,
            provenance,
            pages,
            entered: found.entered,
            isolates: found.all.map(OnceLock::from).unwrap_or_default(),
            parts: found.parts,
            meta_index: meta_index as u64,
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
            wasm: RwLock::default(),
            builtin_names: OnceLock::new(),
            builtins: OnceLock::new(),
            blob: OnceLock::new(),
            free_unit: OnceLock::new(),
            moving: OnceLock::new(),
            surviving: OnceLock::new(),
            regions: OnceLock::new(),
            code_alignment: target.code_alignment(),
            bytecode_sizes: OnceLock::new(),
            tables,
            warnings,
        };
        v8.name_roots();
        v8.load_types()?;
        Ok(v8)
    }

    fn name_roots(&mut self) {
        let roots = self.main_isolate().map(|isolate| isolate.roots.clone());
        for (index, name) in self.root_names.iter().enumerate() {
            self.root_index.entry(name.clone()).or_insert(index);
            if let Some(root) = roots.as_ref().and_then(|roots| roots.get(index))
                && root.is_pointer()
            {
                self.root_of.entry(root.address()).or_insert(index);
            }
        }
    }

    fn load_types(&mut self) -> Result<()> {
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
        if let Some(isolate) = self.main_isolate() {
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
        let told = metadata.len();
        self.types = Types::new(metadata, contexts, functions, &roots, self.column);
        self.tables.push((
            "instance_types",
            told,
            Provenance::of_search(told > 0, false),
        ));
        let derived = self.types.all().len().saturating_sub(told);
        self.tables
            .push(("instance_types_by_root", derived, Provenance::Derived));
        let missing: Vec<_> = ["MAP", "JS_OBJECT", "JS_ARRAY", "JS_FUNCTION", "FIXED_ARRAY"]
            .into_iter()
            .filter(|name| self.types.number(name).is_none())
            .collect();
        if missing.is_empty() {
            return Ok(());
        }
        Err(V8Error::Layout(format!(
            "the numbers of the instance types {} (the binary tells them by v8dbg_* symbols, and this one has {told} of them{})",
            missing.join(", "),
            if told == 0 {
                "; it was built without V8's postmortem support, or its dynamic symbols were stripped"
            } else {
                ""
            }
        )))
    }

    /// All isolates: those that a thread is in, the main one first, then the others. (For those it takes a look at every
    /// page of the process.)
    pub fn isolates(&self) -> &[Isolate] {
        self.isolates.get_or_init(|| {
            let search = isolates::Search {
                memory: &self.memory,
                pages: &self.pages,
                threads: &self.threads,
                roots: self.root_names.len().min(MAX_ROOTS),
                meta_index: self.meta_index,
            };
            search.complete(&self.entered, self.parts, &self.c)
        })
    }

    /// An isolate by its number.
    pub fn isolate(&self, id: usize) -> Option<&Isolate> {
        self.entered.get(id).or_else(|| self.isolates().get(id))
    }

    /// The isolates that a thread is in, the main one first. (They are known at once.)
    pub fn entered(&self) -> &[Isolate] {
        &self.entered
    }

    /// The first isolate: the main thread's, where it is in one.
    pub fn main_isolate(&self) -> Option<&Isolate> {
        self.entered.first().or_else(|| self.isolates().first())
    }

    /// The isolate that a thread is in.
    pub fn isolate_in(&self, tid: u64) -> Option<&Isolate> {
        self.entered
            .iter()
            .find(|isolate| isolate.thread == Some(tid))
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
        let first = self.memory.u64(value.address())?;
        self.map(Tagged(self.map_word(value.address(), first)))
            .ok_or(V8Error::NotObject { address: value.0 })
    }

    /// Where a map is now: a collection moves maps too, and until all pointers are mended the first word of what was moved
    /// leads to the copy. (`MapWord::FromForwardingAddress` in V8's `objects/objects.h`.)
    fn map_now(&self, address: u64) -> u64 {
        match self.memory.u64(address) {
            Ok(word) if word & 7 == 0 && self.pages.page_of(word).is_some() => word,
            _ => address,
        }
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
        let meta = Tagged(self.memory.u64(self.map_now(address)).ok()?);
        if meta.0 & 3 != 1 {
            return None;
        }
        self.pages.page_of(meta.address())?;
        let meta = self.map_now(meta.address());
        let meta_meta = Tagged(self.memory.u64(meta).ok()?);
        if meta_meta.0 & 3 != 1 || self.map_now(meta_meta.address()) != meta {
            return None;
        }
        let map_type = self.types.number("MAP")?;
        if self.memory.u16(self.at(meta, self.c.map_type)).ok()? != map_type {
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
        self.main_isolate()?.roots.get(index).copied()
    }

    /// A root of one isolate by its name.
    pub fn isolate_root(&self, isolate: &Isolate, name: &str) -> Option<Tagged> {
        isolate.roots.get(*self.root_index.get(name)?).copied()
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
        if page.heap == 0 {
            return None;
        }
        let owns = |isolate: &&Isolate| isolate.heap == page.heap;
        let entered = self.entered.iter().find(owns);
        entered.or_else(|| self.isolates().iter().find(owns))
    }

    /// The region of memory that holds an address. (Asked for each word of an isolate: the list is made once.)
    pub(crate) fn region_at(&self, address: u64) -> Option<&Region> {
        let regions = self.regions.get_or_init(|| self.memory.target().regions());
        let next = regions.partition_point(|region| region.range.start <= address);
        let region = regions.get(next.checked_sub(1)?)?;
        region.range.contains(&address).then_some(region)
    }

    /// The builtins of the binary, by address.
    pub fn builtins(&self) -> &[Symbol] {
        self.builtins.get_or_init(|| {
            let mut builtins = self.memory.target().symbols("Builtins_");
            if builtins.is_empty()
                && let Some(isolate) = self.main_isolate()
            {
                let names = stripped::builtin_names(&self.memory);
                builtins = stripped::builtins(&self.memory, isolate.address, &names);
            }
            builtins.sort_by_key(|symbol| symbol.address);
            builtins
        })
    }

    /// The start and size of the embedded builtins in the binary.
    pub fn blob(&self) -> Option<(u64, u64)> {
        *self.blob.get_or_init(|| {
            let target = self.memory.target();
            // In Node 18 the second name is that of a pointer to it.
            let code = target
                .symbol("v8_Default_embedded_blob_code_data_")
                .or_else(|| target.symbol("v8_Default_embedded_blob_code_"));
            let told = code.zip(target.symbol("v8_Default_embedded_blob_code_size_"));
            let (start, size) = match told {
                // The first is the code itself, the second a variable with its length.
                Some((start, size)) => (
                    start.address,
                    u64::from(self.memory.u32(size.address).ok()?),
                ),
                // From the first builtin to the end of the last, of which only the start is known.
                None => {
                    let (first, last) = self.builtins().first().zip(self.builtins().last())?;
                    let start = first.address & !0xfff;
                    (start, last.address - start + 64)
                }
            };
            (size > 0).then_some((start, size))
        })
    }

    /// All offsets with their values and where they came from; then the tables, with the number of their entries.
    pub fn layout(&self) -> Vec<(&'static str, Option<i64>, Provenance)> {
        let values = self.c.values();
        let rows = ROWS.iter().zip(&self.provenance).zip(values);
        let rows = rows.map(|((row, provenance), value)| {
            (row.field, (value != NO).then_some(value), *provenance)
        });
        let told = !self.memory.target().symbols("Builtins_").is_empty();
        let builtins = self.builtins().len();
        let tables = self.tables.iter().copied().chain([(
            "builtin_names",
            builtins,
            Provenance::of_search(told, builtins > 0),
        )]);
        let (unit, how) = self.free_space_row();
        rows.chain([("free_space_unit", Some(unit), how)])
            .chain(
                tables.map(|(name, count, how)| (name, (count > 0).then_some(count as i64), how)),
            )
            .collect()
    }
}

/// Whether the binary was built in a way that can be read at all: with tagged words of eight bytes.
fn check_build(memory: &Memory, version: &Version) -> Result<()> {
    let value = |name: &str| {
        let symbol = memory.target().symbol(name)?;
        // Those that are zero lie in .bss, of which a core may hold nothing.
        Some(memory.u32(symbol.address).unwrap_or(0))
    };
    // Without pointer compression a Smi stands in the upper half of its word: 31 bits beyond the tag. The mask is never
    // zero, unless the core lacks these variables.
    let smaller = value("v8dbg_SmiShiftSize") == Some(0) && value("v8dbg_SmiTagMask") == Some(1);
    if smaller || value("v8dbg_TaggedSize") == Some(4) {
        return Err(V8Error::Compressed {
            version: version.text.clone(),
        });
    }
    Ok(())
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
    (0..count)
        .map_while(|index| {
            let at = symbol.address.checked_add(8 * index)?;
            memory.c_string(memory.u64(at).ok()?, 128).ok()
        })
        .collect()
}
