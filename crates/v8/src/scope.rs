//! ScopeInfo: what the compiler knows of a function's scope. It must be decoded even to be sized.
//!
//! The order of its parts: `objects/scope-info.tq` of each version. Two words of position moved to the front in 13.

use std::collections::HashSet;

use crate::error::{Result, V8Error};
use crate::tagged::Tagged;
use crate::types::Kind;
use crate::v8::V8;

/// From this many context locals on their names are in a hash table (`kScopeInfoMaxInlinedLocalNamesSize`).
const MAX_INLINE_NAMES: u64 = 75;

/// Where the parts of one ScopeInfo are: offsets from its start, `None` where it has no such part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScopeParts {
    /// All its bytes.
    pub size: u64,
    /// The flags word.
    pub flags: u32,
    /// How many context slots have names.
    pub locals: u64,
    /// First name, when they are inline.
    pub names: Option<u64>,
    /// What is known of the first of these variables, a Smi each. (`VariableProperties`.)
    pub infos: u64,
    /// The function's name, and then its slot.
    pub function_name: Option<u64>,
    /// The inferred name.
    pub inferred_name: Option<u64>,
    /// Start position, then end position.
    pub positions: Option<u64>,
    /// The scope around.
    pub outer: Option<u64>,
}

/// One scope of a running program: a context.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scope {
    /// The context.
    pub context: Tagged,
    /// What it is of: `function`, `block`, `class`, `module`, …
    pub kind: &'static str,
    /// The name of the function, where it has one.
    pub name: String,
    /// Its variables.
    pub variables: Vec<(String, Tagged)>,
}

/// Decodes one. `word` gives the 8 bytes at an offset.
///
/// # Errors
/// What `word` gives, and impossible counts.
pub fn decode(word: impl Fn(u64) -> Result<u64>, column: usize) -> Result<ScopeParts> {
    let damaged = V8Error::Damaged {
        address: 0,
        what: "a ScopeInfo of impossible counts",
    };
    let smi = |offset: u64| -> Result<u64> {
        let value = Tagged(word(offset)?).as_smi().ok_or(damaged.clone())?;
        u64::try_from(value)
            .ok()
            .filter(|value| *value < 1 << 20)
            .ok_or(damaged.clone())
    };
    let new = column >= 2;
    let flags = if new {
        word(8)? as u32
    } else {
        (word(8)? >> 32) as u32
    };
    let bit = |bit: u32| flags >> bit & 1 == 1;
    let scope_type = flags & 15;
    let module = scope_type == if new { 5 } else { 3 };
    let function = scope_type == if new { 4 } else { 2 };
    let locals = smi(24)?;
    let mut at = 32;
    let mut positions = None;
    if new {
        positions = Some(at);
        at += 16;
    }
    let mut variables = 0;
    if module && column != 0 {
        variables = smi(at)?;
        at += 8;
    }
    let names = (locals < MAX_INLINE_NAMES).then_some(at);
    at += 8 * if names.is_some() { locals } else { 1 };
    let infos = at;
    at += 8 * locals;
    if bit(10) {
        at += 8;
    }
    let function_name = (flags >> 12 & 3 != 0).then_some(at);
    if function_name.is_some() {
        at += 16;
    }
    let inferred_name = bit(14).then_some(at);
    if inferred_name.is_some() {
        at += 8;
    }
    if !new {
        let empty_class = scope_type == 0 && bit(29);
        if matches!(scope_type, 0..=4 | 8) && !empty_class {
            positions = Some(at);
            at += 16;
        }
    }
    let outer = bit(22).then_some(at);
    if outer.is_some() {
        at += 8;
    }
    if !new && bit(28) {
        at += 8;
    }
    if module {
        at += 8;
        if column == 0 {
            variables = smi(at)?;
            at += 8;
        }
        at += 24 * variables;
    }
    if new && bit(4) {
        at += 8;
    }
    if column >= 3 && function {
        at += 8;
    }
    Ok(ScopeParts {
        size: at,
        flags,
        locals,
        names,
        infos,
        function_name,
        inferred_name,
        positions,
        outer,
    })
}

impl V8 {
    /// The parts of a ScopeInfo.
    ///
    /// # Errors
    /// When it is none, or damaged.
    pub fn scope(&self, value: Tagged) -> Result<ScopeParts> {
        let at = self.expect(value, Kind::ScopeInfo, "a ScopeInfo")?;
        decode(|offset| self.memory.u64(at + offset), self.column)
    }

    /// The names of a context's slots, in the order of the slots.
    ///
    /// # Errors
    /// As [`V8::scope`].
    pub fn scope_names(&self, value: Tagged) -> Result<Vec<String>> {
        let parts = self.scope(value)?;
        let mut names = Vec::new();
        match parts.names {
            Some(first) => {
                for index in 0..parts.locals {
                    let name = self.field(value.address(), (first + 8 * index) as i64)?;
                    names.push(self.name_text(name).unwrap_or_default());
                }
            }
            None => {
                // NameToIndexHashTable: after the prefix (deleted, capacity) pairs of name and Smi index.
                let first = 32 + if self.column >= 2 { 16 } else { 0 };
                let table = self.field(value.address(), first)?;
                names = vec![String::new(); parts.locals as usize];
                for (key, index) in self
                    .hash_table(table, 0, 2)?
                    .into_iter()
                    .filter_map(|entry| Some((*entry.first()?, *entry.get(1)?)))
                {
                    if let (Some(index), Some(name)) = (index.as_smi(), self.name_text(key))
                        && let Some(slot) = names.get_mut(index as usize)
                    {
                        *slot = name;
                    }
                }
            }
        }
        Ok(names)
    }

    /// The slot at which the variables of a context begin: behind its scope and the context around it, and an extension
    /// where its scope has one.
    pub fn context_locals_start(&self, context: Tagged) -> u64 {
        let scope = self
            .field(context.address(), self.c.array_data)
            .unwrap_or_default();
        let extension = self
            .scope(scope)
            .is_ok_and(|parts| parts.flags >> 26 & 1 == 1);
        self.c.context_min_slots as u64 + u64::from(extension)
    }

    /// The scopes that a function or a context sees, with their variables, from the innermost outwards.
    ///
    /// # Errors
    /// When it is neither a function nor a context.
    pub fn scopes(&self, value: Tagged) -> Result<Vec<Scope>> {
        let mut context = match self.kind_of(value)? {
            Kind::Context => value,
            _ => {
                let at = self.expect(value, Kind::JsFunction, "a function or a context")?;
                self.field(at, self.c.function_context)?
            }
        };
        let mut out = Vec::new();
        let mut seen = HashSet::new();
        while self
            .kind_of(context)
            .is_ok_and(|kind| kind == Kind::Context)
            && !self
                .types
                .is_native_context(self.map_of(context)?.instance_type)
            && seen.insert(context.0)
        {
            let scope = self.field(context.address(), self.c.array_data)?;
            let names = self.scope_names(scope).unwrap_or_default();
            let first = self.context_locals_start(context);
            let length = self.array_length(context)?;
            let mut variables = Vec::new();
            for (slot, name) in (first..length).zip(names) {
                let value = self.element_of(context, slot)?;
                variables.push((name, self.unwrap_context_cell(value)));
            }
            out.push(Scope {
                context,
                kind: self.scope_kind(scope),
                name: self.scope_function(scope),
                variables,
            });
            let previous = self.c.array_data + 8 * self.c.context_previous;
            context = self.field(context.address(), previous)?;
        }
        Ok(out)
    }

    /// What a scope is of. (`ScopeType` of V8's `common/globals.h`, renumbered in 13.)
    fn scope_kind(&self, scope: Tagged) -> &'static str {
        const OLD: [&str; 8] = [
            "class", "eval", "function", "module", "script", "catch", "block", "with",
        ];
        const NEW: [&str; 9] = [
            "script", "script", "class", "eval", "function", "module", "catch", "block", "with",
        ];
        let names: &[&str] = if self.column < 2 { &OLD } else { &NEW };
        let number = self
            .scope(scope)
            .map_or(usize::MAX, |parts| parts.flags as usize & 15);
        names.get(number).copied().unwrap_or("scope")
    }

    /// The name of the function that a scope is of; empty for others and for those that have none.
    fn scope_function(&self, scope: Tagged) -> String {
        let Ok(parts) = self.scope(scope) else {
            return String::new();
        };
        [parts.function_name, parts.inferred_name]
            .into_iter()
            .flatten()
            .filter_map(|offset| {
                let name = self.field(scope.address(), offset as i64).ok()?;
                self.name_text(name).filter(|name| !name.is_empty())
            })
            .next()
            .unwrap_or_default()
    }

    /// The variables that a function or context holds on to, from the innermost scope outwards: depth, name, value.
    ///
    /// # Errors
    /// As [`V8::scopes`].
    pub fn closure(&self, value: Tagged) -> Result<Vec<(usize, String, Tagged)>> {
        let scopes = self.scopes(value)?.into_iter().enumerate();
        Ok(scopes
            .flat_map(|(depth, scope)| {
                let variables = scope.variables.into_iter();
                variables.map(move |(name, value)| (depth, name, value))
            })
            .collect())
    }
}
