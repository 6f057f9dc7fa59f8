//! Heaps that lie: nothing may panic, hang, or take memory that the lie asks for.
mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use stillcore_v8::{HeapGraph, PrintOptions, Stop, Tagged, V8, V8Error};
use support::{Heap, LARGE, LINES, Line, MapShape, OLD, READ_ONLY, UNIT, smi, tagged, types};

/// Longest that any of this may take, on a busy machine and without optimisation.
const PATIENCE: Duration = Duration::from_secs(120);

fn in_time<T>(work: impl FnOnce() -> T) -> T {
    let begun = Instant::now();
    let done = work();
    assert!(begun.elapsed() < PATIENCE, "it took {:?}", begun.elapsed());
    done
}

/// Everything that reads a value, none of which may panic.
fn look_at(v8: &V8, word: u64) {
    let value = tagged(word);
    let _ = v8.map_of(value);
    let _ = v8.text(value, 1 << 16);
    let _ = v8.properties(value);
    let _ = v8.elements(value, 1000);
    let _ = v8.class_name(value);
    let _ = v8.fixed_array(value);
    let _ = v8.scope_names(value);
    let _ = v8.shared(value);
    let _ = v8.function_name(value);
    let _ = v8.collection(value, 100);
    let _ = v8.bigint(value, 200);
    let _ = v8.closure(value);
    let _ = v8.lookup(value, "name");
    let options = PrintOptions::default();
    let _ = v8.print(value, &options).text(&options);
}

fn walk(v8: V8) -> f64 {
    let v8 = Arc::new(v8);
    let graph = HeapGraph::build(&v8, None, &Stop::new(false)).unwrap();
    graph.mark(&Stop::new(false)).unwrap();
    graph.groups(true, Some("length"));
    graph.each(false, |object| look_at(&v8, object.tagged().0));
    graph.gaps.share()
}

#[test]
fn maps_that_are_each_others_map() {
    for line in LINES {
        let mut heap = Heap::new(line);
        let one = heap.map(types::JS_OBJECT, MapShape::default());
        let other = heap.map(types::JS_OBJECT, MapShape::default());
        heap.set(one, 0, other);
        heap.set(other, 0, one);
        let own = heap.map(types::JS_OBJECT, MapShape::default());
        heap.set(own, 0, own);
        let objects: Vec<u64> = [one, other, own]
            .iter()
            .map(|map| heap.alloc(OLD, &[*map, 0, 0]))
            .collect();
        let v8 = heap.opened();
        for object in objects {
            assert!(
                matches!(v8.map_of(tagged(object)), Err(V8Error::NotObject { .. })),
                "{line:?}"
            );
            look_at(&v8, object);
        }
        in_time(|| walk(v8));
    }
}

#[test]
fn back_pointers_and_prototypes_that_go_round() {
    for line in LINES {
        let mut heap = Heap::new(line);
        let shape = MapShape {
            words: 3,
            inobject: 3,
            ..MapShape::default()
        };
        let maps: Vec<u64> = (0..3).map(|_| heap.map(types::JS_OBJECT, shape)).collect();
        let objects: Vec<u64> = maps
            .iter()
            .map(|map| heap.object(*map, 0, 0, &[]))
            .collect();
        for index in 0..3 {
            heap.set(maps[index], 32, maps[(index + 1) % 3]);
            heap.set(maps[index], 24, objects[(index + 1) % 3]);
        }
        let v8 = heap.opened();
        in_time(|| {
            for object in &objects {
                look_at(&v8, *object);
                assert_eq!(v8.class_name(tagged(*object)).unwrap().as_ref(), "Object");
            }
            walk(v8)
        });
    }
}

#[test]
fn a_chain_of_maps_longer_than_any_program_makes() {
    let mut heap = Heap::new(Line::Node24);
    heap.page(LARGE, 64 * UNIT, 2, false);
    let shape = MapShape {
        words: 3,
        inobject: 3,
        ..MapShape::default()
    };
    let meta = heap.meta;
    let mut before = 0;
    for _ in 0..100_000 {
        let sizes = 3 | 3 << 8 | u64::from(types::JS_OBJECT) << 32;
        before = heap.alloc(LARGE, &[meta, sizes, 0, 0, before, 0, 0, 0, 0]);
    }
    let last = heap.map(types::JS_OBJECT, shape);
    heap.set(last, 32, before);
    let object = heap.object(last, 0, 0, &[]);
    let v8 = heap.opened();
    in_time(|| look_at(&v8, object));
}

#[test]
fn lengths_that_cannot_be() {
    for line in LINES {
        for word in [
            1 << 60,
            u64::MAX,
            smi(i64::from(i32::MAX)),
            smi(-1),
            0x7fff_ffff,
        ] {
            let mut heap = Heap::new(line);
            let array = heap.array(types::FIXED_ARRAY, &[smi(1)]);
            heap.set(array, 8, word);
            let string = heap.string("short");
            heap.set(string, 8, word);
            let doubles = heap.array(types::DOUBLES, &[0]);
            heap.set(doubles, 8, word);
            let bigint_map = heap.map_for(types::BIG_INT, 0);
            let bigint = heap.alloc(OLD, &[bigint_map, word, 1]);
            let descriptors = heap.descriptors(&[]);
            heap.set(descriptors, 8, word);
            let map = heap.map(
                types::JS_OBJECT,
                MapShape {
                    words: 3,
                    inobject: 200,
                    descriptors,
                    count: 1023,
                    ..MapShape::default()
                },
            );
            let object = heap.object(map, array, array, &[]);
            let js_array_map = heap.map(
                types::JS_ARRAY,
                MapShape {
                    words: 4,
                    inobject: 4,
                    elements_kind: 5,
                    ..MapShape::default()
                },
            );
            let js_array = heap.object(js_array_map, array, doubles, &[word]);
            let scope_map = heap.map_for(types::SCOPE_INFO, 0);
            let scope = heap.alloc(OLD, &[scope_map, word, word, word, word, word]);
            let v8 = heap.opened();
            in_time(|| {
                for value in [array, string, doubles, bigint, object, js_array, scope] {
                    look_at(&v8, value);
                }
                assert!(v8.fixed_array(tagged(array)).is_err(), "{line:?} {word:#x}");
                walk(v8)
            });
        }
    }
}

#[test]
fn a_cons_string_of_a_million_levels() {
    for (left, levels) in [(true, 1_000_000_u64), (false, 100_000)] {
        let mut heap = Heap::new(Line::Node24);
        heap.page(LARGE, 160 * UNIT, 2, false);
        let map = heap.map_for(types::CONS_ONE_BYTE, 4);
        let letter = heap.string("y");
        let mut string = heap.string("x");
        for level in 0..levels {
            let parts = if left {
                [string, letter]
            } else {
                [letter, string]
            };
            string = heap.alloc(LARGE, &[map, (level + 2) << 32, parts[0], parts[1]]);
        }
        let v8 = heap.opened();
        in_time(|| {
            let all = v8.text(tagged(string), 1 << 24).unwrap();
            assert_eq!(all.length, levels + 1);
            assert_eq!(all.text.len() as u64, levels + 1);
            assert_eq!(all.text.matches('y').count() as u64, levels);
            assert_eq!(all.text.starts_with('x'), left);
            let begin = v8.text(tagged(string), 10).unwrap();
            assert!(begin.truncated);
            assert_eq!(begin.text.len(), 10);
        });
    }
}

#[test]
fn a_cons_string_of_itself() {
    let mut heap = Heap::new(Line::Node22);
    let letter = heap.string("y");
    let string = heap.string_of(types::CONS_ONE_BYTE, 1 << 20, &[letter, letter]);
    heap.set(string, 16, string);
    let round = heap.string_of(types::SLICED_ONE_BYTE, 10, &[letter, smi(0)]);
    heap.set(round, 16, round);
    let thin = heap.string_of(types::THIN_ONE_BYTE, 10, &[letter]);
    heap.set(thin, 16, thin);
    let v8 = heap.opened();
    in_time(|| {
        for value in [string, round, thin] {
            assert!(v8.text(tagged(value), 1 << 20).is_err());
        }
    });
}

#[test]
fn page_headers_that_lie() {
    for line in LINES {
        for end in [
            0,
            OLD,
            OLD + 0x4000,
            OLD + UNIT + 8,
            OLD + (1 << 39),
            1 << 60,
            u64::MAX,
        ] {
            let mut heap = Heap::new(line);
            let string = heap.string("on a page that lies");
            heap.page(LARGE, UNIT, 2, false);
            let other = heap.alloc(LARGE, &[string, string]);
            let at = heap.area_end_at(LARGE);
            heap.put(at, end);
            let v8 = heap.opened();
            in_time(|| {
                look_at(&v8, string);
                look_at(&v8, other);
                walk(v8)
            });
        }
        // A terabyte that is not there.
        let mut heap = Heap::new(line);
        heap.page(LARGE, UNIT, 2, true);
        let size = 1 << 39;
        let at = heap.area_end_at(LARGE);
        heap.put(at, LARGE + size);
        match line {
            Line::Node20 => heap.put(LARGE, size),
            Line::Node22 => heap.put(LARGE + 16, size),
            _ => {
                let metadata = heap.get(LARGE + 8);
                heap.put(metadata + 48, size);
            }
        }
        let map = heap.map_for(types::FIXED_ARRAY, 0);
        let array = heap.alloc(LARGE, &[map, smi(i64::from(i32::MAX))]);
        let v8 = heap.opened();
        in_time(|| {
            look_at(&v8, array);
            walk(v8)
        });
    }
}

#[test]
fn a_damaged_page_is_a_gap_of_its_size_and_no_more() {
    for line in LINES {
        let mut heap = Heap::new(line);
        let kept: Vec<u64> = (0..1000)
            .map(|n| heap.string(&format!("string number {n}")))
            .collect();
        for string in &kept[400..600] {
            heap.set(*string, 0, 0x1234_5678);
        }
        let v8 = Arc::new(heap.opened());
        let graph = HeapGraph::build(&v8, None, &Stop::new(false)).unwrap();
        let damaged = kept[600] - kept[400];
        assert_eq!(graph.gaps.bytes, damaged, "{line:?}");
        assert_eq!(graph.gaps.first, [(kept[400] & !3, damaged)]);
        assert!(graph.is_object(kept[600] & !3) && graph.is_object(kept[399] & !3));
        assert!(graph.gaps.share() > 0.01);
    }
}

#[test]
fn without_what_is_needed_it_is_refused_with_what_is_missing() {
    let refused = |heap: Heap| match heap.open() {
        Err(error) => error.to_string(),
        Ok(_) => panic!("it was opened"),
    };
    let mut heap = Heap::new(Line::Node24);
    heap.strip("v8dbg_type_");
    let words = refused(heap);
    assert!(
        words.contains("instance types") && words.contains("JS_OBJECT"),
        "{words}"
    );

    let mut heap = Heap::new(Line::Node24);
    heap.strip("_ZN2v88internal7Version");
    assert!(refused(heap).contains("which V8"));

    let mut heap = Heap::new(Line::Node24);
    heap.variable("v8dbg_SmiTagMask", 1);
    heap.variable("v8dbg_SmiShiftSize", 0);
    assert!(refused(heap).contains("pointer compression"));

    // V8 since 12 tells the size itself.
    let mut heap = Heap::new(Line::Node24);
    heap.variable("v8dbg_TaggedSize", 4);
    let words = refused(heap);
    assert!(
        words.contains("pointer compression") && words.contains("stillcore bt CORE"),
        "{words}"
    );
    let mut heap = Heap::new(Line::Node24);
    heap.variable("v8dbg_TaggedSize", 8);
    heap.opened();

    let mut heap = Heap::new(Line::Node24);
    heap.put(heap.area_end_at(OLD), 0);
    assert!(refused(heap).contains("no page"));

    // The page of the roots is not in the core.
    let mut heap = Heap::new(Line::Node24);
    let meta = heap.meta;
    heap.set(meta, 0, 0);
    assert!(refused(heap).contains("roots"));
}

#[test]
fn names_of_roots_are_found_in_a_stripped_binary() {
    for line in LINES {
        let mut heap = Heap::new(line);
        let string = heap.string("still read");
        heap.strip("_ZN2v88internal10RootsTable");
        let v8 = heap.opened();
        assert_eq!(v8.text(tagged(string), 100).unwrap().text, "still read");
        let layout = v8.layout();
        let from = |name: &str| layout.iter().find(|row| row.0 == name).unwrap().2.word();
        assert_eq!(from("root_names"), "searched");
        assert_eq!(from("heap_in_isolate"), "searched");
        assert_eq!(v8.isolates().len(), 1);
        assert_eq!(v8.isolates()[0].thread, Some(1));
        assert!(v8.is_undefined(v8.root("undefined_value").unwrap()));
        assert_eq!(Tagged(0).as_smi(), Some(0));
    }
}

#[test]
fn the_read_only_page_alone_is_no_heap() {
    let mut heap = Heap::new(Line::Node26);
    heap.put(heap.area_end_at(OLD), READ_ONLY);
    assert!(matches!(heap.open(), Err(V8Error::NoV8(_))));
}
