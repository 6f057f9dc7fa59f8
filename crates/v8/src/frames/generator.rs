//! Generators and async functions that are suspended, or run in a frame.

use super::{Frame, FrameKind};
use crate::code::FrameValue;
use crate::error::Result;
use crate::function::Shared;
use crate::tagged::Tagged;
use crate::types::Kind;
use crate::v8::V8;

impl V8 {
    /// The generator object of an async function that runs in a frame: it is in one of its registers.
    pub(crate) fn running_generator(&self, fp: u64, function: Tagged) -> Option<Tagged> {
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
            .ok()
            .map(FrameValue::Tagged);
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
