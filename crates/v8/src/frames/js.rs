//! The JavaScript that a frame of V8's is: the function, where in its source, who was called with what.

use super::{Frame, FrameKind};
use crate::code::{FrameValue, Tier};
use crate::function::Shared;
use crate::tagged::Tagged;
use crate::types::Kind;
use crate::v8::V8;

/// Most arguments that are shown of a call.
const MAX_ARGUMENTS: u64 = 1 << 12;
/// SharedFunctionInfo's flag of functions that V8 has built in and shows.
const NATIVE: u32 = 1 << 5;
/// Most words of a frame that are searched for a return address.
const MAX_SEARCH: u64 = 1 << 12;

/// A place in machine code with its frame pointer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    /// Program counter.
    pub pc: u64,
    /// Frame pointer.
    pub fp: u64,
    /// The stack pointer, where the thread stands here: the program counter is no return address then.
    pub top: Option<u64>,
}

impl V8 {
    /// The frames of JavaScript that one machine frame is: several when the compiler has inlined. Otherwise what to call
    /// it.
    pub(crate) fn js_frames(
        &self,
        place: Place,
        out: &mut Vec<Frame>,
    ) -> std::result::Result<(), String> {
        let Place { mut pc, fp, top } = place;
        let builtin = self.builtin_at(pc);
        let unnamed = || {
            builtin
                .clone()
                .filter(|name| !name.is_empty())
                .unwrap_or_else(|| "a frame of V8".to_owned())
        };
        let word = |offset: i64| self.memory.u64(self.at(fp, offset)).map(Tagged);
        let function = word(self.c.fp_function).map_err(|_| unnamed())?;
        let shared = self
            .shared_of(function)
            .and_then(|shared| self.shared(shared))
            .map_err(|_| unnamed())?;
        let argc = word(self.c.fp_argc).map_or(0, |argc| argc.0);
        // The count is the receiver's too; it is a plain number.
        let count = if argc < MAX_ARGUMENTS {
            argc.saturating_sub(1)
        } else {
            0
        };
        let value = |offset: i64| word(offset).ok().map(FrameValue::Tagged);
        let mut frame = Frame {
            pc,
            fp,
            function: Some(function),
            shared: Some(shared.address),
            receiver: value(self.c.fp_receiver),
            arguments: (0..count as i64)
                .map_while(|index| value(self.c.fp_receiver + 8 + 8 * index))
                .collect(),
            context: value(self.c.fp_context),
            constructor: self.called_by_construct(fp),
            ..self.blank(FrameKind::Builtin, String::new())
        };
        let bytecode = word(self.c.fp_bytecode).unwrap_or_default();
        let offset = word(self.c.fp_bytecode_offset).unwrap_or_default().as_smi();
        // A builtin's frame may have what looks like it in these slots, left behind by a call before.
        let interpreted = offset.is_some()
            && shared.script.is_some()
            && self
                .kind_of(bytecode)
                .is_ok_and(|kind| kind == Kind::BytecodeArray);
        let mut returns = top.is_none();
        if let Some(sp) = top
            && builtin.is_some()
            && shared.script.is_some()
            && !interpreted
            && let Some(back) = self.return_into_code(sp, fp)
        {
            // A builtin without a frame of its own, such as a write barrier: the call in the function is above it.
            (pc, returns) = (back, true);
            frame.trust = "scan";
        }
        let mut position = None;
        let in_heap = builtin.is_none() || pc != place.pc;
        if let Some((code, start, length)) = in_heap.then(|| self.code_at(pc)).flatten() {
            // A table's entry holds up to the next one's, and a return address is already behind its call.
            let behind = if returns { pc } else { pc.wrapping_add(1) };
            match self.tier(code) {
                Some(Tier::Baseline) => {
                    frame.kind = FrameKind::Js(Tier::Baseline);
                    position = self
                        .baseline_offset(code, behind.wrapping_sub(start))
                        .and_then(|(bytecode, offset)| self.bytecode_position(bytecode, offset));
                }
                Some(tier @ (Tier::Maglev | Tier::Turbofan)) => {
                    frame.kind = FrameKind::Js(tier);
                    let inside = super::optimised::Inside {
                        code,
                        start,
                        length,
                        tier,
                        pc: returns.then_some(pc),
                        behind,
                    };
                    self.optimised_frames(inside, frame, &shared, out);
                    return Ok(());
                }
                // A copy of the interpreter's trampoline, made for a profiler.
                _ if interpreted => frame.kind = FrameKind::Js(Tier::Interpreted),
                _ => {}
            }
        } else if interpreted {
            frame.kind = FrameKind::Js(Tier::Interpreted);
        }
        if frame.kind == FrameKind::Js(Tier::Interpreted) {
            let offset = i64::from(offset.unwrap_or(0)) - (self.c.bytecode_data - 1);
            position = self.bytecode_position(bytecode.address(), offset);
        }
        if frame.kind == FrameKind::Builtin {
            frame.kind = self.builtin_kind(&shared);
        }
        self.finish(&mut frame, &shared, position);
        out.push(frame);
        Ok(())
    }

    /// Whether a builtin is one of the language, that traces show, or V8's own: only the former have the mark that they
    /// are native. (`IsNotHidden` in `execution/isolate.cc`.)
    pub(crate) fn builtin_kind(&self, shared: &Shared) -> FrameKind {
        // What never shows: a function of an embedder's template, such as Node's own in C++, and the wrapper around a
        // function of WebAssembly, which has a frame of its own.
        let foreign = [self.c.shared_data, self.c.shared_untrusted]
            .into_iter()
            .filter(|field| self.has(*field))
            .filter_map(|field| self.map_of(self.field(shared.address, field).ok()?).ok())
            .any(|map| {
                map.kind == Kind::FunctionTemplateInfo
                    || self.types.name(map.instance_type).starts_with("WASM_")
            });
        if !foreign && (shared.script.is_some() || shared.flags & NATIVE != 0) {
            FrameKind::Builtin
        } else {
            FrameKind::Internal
        }
    }

    /// The builtin of V8's C++, or the function of an embedder's template, that an exit frame is of: its function and
    /// arguments lie behind the return address. (`BuiltinExitFrameConstants`, `ApiCallbackExitFrameConstants` in
    /// `execution/frame-constants.h`.)
    pub(crate) fn exit_builtin(&self, fp: u64) -> Option<Frame> {
        let word = |offset: i64| self.memory.u64(self.at(fp, offset)).ok().map(Tagged);
        let marker = word(self.c.fp_context)?.0;
        if marker & 1 == 1 {
            return None;
        }
        let kind = self.frame_name((marker >> 1) as i64)?;
        let (function, constructor, receiver, count);
        if kind.contains("BuiltinExit") {
            function = word(24)?;
            constructor = !self.is_undefined(word(16)?);
            receiver = self.c.exit_receiver;
            // The count is that of the words behind it, the receiver among them.
            count = i64::from(word(32)?.as_smi()?) - ((receiver - 16) / 8 + 1);
        } else if kind.contains("ApiCallbackExit") && self.has(self.c.api_exit_function) {
            function = word(self.c.api_exit_function)?;
            constructor = false;
            receiver = self.c.api_exit_receiver;
            // A Smi in Node 22, a plain number later.
            let told = word(self.c.api_exit_count)?;
            count = match told.as_smi() {
                Some(count) if told.0 != 0 => i64::from(count),
                _ => i64::try_from(told.0).ok()?,
            };
        } else {
            return None;
        }
        let shared = self.shared(self.shared_of(function).ok()?).ok()?;
        let mut frame = Frame {
            fp,
            pc: word(8)?.0,
            function: Some(function),
            shared: Some(shared.address),
            receiver: word(receiver).map(FrameValue::Tagged),
            arguments: (0..count.clamp(0, MAX_ARGUMENTS as i64))
                .map_while(|index| word(receiver + 8 + 8 * index).map(FrameValue::Tagged))
                .collect(),
            constructor,
            ..self.blank(self.builtin_kind(&shared), String::new())
        };
        self.finish(&mut frame, &shared, None);
        Some(frame)
    }

    /// The builtin that goes on in JavaScript's name, after optimised code around it was thrown out: a frame of its own
    /// kind, with the function where others have it. (`BuiltinContinuationFrameConstants`.)
    pub(crate) fn continued_builtin(&self, pc: u64, fp: u64) -> Option<Frame> {
        let word = |offset: i64| self.memory.u64(self.at(fp, offset)).ok().map(Tagged);
        let function = word(self.c.fp_function)?;
        let shared = self.shared(self.shared_of(function).ok()?).ok()?;
        let mut frame = Frame {
            fp,
            pc,
            function: Some(function),
            shared: Some(shared.address),
            receiver: word(self.c.fp_receiver).map(FrameValue::Tagged),
            ..self.blank(self.builtin_kind(&shared), String::new())
        };
        self.finish(&mut frame, &shared, None);
        Some(frame)
    }

    /// Whether a frame was called with `new`: its caller is the frame that makes the object.
    fn called_by_construct(&self, fp: u64) -> bool {
        self.memory
            .u64(fp)
            .and_then(|caller| self.memory.u64(self.at(caller, self.c.fp_context)))
            .is_ok_and(|marker| {
                marker & 1 == 0
                    && marker < 128
                    && self
                        .frame_name((marker >> 1) as i64)
                        .is_some_and(|name| name.contains("ConstructFrame"))
            })
    }

    /// The innermost return address between the stack pointer and a frame that lies in compiled code of the heap.
    fn return_into_code(&self, sp: u64, fp: u64) -> Option<u64> {
        (0..MAX_SEARCH)
            .map(|index| sp.wrapping_add(8 * index))
            .take_while(|at| *at < fp)
            .filter_map(|at| self.memory.u64(at).ok())
            .find(|pc| self.code_at(*pc).is_some())
    }

    /// Name, place and whose it is.
    pub(crate) fn finish(&self, frame: &mut Frame, shared: &Shared, position: Option<u32>) {
        frame.name = self.frame_title(frame, shared);
        // A builtin of the language has a number; what has none, and no name, is Node's own, such as what runs the
        // microtasks.
        if frame.kind == FrameKind::Builtin
            && shared.script.is_none()
            && shared.builtin.is_none()
            && frame.name == "<anonymous>"
        {
            frame.kind = FrameKind::Internal;
        }
        if let (Some(script), Some(position)) = (shared.script, position.or(shared.start)) {
            frame.location = self.location(script, position).ok().map(|mut place| {
                place.script = self.script_title(script);
                place
            });
        }
        frame.internal = match &frame.location {
            None => true,
            Some(location) => {
                location.script.starts_with("node:") || location.script.starts_with("internal/")
            }
        };
    }
}
