//! Stacks: JavaScript and native frames of a thread in one trace, and what awaits them.
//!
//! Native frames come from the core's unwinder. Frames of V8's code are found V8's own way: the isolate keeps the frame
//! pointer at which JavaScript last called native code (`ThreadLocalTop::c_entry_fp_`); from there the chain of frame
//! pointers leads to an entry frame, which keeps the one before that. A thread that stands in V8's code begins at its
//! registers. (V8's `execution/frames.cc`, `frame-constants.h`.)

use std::collections::HashSet;

use crate::code::Tier;
use crate::error::Result;
use crate::function::{Location, Shared};
use crate::object::Slot;
use crate::tagged::Tagged;
use crate::target::{NativeFrame, ThreadState};
use crate::types::Kind;
use crate::v8::{Isolate, V8};

/// Most frames of one thread.
const MAX_FRAMES: usize = 20_000;
/// Most arguments that are shown of a call.
const MAX_ARGUMENTS: u64 = 1 << 12;
/// Most suspended functions in a chain of awaits.
const MAX_ASYNC: usize = 256;

/// What a frame is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameKind {
    /// A JavaScript function, by the tier of its code.
    Js(Tier),
    /// A function of the language that V8 has built in, such as `Array.prototype.map`.
    Builtin,
    /// A piece of V8's own machine code: trampolines, adapters, entry.
    Internal,
    /// Compiled C or C++.
    Native,
    /// A suspended function that awaits the one above.
    Async,
}

impl FrameKind {
    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            FrameKind::Js(_) => "js",
            FrameKind::Builtin => "builtin",
            FrameKind::Internal => "internal",
            FrameKind::Native => "native",
            FrameKind::Async => "async",
        }
    }
}

/// One frame.
#[derive(Debug, Clone, PartialEq)]
pub struct Frame {
    /// What it is of.
    pub kind: FrameKind,
    /// The name as V8's traces have it, or the native function's.
    pub name: String,
    /// Where in the source.
    pub location: Option<Location>,
    /// The program counter.
    pub pc: u64,
    /// The frame pointer; of a native frame its stack pointer where it has none.
    pub fp: u64,
    /// The function, for JavaScript.
    pub function: Option<Tagged>,
    /// Where the SharedFunctionInfo is.
    pub shared: Option<u64>,
    /// `this`.
    pub receiver: Option<Tagged>,
    /// The arguments that were passed, where they are on the stack.
    pub arguments: Vec<Tagged>,
    /// It has no frame of its own: the compiler put it into the one below.
    pub inlined: bool,
    /// Called with `new`.
    pub constructor: bool,
    /// Not the program's own: Node's or V8's.
    pub internal: bool,
    /// How it was found.
    pub trust: &'static str,
}

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
        let isolate = self
            .isolates
            .iter()
            .find(|isolate| isolate.thread == Some(thread.tid));
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
        let asynchronous = self.async_stack(&frames);
        Stack {
            tid: thread.tid,
            thread_name: thread.name.clone(),
            isolate: isolate.map(|isolate| isolate.id),
            frames,
            asynchronous,
        }
    }

    fn native_frame(&self, frame: &NativeFrame) -> Frame {
        let name = match self.memory.target().function_at(frame.pc) {
            Some((name, offset)) => format!("{name}+{offset:#x}"),
            None => String::new(),
        };
        Frame {
            pc: frame.pc,
            fp: frame.fp,
            trust: frame.trust,
            ..self.blank(FrameKind::Native, name)
        }
    }

    fn blank(&self, kind: FrameKind, name: String) -> Frame {
        Frame {
            kind,
            name,
            location: None,
            pc: 0,
            fp: 0,
            function: None,
            shared: None,
            receiver: None,
            arguments: Vec::new(),
            inlined: false,
            constructor: false,
            internal: true,
            trust: "frame pointer",
        }
    }

    /// Whether an address is in machine code that V8 made, or in its builtins.
    pub fn is_v8_code(&self, pc: u64) -> bool {
        self.pages.page_of(pc).is_some() || self.builtin_at(pc).is_some()
    }

    /// The builtin at an address, of the binary or of a copy that an isolate has made near its code.
    pub fn builtin_at(&self, pc: u64) -> Option<String> {
        let (start, size) = self.blob()?;
        let inside = pc.wrapping_sub(start);
        let at = if inside < size {
            pc
        } else {
            pc.wrapping_sub(self.blob_copy(pc)?).wrapping_add(start)
        };
        if at.wrapping_sub(start) >= size {
            return None;
        }
        let builtins = self.builtins();
        let index = builtins
            .partition_point(|symbol| symbol.address <= at)
            .checked_sub(1);
        Some(index.map_or_else(String::new, |index| {
            builtins[index]
                .name
                .trim_start_matches("Builtins_")
                .to_owned()
        }))
    }

    /// The start of a copy of the builtins that holds an address. (`CodeRange::RemapEmbeddedBuiltins`.)
    fn blob_copy(&self, pc: u64) -> Option<u64> {
        let (start, size) = self.blob()?;
        if let Ok(copies) = self.copies.read()
            && let Some(copy) = copies.iter().find(|copy| pc.wrapping_sub(**copy) < size)
        {
            return Some(*copy);
        }
        let region = self
            .memory
            .target()
            .regions()
            .into_iter()
            .find(|region| region.range.contains(&pc))?;
        if !region.executable
            || self.pages.page_of(pc).is_some()
            || (start..start + size).contains(&region.range.start)
        {
            return None;
        }
        if let Ok(misses) = self.copy_misses.read()
            && misses.contains(&region.range.start)
        {
            return None;
        }
        let mut want = [0_u8; 64];
        self.memory.read(start, &mut want).ok()?;
        let lowest = pc.saturating_sub(size).max(region.range.start) & !0xfff;
        let mut at = lowest;
        while at <= pc {
            let mut have = [0_u8; 64];
            if self.memory.read(at, &mut have).is_ok() && have == want {
                self.copies.write().ok()?.push(at);
                return Some(at);
            }
            at += 0x1000;
        }
        self.copy_misses.write().ok()?.push(region.range.start);
        None
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
        if self.is_v8_code(thread.pc) {
            let segment = self.segment(thread.pc, thread.fp, thread.sp);
            next = Some(segment.1);
            segments.push(segment.0);
        }
        let mut exit = match next {
            Some(outer) => outer,
            None => self.c_entry_fp(isolate, thread).unwrap_or(0),
        };
        if exit == 0 && segments.is_empty() {
            // A fast call from optimised code leaves no trace in the isolate; the unwinder may have come to V8's code.
            if let Some(frame) = native.iter().find(|frame| self.is_v8_code(frame.pc)) {
                let segment = self.segment(frame.pc, frame.fp, frame.sp);
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
            let (mut segment, outer) = self.segment(pc, caller, exit);
            segment.low = exit;
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
        (0..0x400_u64)
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
    fn segment(&self, pc: u64, fp: u64, low: u64) -> (Segment, u64) {
        let (mut pc, mut fp) = (pc, fp);
        let mut segment = Segment {
            frames: Vec::new(),
            low,
            high: fp,
        };
        let mut last = low;
        while segment.frames.len() < MAX_FRAMES {
            if fp & 7 != 0 || fp < last {
                break;
            }
            last = fp + 1;
            segment.high = fp;
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
                let name = match self.builtin_at(pc) {
                    Some(builtin) if !builtin.is_empty() => format!("{builtin} [{name}]"),
                    _ => format!("[{name}]"),
                };
                let mut frame = self.blank(FrameKind::Internal, name);
                (frame.pc, frame.fp) = (pc, fp);
                segment.frames.push(frame);
            } else if let Err(name) = self.js_frames(pc, fp, &mut segment.frames) {
                let mut frame = self.blank(FrameKind::Internal, name);
                (frame.pc, frame.fp) = (pc, fp);
                segment.frames.push(frame);
            }
            let (Ok(caller), Ok(back)) = (self.memory.u64(fp), self.memory.u64(fp.wrapping_add(8)))
            else {
                break;
            };
            (fp, pc) = (caller, back);
        }
        (segment, 0)
    }

    /// The frames of JavaScript that one machine frame is: several when the compiler has inlined. Otherwise what to call
    /// it.
    fn js_frames(&self, pc: u64, fp: u64, out: &mut Vec<Frame>) -> std::result::Result<(), String> {
        let builtin = self.builtin_at(pc);
        let unnamed = || {
            builtin
                .clone()
                .filter(|name| !name.is_empty())
                .unwrap_or_else(|| "a frame of V8".to_owned())
        };
        let function = Tagged(
            self.memory
                .u64(self.at(fp, self.c.fp_function))
                .map_err(|_| unnamed())?,
        );
        let shared = self
            .shared_of(function)
            .and_then(|shared| self.shared(shared))
            .map_err(|_| unnamed())?;
        let argc = self.memory.u64(self.at(fp, self.c.fp_argc)).unwrap_or(0);
        let receiver = self
            .memory
            .u64(self.at(fp, self.c.fp_receiver))
            .ok()
            .map(Tagged);
        // The count is the receiver's too; it is a plain number.
        let count = if argc < MAX_ARGUMENTS {
            argc.saturating_sub(1)
        } else {
            0
        };
        let arguments = (0..count)
            .map_while(|index| {
                self.memory
                    .u64(self.at(fp, self.c.fp_receiver + 8 + 8 * index as i64))
                    .ok()
                    .map(Tagged)
            })
            .collect();
        let constructor = self
            .memory
            .u64(fp)
            .and_then(|caller| self.memory.u64(self.at(caller, self.c.fp_context)))
            .is_ok_and(|marker| {
                marker & 1 == 0
                    && marker < 128
                    && self
                        .frame_name((marker >> 1) as i64)
                        .is_some_and(|name| name.contains("ConstructFrame"))
            });
        let mut frame = Frame {
            pc,
            fp,
            function: Some(function),
            shared: Some(shared.address),
            receiver,
            arguments,
            constructor,
            ..self.blank(FrameKind::Builtin, String::new())
        };
        let bytecode = Tagged(
            self.memory
                .u64(self.at(fp, self.c.fp_bytecode))
                .unwrap_or(0),
        );
        let offset = Tagged(
            self.memory
                .u64(self.at(fp, self.c.fp_bytecode_offset))
                .unwrap_or(0),
        )
        .as_smi();
        let is_bytecode = self
            .kind_of(bytecode)
            .is_ok_and(|kind| kind == Kind::BytecodeArray);
        let mut position = None;
        if let Some((code, start, _)) = builtin.is_none().then(|| self.code_at(pc)).flatten() {
            match self.tier(code) {
                Some(Tier::Baseline) => {
                    frame.kind = FrameKind::Js(Tier::Baseline);
                    position = self
                        .baseline_offset(code, pc.wrapping_sub(start))
                        .and_then(|(bytecode, offset)| self.bytecode_position(bytecode, offset));
                }
                Some(tier @ (Tier::Maglev | Tier::Turbofan)) => {
                    frame.kind = FrameKind::Js(tier);
                    let places = self
                        .optimised_places(code, pc.wrapping_sub(start), shared.script)
                        .unwrap_or_default();
                    for place in &places {
                        if let Some(inner) = place.shared {
                            let Ok(inner) = self.shared(inner) else {
                                continue;
                            };
                            let mut inlined = Frame {
                                pc,
                                fp,
                                inlined: true,
                                shared: Some(inner.address),
                                ..self.blank(frame.kind, String::new())
                            };
                            self.finish(&mut inlined, &inner, place.position);
                            out.push(inlined);
                        } else {
                            position = place.position;
                        }
                    }
                }
                _ => {
                    // A copy of the interpreter's trampoline, made for a profiler.
                    if is_bytecode && offset.is_some() {
                        frame.kind = FrameKind::Js(Tier::Interpreted);
                    }
                }
            }
        } else if is_bytecode && offset.is_some() {
            frame.kind = FrameKind::Js(Tier::Interpreted);
        }
        if frame.kind == FrameKind::Js(Tier::Interpreted) {
            let offset = i64::from(offset.unwrap_or(0)) - (self.c.bytecode_data - 1);
            position = self.bytecode_position(bytecode.address(), offset);
        }
        self.finish(&mut frame, &shared, position);
        out.push(frame);
        Ok(())
    }

    /// Name, place and whose it is.
    fn finish(&self, frame: &mut Frame, shared: &Shared, position: Option<u32>) {
        frame.name = self.frame_title(frame, shared);
        if let (Some(script), Some(position)) = (shared.script, position.or(shared.start)) {
            frame.location = self.location(script, position).ok();
        }
        frame.internal = match &frame.location {
            None => true,
            Some(location) => {
                location.script.starts_with("node:") || location.script.starts_with("internal/")
            }
        };
    }

    /// The function as V8's traces write it: `new Class`, `Type.method [as name]`, `name`, `<anonymous>`. (V8's
    /// `SerializeJSStackFrame` in `objects/call-site-info.cc`.)
    fn frame_title(&self, frame: &Frame, shared: &Shared) -> String {
        let mut name = shared.name.clone();
        if name.is_empty()
            && let Some(function) = frame.function
        {
            name = self.function_name(function).unwrap_or_default();
        }
        if frame.constructor {
            return format!(
                "new {}",
                if name.is_empty() {
                    "<anonymous>"
                } else {
                    &name
                }
            );
        }
        let toplevel = frame.inlined
            || frame.receiver.is_none_or(|receiver| {
                !receiver.is_pointer()
                    || matches!(
                        self.kind_of(receiver),
                        Err(_) | Ok(Kind::Oddball | Kind::Hole | Kind::JsGlobalProxy)
                    )
            });
        if toplevel {
            return if name.is_empty() {
                "<anonymous>".to_owned()
            } else {
                name
            };
        }
        let receiver = frame.receiver.unwrap_or_default();
        let class = match self.kind_of(receiver) {
            Ok(Kind::JsProxy) => "Proxy".to_owned(),
            Ok(Kind::String) => "String".to_owned(),
            Ok(Kind::Symbol) => "Symbol".to_owned(),
            Ok(Kind::BigInt) => "BigInt".to_owned(),
            Ok(Kind::HeapNumber) => "Number".to_owned(),
            _ => self.trace_class(receiver),
        };
        let method = frame
            .function
            .and_then(|function| self.method_name(receiver, function));
        if name.is_empty() {
            return format!("{class}.{}", method.as_deref().unwrap_or("<anonymous>"));
        }
        let mut title = if name.starts_with(&format!("{class}.")) {
            name.clone()
        } else {
            format!("{class}.{name}")
        };
        if let Some(method) = method
            && method != name
            && !name.ends_with(&format!(".{method}"))
            && !name.ends_with(&format!(" {method}"))
        {
            title.push_str(&format!(" [as {method}]"));
        }
        title
    }

    /// The class of a receiver by V8's own rule, with `Symbol.toStringTag`.
    fn trace_class(&self, receiver: Tagged) -> String {
        if self
            .kind_of(receiver)
            .is_ok_and(|kind| kind == Kind::JsFunction)
        {
            return "Function".to_owned();
        }
        let mut at = receiver;
        let tag = self.root("to_string_tag_symbol");
        for _ in 0..64 {
            let Ok(map) = self.map_of(at) else { break };
            if !map.kind.is_js_object() {
                break;
            }
            let properties = self.properties(at).unwrap_or_default();
            // V8 looks at the map's constructor first.
            if at == receiver
                && map.bits2 & 1 == 1
                && map.bits3 >> 20 & 1 == 0
                && let Some(name) = self
                    .map_constructor(&map)
                    .and_then(|function| self.function_name(function).ok())
                && !name.is_empty()
                && name != "Object"
            {
                return name;
            }
            for property in properties {
                if let Slot::Value(value) = property.slot {
                    if Some(property.key) == tag
                        && let Some(text) = self.name_text(value)
                    {
                        return text;
                    }
                    if at != receiver
                        && self.name_text(property.key).as_deref() == Some("constructor")
                        && let Ok(name) = self.function_name(value)
                        && !name.is_empty()
                        && name != "Object"
                    {
                        return name;
                    }
                }
            }
            at = self
                .field(map.address, self.c.map_prototype)
                .unwrap_or_default();
        }
        self.class_name(receiver)
            .map_or_else(|_| "Object".to_owned(), |name| name.to_string())
    }

    /// Under which property of the receiver or its prototypes a function is.
    fn method_name(&self, receiver: Tagged, function: Tagged) -> Option<String> {
        let mut at = receiver;
        for _ in 0..64 {
            let map = self.map_of(at).ok()?;
            if !map.kind.is_js_object() || map.kind == Kind::JsProxy {
                return None;
            }
            let mut found = None;
            for property in self.properties(at).unwrap_or_default() {
                let hit = match property.slot {
                    Slot::Value(value) => value == function,
                    Slot::Accessor(getter, setter) => getter == function || setter == function,
                    _ => false,
                };
                if hit
                    && !property.private
                    && let Some(name) = self.name_text(property.key)
                {
                    // Under two names it has none.
                    if found.is_some() {
                        return None;
                    }
                    found = Some(name);
                }
            }
            if found.is_some() {
                return found;
            }
            at = self.field(map.address, self.c.map_prototype).ok()?;
        }
        None
    }

    /// What awaits the async functions on a stack: from the outermost one that runs, through the promises that wait.
    fn async_stack(&self, frames: &[Frame]) -> Vec<Frame> {
        for frame in frames.iter().rev() {
            if let (FrameKind::Js(_), Some(function)) = (frame.kind, frame.function)
                && let Some(generator) = self.running_generator(frame.fp, function)
            {
                let mut out = Vec::new();
                if let Some(promise) = self.generator_promise(generator) {
                    self.awaiters(promise, &mut out);
                }
                return out;
            }
        }
        Vec::new()
    }

    /// The generator object of an async function that runs in a frame: it is in one of its registers.
    fn running_generator(&self, fp: u64, function: Tagged) -> Option<Tagged> {
        (3..256).find_map(|slot| {
            let value = Tagged(self.memory.u64(fp.wrapping_sub(8 * slot)).ok()?);
            let is = matches!(
                self.kind_of(value),
                Ok(Kind::JsAsyncFunction | Kind::JsAsyncGenerator)
            ) && self.field(value.address(), self.c.generator_function).ok()
                == Some(function);
            is.then_some(value)
        })
    }

    /// The promise that an async function's call has given. An async generator has one for each request.
    pub fn generator_promise(&self, generator: Tagged) -> Option<Tagged> {
        match self.kind_of(generator).ok()? {
            Kind::JsAsyncFunction => {
                let promise = self
                    .field(generator.address(), self.c.async_function_promise)
                    .ok()?;
                (self.kind_of(promise).ok()? == Kind::JsPromise).then_some(promise)
            }
            Kind::JsAsyncGenerator => {
                // The queue of AsyncGeneratorRequests: next 8, resume mode 16, value 24, promise 32.
                let request = self
                    .field(generator.address(), self.c.async_function_promise)
                    .ok()?;
                let promise = self.field(request.address(), 32).ok()?;
                (self.kind_of(promise).ok()? == Kind::JsPromise).then_some(promise)
            }
            _ => None,
        }
    }

    /// The reactions of a pending promise: (what follows on fulfilment, what promise it settles).
    pub fn reactions(&self, promise: Tagged) -> Vec<(Tagged, Tagged)> {
        let mut out = Vec::new();
        let Ok(mut at) = self.field(promise.address(), self.c.js_promise_result) else {
            return out;
        };
        let mut seen = HashSet::new();
        while self
            .kind_of(at)
            .is_ok_and(|kind| kind == Kind::PromiseReaction)
            && seen.insert(at.0)
            && out.len() < 1 << 16
        {
            let fulfill = self
                .field(at.address(), self.c.reaction_fulfill)
                .unwrap_or_default();
            let settles = self
                .field(at.address(), self.c.reaction_promise)
                .unwrap_or_default();
            out.push((fulfill, settles));
            at = self
                .field(at.address(), self.c.reaction_next)
                .unwrap_or_default();
        }
        out
    }

    /// The generator object that an await's handler resumes: it is in a slot of the handler's context.
    pub fn awaiting_generator(&self, handler: Tagged) -> Option<Tagged> {
        if self.kind_of(handler).ok()? != Kind::JsFunction {
            return None;
        }
        let context = self
            .field(handler.address(), self.c.function_context)
            .ok()?;
        if self.kind_of(context).ok()? != Kind::Context {
            return None;
        }
        (0..5).find_map(|slot| {
            let value = self
                .field(context.address(), self.c.array_data + 8 * slot)
                .ok()?;
            matches!(
                self.kind_of(value),
                Ok(Kind::JsAsyncFunction | Kind::JsAsyncGenerator | Kind::JsGenerator)
            )
            .then_some(value)
        })
    }

    /// The promise that a reaction settles, from a JSPromise or a PromiseCapability (promise at 8).
    fn settled_promise(&self, value: Tagged) -> Option<Tagged> {
        match self.kind_of(value).ok()? {
            Kind::JsPromise => Some(value),
            Kind::Internal => {
                let promise = self.field(value.address(), 8).ok()?;
                (self.kind_of(promise).ok()? == Kind::JsPromise).then_some(promise)
            }
            _ => None,
        }
    }

    /// What waits for a promise: one chain for each of its reactions, at most so many.
    pub fn await_chains(&self, promise: Tagged, limit: usize) -> Vec<Vec<Frame>> {
        let mut chains = Vec::new();
        for (handler, settles) in self.reactions(promise).into_iter().take(limit) {
            let mut chain = Vec::new();
            if let Some(next) = self.awaiter(handler, settles, &mut chain) {
                self.awaiters(next, &mut chain);
            }
            if !chain.is_empty() {
                chains.push(chain);
            }
        }
        // The reactions are linked from the newest to the oldest.
        chains.reverse();
        chains
    }

    /// Adds the functions that wait for a promise, as V8's traces do: one chain, the first that waits.
    pub fn awaiters(&self, promise: Tagged, out: &mut Vec<Frame>) {
        let mut promise = promise;
        let mut seen = HashSet::new();
        while seen.insert(promise.0) && out.len() < MAX_ASYNC {
            let reactions = self.reactions(promise);
            let [(handler, settles)] = reactions[..] else {
                return;
            };
            match self.awaiter(handler, settles, out) {
                Some(next) => promise = next,
                None => return,
            }
        }
    }

    /// Adds who waits by one reaction; gives the promise that is settled after it.
    fn awaiter(&self, handler: Tagged, settles: Tagged, out: &mut Vec<Frame>) -> Option<Tagged> {
        if let Some(generator) = self.awaiting_generator(handler) {
            out.push(self.generator_frame(generator).ok()?);
            return self.generator_promise(generator);
        }
        if let Some((name, next)) = self.combinator(handler) {
            out.push(self.blank(FrameKind::Async, name));
            return Some(next);
        }
        let next = self.settled_promise(settles)?;
        if self
            .kind_of(handler)
            .is_ok_and(|kind| kind == Kind::JsFunction)
            && let Ok(shared) = self
                .shared_of(handler)
                .and_then(|shared| self.shared(shared))
            && shared.script.is_some()
        {
            let mut frame = self.blank(FrameKind::Async, String::new());
            frame.function = Some(handler);
            frame.shared = Some(shared.address);
            self.finish(&mut frame, &shared, None);
            frame.name = format!("then({})", frame.name);
            out.push(frame);
        }
        Some(next)
    }

    /// `Promise.all` and its kin, from a handler that is theirs: their context has the resolve-element function's
    /// remaining count and the capability. (V8's `PromiseAllResolveElementContext`: remaining, capability, values.)
    fn combinator(&self, handler: Tagged) -> Option<(String, Tagged)> {
        let shared = self.shared(self.shared_of(handler).ok()?).ok()?;
        let name = self.builtin_name(shared.builtin?)?;
        let title = match name.as_str() {
            "PromiseAllResolveElementClosure" => "Promise.all",
            "PromiseAllSettledResolveElementClosure" | "PromiseAllSettledRejectElementClosure" => {
                "Promise.allSettled"
            }
            "PromiseAnyRejectElementClosure" => "Promise.any",
            _ => return None,
        };
        let context = self
            .field(handler.address(), self.c.function_context)
            .ok()?;
        let capability = (2..5).find_map(|slot| {
            let value = self
                .field(context.address(), self.c.array_data + 8 * slot)
                .ok()?;
            self.settled_promise(value)
        })?;
        // The index is the function's identity hash, and one.
        let index = self
            .field(handler.address(), self.c.properties)
            .ok()?
            .as_smi()
            .map_or(0, |hash| hash - 1);
        Some((format!("{title} (index {index})"), capability))
    }

    /// The name of a builtin by its number: `Builtins_*` symbols have the order of the numbers.
    pub fn builtin_name(&self, number: i32) -> Option<String> {
        let names = self.builtin_names.get_or_init(|| {
            // `Builtins::name` is not in the binary as data; the order of addresses is the order of embedding, which is
            // that of the numbers only where the two tables agree. The isolate's table of entries tells.
            let isolate = self.isolates.first();
            isolate.map_or(Vec::new(), |isolate| self.builtin_order(isolate))
        });
        names
            .get(usize::try_from(number).ok()?)
            .cloned()
            .filter(|name| !name.is_empty())
    }

    /// The builtins by number, from the isolate's table of their entry points: the longest run of pointers to starts of
    /// builtins in it.
    fn builtin_order(&self, isolate: &Isolate) -> Vec<String> {
        let words: Vec<u64> = (0..0x10000_u64)
            .step_by(8)
            .map(|offset| {
                self.memory
                    .u64(isolate.address.wrapping_add(offset))
                    .unwrap_or(0)
            })
            .collect();
        let builtins = self.builtins();
        let (start, size) = self.blob().unwrap_or((0, 0));
        let name_of = |address: u64| -> Option<String> {
            let inside = address.wrapping_sub(start);
            let at = if inside < size {
                address
            } else {
                address
                    .wrapping_sub(self.blob_copy(address)?)
                    .wrapping_add(start)
            };
            let index = builtins
                .binary_search_by_key(&at, |symbol| symbol.address)
                .ok()?;
            Some(
                builtins[index]
                    .name
                    .trim_start_matches("Builtins_")
                    .to_owned(),
            )
        };
        let mut best = Vec::new();
        let mut run = Vec::new();
        for word in words {
            match (word > 0x1000).then(|| name_of(word)).flatten() {
                Some(name) => run.push(name),
                None => {
                    if run.len() > best.len() {
                        best = std::mem::take(&mut run);
                    }
                    run.clear();
                }
            }
        }
        if run.len() > best.len() { run } else { best }
    }

    /// A suspended generator or async function as a frame: where it waits.
    ///
    /// # Errors
    /// When it is none.
    pub fn generator_frame(&self, generator: Tagged) -> Result<Frame> {
        let function = self.field(generator.address(), self.c.generator_function)?;
        let shared = self.shared(self.shared_of(function)?)?;
        let mut frame = self.blank(FrameKind::Async, String::new());
        frame.function = Some(function);
        frame.shared = Some(shared.address);
        frame.receiver = self
            .field(generator.address(), self.c.generator_receiver)
            .ok();
        frame.fp = generator.0;
        let position = self.generator_position(generator, &shared);
        self.finish(&mut frame, &shared, position);
        Ok(frame)
    }

    /// Where a suspended generator waits. The field holds the bytecode offset as the interpreter keeps it.
    pub fn generator_position(&self, generator: Tagged, shared: &Shared) -> Option<u32> {
        let continuation = self
            .field(generator.address(), self.c.generator_continuation)
            .ok()?
            .as_smi()?;
        if continuation < 0 {
            return None;
        }
        let offset = self
            .field(generator.address(), self.c.generator_position)
            .ok()?
            .as_smi()?;
        self.bytecode_position(
            shared.bytecode?,
            i64::from(offset) - (self.c.bytecode_data - 1),
        )
    }
}
