//! Instance types: which number is what, and how the size of an object of that type is told.
//!
//! Numbers come from `v8dbg_type_*` symbols, which cover two thirds, and from the maps among the roots, whose names
//! tell nearly all others.

mod kind;
mod sizing;

use std::collections::HashMap;

pub use self::kind::Kind;
use self::kind::{ARRAYS, COLLECTION_ITERATORS, CONTEXTS, KINDS};
pub use self::sizing::Sizing;
use self::sizing::{SIZINGS, SIZINGS_BY_AGE};

/// The types of one process.
#[derive(Debug)]
pub struct Types {
    names: HashMap<u16, String>,
    numbers: HashMap<String, u16>,
    kinds: Vec<Kind>,
    sizings: Vec<Sizing>,
    first_context: u16,
    ephemeron: Option<u16>,
}

/// More than any instance type.
const LIMIT: usize = 4096;

impl Types {
    /// From (name without `_TYPE`, number) of the metadata, the ends of the context and the function types where they
    /// are told, and (name of the map in capitals, number, whether the map lacks a size) of the roots.
    pub fn new(
        metadata: Vec<(String, u16)>,
        contexts: Option<(u16, u16)>,
        functions: Option<(u16, u16)>,
        roots: &[(String, u16, bool)],
        column: usize,
    ) -> Types {
        let mut types = Types {
            names: HashMap::new(),
            numbers: HashMap::new(),
            kinds: vec![Kind::Internal; LIMIT],
            sizings: vec![Sizing::Unknown; LIMIT],
            first_context: contexts.map_or(u16::MAX, |ends| ends.0),
            ephemeron: None,
        };
        for (name, number) in metadata {
            types.learn(&name, number);
        }
        if let Some((first, last)) = contexts
            && last.wrapping_sub(first) as usize == CONTEXTS.len() - 1
        {
            for (index, name) in CONTEXTS.iter().enumerate() {
                types.learn(name, first + index as u16);
            }
        }
        for (name, number, _) in roots {
            if !types.names.contains_key(number) {
                types.learn(name, *number);
            }
        }
        // BigInt has the number between symbols and numbers in all versions, generators the one below async functions.
        if let Some(&symbol) = types.numbers.get("SYMBOL") {
            types.learn("BIG_INT_BASE", symbol + 1);
        }
        if let Some(&function) = types.numbers.get("JS_ASYNC_FUNCTION_OBJECT") {
            types.learn("JS_GENERATOR_OBJECT", function.wrapping_sub(1));
        }
        // 26 names the deferred module namespaces alone, which come behind the others.
        if let Some(&deferred) = types.numbers.get("JS_DEFERRED_MODULE_NAMESPACE") {
            types.learn("JS_MODULE_NAMESPACE", deferred.wrapping_sub(1));
        }
        // No version names the iterators of collections: five numbers without a name, behind which come the mutexes or
        // the iterator helpers.
        for behind in ["JS_ATOMICS_CONDITION", "JS_ITERATOR_DROP_HELPER"] {
            if let Some(first) = types
                .numbers
                .get(behind)
                .and_then(|behind| behind.checked_sub(5))
                && (first..first + 5).all(|number| !types.names.contains_key(&number))
            {
                for (number, name) in (first..).zip(COLLECTION_ITERATORS) {
                    types.learn(name, number);
                }
            }
        }
        // 20 lacks this one between two that have a name.
        if let Some(&memory) = types.numbers.get("WASM_MEMORY_OBJECT") {
            types.learn("WASM_INSTANCE_OBJECT", memory.wrapping_sub(1));
        }
        types.ephemeron = types.numbers.get("EPHEMERON_HASH_TABLE").copied();
        types.fill(contexts, functions, column);
        types
    }

    fn learn(&mut self, name: &str, number: u16) {
        if usize::from(number) < LIMIT {
            self.names.entry(number).or_insert_with(|| name.to_owned());
            self.numbers.entry(name.to_owned()).or_insert(number);
        }
    }

    fn fill(&mut self, contexts: Option<(u16, u16)>, functions: Option<(u16, u16)>, column: usize) {
        for number in 0..LIMIT as u16 {
            let at = usize::from(number);
            if number < 128 {
                self.kinds[at] = Kind::String;
                self.sizings[at] = match number & 15 {
                    0 => Sizing::SeqTwoByte,
                    8 => Sizing::SeqOneByte,
                    _ => Sizing::Unknown,
                };
            }
            if contexts.is_some_and(|(first, last)| (first..=last).contains(&number)) {
                self.kinds[at] = Kind::Context;
                // A native context has its microtask queue behind its slots.
                self.sizings[at] = Sizing::Words(if self.is_native_context(number) {
                    24
                } else {
                    16
                });
            }
        }
        if let Some(&proxy) = self.numbers.get("JS_PROXY") {
            self.kinds[usize::from(proxy)..].fill(Kind::JsObject);
        }
        // 20 names no ends: functions are JS_FUNCTION and the constructors behind it, up to class constructors.
        let functions = functions.or_else(|| {
            self.numbers
                .get("JS_FUNCTION")
                .map(|&first| (first, first + 16))
        });
        if let Some((first, last)) = functions
            && usize::from(last) < LIMIT
            && first <= last
        {
            self.kinds[usize::from(first)..=usize::from(last)].fill(Kind::JsFunction);
        }
        for name in ARRAYS {
            self.set_kind(name, Kind::FixedArray);
        }
        for (name, kind) in KINDS {
            self.set_kind(name, *kind);
        }
        for (name, sizing) in SIZINGS {
            if let Some(&number) = self.numbers.get(*name) {
                self.sizings[usize::from(number)] = *sizing;
            }
        }
        for (name, headers) in SIZINGS_BY_AGE {
            if let Some(&number) = self.numbers.get(*name)
                && headers[column.min(3)] != 0
            {
                self.sizings[usize::from(number)] = Sizing::Words(headers[column.min(3)]);
            }
        }
    }

    fn set_kind(&mut self, name: &str, kind: Kind) {
        if let Some(&number) = self.numbers.get(name) {
            self.kinds[usize::from(number)] = kind;
        }
    }

    /// What a type is.
    pub fn kind(&self, number: u16) -> Kind {
        self.kinds
            .get(usize::from(number))
            .copied()
            .unwrap_or(Kind::Internal)
    }

    /// How an object of this type is sized when its map does not say.
    pub fn sizing(&self, number: u16) -> Sizing {
        self.sizings
            .get(usize::from(number))
            .copied()
            .unwrap_or(Sizing::Unknown)
    }

    /// V8's name of a type, as `JS_ARRAY`.
    pub fn name(&self, number: u16) -> String {
        self.names
            .get(&number)
            .cloned()
            .unwrap_or_else(|| format!("TYPE_{number}"))
    }

    /// The number of a type by V8's name of it.
    pub fn number(&self, name: &str) -> Option<u16> {
        self.numbers.get(name).copied()
    }

    /// Whether this is the context of a whole realm: it has a word more than its slots.
    pub fn is_native_context(&self, number: u16) -> bool {
        number.wrapping_sub(self.first_context) == 7
    }

    /// Whether it is the table of a weak collection, whose values live as long as their keys.
    pub fn name_is_ephemeron(&self, number: u16) -> bool {
        self.ephemeron == Some(number)
    }

    /// The names of all types that this crate treats in a way of their own.
    pub fn known() -> Vec<&'static str> {
        let sizings = SIZINGS.iter().map(|(name, _)| *name);
        sizings
            .chain(SIZINGS_BY_AGE.iter().map(|(name, _)| *name))
            .chain(KINDS.iter().map(|(name, _)| *name))
            .chain(ARRAYS.iter().copied())
            .chain(CONTEXTS)
            .collect()
    }

    /// All types that are known by name.
    pub fn all(&self) -> Vec<(u16, String)> {
        let mut all: Vec<_> = self
            .names
            .iter()
            .map(|(number, name)| (*number, name.clone()))
            .collect();
        all.sort();
        all
    }
}
