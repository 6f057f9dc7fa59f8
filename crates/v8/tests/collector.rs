//! What a collection, or an allocation, leaves half done; and objects that refer to another very often.
mod support;

use std::sync::Arc;

use stillcore_v8::{HeapGraph, Stop};
use support::{Heap, ISOLATE, LARGE, LINES, UNIT, smi, types};

/// `IsolateData::old_allocation_info_` in each line.
const OLD_AREA: [u64; 4] = [0xd0, 0xd8, 0xe0, 0xe0];

#[test]
fn an_object_that_was_begun_is_no_gap() {
    for (line, area) in LINES.into_iter().zip(OLD_AREA) {
        let mut heap = Heap::new(line);
        heap.page(LARGE, UNIT, 2, false);
        let map = heap.map_for(types::JS_OBJECT, 4);
        let object = heap.alloc(LARGE, &[map, map, map, map]) & !3;
        let limit = heap.get(heap.area_end_at(LARGE));
        // The top is 64 bytes ahead of what was written.
        for (index, word) in [object, object + 32 + 64, limit].into_iter().enumerate() {
            heap.put(ISOLATE + area + 8 * index as u64, word);
        }
        let v8 = Arc::new(heap.opened());
        let graph = HeapGraph::build(&v8, None, &Stop::new(false)).unwrap();
        assert_eq!((graph.gaps.bytes, graph.gaps.missing), (0, 0), "{line:?}");
        assert_eq!(graph.gaps.begun, 64, "{line:?}");
        assert!(graph.is_object(object));
        assert!(!graph.is_object(object + 32));
    }
}

#[test]
fn an_array_of_the_same_tells_few_of_its_references() {
    for line in LINES {
        let mut heap = Heap::new(line);
        let map = heap.map_for(types::JS_OBJECT, 4);
        heap.page(LARGE, UNIT, 2, false);
        let object = heap.alloc(LARGE, &[map, map, map, map]);
        let array = heap.array(types::FIXED_ARRAY, &[object; 10_000]) & !3;
        let v8 = Arc::new(heap.opened());
        let graph = HeapGraph::build(&v8, None, &Stop::new(false)).unwrap();
        let found = graph.references(&[object & !3], &Stop::new(false)).unwrap();
        let found = &found[&(object & !3)];
        assert!((1..=64).contains(&found.len()), "{} of them", found.len());
        assert!(found.iter().all(|reference| reference.from == array));
        assert_eq!(found[0].offset, 16);
    }
}

#[test]
fn webassembly_s_own_objects_are_as_long_as_they_say() {
    // Of each line: the words of a type's description with two ancestors, and of a table with room for three functions.
    let sizes = [
        (7, None),
        (7, Some(2 + 9)),
        (5, Some(5 + 9)),
        (5, Some(5 + 6)),
    ];
    for (line, (info, table)) in LINES.into_iter().zip(sizes) {
        let mut heap = Heap::new(line);
        for (name, number) in [
            ("WasmTypeInfo__WASM_TYPE_INFO", 190),
            ("WasmDispatchTable__WASM_DISPATCH_TABLE", 191),
        ] {
            heap.variable(&format!("v8dbg_type_{name}_TYPE"), number);
        }
        heap.page(LARGE, UNIT, 2, false);
        let map = heap.map_for(190, 0);
        let mut words = vec![map, u64::from(u32::MAX)];
        words.resize(info, heap.undefined);
        words[info - 3] = smi(2);
        heap.alloc(LARGE, &words);
        if let Some(words) = table {
            let map = heap.map_for(191, 0);
            let mut words = vec![0; words];
            (words[0], words[1]) = (map, 3 << 32 | 2);
            heap.alloc(LARGE, &words);
        }
        let map = heap.map_for(types::JS_OBJECT, 4);
        let object = heap.alloc(LARGE, &[map, map, map, map]) & !3;
        heap.fill();
        let v8 = Arc::new(heap.opened());
        let graph = HeapGraph::build(&v8, None, &Stop::new(false)).unwrap();
        assert_eq!(graph.gaps.first, [], "{line:?}");
        assert!(graph.is_object(object), "{line:?}");
    }
}
