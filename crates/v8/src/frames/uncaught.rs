//! The error that nobody caught and that ends the process: where the thread stands that ends it tells where it is.
//!
//! There are three such places. V8 aborts in its own throw (`--abort-on-uncaught-exception`), once it has made the message
//! that it prints, and the message holds what was thrown. Node's binding `triggerUncaughtException` gets it as its first
//! argument (a rejection that nobody handled), and so does Node's JavaScript that asks the program's handlers, one of
//! which may have aborted. (`Isolate::CreateMessageOrAbort` in V8's `execution/isolate.cc`; Node's `src/node_errors.cc`.)

use super::{Frame, FrameKind};
use crate::code::FrameValue;
use crate::tagged::Tagged;
use crate::types::Kind;
use crate::v8::{Isolate, V8};

/// Bytes of a block of handles (`kHandleBlockSize` words).
const HANDLE_BLOCK: u64 = 1022 * 8;
/// Bytes from an isolate's begin that are searched for where its handles are: one has 60 to 70 KB.
const ISOLATE: usize = 0x12000;

/// The functions of V8 that make the message, or call what does.
const THROWS: [&str; 4] = [
    "Isolate::CreateMessageOrAbort(",
    "Isolate::Throw(",
    "Isolate::ScheduleThrow(",
    "Runtime_ReportMessageFromMicrotask(",
];

impl V8 {
    /// What was thrown, if that is what ends the process. `frames` are those of the thread, innermost first.
    pub(crate) fn uncaught(&self, isolate: &Isolate, frames: &[Frame]) -> Option<Tagged> {
        let first = |frame: &Frame| frame.arguments.first().and_then(FrameValue::tagged);
        let aborts = frames
            .first()
            .is_some_and(|innermost| innermost.name.contains("OS::Abort("));
        frames.iter().enumerate().find_map(|(index, frame)| {
            let name = frame.name.as_str();
            match frame.kind {
                FrameKind::Native if aborts && THROWS.iter().any(|one| name.contains(one)) => {
                    self.last_message(isolate)
                }
                FrameKind::Native if name.contains("errors::TriggerUncaughtException(v8::Iso") => {
                    let handling = frames[..index]
                        .iter()
                        .rev()
                        .find(|one| matches!(one.kind, FrameKind::Js(_)))?;
                    let script = &handling.location.as_ref()?.script;
                    script
                        .starts_with("node:internal/process/execution")
                        .then(|| first(handling))?
                }
                FrameKind::Internal if name.ends_with("triggerUncaughtException") => first(frame),
                _ => None,
            }
        })
    }

    /// What the newest message is about that a handle of native code is of.
    ///
    /// Handles lie in blocks; three words of the isolate (`HandleScopeData`) say where the next one goes, where the block
    /// ends, and how many scopes are open.
    fn last_message(&self, isolate: &Isolate) -> Option<Tagged> {
        let words = self.words_at(isolate.address, ISOLATE);
        words.windows(3).find_map(|data| {
            let (next, limit, level) = (data[0], data[1], data[2] as u32);
            let left = limit.checked_sub(next)?;
            let used = HANDLE_BLOCK.checked_sub(left)?;
            if next & 7 != 0
                || limit & 7 != 0
                || next < HANDLE_BLOCK
                || !(1..1 << 16).contains(&level)
            {
                return None;
            }
            let handles = self.words_at(next - used, usize::try_from(used).ok()?);
            handles
                .into_iter()
                .rev()
                .find_map(|word| self.message_about(Tagged(word)))
        })
    }

    /// What a message of V8's is about. It has its type, its argument, its script. (`JSMessageObject`, `objects/js-objects.tq`.)
    fn message_about(&self, message: Tagged) -> Option<Tagged> {
        if !message.is_pointer() {
            return None;
        }
        let map = self.map_of(message).ok()?;
        if self.types.name(map.instance_type) != "JS_MESSAGE_OBJECT" {
            return None;
        }
        let field = |index: i64| {
            let at = self.c.object_header + 8 * index;
            self.field(message.address(), at).ok()
        };
        let told = field(0)?.is_smi() && self.kind_of(field(2)?).ok()? == Kind::Script;
        told.then(|| field(1))?
    }
}
