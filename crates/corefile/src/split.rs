//! Split DWARF: the files (`.dwo`) that a module's debug information is continued in.

use gimli::{DebugAddr, Dwarf, DwarfSections, EndianSlice, LittleEndian, SectionId};

use crate::elf_file::ElfFile;
use crate::module::Module;
use crate::source::Source;
use crate::sysroot::{Check, Found};

type Reader<'a> = EndianSlice<'a, LittleEndian>;

/// Most units that are looked at; browsers have some ten thousand.
const MAX_UNITS: usize = 1 << 18;

/// A compilation unit whose debug information lies in a file of its own.
#[derive(Debug)]
pub struct SplitUnit {
    /// The path of that file as the compiler recorded it, made absolute with the compiler's folder.
    pub path: Vec<u8>,
    /// The name alone, as it was recorded: often relative to the compiler's folder.
    pub name: Vec<u8>,
    /// The file, where one was found that has this unit.
    pub found: Option<Found>,
}

impl Module {
    /// The units of split DWARF that its file, or its debug file, refers to: each file once.
    pub fn split_units(&self) -> Vec<SplitUnit> {
        let own = self.file.as_ref().zip(self.elf());
        let debug = self.debug_file().zip(self.debug_elf());
        let mut units: Vec<SplitUnit> = Vec::new();
        let mut seen = std::collections::HashSet::new();
        for (holder, elf) in [own, debug].into_iter().flatten() {
            for (path, name, id) in skeletons(elf) {
                if !seen.insert(path.clone()) {
                    continue;
                }
                let candidates = self.lookup.files.find_split(&path, &holder.path);
                let found = candidates
                    .into_iter()
                    .find(|(_, source)| has_unit(source, id))
                    .map(|(path, source)| Found {
                        path,
                        source,
                        build_id: None,
                        check: Check::BuildId,
                    });
                units.push(SplitUnit { path, name, found });
            }
        }
        units
    }
}

/// Path, name and id of each unit that is continued elsewhere.
fn skeletons(elf: &ElfFile) -> Vec<(Vec<u8>, Vec<u8>, u64)> {
    let mut found = Vec::new();
    if elf.section(".debug_info").is_none() {
        return found;
    }
    let sections = sections(elf, |id| Some(id.name()));
    let dwarf = sections.borrow(|bytes| EndianSlice::new(bytes, LittleEndian));
    let mut headers = dwarf.units();
    for _ in 0..MAX_UNITS {
        let Ok(Some(header)) = headers.next() else {
            break;
        };
        let Ok(unit) = dwarf.unit(header) else {
            continue;
        };
        let (Some(id), Ok(Some(name))) = (unit.dwo_id, unit.dwo_name()) else {
            continue;
        };
        let Ok(name) = dwarf.attr_string(&unit, name) else {
            continue;
        };
        let name = name.slice().to_vec();
        let path = if name.starts_with(b"/") {
            name.clone()
        } else {
            let folder = unit.comp_dir.map_or(&b""[..], |folder| folder.slice());
            [folder, b"/", &name].concat()
        };
        found.push((path, name, id.0));
    }
    found
}

/// Whether a file has the unit: another build's file may lie there.
fn has_unit(source: &std::sync::Arc<dyn Source>, id: u64) -> bool {
    let Ok(elf) = ElfFile::open(source.clone()) else {
        return false;
    };
    let sections = sections(&elf, |id| id.dwo_name());
    let mut dwarf: Dwarf<Reader<'_>> =
        sections.borrow(|bytes| EndianSlice::new(bytes, LittleEndian));
    dwarf.file_type = gimli::DwarfFileType::Dwo;
    dwarf.debug_addr = DebugAddr::default();
    let mut headers = dwarf.units();
    for _ in 0..MAX_UNITS {
        let Ok(Some(header)) = headers.next() else {
            return false;
        };
        if let Ok(unit) = dwarf.unit(header)
            && unit.dwo_id.is_some_and(|its| its.0 == id)
        {
            return true;
        }
    }
    false
}

fn sections(
    elf: &ElfFile,
    name: impl Fn(SectionId) -> Option<&'static str>,
) -> DwarfSections<Vec<u8>> {
    let load = |id| {
        let section = name(id).and_then(|name| elf.named(name));
        Ok::<_, std::convert::Infallible>(section.unwrap_or_default())
    };
    let Ok(sections) = DwarfSections::load(load);
    sections
}
