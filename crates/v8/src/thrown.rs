//! Errors: the stack that one has, as text or as V8 noted it.

use std::fmt::Write as _;

use crate::object::Slot;
use crate::tagged::Tagged;
use crate::types::Kind;
use crate::v8::V8;

impl V8 {
    /// The stack of an error: the text, if anybody has read it, or what V8 has noted of the frames.
    pub fn error_stack(&self, error: Tagged) -> Option<String> {
        let key = self.root("error_stack_symbol")?;
        let mut noted =
            self.properties(error)
                .ok()?
                .into_iter()
                .find_map(|property| match property.slot {
                    Slot::Value(value) if property.key == key => Some(value),
                    _ => None,
                });
        if noted.is_none() {
            noted = self.own_property(error, "stack");
        }
        let mut noted = noted?;
        if self.kind_of(noted).ok()? == Kind::ErrorStackData {
            // call_site_infos_or_formatted_stack is the first field.
            noted = self.field(noted.address(), 8).ok()?;
        }
        match self.kind_of(noted).ok()? {
            Kind::String => self.text(noted, 1 << 16).ok().map(|text| text.text),
            Kind::FixedArray => {
                let text = |name: &str| match self.lookup(error, name) {
                    Some(Slot::Value(value)) => self.name_text(value),
                    _ => None,
                };
                let name = text("name").unwrap_or_else(|| "Error".to_owned());
                let mut out = match text("message").filter(|message| !message.is_empty()) {
                    Some(message) => format!("{name}: {message}"),
                    None => name,
                };
                for site in self.fixed_array(noted).ok()?.into_iter().take(200) {
                    if let Some(line) = self.call_site(site) {
                        let _ = write!(out, "\n    at {line}");
                    }
                }
                Some(out)
            }
            _ => None,
        }
    }

    /// A CallSiteInfo: `name (script:line:column)`. Its fields differ in order between versions; each is told by what it
    /// is. The offset is one into the code unless bit 6 of the flags says that it is a position.
    fn call_site(&self, site: Tagged) -> Option<String> {
        if self.kind_of(site).ok()? != Kind::CallSiteInfo {
            return None;
        }
        let (mut function, mut code, mut numbers) = (None, None, Vec::new());
        for offset in (8..56).step_by(8) {
            let value = self.field(site.address(), offset).ok()?;
            match self.kind_of(value) {
                Ok(Kind::JsFunction) => function = Some(value),
                Ok(Kind::BytecodeArray | Kind::Code) => code = Some(value),
                _ => numbers.extend(value.as_smi()),
            }
        }
        let function = function?;
        let shared = self.shared(self.shared_of(function).ok()?).ok()?;
        let name = self.function_name(function).ok()?;
        let (offset, flags) = (*numbers.first()?, *numbers.get(1)?);
        let position = if flags >> 6 & 1 == 1 {
            u32::try_from(offset).ok()
        } else {
            let code = code?;
            match self.kind_of(code).ok()? {
                Kind::BytecodeArray => self.bytecode_position(code.address(), i64::from(offset)),
                _ => shared
                    .bytecode
                    .and_then(|bytecode| self.bytecode_position(bytecode, i64::from(offset))),
            }
        };
        let place = self
            .location(shared.script?, position.or(shared.start)?)
            .ok()?;
        Some(if name.is_empty() {
            place.to_string()
        } else {
            format!("{name} ({place})")
        })
    }
}
