//! V8 in one process: its layout, its pages, its isolates. Everything else is asked of this.

mod builtins;
mod map;
mod numbers;
mod roots;

use std::collections::HashMap;
use std::sync::{Arc, OnceLock, RwLock};

pub use self::map::MapInfo;
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
use crate::types::Types;
use crate::version::{self, Version};

/// Most roots that are read: V8 has about a thousand.
const MAX_ROOTS: usize = 4096;

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
        let mut root_names = roots::names(&memory);
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
