//! The bytes of a WebAssembly module: where its functions are, and what they are called.
//!
//! Names are those that V8 takes: of the first section `name`, there of the first list of functions, and never what a
//! function is exported as. (`DecodeFunctionNames` in V8's `wasm/module-decoder.cc`.)

use std::collections::HashMap;

use wasmparser::{BinaryReader, Parser, Payload, TypeRef};

/// Subsections of the section `name`.
const MODULE: u8 = 0;
const FUNCTIONS: u8 = 1;

/// What a module's bytes tell.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct WasmBytes {
    /// The module's own name.
    pub name: Option<String>,
    /// Functions that it imports: they have the first numbers.
    pub imported: u32,
    /// Where the body of each other function begins, behind its size.
    pub bodies: Vec<u32>,
    /// Names of functions by number.
    pub names: HashMap<u32, String>,
}

impl WasmBytes {
    /// Reads a module; `None` when the bytes are none, or not a whole one.
    pub fn read(bytes: &[u8]) -> Option<WasmBytes> {
        let mut out = WasmBytes::default();
        let mut named = false;
        for payload in Parser::new(0).parse_all(bytes) {
            match payload.ok()? {
                Payload::ImportSection(imports) => {
                    for import in imports.into_imports() {
                        let is_function =
                            matches!(import.ok()?.ty, TypeRef::Func(_) | TypeRef::FuncExact(_));
                        out.imported += u32::from(is_function);
                    }
                }
                Payload::CodeSectionEntry(body) => {
                    out.bodies.push(u32::try_from(body.range().start).ok()?);
                }
                Payload::CustomSection(section) if section.name() == "name" && !named => {
                    named = true;
                    // A damaged list of names is read as far as it goes.
                    let _ = out.read_names(section.data());
                }
                _ => {}
            }
        }
        Some(out)
    }

    /// Where a function's body begins in the module.
    pub fn body(&self, function: u32) -> Option<u32> {
        let index = function.checked_sub(self.imported)?;
        self.bodies.get(index as usize).copied()
    }

    fn read_names(&mut self, data: &[u8]) -> wasmparser::Result<()> {
        let text = |bytes: &[u8]| std::str::from_utf8(bytes).ok().map(str::to_owned);
        let mut reader = BinaryReader::new(data, 0);
        while !reader.eof() {
            let kind = reader.read_u8()?;
            let size = reader.read_var_u32()? as usize;
            let mut part = BinaryReader::new(reader.read_bytes(size)?, 0);
            match kind {
                MODULE => {
                    let size = part.read_var_u32()? as usize;
                    let name = text(part.read_bytes(size)?).filter(|name| !name.is_empty());
                    self.name = self.name.take().or(name);
                }
                FUNCTIONS => {
                    for _ in 0..part.read_var_u32()? {
                        let index = part.read_var_u32()?;
                        let size = part.read_var_u32()? as usize;
                        // A name that is no UTF-8 is none.
                        if let Some(name) = text(part.read_bytes(size)?) {
                            self.names.entry(index).or_insert(name);
                        }
                    }
                    return Ok(());
                }
                _ => {}
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A module that imports one function and has two, with names.
    fn module(names: &[u8]) -> Vec<u8> {
        let mut bytes = b"\0asm\x01\0\0\0".to_vec();
        bytes.extend([1, 4, 1, 0x60, 0, 0]);
        bytes.extend([2, 7, 1, 1, b'm', 1, b'f', 0, 0]);
        bytes.extend([3, 3, 2, 0, 0]);
        bytes.extend([10, 8, 2, 2, 0, 0x0b, 3, 0, 1, 0x0b]);
        bytes.extend([0, 5 + names.len() as u8, 4]);
        bytes.extend(b"name");
        bytes.extend(names);
        bytes
    }

    #[test]
    fn functions_and_names_are_read() {
        let bytes = module(&[0, 2, 1, b'M', 1, 7, 2, 0, 1, b'a', 2, 1, b'c']);
        let read = WasmBytes::read(&bytes).expect("a module");
        assert_eq!((read.imported, read.name.as_deref()), (1, Some("M")));
        assert_eq!(read.names.get(&0).map(String::as_str), Some("a"));
        assert_eq!(read.names.get(&2).map(String::as_str), Some("c"));
        assert_eq!(read.body(0), None);
        let body = read.body(1).expect("a body") as usize;
        assert_eq!(&bytes[body..body + 2], [0, 0x0b]);
        assert_eq!(read.body(2).map(|at| at as usize), Some(body + 3));
        assert_eq!(read.body(3), None);
    }

    #[test]
    fn names_are_read_as_far_as_they_go() {
        // One that is no UTF-8, one that is good, one that is cut off.
        let read =
            WasmBytes::read(&module(&[1, 8, 3, 0, 1, 0xff, 1, 1, b'b', 9])).expect("a module");
        assert_eq!(read.names.len(), 1);
        assert_eq!(read.names.get(&1).map(String::as_str), Some("b"));
        assert_eq!(WasmBytes::read(b"\0asm\x01\0\0\0\x0a\x7f"), None);
        assert_eq!(WasmBytes::read(b""), None);
    }
}
