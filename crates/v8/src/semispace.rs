//! Node 18's new space: which of its pages have objects, and where it allocates.
//!
//! The pages form a list (`list_node` in their headers) that is filled from the first on; those behind the one with the linear
//! allocation area are untouched, or have what earlier collections left, whose maps may be gone. The area lies behind the
//! tables of the isolate's own data, at a place that the count of builtins decides: it is found by its three words. (V8
//! 10.2: `heap/new-spaces.h`, `heap/list.h`, `execution/isolate-data.h`.)

use crate::constants::{Constants, Provenance, ROWS};
use crate::isolates::Isolate;
use crate::memory::Memory;
use crate::page_table::PageTable;
use crate::pages::{Page, Space};

/// Where in a page's header the list's two words may be.
const LINKS: std::ops::Range<u64> = 0x48..0x400;

/// Finds the areas, and marks the pages that have no objects as left behind.
pub(crate) fn settle(
    memory: &Memory,
    isolates: &[Isolate],
    pages: &mut PageTable,
    c: &mut Constants,
    provenance: &mut [Provenance],
) {
    let words = |isolate: &Isolate| -> Vec<u64> {
        let end = (isolate.heap - isolate.address.min(isolate.heap)).min(1 << 18);
        let word = |offset| {
            memory
                .u64(isolate.address.wrapping_add(offset))
                .unwrap_or(0)
        };
        (0..end).step_by(8).map(word).collect()
    };
    let area = |words: &[u64], isolate: &Isolate, space: Space| {
        let [start, top, limit] = *words else {
            return None;
        };
        let page = pages.page_of(start)?;
        let sane = (start | top | limit) & 7 == 0
            && start <= top
            && top <= limit
            && limit <= page.area_end
            && page.heap == isolate.heap
            && page.space == space
            && !page.from;
        sane.then_some(page.base)
    };
    let mut found = None;
    let mut stale = Vec::new();
    for isolate in isolates {
        let words = words(isolate);
        let Some((index, current)) = words
            .windows(3)
            .enumerate()
            .find_map(|(index, words)| Some((index, area(words, isolate, Space::New)?)))
        else {
            continue;
        };
        let old = words.get(index + 3..index + 6);
        let old = old.is_some_and(|words| area(words, isolate, Space::Old).is_some());
        found.get_or_insert((8 * index as i64, old));
        let ours = |page: &&Page| {
            page.heap == isolate.heap && page.space == Space::New && !page.from && !page.large
        };
        let bases: Vec<u64> = pages
            .pages()
            .iter()
            .filter(ours)
            .map(|page| page.base)
            .collect();
        stale.extend(behind(memory, &bases, current));
    }
    pages.leave_behind(&stale);
    let Some((offset, old)) = found else {
        return;
    };
    let mut tell = |field: &str, slot: &mut i64, value: i64| {
        *slot = value;
        if let Some(index) = ROWS.iter().position(|row| row.field == field) {
            provenance[index] = Provenance::Searched;
        }
    };
    tell("new_lab", &mut c.new_lab, offset);
    if old {
        tell("old_lab", &mut c.old_lab, offset + 24);
    }
}

/// Those of the pages that lie behind one of them in their list; none where they form no list.
fn behind(memory: &Memory, bases: &[u64], current: u64) -> Vec<u64> {
    let link = |base: u64, at: u64| memory.u64(base + at).ok();
    let is_list = |at: &u64| {
        let mut ends = 0;
        bases.iter().all(|&base| match link(base, *at) {
            Some(0) => {
                ends += 1;
                true
            }
            Some(next) => bases.contains(&next) && next != base && link(next, at + 8) == Some(base),
            None => false,
        }) && ends == 1
    };
    let Some(at) = LINKS.step_by(8).find(is_list) else {
        return Vec::new();
    };
    let mut out = Vec::new();
    let mut next = link(current, at);
    while let Some(base) = next.filter(|base| *base != 0)
        && out.len() < bases.len()
    {
        out.push(base);
        next = link(base, at);
    }
    out
}
