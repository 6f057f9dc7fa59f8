//! Frames, found by the pointers on a stack.

mod support;

use support::{Heap, ISOLATE, Line, smi};

/// Native memory that is the thread's stack.
const STACK: u64 = 0x7f00_4000_0000;
/// The number of the type that frames are marked with.
const EXIT: u64 = 3;

#[test]
fn a_stack_that_the_core_holds_in_parts_is_one() {
    let mut heap = Heap::new(Line::Node24);
    heap.variable("v8dbg_frametype_ExitFrame", EXIT as u32);
    heap.native(STACK, &[0; 0x1000]);
    heap.native(STACK + 0x1000, &[0; 0x1000]);
    heap.threads[0].sp = STACK + 0x800;
    let frames = [0x900, 0xf00, 0x1100, 0x1200, 0x1f00].map(|offset| STACK + offset);
    heap.put(ISOLATE + 0x140, frames[0]);
    for (index, &fp) in frames.iter().enumerate() {
        heap.put(fp - 8, EXIT << 1);
        heap.put(fp, frames.get(index + 1).copied().unwrap_or(0));
        heap.put(fp + 8, smi(1));
    }
    let v8 = heap.opened();
    let found: Vec<u64> = v8
        .stack(&v8.threads[0])
        .frames
        .iter()
        .map(|frame| frame.fp)
        .collect();
    assert_eq!(found, frames);
}
