//! Pages that are found when they are asked for are the same as those of the list of all.

mod support;

use stillcore_v8::Page;
use support::{Heap, LINES, Line, OLD, ROOTS, UNIT};

/// Eight pages of the old space, and a large one of forty units.
const MANY: u64 = 0x2200_0000_0000;
const LARGE: u64 = 0x2300_0000_0000;

fn heap(line: Line) -> Heap {
    let mut heap = Heap::new(line);
    // One root is an object of the heap, as in every V8: its page names the heap.
    let own = heap.alloc(OLD, &[heap.undefined, 0]);
    heap.put(ROOTS + 8 * 11, own);
    for number in 0..8 {
        heap.page(MANY + 2 * number * UNIT, UNIT, 2, false);
    }
    heap.page(LARGE, 40 * UNIT, 8, true);
    heap
}

/// Addresses in and beside pages.
fn addresses() -> Vec<u64> {
    let edges = [0, 8, 0x100, 0x4000, UNIT - 8, UNIT, UNIT + 0x4000];
    let many = (0..16).flat_map(|unit| edges.map(|edge| MANY + unit * UNIT + edge));
    let large = (0..42).flat_map(|unit| edges.map(|edge| LARGE + unit * UNIT + edge));
    many.chain(large)
        .chain([0, 1, u64::MAX, MANY - 8])
        .collect()
}

#[test]
fn a_page_asked_for_is_the_page_of_the_list() {
    for line in LINES {
        let (one_by_one, listed) = (heap(line).opened(), heap(line).opened());
        assert_eq!(listed.pages.pages().len(), 11, "{line:?}");
        for address in addresses() {
            let [found, told]: [Option<Page>; 2] =
                [&one_by_one, &listed].map(|v8| v8.pages.page_of(address));
            assert_eq!(found, told, "{line:?} {address:#x}");
        }
    }
}

#[test]
fn what_is_asked_for_is_all_that_is_read() {
    for line in LINES {
        let heap = heap(line);
        let begun = heap.begun.clone();
        let v8 = heap.opened();
        let isolate = v8.main_isolate().expect("the main thread's").clone();
        for number in [3, 7] {
            let page = v8.pages.page_of(MANY + 2 * number * UNIT + 0x4000);
            assert_eq!(page.map(|page| page.heap), Some(isolate.heap), "{line:?}");
        }
        let looked_at = |range: std::ops::Range<u64>| begun.lock().unwrap().range(range).count();
        assert_eq!(looked_at(MANY..LARGE), 2, "{line:?}");
        assert_eq!(v8.isolates().len(), 1, "{line:?}");
        // For those that no thread is in, all had to be looked at.
        assert_eq!(looked_at(MANY..LARGE), 8, "{line:?}");
    }
}

#[test]
fn words_of_a_large_object_that_look_like_a_page_are_none() {
    for line in LINES {
        let mut heap = heap(line);
        for offset in (0..0x100).step_by(8) {
            let word = heap.get(MANY + offset);
            let word = if (MANY..MANY + UNIT).contains(&word) || word == MANY + UNIT {
                word - MANY + LARGE + 5 * UNIT
            } else {
                word
            };
            heap.put(LARGE + 5 * UNIT + offset, word);
        }
        let v8 = heap.opened();
        let behind = v8.pages.page_of(LARGE + 6 * UNIT + 0x4000);
        assert_eq!(behind.map(|page| page.base), Some(LARGE), "{line:?}");
    }
}
