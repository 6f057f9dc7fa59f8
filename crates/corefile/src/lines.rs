//! Source files, lines and inlined functions, where there is debug information.

use std::convert::Infallible;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use addr2line::{Context, LookupContinuation, LookupResult, SplitDwarfLoad};
use gimli::{
    self, DebugInfo, Dwarf, DwarfPackage, EndianArcSlice, LittleEndian, SectionId, UnitRef,
};

use crate::elf_file::ElfFile;
use crate::sysroot::{Found, Sysroot};

/// Bytes of a section, shared by whoever refers to them.
pub(crate) type Reader = EndianArcSlice<LittleEndian>;

/// Most functions that are inlined into each other at one address.
const MAX_INLINED: usize = 1024;

/// Most files of split DWARF that are loaded for one address.
const MAX_LOADS: usize = 1024;

/// A place in the source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Location {
    /// The function, as it was written in the source.
    pub function: Option<String>,
    /// Its file: the path as the compiler had it.
    pub file: Option<String>,
    /// The line, from 1.
    pub line: Option<u32>,
    /// The column, from 1.
    pub column: Option<u32>,
    /// Whether the function was inlined into that of the next location.
    pub inlined: bool,
}

/// The debug information of a module.
pub(crate) struct Lines {
    context: Mutex<Context<Reader>>,
    split: Split,
}

/// Where split DWARF is looked for.
struct Split {
    files: Sysroot,
    beside: std::path::PathBuf,
    package: Option<DwarfPackage<Reader>>,
}

impl Lines {
    /// Reads the debug information of a file, if it has any. `alternate` holds what it shares with others.
    pub(crate) fn load(
        file: &ElfFile,
        path: &Path,
        alternate: Option<&Found>,
        files: &Sysroot,
        package: Option<&ElfFile>,
    ) -> Option<Lines> {
        file.section(".debug_info")
            .or_else(|| file.section(".debug_line"))?;
        let mut dwarf = dwarf(file, |id| Some(id.name()));
        if let Some(found) = alternate
            && let Ok(other) = ElfFile::open(found.source.clone())
        {
            dwarf.set_sup(self::dwarf(&other, |id| Some(id.name())));
        }
        let package = package.and_then(|file| {
            DwarfPackage::load(
                |id| Ok::<_, gimli::Error>(section(file, id.dwo_name())),
                reader(Vec::new()),
            )
            .ok()
        });
        Some(Lines {
            context: Mutex::new(Context::from_dwarf(dwarf).ok()?),
            split: Split {
                files: files.clone(),
                beside: path.to_owned(),
                package,
            },
        })
    }

    /// What `look` finds in the unit of the function that holds an address of the file.
    pub(crate) fn with_unit<T>(
        &self,
        address: u64,
        look: impl FnOnce(UnitRef<'_, Reader>) -> T,
    ) -> Option<T> {
        let context = self.context.lock().unwrap_or_else(PoisonError::into_inner);
        let unit = self.finish(context.find_dwarf_and_unit(address))?;
        Some(look(unit))
    }

    /// Goes on with a lookup, loading the files of split DWARF that it asks for.
    fn finish<L: LookupContinuation<Buf = Reader>>(
        &self,
        mut result: LookupResult<L>,
    ) -> L::Output {
        let mut loads = 0;
        loop {
            match result {
                LookupResult::Output(output) => break output,
                LookupResult::Load { load, continuation } => {
                    loads += 1;
                    let dwo = (loads <= MAX_LOADS)
                        .then(|| self.split.load(&load))
                        .flatten();
                    result = continuation.resume(dwo);
                }
            }
        }
    }

    /// What lies at an address of the file: innermost function first. Nothing where nothing is known.
    pub(crate) fn at(&self, address: u64) -> Vec<Location> {
        // A panic of another reader does not break what the context has cached.
        let context = self.context.lock().unwrap_or_else(PoisonError::into_inner);
        let frames = self.finish(context.find_frames(address));
        let Ok(mut frames) = frames else {
            return Vec::new();
        };
        let mut locations: Vec<Location> = Vec::new();
        while locations.len() < MAX_INLINED
            && let Ok(Some(frame)) = frames.next()
        {
            let place = frame.location.as_ref();
            locations.push(Location {
                function: frame
                    .function
                    .and_then(|function| Some(function.demangle().ok()?.into_owned())),
                file: place.and_then(|place| Some(place.file?.to_owned())),
                line: place.and_then(|place| place.line),
                column: place
                    .and_then(|place| place.column)
                    .filter(|&column| column != 0),
                inlined: true,
            });
        }
        if let Some(last) = locations.last_mut() {
            last.inlined = false;
        }
        locations
    }
}

impl Split {
    fn load(&self, load: &SplitDwarfLoad<Reader>) -> Option<Arc<Dwarf<Reader>>> {
        if let Some(package) = &self.package
            && let Ok(Some(dwo)) = package.find_cu(load.dwo_id, &load.parent)
        {
            return Some(Arc::new(dwo));
        }
        let bytes = |reader: &Option<Reader>| {
            reader
                .as_ref()
                .map(|reader| reader.bytes().to_vec())
                .unwrap_or_default()
        };
        let mut recorded = bytes(&load.path);
        if !recorded.starts_with(b"/") {
            let mut whole = bytes(&load.comp_dir);
            whole.push(b'/');
            whole.append(&mut recorded);
            recorded = whole;
        }
        for (_, source) in self.files.find_split(&recorded, &self.beside) {
            let Ok(file) = ElfFile::open(source) else {
                continue;
            };
            let mut dwo = dwarf(&file, |id| id.dwo_name());
            dwo.make_dwo(&load.parent);
            // Another build's file may lie there: it has another id.
            let same = dwo.units().next().ok().flatten().is_some_and(|header| {
                dwo.unit(header)
                    .is_ok_and(|unit| unit.dwo_id == Some(load.dwo_id))
            });
            if same {
                return Some(Arc::new(dwo));
            }
        }
        None
    }
}

/// The sections of a file, by the names that they have in a file of this kind. The one with all entries is the longest, and
/// is unpacked beside the others. Where variables lie, and macros, nobody asks.
fn dwarf(file: &ElfFile, name: impl Fn(SectionId) -> Option<&'static str>) -> Dwarf<Reader> {
    let entries = name(SectionId::DebugInfo);
    std::thread::scope(|scope| {
        let entries = scope.spawn(|| section(file, entries));
        let Ok(mut dwarf) = Dwarf::load(|id| {
            Ok::<_, Infallible>(match id {
                SectionId::DebugInfo
                | SectionId::DebugLoc
                | SectionId::DebugLocLists
                | SectionId::DebugMacinfo
                | SectionId::DebugMacro => reader(Vec::new()),
                _ => section(file, name(id)),
            })
        });
        if let Ok(entries) = entries.join() {
            dwarf.debug_info = DebugInfo::from(entries);
        }
        dwarf
    })
}

/// A section, or nothing where there is none.
fn section(file: &ElfFile, name: Option<&str>) -> Reader {
    reader(name.and_then(|name| file.named(name)).unwrap_or_default())
}

fn reader(bytes: Vec<u8>) -> Reader {
    EndianArcSlice::new(Arc::from(bytes), LittleEndian)
}
