//! Values of every shape, read from a heap that was written word by word for each line of Node.
mod support;

use stillcore_v8::{Elements, HeapGraph, Slot, Stop, Tagged, V8};
use support::{Heap, LINES, Line, MapShape, smi, tagged, types};

use std::sync::Arc;

fn text(v8: &V8, word: u64) -> String {
    v8.text(tagged(word), 1 << 20).unwrap().text
}

#[test]
fn strings_of_every_shape() {
    for line in LINES {
        let mut heap = Heap::new(line);
        let data = 0x30_0000_0000_u64;
        let mut bytes = b"from outside of the heap".to_vec();
        bytes.resize(4096, 0);
        heap.native(data, &bytes);
        let mut resource = vec![0; 4096];
        resource[16..24].copy_from_slice(&data.to_le_bytes());
        resource[24..32].copy_from_slice(&7_u64.to_le_bytes());
        heap.native(data + 0x10000, &resource);

        let one = heap.string("caf\u{7f} one byte");
        let two = heap.wide_string("snow \u{2603} \u{1f600}");
        let left = heap.string("left, ");
        let right = heap.wide_string("right \u{2603}");
        let cons = heap.string_of(types::CONS_TWO_BYTE, 13, &[left, right]);
        let flat = heap.string("flattened");
        let empty = heap.string("");
        let flat_cons = heap.string_of(types::CONS_ONE_BYTE, 9, &[flat, empty]);
        let base = heap.string("the quick brown fox");
        let slice = heap.string_of(types::SLICED_ONE_BYTE, 5, &[base, smi(4)]);
        let thin = heap.string_of(types::THIN_ONE_BYTE, 9, &[flat]);
        let external = heap.string_of(types::EXTERNAL_ONE_BYTE, 12, &[data + 0x20000, data]);
        let uncached = heap.string_of(types::UNCACHED_ONE_BYTE, 7, &[data + 0x10000]);
        let inner = heap.string_of(types::CONS_ONE_BYTE, 25, &[base, left]);
        let nested = heap.string_of(types::SLICED_ONE_BYTE, 8, &[inner, smi(15)]);
        let v8 = heap.opened();
        assert_eq!(text(&v8, one), "caf\u{7f} one byte");
        assert_eq!(text(&v8, two), "snow \u{2603} \u{1f600}");
        assert_eq!(text(&v8, cons), "left, right \u{2603}");
        assert_eq!(text(&v8, flat_cons), "flattened");
        assert_eq!(text(&v8, slice), "quick");
        assert_eq!(text(&v8, thin), "flattened");
        assert_eq!(text(&v8, external), "from outside");
        assert_eq!(text(&v8, uncached), "from ou");
        assert_eq!(text(&v8, nested), " foxleft");
        let short = v8.text(tagged(cons), 7).unwrap();
        assert_eq!(
            (short.text.as_str(), short.length, short.truncated),
            ("left, r", 13, true)
        );
        assert_eq!(v8.class_name(tagged(one)).unwrap().as_ref(), "Object");
    }
}

#[test]
fn properties_in_the_object_in_its_array_in_its_descriptors() {
    for line in LINES {
        let mut heap = Heap::new(line);
        let names: Vec<u64> = ["inside", "outside", "constant", "computed", "hidden"]
            .iter()
            .map(|name| heap.string(name))
            .collect();
        let value = heap.string("a value");
        let pair_map = heap.map_for(types::ACCESSOR_PAIR, 3);
        let pair = heap.alloc(support::OLD, &[pair_map, value, heap.undefined]);
        // details: kind bit 0, attributes bits 2-4 (not enumerable: 2), location bit 5, field index from bit 19 on.
        let descriptors = heap.descriptors(&[
            (names[0], 0, 0),
            (names[1], 1 << 19, 0),
            (names[2], 1 << 5, value),
            (names[3], 1 << 5 | 1, pair),
            (names[4], 2 << 19 | 2 << 2, 0),
        ]);
        let map = heap.map(
            types::JS_OBJECT,
            MapShape {
                words: 4,
                inobject: 3,
                descriptors,
                count: 5,
                ..MapShape::default()
            },
        );
        let backing_map = heap.map_for(types::PROPERTY_ARRAY, 0);
        let backing = heap.alloc(support::OLD, &[backing_map, smi(2), value, smi(-7)]);
        let empty = heap.array(types::FIXED_ARRAY, &[]);
        let object = heap.object(map, backing, empty, &[smi(42)]);
        let v8 = heap.opened();
        let properties = v8.properties(tagged(object)).unwrap();
        let told: Vec<_> = properties
            .iter()
            .map(|property| (v8.key_text(property), property.slot, property.enumerable))
            .collect();
        assert_eq!(
            told,
            [
                ("inside".to_owned(), Slot::Value(Tagged(smi(42))), true),
                ("outside".to_owned(), Slot::Value(Tagged(value)), true),
                ("constant".to_owned(), Slot::Value(Tagged(value)), true),
                (
                    "computed".to_owned(),
                    Slot::Accessor(Tagged(value), v8.root("undefined_value").unwrap()),
                    true
                ),
                ("hidden".to_owned(), Slot::Value(Tagged(smi(-7))), false),
            ],
            "{line:?}"
        );
    }
}

#[test]
fn properties_in_a_dictionary_in_the_order_of_their_adding() {
    for line in LINES {
        let mut heap = Heap::new(line);
        let (undefined, hole) = (heap.undefined, heap.hole);
        let first = heap.string("first");
        let second = heap.string("second");
        let third = heap.string("third");
        // count, deleted, capacity, next index, hash, flags; then key, value, details with the order from bit 8 on.
        let table = heap.array(
            types::NAME_DICTIONARY,
            &[
                smi(3),
                smi(1),
                smi(5),
                smi(9),
                smi(0),
                smi(0),
                third,
                smi(3),
                smi(3 << 8),
                undefined,
                undefined,
                smi(0),
                first,
                smi(1),
                smi(1 << 8),
                hole,
                hole,
                smi(0),
                second,
                smi(2),
                smi(2 << 8 | 2 << 2),
            ],
        );
        let map = heap.map(
            types::JS_OBJECT,
            MapShape {
                words: 3,
                inobject: 3,
                dictionary: true,
                ..MapShape::default()
            },
        );
        let empty = heap.array(types::FIXED_ARRAY, &[]);
        let object = heap.object(map, table, empty, &[]);
        let v8 = heap.opened();
        let told: Vec<_> = v8
            .properties(tagged(object))
            .unwrap()
            .iter()
            .map(|property| (v8.key_text(property), property.slot, property.enumerable))
            .collect();
        assert_eq!(
            told,
            [
                ("first".to_owned(), Slot::Value(Tagged(smi(1))), true),
                ("second".to_owned(), Slot::Value(Tagged(smi(2))), false),
                ("third".to_owned(), Slot::Value(Tagged(smi(3))), true),
            ],
            "{line:?}"
        );
    }
}

#[test]
fn elements_with_holes() {
    for line in LINES {
        let mut heap = Heap::new(line);
        let hole = heap.hole;
        let elements = heap.array(types::FIXED_ARRAY, &[smi(1), hole, smi(3), hole]);
        let map = heap.map(
            types::JS_ARRAY,
            MapShape {
                words: 4,
                inobject: 4,
                elements_kind: 3, // HOLEY_ELEMENTS
                ..MapShape::default()
            },
        );
        let none = heap.array(types::FIXED_ARRAY, &[]);
        let array = heap.object(map, none, elements, &[smi(3)]);
        let v8 = heap.opened();
        let Elements {
            entries, length, ..
        } = v8.elements(tagged(array), 100).unwrap();
        let entries: Vec<_> = entries
            .into_iter()
            .filter(|(_, slot)| *slot != Slot::Hole)
            .collect();
        assert_eq!(length, 3);
        assert_eq!(
            entries,
            [
                (0, Slot::Value(Tagged(smi(1)))),
                (2, Slot::Value(Tagged(smi(3))))
            ],
            "{line:?}"
        );
    }
}

/// A ScopeInfo of a function `named` with two locals that holds `outer`.
fn scope_info(heap: &mut Heap, names: &[u64], function: u64, outer: u64) -> u64 {
    let line = heap.line;
    let new = line >= Line::Node24;
    let function_scope = if new { 4 } else { 2 };
    // A function variable in a context (bits 12-13), an inferred name (14), an outer scope (22).
    let flags = function_scope | 1 << 12 | 1 << 14 | 1 << 22_u64;
    let inferred = heap.string("inferred");
    let map = heap.map_for(types::SCOPE_INFO, 0);
    let flags = if new { flags } else { flags << 32 };
    let mut words = vec![map, flags, smi(1), smi(names.len() as i64)];
    if new {
        words.extend([smi(10), smi(20)]);
    }
    if names.len() < 75 {
        words.extend(names);
    } else {
        // Deleted, count and capacity, then name and index.
        let mut table = vec![smi(names.len() as i64), smi(0), smi(names.len() as i64)];
        for (index, name) in names.iter().enumerate() {
            table.extend([*name, smi(index as i64)]);
        }
        words.push(heap.array(types::NAME_TO_INDEX, &table));
    }
    words.extend(names.iter().map(|_| smi(0)));
    words.extend([function, smi(4), inferred]);
    if !new {
        words.extend([smi(10), smi(20)]);
    }
    words.push(outer);
    if line == Line::Node26 {
        words.push(smi(0)); // unused_parameter_bits
    }
    heap.alloc(support::OLD, &words)
}

#[test]
fn scope_infos_of_every_line_with_few_and_with_many_locals() {
    for line in LINES {
        let mut heap = Heap::new(line);
        let function = heap.string("named");
        let few: Vec<u64> = ["alpha", "beta"].map(|name| heap.string(name)).to_vec();
        let outer = scope_info(&mut heap, &[], function, 0);
        let small = scope_info(&mut heap, &few, function, outer);
        let after_small = heap.string("behind it");
        let many: Vec<u64> = (0..80).map(|n| heap.string(&format!("local{n}"))).collect();
        let large = scope_info(&mut heap, &many, function, outer);
        let after_large = heap.string("behind that");
        let v8 = heap.opened();
        assert_eq!(
            v8.scope_names(tagged(small)).unwrap(),
            ["alpha", "beta"],
            "{line:?}"
        );
        let names = v8.scope_names(tagged(large)).unwrap();
        assert_eq!(
            (names.len(), names[79].as_str()),
            (80, "local79"),
            "{line:?}"
        );
        for (scope, after, locals) in [(small, after_small, 2), (large, after_large, 80)] {
            let parts = v8.scope(tagged(scope)).unwrap();
            assert_eq!(parts.locals, locals);
            let field =
                |offset: Option<u64>| v8.field(scope & !3, offset.unwrap() as i64).unwrap().0;
            assert_eq!(field(parts.function_name), function, "{line:?}");
            assert_eq!(field(parts.positions), smi(10), "{line:?}");
            assert_eq!(field(parts.outer), outer, "{line:?}");
            // Its size leads to the next object.
            assert_eq!(
                (scope & !3) + parts.size,
                after & !3,
                "{line:?}, {locals} locals"
            );
        }
    }
}

#[test]
fn the_whole_of_it_can_be_walked_and_only_what_is_referred_to_is_reachable() {
    for line in LINES {
        let mut heap = Heap::new(line);
        let kept = heap.string("kept");
        let lost = heap.string("lost");
        let array = heap.array(types::FIXED_ARRAY, &[kept, smi(1)]);
        heap.threads[0].registers.push(array);
        let v8 = Arc::new(heap.opened());
        let graph = HeapGraph::build(&v8, None, &Stop::new(false)).unwrap();
        assert_eq!(
            (graph.gaps.bytes, graph.gaps.missing),
            (0, 0),
            "{line:?}: {:x?}",
            graph.gaps
        );
        graph.mark(&Stop::new(false)).unwrap();
        assert!(graph.is_reachable(kept & !3));
        assert!(graph.is_object(lost & !3) && !graph.is_reachable(lost & !3));
    }
}
