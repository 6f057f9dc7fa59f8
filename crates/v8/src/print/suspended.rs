//! What has not come to its end: promises, generators, async functions.

use crate::error::Result;
use crate::tagged::Tagged;
use crate::types::Kind;

use super::Printer;
use super::value::{Entry, Value};

impl Printer<'_> {
    /// State and result of a promise, and of a pending one who waits for it.
    pub(super) fn promise(&mut self, value: Tagged, depth: usize, out: &mut Value) -> Result<()> {
        let v8 = self.v8;
        let flags = v8
            .field(value.address(), v8.c.js_promise_flags)?
            .as_smi()
            .unwrap_or(0);
        let result = v8.field(value.address(), v8.c.js_promise_result)?;
        let state = match flags & 3 {
            0 => "<pending>",
            1 => "<fulfilled>",
            _ => "<rejected>",
        };
        if flags & 3 == 0 {
            out.entries.push(Entry {
                key: None,
                map_key: None,
                value: Value::plain("internal", state),
            });
            for reaction in v8.reactions(value).into_iter().take(self.limit()) {
                let handler = [reaction.fulfill, reaction.reject]
                    .into_iter()
                    .find(|handler| matches!(v8.kind_of(*handler), Ok(Kind::JsFunction)));
                let waits = match handler
                    .and_then(|handler| v8.awaiting_generator(handler))
                    .and_then(|generator| v8.generator_frame(generator).ok())
                {
                    Some(frame) => format!(
                        "await in {} ({})",
                        frame.name,
                        frame
                            .location
                            .map_or(String::new(), |place| place.to_string())
                    ),
                    None => match handler {
                        Some(handler) if handler == reaction.reject => {
                            format!("catch {}", v8.brief(handler))
                        }
                        Some(handler) => v8.brief(handler),
                        None => format!("settles {}", v8.brief(reaction.settles)),
                    },
                };
                out.entries.push(Entry {
                    key: Some("[[reaction]]".to_owned()),
                    map_key: None,
                    value: Value::plain("internal", waits),
                });
            }
        } else {
            self.named(state, result, depth, out);
        }
        Ok(())
    }

    /// Where a generator or an async function is suspended, and whose it is.
    pub(super) fn generator(&mut self, value: Tagged, out: &mut Value) -> Result<()> {
        let v8 = self.v8;
        let field = |offset| v8.field(value.address(), offset);
        let state = match field(v8.c.generator_continuation)?.as_smi() {
            Some(-1) => "closed".to_owned(),
            Some(-2) => "running".to_owned(),
            _ => self.suspension(value)?,
        };
        out.entries
            .push(Entry::named("[[state]]", Value::plain("internal", state)));
        self.named("[[function]]", field(v8.c.generator_function)?, 0, out);
        self.named("[[receiver]]", field(v8.c.generator_receiver)?, 0, out);
        if let Some(promise) = v8.generator_promise(value) {
            self.named("[[promise]]", promise, 0, out);
        }
        Ok(())
    }

    /// `suspended at file:line:column`, or `not begun` where that is the function's own place: its first suspension, before
    /// its first statement, is there.
    fn suspension(&self, value: Tagged) -> Result<String> {
        let v8 = self.v8;
        let function = v8.field(value.address(), v8.c.generator_function)?;
        let begin = v8.function_location(&v8.shared(v8.shared_of(function)?)?);
        let place = v8
            .generator_frame(value)
            .ok()
            .and_then(|frame| frame.location);
        Ok(match place {
            Some(place) if Some(&place) == begin.as_ref() => "not begun".to_owned(),
            Some(place) => format!("suspended at {place}"),
            None => "suspended".to_owned(),
        })
    }
}
