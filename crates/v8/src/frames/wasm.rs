//! WebAssembly's frames: which functions of which module one is.

use super::js::Place;
use super::{Frame, FrameKind};
use crate::function::Location;
use crate::tagged::Tagged;
use crate::v8::V8;

/// A place in a module, as V8's traces tell it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WasmPlace {
    /// The function's number.
    pub function: u32,
    /// Where in the module's bytes.
    pub offset: u32,
}

impl V8 {
    /// Whether a frame is of WebAssembly, by its mark.
    fn is_wasm_frame(&self, fp: u64) -> bool {
        self.memory
            .u64(self.at(fp, self.c.fp_context))
            .is_ok_and(|marker| {
                marker & 1 == 0
                    && marker >> 1 < 64
                    && self.frame_name((marker >> 1) as i64).as_deref() == Some("WasmFrame")
            })
    }

    /// Whether a place is in the code of a WebAssembly module whose frame is there.
    pub(crate) fn is_wasm_code(&self, pc: u64, fp: u64) -> bool {
        self.is_wasm_frame(fp)
            && self
                .memory
                .u64(self.at(fp, self.c.fp_wasm_instance))
                .ok()
                .and_then(|instance| self.wasm_module(Tagged(instance)))
                .is_some_and(|module| module.code_at(pc).is_some())
    }

    /// Adds the functions that a frame of WebAssembly is, innermost first: several where some were inlined.
    pub(crate) fn wasm_frames(&self, place: Place, out: &mut Vec<Frame>) -> Option<()> {
        let Place { pc, fp, top } = place;
        let instance = Tagged(self.memory.u64(self.at(fp, self.c.fp_wasm_instance)).ok()?);
        let module = self.wasm_module(instance)?;
        let code = module.code_at(pc)?;
        let tier = self.wasm_tier(code)?;
        let behind = (pc - code.start).wrapping_add(u64::from(top.is_some()));
        let url = module
            .script
            .map_or(String::new(), |script| self.script_title(script));
        let functions = self.wasm_functions(code, behind)?;
        let last = functions.len().saturating_sub(1);
        for (depth, function) in functions.iter().enumerate() {
            let body = module.bytes.body(function.index)?;
            let offset = u32::try_from(i64::from(body) + function.offset).ok()?;
            let name = module.bytes.names.get(&function.index);
            let name = match (&module.bytes.name, name) {
                (None, None) => "<anonymous>".to_owned(),
                (None, Some(name)) => name.clone(),
                (Some(module), None) => module.clone(),
                (Some(module), Some(name)) => format!("{module}.{name}"),
            };
            out.push(Frame {
                pc,
                fp,
                // V8's own column: one more than the place in the module, which has no lines.
                location: Some(Location {
                    script: url.clone(),
                    line: 1,
                    column: offset.saturating_add(1),
                }),
                wasm: Some(WasmPlace {
                    function: function.index,
                    offset,
                }),
                inlined: depth < last,
                internal: false,
                ..self.blank(FrameKind::Wasm(tier), name)
            });
        }
        Some(())
    }
}
