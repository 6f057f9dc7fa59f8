//! The roots that V8 has names for: maps, `undefined`, the holes.

use crate::isolates::Isolate;
use crate::memory::Memory;
use crate::tagged::Tagged;
use crate::types::Kind;
use crate::v8::V8;

impl V8 {
    /// Notes the names of the roots, and where the first isolate has them.
    pub(super) fn name_roots(&mut self) {
        let roots = self.main_isolate().map(|isolate| isolate.roots.clone());
        for (index, name) in self.root_names.iter().enumerate() {
            self.root_index.entry(name.clone()).or_insert(index);
            if let Some(root) = roots.as_ref().and_then(|roots| roots.get(index))
                && root.is_pointer()
            {
                self.root_of.entry(root.address()).or_insert(index);
            }
        }
    }

    /// The value of a root of the first isolate by its name, as `undefined_value`.
    pub fn root(&self, name: &str) -> Option<Tagged> {
        let index = *self.root_index.get(name)?;
        self.main_isolate()?.roots.get(index).copied()
    }

    /// A root of one isolate by its name.
    pub fn isolate_root(&self, isolate: &Isolate, name: &str) -> Option<Tagged> {
        isolate.roots.get(*self.root_index.get(name)?).copied()
    }

    /// The name of the root that an object is, if it is one.
    pub fn root_name(&self, value: Tagged) -> Option<&str> {
        let index = *self.root_of.get(&value.strong().address())?;
        self.root_names.get(index).map(String::as_str)
    }

    /// Whether a value is `undefined`.
    pub fn is_undefined(&self, value: Tagged) -> bool {
        self.root_name(value) == Some("undefined_value")
    }

    /// Whether a value is one of the holes: no value at all.
    pub fn is_hole(&self, value: Tagged) -> bool {
        value.is_pointer()
            && (self
                .root_name(value)
                .is_some_and(|name| name.ends_with("hole_value") || name.ends_with("_hole"))
                || self.kind_of(value).is_ok_and(|kind| kind == Kind::Hole))
    }
}

/// The names of all roots in their order, from `RootsTable::root_names_`, an array of C strings.
pub(super) fn names(memory: &Memory) -> Vec<String> {
    let Some(symbol) = memory
        .target()
        .symbol("_ZN2v88internal10RootsTable11root_names_E")
    else {
        return Vec::new();
    };
    let count = if symbol.size == 0 {
        2048
    } else {
        (symbol.size / 8).min(4096)
    };
    (0..count)
        .map_while(|index| {
            let at = symbol.address.checked_add(8 * index)?;
            memory.c_string(memory.u64(at).ok()?, 128).ok()
        })
        .collect()
}
