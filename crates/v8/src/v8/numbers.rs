//! The numbers of the instance types, as the binary tells them and as the maps among the roots do.

use crate::constants::Provenance;
use crate::error::{Result, V8Error};
use crate::types::Types;
use crate::v8::V8;

impl V8 {
    pub(super) fn load_types(&mut self) -> Result<()> {
        let symbols = self.memory.target().symbols("v8dbg_type_");
        let mut metadata = Vec::new();
        for symbol in symbols {
            if let Some((_, name)) = symbol.name.rsplit_once("__")
                && let Some(name) = name.strip_suffix("_TYPE")
                && let Ok(number) = self.memory.u32(symbol.address)
            {
                metadata.push((name.to_owned(), number as u16));
            }
        }
        let ends = |first: &str, last: &str| {
            let value = |name: &str| {
                let symbol = self.memory.target().symbol(&format!("v8dbg_{name}"))?;
                Some(self.memory.u32(symbol.address).ok()? as u16)
            };
            Some((value(first)?, value(last)?))
        };
        let contexts = ends("FirstContextType", "LastContextType");
        let functions = ends("FirstJSFunctionType", "LastJSFunctionType");
        let mut roots = Vec::new();
        if let Some(isolate) = self.main_isolate() {
            for (name, root) in self.root_names.iter().zip(&isolate.roots) {
                if let Some(base) = name.strip_suffix("_map")
                    && root.is_pointer()
                    && let Ok(number) = self.memory.u16(self.at(root.address(), self.c.map_type))
                    && let Ok(size) = self.memory.u8(self.at(root.address(), self.c.map_size))
                {
                    roots.push((base.to_uppercase(), number, size == 0));
                }
            }
        }
        let told = metadata.len();
        self.types = Types::new(metadata, contexts, functions, &roots, self.column);
        self.tables.push((
            "instance_types",
            told,
            Provenance::of_search(told > 0, false),
        ));
        let derived = self.types.all().len().saturating_sub(told);
        self.tables
            .push(("instance_types_by_root", derived, Provenance::Derived));
        let missing: Vec<_> = ["MAP", "JS_OBJECT", "JS_ARRAY", "JS_FUNCTION", "FIXED_ARRAY"]
            .into_iter()
            .filter(|name| self.types.number(name).is_none())
            .collect();
        if missing.is_empty() {
            return Ok(());
        }
        Err(V8Error::Layout(format!(
            "the numbers of the instance types {} (the binary tells them by v8dbg_* symbols, and this one has {told} of them{})",
            missing.join(", "),
            if told == 0 {
                "; it was built without V8's postmortem support, or its dynamic symbols were stripped"
            } else {
                ""
            }
        )))
    }
}
