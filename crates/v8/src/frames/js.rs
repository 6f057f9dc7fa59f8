//! The JavaScript that a frame of V8's is: the function, where in its source, who was called with what.

use super::{Frame, FrameKind};
use crate::code::Tier;
use crate::function::Shared;
use crate::tagged::Tagged;
use crate::types::Kind;
use crate::v8::V8;

/// Most arguments that are shown of a call.
const MAX_ARGUMENTS: u64 = 1 << 12;

impl V8 {
    /// The frames of JavaScript that one machine frame is: several when the compiler has inlined. Otherwise what to call
    /// it.
    pub(crate) fn js_frames(
        &self,
        pc: u64,
        fp: u64,
        out: &mut Vec<Frame>,
    ) -> std::result::Result<(), String> {
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
    pub(crate) fn finish(&self, frame: &mut Frame, shared: &Shared, position: Option<u32>) {
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
}
