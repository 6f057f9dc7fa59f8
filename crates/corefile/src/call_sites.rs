//! A function and the calls in it, as the debug information lists them.

use gimli::{AttributeValue, DebuggingInformationEntry, Reader as _, UnitRef};

use crate::lines::{Lines, Reader};

/// Most entries of a unit that are looked through.
const MAX_ENTRIES: usize = 4 << 20;

/// A function and the calls in it; addresses are those of its file.
pub(crate) struct Function {
    /// Where it begins.
    pub(crate) start: u64,
    pub(crate) calls: Vec<Call>,
}

/// A call in a function.
#[derive(Clone)]
pub(crate) struct Call {
    /// The address behind it.
    pub(crate) after: u64,
    /// Whether it is a jump that leaves the function.
    pub(crate) is_tail: bool,
    pub(crate) target: Target,
}

/// What a call leads to.
#[derive(Clone)]
pub(crate) enum Target {
    /// Known only when it runs.
    Unknown,
    Address(u64),
    /// A function elsewhere: its symbol.
    Name(Vec<u8>),
}

impl Lines {
    /// The function that holds an address of the file, and the calls in it.
    pub(crate) fn function(&self, address: u64) -> Option<Function> {
        self.with_unit(address, |unit| function(unit, address))?
    }
}

fn function(unit: UnitRef<'_, Reader>, address: u64) -> Option<Function> {
    let mut entries = unit.entries();
    let mut found: Option<(isize, Function)> = None;
    for _ in 0..MAX_ENTRIES {
        let Ok(Some(entry)) = entries.next_dfs() else {
            break;
        };
        match &mut found {
            Some((depth, _)) if entry.depth() <= *depth => break,
            Some((_, function)) => {
                if matches!(
                    entry.tag(),
                    gimli::DW_TAG_call_site | gimli::DW_TAG_GNU_call_site
                ) {
                    function.calls.extend(call(unit, entry));
                }
            }
            None if entry.tag() == gimli::DW_TAG_subprogram => {
                if let Some(start) = start_if_inside(unit, entry, address) {
                    let calls = Vec::new();
                    found = Some((entry.depth(), Function { start, calls }));
                }
            }
            None => {}
        }
    }
    found.map(|(_, function)| function)
}

/// The start of a function that holds an address.
fn start_if_inside(
    unit: UnitRef<'_, Reader>,
    entry: &DebuggingInformationEntry<Reader>,
    address: u64,
) -> Option<u64> {
    /// A function has two parts, the usual and the cold one.
    const MAX_RANGES: usize = 64;
    let mut ranges = unit.die_ranges(entry).ok()?;
    let mut start = None;
    let mut inside = false;
    for _ in 0..MAX_RANGES {
        let Ok(Some(range)) = ranges.next() else {
            break;
        };
        start.get_or_insert(range.begin);
        inside |= (range.begin..range.end).contains(&address);
    }
    start.filter(|_| inside)
}

fn call(unit: UnitRef<'_, Reader>, entry: &DebuggingInformationEntry<Reader>) -> Option<Call> {
    let after = [gimli::DW_AT_call_return_pc, gimli::DW_AT_low_pc]
        .into_iter()
        .find_map(|name| unit.attr_address(entry.attr_value(name)?).ok()?)?;
    let is_tail = [gimli::DW_AT_call_tail_call, gimli::DW_AT_GNU_tail_call]
        .into_iter()
        .any(|name| matches!(entry.attr_value(name), Some(AttributeValue::Flag(true))));
    let origin = [gimli::DW_AT_call_origin, gimli::DW_AT_abstract_origin]
        .into_iter()
        .find_map(|name| entry.attr_value(name));
    Some(Call {
        after,
        is_tail,
        target: origin
            .and_then(|origin| target(unit, origin))
            .unwrap_or(Target::Unknown),
    })
}

/// What the entry says that a call refers to. Entries of other units are not followed.
fn target(unit: UnitRef<'_, Reader>, origin: AttributeValue<Reader>) -> Option<Target> {
    let offset = match origin {
        AttributeValue::UnitRef(offset) => offset,
        AttributeValue::DebugInfoRef(offset) => offset.to_unit_offset(&unit.header)?,
        _ => return None,
    };
    let entry = unit.entry(offset).ok()?;
    if let Some(start) = entry
        .attr_value(gimli::DW_AT_low_pc)
        .and_then(|value| unit.attr_address(value).ok()?)
    {
        return Some(Target::Address(start));
    }
    let name = [gimli::DW_AT_linkage_name, gimli::DW_AT_name]
        .into_iter()
        .find_map(|name| unit.attr_string(entry.attr_value(name)?).ok())?;
    Some(Target::Name(name.to_slice().ok()?.into_owned()))
}
