//! The variables of a frame: names of parameters, the interpreter's registers, and what closures hold by name.
//!
//! V8 keeps no names of locals that live in registers; those of parameters stand in the source, and are told where the
//! list of parameters is a plain one.

use std::collections::HashSet;

use super::{Frame, FrameKind};
use crate::code::{FrameValue, Tier};
use crate::function::Shared;
use crate::tagged::Tagged;
use crate::types::Kind;
use crate::v8::V8;

/// Most registers that are told of a frame.
const MAX_REGISTERS: u64 = 1 << 10;
/// Longest list of parameters, in code units.
const MAX_LIST: usize = 1 << 12;
/// ScopeInfo's flag for a list of plain names.
const SIMPLE_PARAMETERS: u32 = 16;

/// The names in a list of parameters that begins here: `(a, b)`, or the `a` of an arrow function. Comments are passed over.
fn plain_names(text: &str) -> Option<Vec<String>> {
    let mut bare = String::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let comment = if rest.starts_with("/*") {
            Some(rest.find("*/").map_or(rest.len(), |end| end + 2))
        } else if rest.starts_with("//") {
            Some(rest.find('\n').unwrap_or(rest.len()))
        } else {
            None
        };
        let passed = comment.unwrap_or(first.len_utf8());
        bare.push(if comment.is_some() { ' ' } else { first });
        rest = &rest[passed..];
        if first == ')' || bare.ends_with("=>") {
            break;
        }
    }
    let list = match bare.strip_prefix('(') {
        Some(list) => list.strip_suffix(')')?,
        None => bare.strip_suffix("=>")?,
    };
    let name = |text: &str| {
        let fine = |c: char| c.is_alphanumeric() || matches!(c, '_' | '$');
        (!text.is_empty() && text.chars().all(fine)).then(|| text.to_owned())
    };
    let list = list.trim();
    if list.is_empty() {
        return Some(Vec::new());
    }
    let list = list.strip_suffix(',').unwrap_or(list);
    list.split(',').map(|one| name(one.trim())).collect()
}

impl V8 {
    /// The names of a function's parameters; none where they are not plain names, or the text is not there.
    pub fn parameter_names(&self, shared: &Shared) -> Vec<String> {
        let names = || -> Option<Vec<String>> {
            let scope = self
                .field(shared.address, self.c.shared_name)
                .ok()
                .filter(|scope| {
                    self.kind_of(*scope)
                        .is_ok_and(|kind| kind == Kind::ScopeInfo)
                })?;
            let parts = self.scope(scope).ok()?;
            let count = self
                .field(scope.address(), self.c.scope_parameters)
                .ok()?
                .as_smi()?;
            if parts.flags >> SIMPLE_PARAMETERS & 1 == 0 {
                return None;
            }
            let source = self.source(shared.script?).ok()?;
            let start = shared.start? as usize;
            let end = (start + MAX_LIST).min(source.units.len());
            let text = String::from_utf16_lossy(source.units.get(start..end)?);
            plain_names(&text).filter(|names| names.len() as i64 == i64::from(count))
        };
        names().unwrap_or_default()
    }

    /// The interpreter's registers of a frame, by number: what its locals and intermediate values are in. Those that the
    /// compiler has dropped are left out.
    pub fn frame_registers(&self, frame: &Frame) -> Vec<(usize, FrameValue)> {
        let read = || -> Option<Vec<FrameValue>> {
            let FrameKind::Js(Tier::Interpreted | Tier::Baseline) = frame.kind else {
                return None;
            };
            let bytecode = Tagged(
                self.memory
                    .u64(self.at(frame.fp, self.c.fp_bytecode))
                    .ok()?,
            );
            if self.kind_of(bytecode).ok()? != Kind::BytecodeArray {
                return None;
            }
            let at = self.at(bytecode.address(), self.c.bytecode_frame_size);
            let count = u64::from(self.memory.u32(at).ok()? / 8).min(MAX_REGISTERS);
            let register = |index: u64| {
                let at = self.at(frame.fp, self.c.fp_registers - 8 * index as i64);
                self.memory
                    .u64(at)
                    .map_or(FrameValue::Unknown, |word| FrameValue::Tagged(Tagged(word)))
            };
            Some((0..count).map(register).collect())
        };
        read()
            .unwrap_or_else(|| frame.registers.clone())
            .into_iter()
            .enumerate()
            .filter(|(_, value)| match value {
                FrameValue::OptimizedOut => false,
                // What the interpreter keeps there beside values: contexts, closures' insides, holes.
                FrameValue::Tagged(value) => {
                    value.is_smi() || self.kind_of(*value).is_ok_and(|kind| kind.is_js_value())
                }
                _ => true,
            })
            .collect()
    }

    /// The variables of a frame's own scopes that closures hold: names and values, innermost scope first.
    pub fn frame_variables(&self, frame: &Frame) -> Vec<(String, Tagged)> {
        let Some(context) = frame.context.as_ref().and_then(FrameValue::tagged) else {
            return Vec::new();
        };
        let outside = frame
            .function
            .and_then(|function| self.field(function.address(), self.c.function_context).ok());
        let Some(outside) = outside else {
            return Vec::new();
        };
        // How many scopes lie between the frame's and the one that its function was made in.
        let mut own = 0;
        let mut at = context;
        let mut seen = HashSet::new();
        while at != outside {
            if !self.kind_of(at).is_ok_and(|kind| kind == Kind::Context) || !seen.insert(at.0) {
                return Vec::new();
            }
            own += 1;
            let previous = self.c.array_data + 8 * self.c.context_previous;
            let Ok(previous) = self.field(at.address(), previous) else {
                return Vec::new();
            };
            at = previous;
        }
        if own == 0 {
            return Vec::new();
        }
        self.closure(context)
            .unwrap_or_default()
            .into_iter()
            .filter(|(depth, name, _)| *depth < own && !name.is_empty() && !name.starts_with('.'))
            .map(|(_, name, value)| (name, value))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_lists_of_parameters_are_read() {
        let names = |text| plain_names(text);
        assert_eq!(
            names("(a, b /* , c */, $d,\n) {"),
            Some(vec!["a".to_owned(), "b".to_owned(), "$d".to_owned()])
        );
        assert_eq!(names("() => 1"), Some(vec![]));
        assert_eq!(names("x => x + 1"), Some(vec!["x".to_owned()]));
        assert_eq!(
            names("(a // one\n, b) {}").map(|names| names.len()),
            Some(2)
        );
        for other in [
            "(a = 1) {",
            "({ a }) {",
            "(...a) {",
            "",
            "(a",
            "{ constructor",
        ] {
            assert_eq!(names(other), None, "{other}");
        }
    }
}
