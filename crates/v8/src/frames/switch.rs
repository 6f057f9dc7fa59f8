//! Stacks of their own, on which WebAssembly runs that may be suspended (`WebAssembly.promising`).
//!
//! What such a function calls in JavaScript runs on the thread's own stack again, so that the chain of frame pointers
//! leads from there to the other stack, and at that one's end nowhere: V8 keeps the way back outside. The frame that it
//! left the thread's stack by lies right above those of the call. (`StackFrameIterator::Advance` in V8's
//! `execution/frames.cc`.)

use std::ops::Range;

use crate::v8::V8;

/// Most changes from one stack to another.
const MAX_SWITCHES: usize = 256;
/// Most parts of a stack of which a core holds some and others not.
const MAX_PARTS: usize = 64;
/// Most words between the outermost frame of a call and the frame by which the stack was left.
const MAX_GAP: u64 = 1 << 12;

/// Frame pointers from the inside to the outside.
pub(crate) struct Way<'a> {
    v8: &'a V8,
    /// Where the frames are now; without bounds where the memory is not known.
    stack: Range<u64>,
    /// The next frame's pointer is no less.
    least: u64,
    /// The stack that it began on, and where the frames there went on to another.
    home: Range<u64>,
    left: u64,
    switches: usize,
}

impl<'a> Way<'a> {
    /// A way that begins at or above an address.
    pub fn new(v8: &'a V8, from: u64) -> Way<'a> {
        let home = v8.stack_at(from).unwrap_or(0..u64::MAX);
        Way {
            v8,
            stack: home.clone(),
            least: from,
            left: from,
            home,
            switches: 0,
        }
    }

    /// Whether a frame may come next, and goes on there.
    pub fn goes_on(&mut self, fp: u64) -> bool {
        if fp & 7 != 0 {
            return false;
        }
        if fp < self.least || !self.stack.contains(&fp) {
            let Some(other) = self.v8.stack_at(fp) else {
                return false;
            };
            // Only WebAssembly runs elsewhere: the frame is one, or a stub's that one has called.
            let is_wasm = |fp: u64| self.v8.is_marked(fp, |name| name.starts_with("Wasm"));
            let caller = self.v8.memory.u64(fp).unwrap_or(0);
            let is_other = other != self.stack
                && self.switches < MAX_SWITCHES
                && (is_wasm(fp) || other.contains(&caller) && is_wasm(caller));
            if !is_other {
                return false;
            }
            if self.stack == self.home {
                self.left = self.least;
            }
            self.stack = other;
            self.switches += 1;
        }
        self.least = fp + 1;
        true
    }

    /// Whether a frame is on the stack that it began on.
    pub fn is_home(&self) -> bool {
        self.stack == self.home
    }

    /// Back from the end of another stack: the frame by which the first one was left.
    pub fn back(&mut self) -> Option<u64> {
        if self.is_home() {
            return None;
        }
        let first = self.left.checked_next_multiple_of(8)?;
        let fp = (first..self.home.end)
            .step_by(8)
            .take(MAX_GAP as usize)
            .find(|fp| {
                self.v8.is_marked(*fp, is_switch)
                    && self.v8.memory.u64(*fp).is_ok_and(|caller| {
                        caller > *fp && self.home.contains(&caller) && caller & 7 == 0
                    })
                    && self
                        .v8
                        .memory
                        .u64(fp.wrapping_add(8))
                        .is_ok_and(|pc| self.v8.is_v8_code(pc))
            })?;
        self.stack = self.home.clone();
        self.least = fp;
        Some(fp)
    }
}

/// Whether frames of that name stand at both sides of a change: Node 26 has another word for it.
pub(crate) fn is_switch(name: &str) -> bool {
    matches!(name, "StackSwitchFrame" | "WasmJspiFrame")
}

impl V8 {
    /// The mapping that a stack is, also where the core holds only parts of it.
    fn stack_at(&self, address: u64) -> Option<Range<u64>> {
        let part = |address| {
            self.region_at(address)
                .filter(|region| region.writable && !region.executable)
        };
        let mut stack = self.region_at(address)?.range.clone();
        for _ in 0..MAX_PARTS {
            let below = stack.start.checked_sub(1).and_then(part);
            let above = part(stack.end);
            if below.is_none() && above.is_none() {
                break;
            }
            stack.start = below.map_or(stack.start, |region| region.range.start);
            stack.end = above.map_or(stack.end, |region| region.range.end);
        }
        Some(stack)
    }

    /// Whether a frame has a mark of its type whose name is such a one.
    fn is_marked(&self, fp: u64, is: impl Fn(&str) -> bool) -> bool {
        self.memory
            .u64(self.at(fp, self.c.fp_context))
            .is_ok_and(|marker| {
                marker & 1 == 0
                    && marker >> 1 < 64
                    && self
                        .frame_name((marker >> 1) as i64)
                        .is_some_and(|name| is(&name))
            })
    }
}
