//! Errors: the stack that one has, as text or as V8 noted it.

use std::fmt::Write as _;

use crate::code::FrameValue;
use crate::frames::{Frame, FrameKind};
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
                // CallSiteInfos; the newest releases of 26 put the six fields of each into the array itself.
                let noted = self.fixed_array(noted).ok()?;
                let sites: Vec<Vec<Tagged>> = match noted.first() {
                    Some(first)
                        if self
                            .kind_of(*first)
                            .is_ok_and(|kind| kind == Kind::CallSiteInfo) =>
                    {
                        noted
                            .iter()
                            .map(|site| {
                                (8..56)
                                    .step_by(8)
                                    .filter_map(|at| self.field(site.address(), at).ok())
                                    .collect()
                            })
                            .collect()
                    }
                    _ => noted.chunks_exact(6).map(<[Tagged]>::to_vec).collect(),
                };
                for site in sites.iter().take(200) {
                    if let Some(line) = self.call_site(site) {
                        let _ = write!(out, "\n    at {line}");
                    }
                }
                Some(out)
            }
            _ => None,
        }
    }

    /// The fields of a CallSiteInfo as V8 prints it: `name (script:line:column)`. They differ in order between versions,
    /// but the receiver stands before the function, and behind it come two numbers: the offset, and the flags: bit 3 a
    /// constructor, bit 5 a function that awaits, and a bit that says that the offset is a position in the source.
    fn call_site(&self, site: &[Tagged]) -> Option<String> {
        let kind = |value: &Tagged| self.kind_of(*value).ok();
        let at = site
            .iter()
            .rposition(|value| kind(value) == Some(Kind::JsFunction))?;
        let function = site[at];
        let receiver = site.get(at.checked_sub(1)?).copied();
        let mut numbers = site[at + 1..].iter().filter_map(|value| value.as_smi());
        let (offset, flags) = (numbers.next()?, numbers.next()?);
        let shared = self.shared(self.shared_of(function).ok()?).ok()?;
        let frame = Frame {
            function: Some(function),
            receiver: receiver.map(FrameValue::Tagged),
            constructor: flags >> 3 & 1 == 1,
            ..self.blank(FrameKind::Builtin, String::new())
        };
        let mut title = self.frame_title(&frame, &shared);
        if flags >> 5 & 1 == 1 {
            title.insert_str(0, "async ");
        }
        let position = || {
            let computed = if self.column == 0 { 6 } else { 7 };
            if flags >> computed & 1 == 1 {
                return u32::try_from(offset).ok();
            }
            // The bytecode, or in 26 a wrapper around it, or code that was made of it.
            let bytecode = site.iter().find_map(|value| match kind(value)? {
                Kind::BytecodeArray => Some(value.address()),
                _ => {
                    let map = self.map_of(*value).ok()?;
                    let inner = match self.types.name(map.instance_type).as_str() {
                        "BYTECODE_WRAPPER" => self.field(value.address(), 8).ok()?,
                        _ => return None,
                    };
                    (kind(&inner)? == Kind::BytecodeArray).then(|| inner.address())
                }
            });
            self.bytecode_position(bytecode.or(shared.bytecode)?, i64::from(offset))
        };
        let place = shared
            .script
            .zip(position().or(shared.start))
            .and_then(|(script, position)| self.location(script, position).ok())
            .map_or("<anonymous>".to_owned(), |place| place.to_string());
        Some(if title == "<anonymous>" {
            place
        } else {
            format!("{title} ({place})")
        })
    }
}
