//! The builtins that are embedded in the binary.

use crate::stripped;
use crate::target::Symbol;
use crate::v8::V8;

impl V8 {
    /// The builtins of the binary, by address.
    pub fn builtins(&self) -> &[Symbol] {
        self.builtins.get_or_init(|| {
            let mut builtins = self.memory.target().symbols("Builtins_");
            if builtins.is_empty()
                && let Some(isolate) = self.main_isolate()
            {
                let names = stripped::builtin_names(&self.memory);
                builtins = stripped::builtins(&self.memory, isolate.address, &names);
            }
            builtins.sort_by_key(|symbol| symbol.address);
            builtins
        })
    }

    /// The start and size of the embedded builtins in the binary.
    pub fn blob(&self) -> Option<(u64, u64)> {
        *self.blob.get_or_init(|| {
            let target = self.memory.target();
            // In Node 18 the second name is that of a pointer to it.
            let code = target
                .symbol("v8_Default_embedded_blob_code_data_")
                .or_else(|| target.symbol("v8_Default_embedded_blob_code_"));
            let told = code.zip(target.symbol("v8_Default_embedded_blob_code_size_"));
            let (start, size) = match told {
                // The first is the code itself, the second a variable with its length.
                Some((start, size)) => (
                    start.address,
                    u64::from(self.memory.u32(size.address).ok()?),
                ),
                // From the first builtin to the end of the last, of which only the start is known.
                None => {
                    let (first, last) = self.builtins().first().zip(self.builtins().last())?;
                    let start = first.address & !0xfff;
                    (start, last.address - start + 64)
                }
            };
            (size > 0).then_some((start, size))
        })
    }
}
