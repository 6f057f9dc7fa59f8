//! Which thread is in an isolate, where several say that they are.

mod support;

use stillcore_v8::ThreadState;
use support::{Heap, ISOLATE, Line};

/// Native memory that is the stack of another thread.
const OTHER: u64 = 0x7f00_4000_0000;

/// The builder's thread as number `own`, behind one of V8's own, which has a lower place in the core and the same isolate.
fn heap_of(own: u64, helper: u64) -> Heap {
    let mut heap = Heap::new(Line::Node24);
    heap.native(OTHER, &[0; 0x1000]);
    heap.threads[0].tid = own;
    heap.threads.insert(
        0,
        ThreadState {
            tid: helper,
            sp: OTHER + 0x800,
            tls: OTHER + 0xf00,
            ..heap.threads[0].clone()
        },
    );
    heap
}

#[test]
fn the_main_thread_keeps_its_isolate_beside_a_profiler() {
    assert_eq!(heap_of(1, 2).opened().isolates()[0].thread, Some(1));
}

#[test]
fn a_workers_isolate_is_where_its_stack_ends() {
    let mut heap = heap_of(7, 9);
    let limit = heap.threads[1].sp - 0x800;
    heap.put(ISOLATE + 0x20, limit);
    let main = ThreadState {
        tid: 1,
        sp: 0,
        tls: 0,
        ..heap.threads[0].clone()
    };
    heap.threads.push(main);
    // The main thread is in no isolate of this name: its variable is not told.
    heap.nameless.push(1);
    assert_eq!(heap.opened().isolates()[0].thread, Some(7));
}
