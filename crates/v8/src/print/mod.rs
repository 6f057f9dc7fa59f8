//! Values as a developer writes them: one tree, from which text and JSON are made.
//!
//! The spelling is that of Node's `util.inspect`, but where a core can tell more than a running program: places of
//! functions, what weak collections hold, states of promises and generators, private members, accessors' fields.

mod bytes;
mod contents;
mod fetch;
mod fields;
mod getters;
mod head;
mod internal;
mod iterator;
mod private;
mod suspended;
mod temporal;
mod text;
mod thrown;
mod value;
mod web;

use std::collections::{HashMap, HashSet};

use crate::error::Result;
use crate::object::Slot;
use crate::tagged::Tagged;
use crate::types::Kind;
use crate::v8::V8;

pub use text::{key_text, number_text, quoted};
pub use value::{Entry, Value};

/// Most levels that are opened, whatever is asked for: a list of millions is not followed to its end.
const MAX_DEPTH: usize = 64;
/// Most values in one answer, whatever is asked for: a bound for tables of tables, and for arrays of millions.
const MAX_VALUES: usize = 100_000;
/// Most characters of all strings in one answer, whatever is asked for: V8's may have half a billion each.
pub const MAX_CHARACTERS: usize = 16 << 20;

/// How much is shown.
#[derive(Debug, Clone)]
pub struct PrintOptions {
    /// How many levels of objects are opened; 0 shows the value's head alone. At most 64 are.
    pub depth: usize,
    /// Most characters of a string; of all strings together [`MAX_CHARACTERS`] are shown.
    pub string: usize,
    /// Most entries of an array, a Map, an object.
    pub entries: usize,
    /// Addresses of all objects.
    pub addresses: bool,
    /// Properties that are not enumerable, and V8's own private ones.
    pub hidden: bool,
}

impl Default for PrintOptions {
    fn default() -> PrintOptions {
        PrintOptions {
            depth: 2,
            string: 200,
            entries: 100,
            addresses: false,
            hidden: false,
        }
    }
}

/// What is being printed.
struct Printer<'a> {
    v8: &'a V8,
    options: &'a PrintOptions,
    /// The objects around this one.
    around: HashSet<u64>,
    /// How many values may still be printed.
    left: usize,
    /// How many characters of strings may still be printed.
    characters: usize,
    /// What `Symbol.toStringTag` says on a prototype.
    tags: HashMap<u64, Option<String>>,
}

impl V8 {
    /// A value with what is in it.
    pub fn print(&self, value: Tagged, options: &PrintOptions) -> Value {
        self.printer(options)
            .value(value, options.depth.min(MAX_DEPTH))
    }

    /// A value in a few words, for lists and frames.
    pub fn brief(&self, value: Tagged) -> String {
        let options = PrintOptions {
            depth: 0,
            string: 60,
            entries: 3,
            ..PrintOptions::default()
        };
        self.print(value, &options).text(&options)
    }

    /// The content of a slot.
    pub fn print_slot(&self, slot: &Slot, options: &PrintOptions) -> Value {
        self.printer(options)
            .slot(slot, options.depth.min(MAX_DEPTH))
    }

    fn printer<'a>(&'a self, options: &'a PrintOptions) -> Printer<'a> {
        Printer {
            v8: self,
            options,
            around: HashSet::new(),
            left: MAX_VALUES,
            characters: MAX_CHARACTERS,
            tags: HashMap::new(),
        }
    }
}

impl Printer<'_> {
    fn slot(&mut self, slot: &Slot, depth: usize) -> Value {
        match slot {
            Slot::Value(value) => self.value(*value, depth),
            Slot::Double(value) => Value::plain("number", text::number_text(*value)),
            Slot::Hole => Value::plain("hole", "<uninitialized>"),
            Slot::Native => Value::plain("accessor", "[native accessor]"),
            Slot::Accessor(getter, setter) => {
                let is = |value: &Tagged| {
                    self.v8.kind_of(*value).is_ok_and(|kind| {
                        kind == Kind::JsFunction || kind == Kind::FunctionTemplateInfo
                    })
                };
                let text = match (is(getter), is(setter)) {
                    (true, true) => "[Getter/Setter]",
                    (true, false) => "[Getter]",
                    (false, true) => "[Setter]",
                    (false, false) => "[Accessor]",
                };
                Value {
                    address: is(getter).then_some(getter.0),
                    ..Value::plain("accessor", text)
                }
            }
        }
    }

    fn value(&mut self, value: Tagged, depth: usize) -> Value {
        self.left = self.left.saturating_sub(1);
        if let Some(smi) = value.as_smi() {
            return Value::plain("number", smi.to_string());
        }
        if value.is_cleared() {
            return Value::plain("cleared", "<cleared>");
        }
        let value = value.strong();
        match self.try_value(value, depth) {
            Ok(printed) => Value {
                address: printed.address.or(Some(value.0)),
                ..printed
            },
            Err(error) => Value {
                address: Some(value.0),
                ..Value::plain("unreadable", format!("<{error}>"))
            },
        }
    }

    fn try_value(&mut self, value: Tagged, depth: usize) -> Result<Value> {
        let v8 = self.v8;
        let map = v8.map_of(value)?;
        Ok(match map.kind {
            Kind::String => {
                let units = v8.units(value, self.options.string.min(self.characters))?;
                self.characters -= units.len();
                let left = v8.string_length(value)? - units.len() as u64;
                let mut text = text::quoted_units(&units);
                if left > 0 {
                    text += &text::more(left, "character", "characters");
                }
                Value::plain("string", text)
            }
            Kind::HeapNumber => {
                let number = v8.number(value).unwrap_or(f64::NAN);
                Value::plain("number", text::number_text(number))
            }
            Kind::BigInt => {
                let (mut text, left) = v8.bigint(value, self.options.string)?;
                if left > 0 {
                    text += &text::more(left, "digit", "digits");
                } else {
                    text.push('n');
                }
                Value::plain("bigint", text)
            }
            Kind::Symbol => {
                let description = match v8.symbol_description(value)? {
                    Some(description) => description,
                    None => v8.root_name(value).unwrap_or_default().to_owned(),
                };
                Value::plain("symbol", format!("Symbol({description})"))
            }
            Kind::Oddball => {
                let text = match v8.root_name(value) {
                    Some("undefined_value") => "undefined",
                    Some("null_value") => "null",
                    Some("true_value") => "true",
                    Some("false_value") => "false",
                    Some(_) if v8.is_hole(value) => return Ok(Value::plain("hole", "<hole>")),
                    Some(other) => return Ok(Value::plain("internal", format!("<{other}>"))),
                    None => self.oddball(value),
                };
                let what = match text {
                    "true" | "false" => "boolean",
                    "undefined" => "undefined",
                    _ => "null",
                };
                Value::plain(what, text)
            }
            Kind::Hole => Value::plain("hole", "<hole>"),
            kind if kind.is_js_object() => self.object(value, kind, depth)?,
            _ => self.internal(value, depth)?,
        })
    }

    fn oddball(&self, value: Tagged) -> &'static str {
        let kind = self
            .v8
            .field(value.address(), self.v8.c.oddball_kind)
            .ok()
            .and_then(Tagged::as_smi);
        let undefined = if self.v8.column == 0 { 5 } else { 4 };
        match kind {
            Some(0) => "false",
            Some(1) => "true",
            Some(3) => "null",
            Some(kind) if kind == undefined => "undefined",
            _ => "<oddball>",
        }
    }

    fn object(&mut self, value: Tagged, kind: Kind, depth: usize) -> Result<Value> {
        let v8 = self.v8;
        let class = v8.class_name(value)?.to_string();
        let function = matches!(kind, Kind::JsFunction | Kind::JsBoundFunction);
        let mut out = Value {
            address: Some(value.0),
            class: class.clone(),
            brackets: Some(("{", "}")),
            ..Value::plain(if function { "function" } else { "object" }, "")
        };
        let error = kind == Kind::JsError || kind == Kind::JsObject && self.is_error(value);
        out.text = if error {
            self.error_head(value, &class)
        } else {
            self.head(value, kind, &class)?
        };
        if matches!(kind, Kind::JsArray | Kind::JsArguments | Kind::JsTypedArray) {
            out.brackets = Some(("[", "]"));
        }
        if self.around.contains(&value.0) {
            out.closed = Some("Circular");
            return Ok(out);
        }
        let mut whole =
            function || error || matches!(kind, Kind::JsDate | Kind::JsRegExp | Kind::JsWrapper);
        if kind == Kind::JsObject
            && let Some(time) = self.temporal(value)
        {
            out.text = format!("{} {time}", out.text);
            whole = true;
        }
        let revoked = kind == Kind::JsProxy && out.text.starts_with('<');
        if revoked || whole && (depth == 0 || self.left == 0) {
            out.brackets = None;
            return Ok(out);
        }
        if depth == 0 || self.left == 0 {
            // What has nothing in it need not be opened to be seen.
            if !self.is_empty(value, kind) {
                out.closed = Some("");
            }
            return Ok(out);
        }
        self.around.insert(value.0);
        let filled = if kind == Kind::JsObject && self.web(value, kind, &class, depth - 1, &mut out)
        {
            Ok(())
        } else {
            self.fill(value, kind, depth - 1, &mut out)
        };
        self.around.remove(&value.0);
        if let Err(error) = filled {
            let text = Value::plain("unreadable", format!("<{error}>"));
            out.entries.push(Entry::named("<unreadable>", text));
        }
        // A Buffer without names is its bytes alone.
        if let (
            Some(("<", _)),
            [
                Entry {
                    key: None,
                    value: bytes,
                    ..
                },
            ],
        ) = (out.brackets, &out.entries[..])
        {
            out.text = format!("<{}>", bytes.text);
            out.brackets = None;
            out.entries.clear();
        }
        // A function or a date without properties of its own is its head alone.
        if whole && out.entries.is_empty() && out.more == 0 && out.more_properties == 0 {
            out.brackets = None;
        }
        Ok(out)
    }

    /// Most entries of the next object.
    fn limit(&self) -> usize {
        self.options.entries.min(self.left)
    }

    fn named(&mut self, name: &str, value: Tagged, depth: usize, out: &mut Value) {
        let content = self.value(value, depth);
        out.entries.push(Entry::named(name, content));
    }
}
