//! What waits: from a promise through its reactions to the functions that go on when it settles.

use std::collections::HashSet;

use super::{Frame, FrameKind};
use crate::tagged::Tagged;
use crate::types::Kind;
use crate::v8::{Isolate, V8};

/// Most suspended functions in a chain of awaits.
const MAX_ASYNC: usize = 256;
/// A generator's continuation while it runs (`JSGeneratorObject::kGeneratorExecuting`).
const RUNNING: i32 = -2;

/// What is to happen when a pending promise settles. (`PromiseReaction`.)
#[derive(Debug, Clone, Copy)]
pub struct Reaction {
    /// The function that follows on fulfilment; undefined where there is none, as of `catch`.
    pub fulfill: Tagged,
    /// The one that follows on rejection.
    pub reject: Tagged,
    /// The promise, or the capability of one, that is settled then.
    pub settles: Tagged,
}

impl V8 {
    /// What awaits what runs on a stack: from the promise that the microtask of the moment is to settle, as V8's traces
    /// do. Where no microtask is told, from the outermost async function that runs.
    pub(crate) fn async_stack(&self, isolate: Option<&Isolate>, frames: &[Frame]) -> Vec<Frame> {
        let mut out = Vec::new();
        let task = isolate.and_then(|isolate| self.isolate_root(isolate, "current_microtask"));
        let promise = match task {
            Some(task) => self.task_promise(task),
            None => frames.iter().rev().find_map(|frame| match frame.kind {
                FrameKind::Js(_) => self
                    .running_generator(frame.fp, frame.function?)
                    .and_then(|generator| self.generator_promise(generator)),
                _ => None,
            }),
        };
        if let Some(promise) = promise {
            self.trace_awaiters(promise, &mut out);
        }
        out
    }

    /// The promise that a microtask will settle. (`TryGetCurrentTaskPromise` in `execution/isolate.cc`.)
    fn task_promise(&self, task: Tagged) -> Option<Tagged> {
        let map = self.map_of(task).ok()?;
        let field = |offset| self.field(task.address(), offset).ok();
        match self.types.name(map.instance_type).as_str() {
            "PROMISE_FULFILL_REACTION_JOB_TASK" | "PROMISE_REJECT_REACTION_JOB_TASK" => {
                let handler = field(self.c.task_handler)?;
                match self.awaiting_generator(handler) {
                    Some(generator) => {
                        let running = self
                            .field(generator.address(), self.c.generator_continuation)
                            .ok()?
                            .as_smi()?
                            == RUNNING;
                        running.then(|| self.generator_promise(generator))?
                    }
                    None => {
                        let promise = self.suspender_promise(handler);
                        let promise = promise.or_else(|| field(self.c.task_promise))?;
                        (self.kind_of(promise).ok()? == Kind::JsPromise).then_some(promise)
                    }
                }
            }
            // Followed since Node 26.
            "PROMISE_RESOLVE_THENABLE_JOB_TASK" if self.column > 2 => {
                let promise = field(self.c.thenable_promise)?;
                (self.kind_of(promise).ok()? == Kind::JsPromise).then_some(promise)
            }
            _ => None,
        }
    }

    /// The promise that a call of WebAssembly has given which a handler resumes: from the handler's data to the suspender,
    /// which has it. (`TryGetWasmSuspender` in `execution/isolate.cc`.)
    fn suspender_promise(&self, handler: Tagged) -> Option<Tagged> {
        let shared = self.shared_of(handler).ok()?;
        let data = self.field_of_type(shared, "WASM_RESUME_DATA")?;
        let suspender = self.field_of_type(data, "WASM_SUSPENDER_OBJECT")?;
        self.field_of_type(suspender, "JS_PROMISE")
    }

    /// Adds the functions that wait for a promise as V8's traces have them: as long as exactly one does. (`CaptureAsyncStackTrace`
    /// in `execution/isolate.cc`.)
    fn trace_awaiters(&self, promise: Tagged, out: &mut Vec<Frame>) {
        let mut next = Some(promise);
        let mut seen = HashSet::new();
        while let Some(promise) = next
            && seen.insert(promise.0)
            && out.len() < MAX_ASYNC
        {
            next = self.trace_awaiter(promise, out);
        }
    }

    fn trace_awaiter(&self, promise: Tagged, out: &mut Vec<Frame>) -> Option<Tagged> {
        let field = |object: Tagged, offset| self.field(object.address(), offset).ok();
        // Pending, and one reaction.
        if field(promise, self.c.js_promise_flags)?.as_smi()? & 3 != 0 {
            return None;
        }
        let reaction = field(promise, self.c.js_promise_result)?;
        if self.kind_of(reaction).ok()? != Kind::PromiseReaction
            || !field(reaction, self.c.reaction_next)?.is_smi()
        {
            return None;
        }
        let fulfill = field(reaction, self.c.reaction_fulfill)?;
        let reject = field(reaction, self.c.reaction_reject)?;
        if let Some(generator) = self.awaiting_generator(fulfill) {
            out.push(self.generator_frame(generator).ok()?);
            return self.generator_promise(generator);
        }
        for handler in [fulfill, reject] {
            if let Some((name, next)) = self.combinator(handler) {
                out.push(self.blank(FrameKind::Async, name));
                return next;
            }
        }
        if self.builtin_of(fulfill).as_deref() == Some("PromiseCapabilityDefaultResolve") {
            // The promise is the first slot of its context, as of `Promise.race`.
            let context = field(fulfill, self.c.function_context)?;
            let slot = self.c.array_data + 8 * self.c.context_min_slots;
            let promise = field(context, slot)?;
            return (self.kind_of(promise).ok()? == Kind::JsPromise).then_some(promise);
        }
        self.settled_promise(field(reaction, self.c.reaction_promise)?)
    }

    /// The name of the builtin that a function is.
    fn builtin_of(&self, function: Tagged) -> Option<String> {
        let shared = self.shared(self.shared_of(function).ok()?).ok()?;
        self.builtin_name(shared.builtin?)
    }

    /// The reactions of a pending promise, the newest first.
    pub fn reactions(&self, promise: Tagged) -> Vec<Reaction> {
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
            let field = |offset| self.field(at.address(), offset).unwrap_or_default();
            out.push(Reaction {
                fulfill: field(self.c.reaction_fulfill),
                reject: field(self.c.reaction_reject),
                settles: field(self.c.reaction_promise),
            });
            at = field(self.c.reaction_next);
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
        for reaction in self.reactions(promise).into_iter().take(limit) {
            let mut chain = Vec::new();
            if let Some(next) = self.awaiter(&reaction, &mut chain) {
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

    /// The promises that are settled when this one is: those of the functions that await it, of `then`, of `Promise.all`.
    pub fn settled_after(&self, promise: Tagged) -> Vec<Tagged> {
        self.reactions(promise)
            .iter()
            .filter_map(|reaction| self.awaiter(reaction, &mut Vec::new()))
            .collect()
    }

    /// Adds the functions that wait for a promise, as V8's traces do: one chain, the first that waits.
    pub fn awaiters(&self, promise: Tagged, out: &mut Vec<Frame>) {
        let mut promise = promise;
        let mut seen = HashSet::new();
        while seen.insert(promise.0) && out.len() < MAX_ASYNC {
            let reactions = self.reactions(promise);
            let [reaction] = &reactions[..] else {
                return;
            };
            match self.awaiter(reaction, out) {
                Some(next) => promise = next,
                None => return,
            }
        }
    }

    /// Adds who waits by one reaction; gives the promise that is settled after it.
    fn awaiter(&self, reaction: &Reaction, out: &mut Vec<Frame>) -> Option<Tagged> {
        if let Some(generator) = self.awaiting_generator(reaction.fulfill) {
            out.push(self.generator_frame(generator).ok()?);
            return self.generator_promise(generator);
        }
        for handler in [reaction.fulfill, reaction.reject] {
            if let Some((name, next)) = self.combinator(handler) {
                out.push(self.blank(FrameKind::Async, name));
                return next;
            }
        }
        let next = self.settled_promise(reaction.settles);
        let frame = self
            .handler_frame(reaction.fulfill, "then")
            .or_else(|| self.handler_frame(reaction.reject, "catch"));
        out.extend(frame);
        next
    }

    /// A function of the program that was given to `then`, `catch` or `finally`.
    fn handler_frame(&self, handler: Tagged, mut word: &str) -> Option<Frame> {
        let mut handler = handler;
        if self.kind_of(handler).ok()? != Kind::JsFunction {
            return None;
        }
        if self
            .builtin_of(handler)
            .is_some_and(|name| matches!(&*name, "PromiseThenFinally" | "PromiseCatchFinally"))
        {
            // V8's own closure, whose context begins with what the program gave. (`PromiseFinallyContext`.)
            let context = self
                .field(handler.address(), self.c.function_context)
                .ok()?;
            let slot = self.c.array_data + 8 * self.c.context_min_slots;
            handler = self.field(context.address(), slot).ok()?;
            word = "finally";
        }
        let shared = self.shared(self.shared_of(handler).ok()?).ok()?;
        shared.script?;
        let mut frame = self.blank(FrameKind::Async, String::new());
        frame.function = Some(handler);
        frame.shared = Some(shared.address);
        self.finish(&mut frame, &shared, None);
        frame.name = format!("{word}({})", frame.name);
        Some(frame)
    }

    /// `Promise.all` and its kin, from a handler that is theirs: their context has the resolve-element function's
    /// remaining count and the capability. (V8's `PromiseAllResolveElementContext`: remaining, capability, values.)
    fn combinator(&self, handler: Tagged) -> Option<(String, Option<Tagged>)> {
        let name = self.builtin_of(handler)?;
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
        });
        // The index is the function's identity hash, and one.
        let index = self
            .field(handler.address(), self.c.properties)
            .ok()?
            .as_smi()
            .map_or(0, |hash| hash - 1);
        Some((format!("{title} (index {index})"), capability))
    }
}
