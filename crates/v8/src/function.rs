//! Functions, their code's text, and what line a position in it is.

use std::sync::Arc;

use crate::constants::NO;
use crate::error::{Result, V8Error};
use crate::tagged::Tagged;
use crate::types::Kind;
use crate::v8::V8;

/// Longest source that is read, in UTF-16 code units.
const MAX_SOURCE: usize = 512 << 20;

/// A function as the compiler knows it: shared by all its closures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shared {
    /// Where the SharedFunctionInfo is.
    pub address: u64,
    /// Its name, or what the compiler calls it where it has none (`Service.handle` of what was assigned there); empty when
    /// it has neither.
    pub name: String,
    /// `name` is the compiler's.
    pub inferred: bool,
    /// The script, unless it is a builtin or native.
    pub script: Option<u64>,
    /// Where its text begins (at its parameters; see `text_start`), in code units from the start of the script.
    pub start: Option<u32>,
    /// Where it ends.
    pub end: Option<u32>,
    /// Where its text begins with its `function` keyword, `async` or name.
    pub text_start: Option<u32>,
    /// The builtin it is, when it is one with a number.
    pub builtin: Option<i32>,
    /// The bytecode, when it is compiled.
    pub bytecode: Option<u64>,
    /// V8's FunctionKind.
    pub flags: u32,
}

/// A place in a script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Location {
    /// The script's name: a path, a URL, `node:fs`; empty when it has none.
    pub script: String,
    /// From 1 on.
    pub line: u32,
    /// From 1 on, in code units.
    pub column: u32,
}

impl std::fmt::Display for Location {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let script = if self.script.is_empty() {
            "<anonymous>"
        } else {
            &self.script
        };
        write!(out, "{script}:{}:{}", self.line, self.column)
    }
}

/// A script: a file, an eval, a builtin module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Script {
    /// Where the Script object is.
    pub address: u64,
    /// Its name.
    pub name: String,
    /// V8's number for it.
    pub id: i32,
    /// Its text.
    pub source: Tagged,
    /// Lines before it in its file, as vm.Script's `lineOffset`.
    pub line_offset: i32,
    /// Columns before its first line.
    pub column_offset: i32,
}

impl V8 {
    /// The SharedFunctionInfo of a function.
    ///
    /// # Errors
    /// When the value is no function.
    pub fn shared_of(&self, function: Tagged) -> Result<Tagged> {
        let at = self.expect(function, Kind::JsFunction, "a function")?;
        self.field(at, self.c.function_shared)
    }

    /// What the compiler knows of a function.
    ///
    /// # Errors
    /// When the value is no SharedFunctionInfo.
    pub fn shared(&self, value: Tagged) -> Result<Shared> {
        let value = match self.kind_of(value)? {
            Kind::SharedWrapper => self.field(value.address(), 8)?,
            _ => value,
        };
        let at = self.expect(value, Kind::SharedFunctionInfo, "a SharedFunctionInfo")?;
        let data = self.field(at, self.c.shared_data)?;
        let mut shared = Shared {
            address: at,
            name: String::new(),
            inferred: false,
            script: None,
            start: None,
            end: None,
            text_start: None,
            builtin: None,
            bytecode: self.bytecode_of(data),
            flags: self
                .memory
                .u32(self.at(at, self.c.shared_flags))
                .unwrap_or(0),
        };
        let untrusted = if self.c.shared_untrusted == NO {
            data
        } else {
            self.field(at, self.c.shared_untrusted)?
        };
        for data in [data, untrusted] {
            if let Some(id) = data.as_smi().filter(|_| data.0 != 0 || self.column < 2) {
                shared.builtin = Some(id);
            }
            if self
                .kind_of(data)
                .is_ok_and(|kind| kind == Kind::UncompiledData)
            {
                let start = self
                    .memory
                    .u32(self.at(data.address(), self.c.uncompiled_start))?;
                let end = self
                    .memory
                    .u32(self.at(data.address(), self.c.uncompiled_end))?;
                (shared.start, shared.end) = (Some(start), Some(end));
                let inferred = self.field(data.address(), self.c.uncompiled_name)?;
                shared.name = self.name_text(inferred).unwrap_or_default();
                shared.inferred = true;
            }
        }
        let name = self.field(at, self.c.shared_name)?;
        match self.kind_of(name) {
            Ok(Kind::String) => {
                let own = self.name_text(name).unwrap_or_default();
                if !own.is_empty() {
                    (shared.name, shared.inferred) = (own, false);
                }
            }
            Ok(Kind::ScopeInfo) => {
                let parts = self.scope(name)?;
                for offset in [parts.function_name, parts.inferred_name]
                    .into_iter()
                    .flatten()
                {
                    let text = self
                        .field(name.address(), offset as i64)
                        .ok()
                        .and_then(|text| self.name_text(text));
                    if let Some(text) = text.filter(|text| !text.is_empty()) {
                        shared.name = text;
                        shared.inferred = Some(offset) == parts.inferred_name;
                        break;
                    }
                }
                if let Some(offset) = parts.positions
                    && let (Some(start), Some(end)) = (
                        self.field(name.address(), offset as i64)?.as_smi(),
                        self.field(name.address(), offset as i64 + 8)?.as_smi(),
                    )
                {
                    (shared.start, shared.end) =
                        (u32::try_from(start).ok(), u32::try_from(end).ok());
                }
            }
            _ => {}
        }
        let mut script = self.field(at, self.c.shared_script)?;
        // In 20 a DebugInfo may stand there, with the SharedFunctionInfo's script in it.
        if self
            .kind_of(script)
            .is_ok_and(|kind| kind == Kind::Internal)
        {
            script = [16, 24, 32]
                .iter()
                .filter_map(|offset| self.field(script.address(), *offset).ok())
                .find(|value| self.kind_of(*value).is_ok_and(|kind| kind == Kind::Script))
                .unwrap_or(script);
        }
        if self.kind_of(script).is_ok_and(|kind| kind == Kind::Script) {
            shared.script = Some(script.address());
        }
        let token = self.memory.u16(self.at(at, self.c.shared_token))?;
        shared.text_start = shared.start.map(|start| {
            if token == u16::MAX {
                start
            } else {
                start.saturating_sub(u32::from(token))
            }
        });
        Ok(shared)
    }

    /// The bytecode behind a SharedFunctionInfo's data, or behind a Code.
    fn bytecode_of(&self, data: Tagged) -> Option<u64> {
        match self.kind_of(data).ok()? {
            Kind::BytecodeArray => Some(data.address()),
            Kind::InterpreterData => {
                let inner = self
                    .field(data.address(), self.c.interpreter_bytecode)
                    .ok()?;
                (self.kind_of(inner).ok()? == Kind::BytecodeArray).then(|| inner.address())
            }
            Kind::Code => {
                let inner = self.field(data.address(), self.c.code_deopt).ok()?;
                match self.kind_of(inner).ok()? {
                    Kind::BytecodeArray => Some(inner.address()),
                    Kind::InterpreterData => {
                        let inner = self
                            .field(inner.address(), self.c.interpreter_bytecode)
                            .ok()?;
                        (self.kind_of(inner).ok()? == Kind::BytecodeArray).then(|| inner.address())
                    }
                    _ => None,
                }
            }
            _ => None,
        }
    }

    /// A function's name as a stack trace has it: its own `name` property, else the compiler's; empty when it has none.
    ///
    /// # Errors
    /// When it is no function.
    pub fn function_name(&self, function: Tagged) -> Result<String> {
        match self.own_name(function) {
            Some(name) if !name.is_empty() => Ok(name),
            _ => Ok(self.shared(self.shared_of(function)?)?.name),
        }
    }

    /// A function's `name` as the program itself reads it: empty for one that has none.
    ///
    /// # Errors
    /// When it is no function.
    pub fn given_name(&self, function: Tagged) -> Result<String> {
        if let Some(name) = self.own_name(function) {
            return Ok(name);
        }
        let shared = self.shared(self.shared_of(function)?)?;
        // Bit 25 of its flags: made by `new Function`.
        Ok(if shared.flags >> 25 & 1 == 1 {
            "anonymous".to_owned()
        } else if shared.inferred {
            String::new()
        } else {
            shared.name
        })
    }

    /// The `name` of a function that has been given one as a plain property.
    pub(crate) fn own_name(&self, function: Tagged) -> Option<String> {
        let name = self.own_property(function, "name")?;
        self.is_string(name).then(|| self.name_text(name))?
    }

    /// A script.
    ///
    /// # Errors
    /// When the value is none.
    pub fn script(&self, address: u64) -> Result<Script> {
        let at = self.expect(Tagged::of(address), Kind::Script, "a script")?;
        let name = self.field(at, self.c.script_name)?;
        let smi = |field| Ok::<_, V8Error>(self.field(at, field)?.as_smi().unwrap_or(0));
        Ok(Script {
            address: at,
            name: self.name_text(name).unwrap_or_default(),
            id: smi(self.c.script_id)?,
            source: self.field(at, self.c.script_source)?,
            line_offset: smi(self.c.script_line_offset)?,
            column_offset: smi(self.c.script_column_offset)?,
        })
    }

    /// A script's whole text in code units, and where each line ends. Both are kept for the next call.
    ///
    /// # Errors
    /// When its source cannot be read.
    pub fn source(&self, script: u64) -> Result<Arc<Source>> {
        if let Some(source) = self
            .sources
            .read()
            .ok()
            .and_then(|sources| sources.get(&script).cloned())
        {
            return Ok(source);
        }
        let units = self.units(self.script(script)?.source, MAX_SOURCE)?;
        let mut line_ends = Vec::new();
        for (index, unit) in units.iter().enumerate() {
            // A line ends at its terminator; of CR LF at the LF. (V8's CalculateLineEnds.)
            let ends = match unit {
                0x0a | 0x2028 | 0x2029 => true,
                0x0d => units.get(index + 1) != Some(&0x0a),
                _ => false,
            };
            if ends {
                line_ends.push(index as u32);
            }
        }
        line_ends.push(units.len() as u32);
        let source = Arc::new(Source { units, line_ends });
        if let Ok(mut sources) = self.sources.write() {
            if sources.len() > 256 {
                sources.clear();
            }
            sources.insert(script, source.clone());
        }
        Ok(source)
    }

    /// The line and column of a position in a script.
    ///
    /// # Errors
    /// When the script or its source cannot be read.
    pub fn location(&self, script: u64, position: u32) -> Result<Location> {
        let about = self.script(script)?;
        let source = self.source(script)?;
        let line = source.line_ends.partition_point(|end| *end < position);
        let begin = line
            .checked_sub(1)
            .and_then(|before| source.line_ends.get(before))
            .map_or(0, |end| end + 1);
        let column = position.saturating_sub(begin) as i64
            + if line == 0 {
                i64::from(about.column_offset)
            } else {
                0
            };
        Ok(Location {
            script: about.name,
            line: (line as i64 + i64::from(about.line_offset) + 1).max(0) as u32,
            column: (column + 1).max(0) as u32,
        })
    }

    /// Where a function begins.
    pub fn function_location(&self, shared: &Shared) -> Option<Location> {
        self.location(shared.script?, shared.start?).ok()
    }

    /// A function's text.
    ///
    /// # Errors
    /// When its script is not known or cannot be read.
    pub fn function_text(&self, shared: &Shared) -> Result<String> {
        let (Some(script), Some(start), Some(end)) = (shared.script, shared.text_start, shared.end)
        else {
            return Err(V8Error::Other(match shared.builtin {
                Some(_) => "function () { [native code] }".to_owned(),
                None => "its source is not in the core".to_owned(),
            }));
        };
        let source = self.source(script)?;
        let part = source.units.get(start as usize..end as usize);
        Ok(String::from_utf16_lossy(part.ok_or(V8Error::Damaged {
            address: script,
            what: "a function outside of its script",
        })?))
    }
}

/// The text of a script.
#[derive(Debug)]
pub struct Source {
    /// UTF-16 code units: V8 counts in these.
    pub units: Vec<u16>,
    /// Index of each line's terminator, and the length.
    pub line_ends: Vec<u32>,
}

impl Source {
    /// A line, from 0 on.
    pub fn line(&self, line: usize) -> Option<String> {
        let end = *self.line_ends.get(line)? as usize;
        let start = line
            .checked_sub(1)
            .map_or(0, |before| self.line_ends[before] as usize + 1);
        let text = String::from_utf16_lossy(self.units.get(start..end)?);
        Some(text.trim_end_matches('\r').to_owned())
    }

    /// The line, from 0 on, in which a position is.
    pub fn line_of(&self, position: u32) -> usize {
        self.line_ends.partition_point(|end| *end < position)
    }
}
