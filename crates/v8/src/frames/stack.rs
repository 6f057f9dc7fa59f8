//! The stack of a thread.
//!
//! Native frames come from the core's unwinder. Frames of V8's code are found V8's own way: the isolate keeps the frame
//! pointer at which JavaScript last called native code (`ThreadLocalTop::c_entry_fp_`); from there the chain of frame
//! pointers leads to an entry frame, which keeps the one before that. A thread that stands in V8's code begins at its
//! registers. (V8's `execution/frames.cc`, `frame-constants.h`.)

use std::collections::HashSet;

use super::js::Place;
use super::switch::{Way, is_switch};
use super::{Frame, FrameKind};
use crate::tagged::Tagged;
use crate::target::{NativeFrame, ThreadState};
use crate::v8::{Isolate, V8};

/// Most frames of one thread.
const MAX_FRAMES: usize = 20_000;

/// The stack of a thread.
#[derive(Debug, Clone, PartialEq)]
pub struct Stack {
    /// The thread.
    pub tid: u64,
    /// Its name, where it is known.
    pub thread_name: Option<String>,
    /// The isolate it is in.
    pub isolate: Option<usize>,
    /// From the innermost to the outermost.
    pub frames: Vec<Frame>,
    /// What awaits the functions on the stack, nearest first.
    pub asynchronous: Vec<Frame>,
    /// What was thrown, where the thread ends the process because nobody caught it.
    pub thrown: Option<Tagged>,
}

/// A run of frames of V8's code, from the exit to native code (or the registers) to the entry from it.
struct Segment {
    frames: Vec<Frame>,
    /// Frame pointers of the innermost and the outermost frame.
    low: u64,
    high: u64,
}

impl V8 {
    /// The stack of a thread.
    pub fn stack(&self, thread: &ThreadState) -> Stack {
        let isolate = self.isolate_in(thread.tid);
        let native = self.memory.target().unwind(thread.tid);
        let segments = isolate.map_or(Vec::new(), |isolate| {
            self.segments(isolate, thread, &native)
        });
        let mut frames = Vec::new();
        let mut segments = segments.into_iter().peekable();
        for frame in &native {
            // All of V8's frames that lie further in, then the native one unless it is one of V8's.
            while let Some(segment) = segments.next_if(|segment| segment.high < frame.sp) {
                frames.extend(segment.frames);
            }
            let inside = segments
                .peek()
                .is_some_and(|segment| segment.low <= frame.sp && frame.sp <= segment.high);
            // The unwinder may come to V8's frames by another way.
            let doubled = self.is_v8_code(frame.pc) && isolate.is_some() && !frames.is_empty();
            if !(inside || doubled) {
                frames.push(self.native_frame(frame));
            }
        }
        for segment in segments {
            frames.extend(segment.frames);
        }
        frames.truncate(MAX_FRAMES);
        let asynchronous = self.async_stack(isolate, &frames);
        let thrown = isolate.and_then(|isolate| self.uncaught(isolate, &frames));
        Stack {
            tid: thread.tid,
            thread_name: thread.name.clone(),
            isolate: isolate.map(|isolate| isolate.id),
            frames,
            asynchronous,
            thrown,
        }
    }

    /// V8's frames of a thread, innermost first.
    fn segments(
        &self,
        isolate: &Isolate,
        thread: &ThreadState,
        native: &[NativeFrame],
    ) -> Vec<Segment> {
        let mut segments = Vec::new();
        let mut seen = HashSet::new();
        // Where to begin: the registers in V8's code, else where JavaScript called out.
        let mut next = None;
        if self.is_v8_code(thread.pc) || self.is_wasm_code(thread.pc, thread.fp) {
            let segment = self.segment(
                Place {
                    pc: thread.pc,
                    fp: thread.fp,
                    top: Some(thread.sp),
                },
                thread.sp,
            );
            next = Some(segment.1);
            segments.push(segment.0);
        }
        let mut exit = match next {
            Some(outer) => outer,
            None => self.c_entry_fp(isolate, thread).unwrap_or(0),
        };
        if exit == 0 && segments.is_empty() {
            // A fast call from optimised code leaves no trace in the isolate; the unwinder may have come to V8's code.
            if let Some(frame) = native
                .iter()
                .find(|frame| self.is_v8_code(frame.pc) || self.is_wasm_code(frame.pc, frame.fp))
            {
                let segment = self.segment(
                    Place {
                        pc: frame.pc,
                        fp: frame.fp,
                        top: None,
                    },
                    frame.sp,
                );
                exit = segment.1;
                segments.push(segment.0);
            }
        }
        while exit != 0 && seen.insert(exit) && segments.len() < MAX_FRAMES {
            let (Ok(caller), Ok(pc)) =
                (self.memory.u64(exit), self.memory.u64(exit.wrapping_add(8)))
            else {
                break;
            };
            let mut first = self.blank(FrameKind::Internal, "exit to native code".to_owned());
            first.fp = exit;
            let (mut segment, outer) = self.segment(
                Place {
                    pc,
                    fp: caller,
                    top: None,
                },
                exit,
            );
            segment.low = exit;
            if let Some(builtin) = self.exit_builtin(exit) {
                segment.frames.insert(0, builtin);
            }
            segment.frames.insert(0, first);
            segments.push(segment);
            exit = outer;
        }
        segments
    }

    /// The frame pointer of the exit frame: the known place in the isolate, else the first word of it that points into
    /// the thread's stack at a frame marked as an exit.
    fn c_entry_fp(&self, isolate: &Isolate, thread: &ThreadState) -> Option<u64> {
        let is_exit = |fp: u64| {
            fp >= thread.sp
                && fp & 7 == 0
                && fp - thread.sp < 1 << 30
                && self.memory.u64(fp.wrapping_sub(8)).is_ok_and(|marker| {
                    self.frame_name((marker >> 1) as i64)
                        .is_some_and(|name| name.contains("Exit"))
                        && marker & 1 == 0
                })
        };
        let told = self
            .memory
            .u64(self.at(isolate.address, self.c.c_entry_fp))
            .ok()?;
        if told == 0 {
            return None;
        }
        if is_exit(told) {
            return Some(told);
        }
        // In Node 18 it lies behind the tables of roots and of references.
        let reach = match self.version.is_node_18() {
            true => self.c.heap_in_isolate.unsigned_abs(),
            false => 0x400,
        };
        (0..reach)
            .step_by(8)
            .filter_map(|offset| self.memory.u64(isolate.address.wrapping_add(offset)).ok())
            .find(|fp| is_exit(*fp))
    }

    /// V8's name of a frame type by its number.
    pub fn frame_name(&self, number: i64) -> Option<String> {
        let names = self.frame_types.get_or_init(|| {
            self.memory
                .target()
                .symbols("v8dbg_frametype_")
                .into_iter()
                .filter_map(|symbol| {
                    Some((
                        i64::from(self.memory.u32(symbol.address).ok()?),
                        symbol.name["v8dbg_frametype_".len()..].to_owned(),
                    ))
                })
                .collect()
        });
        names.get(&number).cloned()
    }

    /// The frames from here to the entry frame, and the exit frame that came before it (0 for none).
    fn segment(&self, start: Place, low: u64) -> (Segment, u64) {
        let Place {
            mut pc,
            mut fp,
            mut top,
        } = start;
        let mut segment = Segment {
            frames: Vec::new(),
            low,
            high: fp,
        };
        let mut way = Way::new(self, low);
        while segment.frames.len() < MAX_FRAMES {
            if !way.goes_on(fp) {
                break;
            }
            if way.is_home() {
                segment.high = fp;
            }
            let Ok(marker) = self.memory.u64(self.at(fp, self.c.fp_context)) else {
                break;
            };
            if marker & 1 == 0 && marker >> 1 < 64 {
                let number = (marker >> 1) as i64;
                if number == self.c.frame_entry || number == self.c.frame_construct_entry {
                    let mut frame = self.blank(
                        FrameKind::Internal,
                        self.builtin_at(pc).unwrap_or_else(|| "JSEntry".to_owned()),
                    );
                    (frame.pc, frame.fp) = (pc, fp);
                    segment.frames.push(frame);
                    let outer = self
                        .memory
                        .u64(self.at(fp, self.c.entry_outer_exit_fp))
                        .unwrap_or(0);
                    return (segment, if outer > fp { outer } else { 0 });
                }
                let name = self
                    .frame_name(number)
                    .unwrap_or_else(|| format!("frame {number}"));
                let here = Place { pc, fp, top };
                if name == "WasmFrame" && self.wasm_frames(here, &mut segment.frames).is_some() {
                    let (Ok(caller), Ok(back)) =
                        (self.memory.u64(fp), self.memory.u64(fp.wrapping_add(8)))
                    else {
                        break;
                    };
                    (fp, pc, top) = (caller, back, None);
                    continue;
                }
                if name.contains("JavaScriptBuiltinContinuation")
                    && let Some(frame) = self.continued_builtin(pc, fp)
                {
                    segment.frames.push(frame);
                }
                let title = match self.builtin_at(pc) {
                    Some(builtin) if !builtin.is_empty() => format!("{builtin} [{name}]"),
                    _ => format!("[{name}]"),
                };
                let mut frame = self.blank(FrameKind::Internal, title);
                (frame.pc, frame.fp) = (pc, fp);
                segment.frames.push(frame);
                // The end of a stack that WebAssembly had for itself.
                if is_switch(&name)
                    && self.memory.u64(fp).is_ok_and(|caller| caller == 0)
                    && let Some(before) = way.back()
                {
                    (fp, top) = (before, None);
                    continue;
                }
            } else if let Err(name) = self.js_frames(Place { pc, fp, top }, &mut segment.frames) {
                let mut frame = self.blank(FrameKind::Internal, name);
                (frame.pc, frame.fp) = (pc, fp);
                segment.frames.push(frame);
            }
            let (Ok(caller), Ok(back)) = (self.memory.u64(fp), self.memory.u64(fp.wrapping_add(8)))
            else {
                break;
            };
            (fp, pc, top) = (caller, back, None);
        }
        (segment, 0)
    }
}
