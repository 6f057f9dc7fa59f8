//! Private methods and accessors: an object has a brand of its class, whose value is the context that they are in.

use crate::object::{Property, Slot};
use crate::tagged::Tagged;
use crate::types::Kind;

use super::Printer;
use super::value::{Entry, Value};

/// `VariableProperties` of a ScopeInfo: the bit of static members.
const STATIC_BIT: u32 = 22;

impl Printer<'_> {
    /// Prints the methods and accessors that a brand stands for; false when the property is no brand.
    pub(super) fn brand(&mut self, property: &Property, out: &mut Value) -> bool {
        let v8 = self.v8;
        if !property.private || !v8.is_private_brand(property.key) {
            return false;
        }
        if let Slot::Value(context) = property.slot {
            for (name, member) in self.private_members(context) {
                let printed = match v8.kind_of(member) {
                    Ok(Kind::JsFunction) => self.value(member, 0),
                    Ok(Kind::AccessorPair) => {
                        let part = |field| v8.field(member.address(), field).unwrap_or_default();
                        let pair =
                            Slot::Accessor(part(v8.c.accessor_getter), part(v8.c.accessor_setter));
                        self.slot(&pair, 0)
                    }
                    _ => continue,
                };
                out.entries.push(Entry::named(name, printed));
            }
        }
        true
    }

    /// The variables of a class's context whose names begin with # and that are not static.
    fn private_members(&self, context: Tagged) -> Vec<(String, Tagged)> {
        let v8 = self.v8;
        let members = || -> crate::error::Result<Vec<(String, Tagged)>> {
            let scope = v8.field(context.address(), v8.c.array_data)?;
            let parts = v8.scope(scope)?;
            let first = v8.context_locals_start(context);
            let mut out = Vec::new();
            for (index, name) in v8.scope_names(scope)?.into_iter().enumerate() {
                if !name.starts_with('#') {
                    continue;
                }
                let info = v8.field(scope.address(), (parts.infos + 8 * index as u64) as i64)?;
                let info = info.as_smi().unwrap_or(0);
                if info >> STATIC_BIT & 1 == 0 {
                    let member = v8.element_of(context, first + index as u64)?;
                    out.push((name, v8.unwrap_context_cell(member)));
                }
            }
            Ok(out)
        };
        members().unwrap_or_default()
    }
}
