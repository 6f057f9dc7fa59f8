//! Errors.

use crate::object::Slot;
use crate::tagged::Tagged;
use crate::types::Kind;

use super::Printer;
use super::head::MAX_PROTOTYPES;

impl Printer<'_> {
    /// The stack, under the name of the error's class; in brackets where it has no frames, as Node does.
    pub(super) fn error_head(&mut self, value: Tagged, class: &str) -> String {
        let v8 = self.v8;
        let text = |name: &str| match v8.lookup(value, name) {
            Some(Slot::Value(value)) => v8.name_text(value),
            _ => None,
        };
        if class == "DOMException"
            && let Some(told) = self.dom_exception(value)
        {
            return told;
        }
        let name = text("name");
        let stack = v8.error_stack(value).unwrap_or_else(|| {
            let name = name.clone().unwrap_or_else(|| class.to_owned());
            match text("message").filter(|message| !message.is_empty()) {
                Some(message) => format!("{name}: {message}"),
                None => name,
            }
        });
        let stack = match name {
            _ if self.has_no_prototype(value) => match stack.strip_prefix("Error") {
                Some(rest) => format!("[Error: null prototype]{rest}"),
                None => stack,
            },
            Some(name) => under_its_class(stack, &name, class),
            None => stack,
        };
        if stack.contains("\n    at ") {
            stack
        } else {
            format!("[{stack}]")
        }
    }
}

impl Printer<'_> {
    /// A DOMException's name and message are in a WeakMap that its class holds on to.
    fn dom_exception(&self, value: Tagged) -> Option<String> {
        let v8 = self.v8;
        let constructor = v8.class_function(value)?;
        let maps = v8
            .closure(constructor)
            .ok()?
            .into_iter()
            .filter(|(_, _, held)| v8.kind_of(*held).is_ok_and(|kind| kind == Kind::JsWeakMap));
        let inside = maps.take(8).find_map(|(_, _, map)| {
            let all = v8.weak_collection(map).ok()?;
            all.into_iter()
                .find(|(key, _)| *key == value)
                .map(|(_, inside)| inside)
        })?;
        let text = |name: &str| {
            v8.own_property(inside, name)
                .and_then(|text| v8.name_text(text))
        };
        let mut told = format!("DOMException [{}]", text("name")?);
        if let Some(message) = text("message").filter(|message| !message.is_empty()) {
            told = format!("{told}: {message}");
        }
        let stack = v8.error_stack(value).unwrap_or_default();
        match stack.find("\n    at ") {
            Some(frames) => told.push_str(&stack[frames..]),
            None => told = format!("[{told}]"),
        }
        Some(told)
    }

    /// Whether an object that is no error to V8 is one to the program: it has a stack, and Error's prototype is among its
    /// own (a DOMException of Node 20).
    pub(super) fn is_error(&self, value: Tagged) -> bool {
        let v8 = self.v8;
        let Some(stack) = v8.root("error_stack_symbol") else {
            return false;
        };
        let has_stack = v8.map_of(value).is_ok_and(|map| {
            if v8.is_dictionary_map(&map) {
                v8.properties(value)
                    .is_ok_and(|all| all.iter().any(|property| property.key == stack))
            } else {
                v8.map_keys(&map)
                    .is_ok_and(|keys| keys.iter().any(|(key, _, _)| *key == stack))
            }
        });
        let mut at = value;
        for _ in 0..if has_stack { MAX_PROTOTYPES } else { 0 } {
            let constructor = v8.own_property(at, "constructor").unwrap_or_default();
            if v8.given_name(constructor).is_ok_and(|name| name == "Error") {
                return true;
            }
            let Ok(map) = v8.map_of(at) else { break };
            at = v8
                .field(map.address, v8.c.map_prototype)
                .unwrap_or_default();
        }
        false
    }
}

/// V8 begins a stack with the error's `name`, which classes that extend Error mostly share with it.
fn under_its_class(stack: String, name: &str, class: &str) -> String {
    let Some(rest) = stack.strip_prefix(name) else {
        return stack;
    };
    if class == name
        || !name.ends_with("Error")
        || !(rest.is_empty() || rest.starts_with([':', '\n']))
    {
        return stack;
    }
    if class.contains(name) {
        format!("{class}{rest}")
    } else {
        format!("{class} [{name}]{rest}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_errors_by_their_class() {
        let under = |stack: &str, name, class| under_its_class(stack.to_owned(), name, class);
        assert_eq!(under("Error: x", "Error", "AppError"), "AppError: x");
        assert_eq!(under("Error", "Error", "Error"), "Error");
        assert_eq!(
            under("DataCloneError: x", "DataCloneError", "DOMException"),
            "DOMException [DataCloneError]: x"
        );
        assert_eq!(under("Errors: x", "Error", "AppError"), "Errors: x");
    }
}
