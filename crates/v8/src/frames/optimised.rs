//! The functions in a frame of optimised code. At a safepoint the deoptimisation data tells of each, with its values, as
//! V8's own traces do; anywhere else (a crash in the middle of it) the source positions tell which they are.

use super::{Frame, FrameKind};
use crate::code::{FrameOp, FrameValue, Physical, Tier, TranslatedFrame};
use crate::function::Shared;
use crate::types::Kind;
use crate::v8::V8;

/// A place in optimised code.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Inside {
    /// The Code object.
    pub code: u64,
    /// Where its instructions begin.
    pub start: u64,
    /// Their bytes.
    pub length: u64,
    /// Its tier.
    pub tier: Tier,
    /// The return address, if it is one.
    pub pc: Option<u64>,
    /// What is looked up in tables of source positions.
    pub behind: u64,
}

impl V8 {
    /// Adds the frames, innermost first. `outer` is the one of the function whose code it is.
    pub(crate) fn optimised_frames(
        &self,
        inside: Inside,
        mut outer: Frame,
        shared: &Shared,
        out: &mut Vec<Frame>,
    ) {
        let safepoint = inside
            .pc
            .and_then(|pc| self.safepoint(inside.tier, inside.start, inside.length, pc));
        let mut behind = inside.behind.wrapping_sub(inside.start);
        let mut entry = None;
        if let Some(safepoint) = safepoint {
            // Where the code was thrown out the return address is another; positions are by the first.
            behind = safepoint.pc;
            match safepoint.deopt {
                Some(deopt) => {
                    let formal = self
                        .memory
                        .u16(self.at(shared.address, self.c.shared_parameters))
                        .unwrap_or(0);
                    let physical = Physical {
                        fp: outer.fp,
                        formal: u64::from(formal).saturating_sub(1),
                        actual: outer.arguments.len() as u64,
                    };
                    if let Some(frames) = self.translated_frames(inside.code, deopt, physical)
                        && self.add_translated(&frames, &outer, out).is_some()
                    {
                        return;
                    }
                }
                // No way back into the interpreter: an allocation, of which only the table of positions tells; or
                // Maglev's check of the stack at a function's entry, before the first position of that table.
                None if inside.tier == Tier::Maglev => {
                    entry = shared
                        .bytecode
                        .and_then(|bytecode| self.bytecode_position(bytecode, -1));
                }
                None => {}
            }
        }
        let mut position = None;
        for place in self
            .optimised_places(inside.code, behind, shared.script)
            .unwrap_or_default()
        {
            let Some(inner) = place.shared else {
                position = place.position;
                continue;
            };
            let Ok(inner) = self.shared(inner) else {
                continue;
            };
            let mut frame = Frame {
                pc: outer.pc,
                fp: outer.fp,
                inlined: true,
                shared: Some(inner.address),
                ..self.blank(outer.kind, String::new())
            };
            self.finish(&mut frame, &inner, place.position);
            out.push(frame);
        }
        self.finish(&mut outer, shared, position.or(entry));
        out.push(outer);
    }

    /// Adds the frames of a translation, which are outermost first; `None`, and nothing added, when they are not a
    /// function's.
    fn add_translated(
        &self,
        translated: &[TranslatedFrame],
        outer: &Frame,
        out: &mut Vec<Frame>,
    ) -> Option<()> {
        let mut frames: Vec<Frame> = Vec::new();
        let mut constructor = outer.constructor;
        let mut arguments = None;
        for one in translated {
            match one.kind {
                FrameOp::Construct => constructor = true,
                FrameOp::ExtraArguments => {
                    // The function, then the receiver, then all that was passed.
                    arguments = one.values.get(2..).map(<[FrameValue]>::to_vec);
                }
                FrameOp::Interpreted | FrameOp::JsContinuation => {
                    let first = frames.is_empty();
                    let function =
                        one.values
                            .first()
                            .and_then(FrameValue::tagged)
                            .filter(|value| {
                                self.kind_of(*value)
                                    .is_ok_and(|kind| kind == Kind::JsFunction)
                            });
                    let shared = match (one.kind, function) {
                        // A continuation names the function that called the builtin.
                        (FrameOp::JsContinuation, Some(function)) => {
                            self.shared_of(function).ok()?
                        }
                        _ => one.shared?,
                    };
                    let shared = self.shared(shared).ok()?;
                    let receiver = one.values.get(1).cloned();
                    let formal = one.values.get(2..1 + one.parameters).unwrap_or_default();
                    let mut frame = Frame {
                        pc: outer.pc,
                        fp: outer.fp,
                        function,
                        shared: Some(shared.address),
                        receiver,
                        arguments: arguments.take().unwrap_or_else(|| formal.to_vec()),
                        context: one.values.get(1 + one.parameters).cloned(),
                        inlined: !first,
                        constructor: std::mem::take(&mut constructor),
                        ..self.blank(outer.kind, String::new())
                    };
                    if first {
                        // What was passed to the function itself is on the stack, whatever is needed of it still.
                        frame.arguments.clone_from(&outer.arguments);
                        frame.receiver.clone_from(&outer.receiver);
                        frame.function = outer.function;
                    }
                    let mut position = None;
                    if one.kind == FrameOp::Interpreted {
                        let registers = 2 + one.parameters;
                        let end = one.values.len().saturating_sub(1);
                        frame.registers =
                            one.values.get(registers..end).unwrap_or_default().to_vec();
                        position = shared.bytecode.and_then(|bytecode| {
                            self.bytecode_position(bytecode, i64::from(one.offset))
                        });
                    } else {
                        frame.kind = self.builtin_kind(&shared);
                    }
                    self.finish(&mut frame, &shared, position);
                    frames.push(frame);
                }
                FrameOp::Wasm | FrameOp::Liftoff | FrameOp::Continuation => {}
            }
        }
        if frames.is_empty() {
            return None;
        }
        frames.reverse();
        // A call with `new` of what is not inlined: the frame above this one is the constructor's.
        if constructor
            && translated
                .last()
                .is_some_and(|last| last.kind == FrameOp::Construct)
            && let Some(above) = out.last_mut()
            && matches!(above.kind, FrameKind::Js(_) | FrameKind::Builtin)
            && !above.constructor
        {
            above.constructor = true;
            if let Some(shared) = above.shared
                && let Ok(shared) = self.shared(crate::tagged::Tagged::of(shared))
            {
                above.name = self.frame_title(above, &shared);
            }
        }
        out.extend(frames);
        Some(())
    }
}
