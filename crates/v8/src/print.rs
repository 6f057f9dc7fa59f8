//! Values as a developer writes them: one tree, from which text and JSON are made.

use std::collections::HashSet;
use std::fmt::Write as _;

use serde::Serialize;

use crate::error::Result;
use crate::object::Slot;
use crate::tagged::Tagged;
use crate::types::Kind;
use crate::v8::V8;

/// How much is shown.
#[derive(Debug, Clone)]
pub struct PrintOptions {
    /// How many levels of objects are opened; 0 shows the value's head alone.
    pub depth: usize,
    /// Most characters of a string.
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

/// A value.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Value {
    /// What it is: `string`, `number`, `object`, `function`, …, or `internal` for V8's own.
    #[serde(rename = "type")]
    pub what: &'static str,
    /// Its address, where it has one.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "hex")]
    pub address: Option<u64>,
    /// The class of an object.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub class: String,
    /// The value itself, or what stands before the braces of an object.
    pub text: String,
    /// The opening and the closing bracket of what has entries.
    #[serde(skip)]
    pub brackets: Option<(&'static str, &'static str)>,
    /// What is in it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub entries: Vec<Entry>,
    /// How many entries are not shown.
    #[serde(skip_serializing_if = "is_zero")]
    pub more: u64,
    /// It is not opened, for the depth or because it is being printed further out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub closed: Option<&'static str>,
}

fn is_zero(value: &u64) -> bool {
    *value == 0
}

fn hex<S: serde::Serializer>(value: &Option<u64>, to: S) -> std::result::Result<S::Ok, S::Error> {
    match value {
        Some(value) => to.serialize_str(&format!("{value:#x}")),
        None => to.serialize_none(),
    }
}

/// One entry of a value.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Entry {
    /// The key as text; none for elements of arrays and sets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The key of a Map's entry.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub map_key: Option<Value>,
    /// The value.
    pub value: Value,
}

impl Value {
    fn plain(what: &'static str, text: impl Into<String>) -> Value {
        Value {
            what,
            address: None,
            class: String::new(),
            text: text.into(),
            brackets: None,
            entries: Vec::new(),
            more: 0,
            closed: None,
        }
    }

    /// Text of one or more lines.
    pub fn text(&self, options: &PrintOptions) -> String {
        let mut out = String::new();
        self.write(&mut out, 0, options);
        out
    }

    fn write(&self, out: &mut String, indent: usize, options: &PrintOptions) {
        let address = self.address.filter(|_| options.addresses);
        if let Some(address) = address {
            let _ = write!(out, "{address:#x}: ");
        }
        let Some((open, close)) = self.brackets else {
            out.push_str(
                &self
                    .text
                    .replace('\n', &format!("\n{}", "  ".repeat(indent))),
            );
            return;
        };
        if let Some(why) = self.closed {
            let at = self
                .address
                .filter(|_| !options.addresses)
                .map_or(String::new(), |address| format!(" {address:#x}"));
            let name = if self.text.is_empty() {
                &self.class
            } else {
                &self.text
            };
            let why = if why.is_empty() {
                String::new()
            } else {
                format!("{why} ")
            };
            let _ = write!(out, "[{why}{name}{at}]");
            return;
        }
        out.push_str(
            &self
                .text
                .replace('\n', &format!("\n{}", "  ".repeat(indent))),
        );
        if !self.text.is_empty() {
            out.push(' ');
        }
        if self.entries.is_empty() && self.more == 0 {
            out.push_str(open);
            out.push_str(close);
            return;
        }
        let mut lines: Vec<String> = self
            .entries
            .iter()
            .map(|entry| entry.line(indent + 1, options))
            .collect();
        if self.more > 0 {
            lines.push(format!("... {} more", self.more));
        }
        let width: usize = lines
            .iter()
            .map(|line| line.chars().count() + 2)
            .sum::<usize>()
            + self.text.len()
            + 2 * indent;
        if width <= 76 && lines.iter().all(|line| !line.contains('\n')) {
            let _ = write!(out, "{open} {} {close}", lines.join(", "));
            return;
        }
        let pad = "  ".repeat(indent + 1);
        out.push_str(open);
        for line in lines {
            let _ = write!(out, "\n{pad}{line},");
        }
        let _ = write!(out, "\n{}{close}", "  ".repeat(indent));
    }
}

impl Entry {
    fn line(&self, indent: usize, options: &PrintOptions) -> String {
        let mut out = String::new();
        if let Some(key) = &self.key {
            let _ = write!(out, "{key}: ");
        } else if let Some(key) = &self.map_key {
            key.write(&mut out, indent, options);
            out.push_str(" => ");
        }
        self.value.write(&mut out, indent, options);
        out
    }
}

/// A string in quotes, its awkward characters escaped: single quotes unless it has those and no double ones.
pub fn quoted(text: &str) -> String {
    let quote = if !text.contains('\'') {
        '\''
    } else if !text.contains('"') {
        '"'
    } else if !text.contains('`') {
        '`'
    } else {
        '\''
    };
    let mut out = String::with_capacity(text.len() + 2);
    out.push(quote);
    for c in text.chars() {
        match c {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{b}' => out.push_str("\\v"),
            '\u{c}' => out.push_str("\\f"),
            '\\' => out.push_str("\\\\"),
            c if c == quote => {
                out.push('\\');
                out.push(c);
            }
            c if (c as u32) < 0x20 || (0x7f..0xa0).contains(&(c as u32)) => {
                let _ = write!(out, "\\x{:02X}", c as u32);
            }
            c => out.push(c),
        }
    }
    out.push(quote);
    out
}

/// A number as JavaScript prints it.
pub fn number_text(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "Infinity" } else { "-Infinity" }.to_owned();
    }
    if value == 0.0 {
        return if value.is_sign_negative() { "-0" } else { "0" }.to_owned();
    }
    let size = value.abs();
    if (1e-6..1e21).contains(&size) {
        return format!("{value}");
    }
    // Rust's shortest digits, with JavaScript's sign of the exponent.
    let text = format!("{value:e}");
    if text.contains("e-") {
        text
    } else {
        text.replace('e', "e+")
    }
}

/// A key as it is written in an object: plain when it is an identifier.
pub fn key_text(key: &str) -> String {
    let mut chars = key.chars();
    let plain = chars
        .next()
        .is_some_and(|c| c.is_alphabetic() || c == '_' || c == '$')
        && chars.all(|c| c.is_alphanumeric() || c == '_' || c == '$');
    if plain { key.to_owned() } else { quoted(key) }
}

/// Milliseconds since 1970 as an ISO time, for years of four digits and beyond, as `Date.prototype.toISOString`.
fn iso_time(value: f64) -> Option<String> {
    if !value.is_finite() || value.abs() > 8.64e15 {
        return None;
    }
    let ms = value as i64;
    let (days, rest) = (ms.div_euclid(86_400_000), ms.rem_euclid(86_400_000));
    // Howard Hinnant's days-to-civil: eras of 400 years that begin in March.
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let day_of_era = z.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (hours, minutes, seconds, ms) = (
        rest / 3_600_000,
        rest / 60_000 % 60,
        rest / 1000 % 60,
        rest % 1000,
    );
    let year = if (0..=9999).contains(&year) {
        format!("{year:04}")
    } else {
        format!("{year:+07}")
    };
    Some(format!(
        "{year}-{month:02}-{day:02}T{hours:02}:{minutes:02}:{seconds:02}.{ms:03}Z"
    ))
}

/// What is being printed.
struct Printer<'a> {
    v8: &'a V8,
    options: &'a PrintOptions,
    /// The objects around this one.
    around: HashSet<u64>,
    /// How many values may still be printed: a bound for tables of tables.
    left: usize,
}

impl V8 {
    /// A value with what is in it.
    pub fn print(&self, value: Tagged, options: &PrintOptions) -> Value {
        let mut printer = Printer {
            v8: self,
            options,
            around: HashSet::new(),
            left: 200_000,
        };
        printer.value(value, options.depth.min(64))
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
        let mut printer = Printer {
            v8: self,
            options,
            around: HashSet::new(),
            left: 200_000,
        };
        printer.slot(slot, options.depth.min(64))
    }
}

impl Printer<'_> {
    fn slot(&mut self, slot: &Slot, depth: usize) -> Value {
        match slot {
            Slot::Value(value) => self.value(*value, depth),
            Slot::Double(value) => Value::plain("number", number_text(*value)),
            Slot::Hole => Value::plain("hole", "<hole>"),
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
                let text = v8.text(value, self.options.string)?;
                let more = if text.truncated {
                    format!(
                        "... {} more characters",
                        text.length - self.options.string as u64
                    )
                } else {
                    String::new()
                };
                Value::plain("string", quoted(&text.text) + &more)
            }
            Kind::HeapNumber => {
                Value::plain("number", number_text(v8.number(value).unwrap_or(f64::NAN)))
            }
            Kind::BigInt => Value::plain("bigint", v8.bigint(value)? + "n"),
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
        let mut out = Value {
            address: Some(value.0),
            class: class.clone(),
            brackets: Some(("{", "}")),
            ..Value::plain(
                if matches!(kind, Kind::JsFunction | Kind::JsBoundFunction) {
                    "function"
                } else {
                    "object"
                },
                "",
            )
        };
        out.text = self.head(value, kind, &class)?;
        if matches!(kind, Kind::JsArray | Kind::JsArguments | Kind::JsTypedArray) {
            out.brackets = Some(("[", "]"));
        }
        if self.around.contains(&value.0) {
            out.closed = Some("Circular");
            return Ok(out);
        }
        let whole = matches!(
            kind,
            Kind::JsFunction
                | Kind::JsBoundFunction
                | Kind::JsDate
                | Kind::JsRegExp
                | Kind::JsWrapper
                | Kind::JsError
        );
        if depth == 0 || self.left == 0 {
            if whole {
                out.brackets = None;
            } else {
                out.closed = Some("");
            }
            return Ok(out);
        }
        self.around.insert(value.0);
        let filled = self.fill(value, kind, depth - 1, &mut out);
        self.around.remove(&value.0);
        if let Err(error) = filled {
            out.entries.push(Entry {
                key: Some("<unreadable>".to_owned()),
                map_key: None,
                value: Value::plain("unreadable", format!("<{error}>")),
            });
        }
        // A function or a date without properties of its own is its head alone.
        if whole && out.entries.is_empty() && out.more == 0 {
            out.brackets = None;
        }
        Ok(out)
    }

    /// What stands before the braces.
    fn head(&mut self, value: Tagged, kind: Kind, class: &str) -> Result<String> {
        let v8 = self.v8;
        let at = value.address();
        Ok(match kind {
            Kind::JsFunction => {
                let shared = v8.shared(v8.shared_of(value)?)?;
                let name = v8.function_name(value)?;
                let source = shared
                    .script
                    .and(shared.text_start)
                    .and_then(|_| v8.function_text(&shared).ok())
                    .unwrap_or_default();
                // FunctionKind, the lowest 5 bits: 3 to 6 are constructors of classes. (V8's `objects/function-kind.h`.)
                let what = if (3..=6).contains(&(shared.flags & 31)) {
                    "class"
                } else if source.starts_with("async function*") || source.starts_with("async *") {
                    "AsyncGeneratorFunction:"
                } else if source.starts_with("async") {
                    "AsyncFunction:"
                } else if source.starts_with("function*") || source.starts_with('*') {
                    "GeneratorFunction:"
                } else {
                    "Function:"
                };
                let name = if name.is_empty() {
                    "(anonymous)".to_owned()
                } else {
                    name
                };
                let place = v8
                    .function_location(&shared)
                    .map_or(String::new(), |place| format!(" {place}"));
                format!("[{what} {name}{place}]")
            }
            Kind::JsBoundFunction => {
                let target = v8.field(at, v8.c.js_bound_target)?;
                let name = v8.function_name(target).unwrap_or_default();
                format!("[Function: bound {name}]")
            }
            Kind::JsArray => {
                let length = v8
                    .number(v8.field(at, v8.c.js_array_length)?)
                    .unwrap_or(0.0);
                if class == "Array" {
                    String::new()
                } else {
                    format!("{class}({})", number_text(length))
                }
            }
            Kind::JsArguments => "[Arguments]".to_owned(),
            Kind::JsTypedArray => {
                let (name, _, length, _) = self.typed(value)?;
                if class == "Buffer" || class == "FastBuffer" {
                    format!("Buffer({length})")
                } else if class == name {
                    format!("{name}({length})")
                } else {
                    format!("{class}({length})")
                }
            }
            Kind::JsMap | Kind::JsSet => {
                let (_, used) = v8.collection(value, 0)?;
                format!("{class}({used})")
            }
            Kind::JsDate => {
                let text = self
                    .date(value)
                    .and_then(iso_time)
                    .unwrap_or_else(|| "Invalid Date".to_owned());
                if class == "Date" {
                    text
                } else {
                    format!("{class} {text}")
                }
            }
            Kind::JsRegExp => self.regexp(value)?,
            Kind::JsError => self.error_head(value, class),
            Kind::JsWrapper => {
                let inner = self.value(v8.field(at, v8.c.js_wrapper_value)?, 0);
                format!("[{class}: {}]", inner.text)
            }
            Kind::JsGenerator => "Object [Generator]".to_owned(),
            Kind::JsAsyncGenerator => "Object [AsyncGenerator]".to_owned(),
            Kind::JsAsyncFunction => "[async function's state]".to_owned(),
            Kind::JsGlobalObject | Kind::JsGlobalProxy => "Object [global]".to_owned(),
            Kind::JsModuleNamespace => "[Module: null prototype]".to_owned(),
            Kind::JsExternal => format!("[External: {:#x}]", v8.memory.u64(at + 24).unwrap_or(0)),
            _ => {
                let map = v8.map_of(value)?;
                let prototype = v8.field(map.address, v8.c.map_prototype)?;
                match class {
                    "Object" if v8.root_name(prototype) == Some("null_value") => {
                        "[Object: null prototype]".to_owned()
                    }
                    "Object" => String::new(),
                    _ => class.to_owned(),
                }
            }
        })
    }

    /// What is inside.
    fn fill(&mut self, value: Tagged, kind: Kind, depth: usize, out: &mut Value) -> Result<()> {
        let v8 = self.v8;
        let at = value.address();
        let limit = self.options.entries as u64;
        match kind {
            Kind::JsMap | Kind::JsSet => {
                let (entries, used) = v8.collection(value, limit)?;
                out.more = used.saturating_sub(entries.len() as u64);
                for (key, content) in entries {
                    let map_key = (kind == Kind::JsMap).then(|| self.value(key, depth));
                    let content = self.value(content, depth);
                    out.entries.push(Entry {
                        key: None,
                        map_key,
                        value: content,
                    });
                }
            }
            Kind::JsWeakMap | Kind::JsWeakSet => {
                let entries = v8.weak_collection(value)?;
                out.more = (entries.len() as u64).saturating_sub(limit);
                for (key, content) in entries.into_iter().take(limit as usize) {
                    let key = self.value(key, depth);
                    if kind == Kind::JsWeakMap {
                        let content = self.value(content, depth);
                        out.entries.push(Entry {
                            key: None,
                            map_key: Some(key),
                            value: content,
                        });
                    } else {
                        out.entries.push(Entry {
                            key: None,
                            map_key: None,
                            value: key,
                        });
                    }
                }
            }
            Kind::JsTypedArray => {
                self.typed_entries(value, out)?;
                return Ok(());
            }
            Kind::JsArrayBuffer | Kind::JsDataView => self.buffer(value, kind, out)?,
            Kind::JsPromise => self.promise(value, depth, out)?,
            Kind::JsProxy => {
                for (name, field) in [
                    ("[[target]]", v8.c.js_proxy_target),
                    ("[[handler]]", v8.c.js_proxy_handler),
                ] {
                    self.named(name, v8.field(at, field)?, depth, out);
                }
                return Ok(());
            }
            Kind::JsWeakRef => self.named(
                "[[target]]",
                v8.field(at, v8.c.js_weak_ref_target)?,
                depth,
                out,
            ),
            Kind::JsGenerator | Kind::JsAsyncGenerator | Kind::JsAsyncFunction => {
                let state = match v8.field(at, v8.c.generator_continuation)?.as_smi() {
                    Some(-1) => "closed".to_owned(),
                    Some(-2) => "running".to_owned(),
                    _ => {
                        let place = v8
                            .generator_frame(value)
                            .ok()
                            .and_then(|frame| frame.location);
                        place.map_or("suspended".to_owned(), |place| {
                            format!("suspended at {place}")
                        })
                    }
                };
                out.entries.push(Entry {
                    key: Some("[[state]]".to_owned()),
                    map_key: None,
                    value: Value::plain("internal", state),
                });
                self.named(
                    "[[function]]",
                    v8.field(at, v8.c.generator_function)?,
                    0,
                    out,
                );
                self.named(
                    "[[receiver]]",
                    v8.field(at, v8.c.generator_receiver)?,
                    0,
                    out,
                );
                if let Some(promise) = v8.generator_promise(value) {
                    self.named("[[promise]]", promise, 0, out);
                }
            }
            Kind::JsBoundFunction => {
                self.named("[[target]]", v8.field(at, v8.c.js_bound_target)?, 0, out);
                self.named("[[this]]", v8.field(at, v8.c.js_bound_this)?, depth, out);
                for argument in v8.fixed_array(v8.field(at, v8.c.js_bound_arguments)?)? {
                    self.named("[[argument]]", argument, depth, out);
                }
            }
            Kind::JsModuleNamespace => self.module(value, depth, out)?,
            _ => {}
        }
        // Elements, then named properties.
        let elements = v8.elements(value, limit)?;
        let array = kind == Kind::JsArray || kind == Kind::JsArguments;
        let mut next = 0;
        for (index, slot) in &elements.entries {
            if array && *index > next && !matches!(slot, Slot::Hole) {
                out.entries.push(hole(index - next));
            }
            if matches!(slot, Slot::Hole) {
                continue;
            }
            let content = self.slot(slot, depth);
            let key = (!array).then(|| quoted(&index.to_string()));
            out.entries.push(Entry {
                key,
                map_key: None,
                value: content,
            });
            next = index + 1;
        }
        let shown = elements.entries.last().map_or(0, |entry| entry.0 + 1);
        if elements.count > elements.entries.len() as u64 && elements.entries.len() as u64 >= limit
        {
            out.more += if array {
                elements.length.saturating_sub(shown)
            } else {
                elements.count - elements.entries.len() as u64
            };
        } else if array && elements.length > next {
            out.entries.push(hole(elements.length - next));
        }
        if kind == Kind::JsProxy || kind == Kind::JsModuleNamespace {
            return Ok(());
        }
        let mut count = 0;
        for property in v8.properties(value)? {
            let hash_name = property.private
                && v8
                    .symbol_description(property.key)
                    .ok()
                    .flatten()
                    .is_some_and(|name| name.starts_with('#'));
            // Of private symbols those with a # are the program's; accessors of V8's and hidden ones only when asked for.
            if !self.options.hidden
                && (!property.enumerable && !hash_name
                    || matches!(property.slot, Slot::Native)
                    || property.private && !hash_name)
            {
                continue;
            }
            if count >= limit {
                out.more += 1;
                continue;
            }
            count += 1;
            let key = v8.key_text(&property);
            let key = if v8.is_string(property.key) {
                key_text(&key)
            } else if property.private {
                key
            } else {
                format!("[{key}]")
            };
            let key = if property.enumerable || property.private {
                key
            } else {
                format!("[{key}]")
            };
            let content = self.slot(&property.slot, depth);
            out.entries.push(Entry {
                key: Some(key),
                map_key: None,
                value: content,
            });
        }
        Ok(())
    }

    fn named(&mut self, name: &str, value: Tagged, depth: usize, out: &mut Value) {
        let content = self.value(value, depth);
        out.entries.push(Entry {
            key: Some(name.to_owned()),
            map_key: None,
            value: content,
        });
    }

    /// An object of V8's own: its type, and what is known of some.
    fn internal(&mut self, value: Tagged, depth: usize) -> Result<Value> {
        let v8 = self.v8;
        let map = v8.map_of(value)?;
        let name = v8.types.name(map.instance_type);
        let mut out = Value {
            class: name.clone(),
            ..Value::plain("internal", format!("<{name} {:#x}>", value.0))
        };
        match map.kind {
            Kind::FixedArray | Kind::Context if depth > 0 => {
                out.text = format!("<{name}>");
                out.brackets = Some(("[", "]"));
                let names = if map.kind == Kind::Context {
                    let scope = v8.field(value.address(), v8.c.array_data)?;
                    v8.scope_names(scope).unwrap_or_default()
                } else {
                    Vec::new()
                };
                let length = v8.array_length(value)?;
                let first = if map.kind == Kind::Context {
                    v8.context_locals_start(value)
                } else {
                    0
                };
                for index in 0..length.min(self.options.entries as u64) {
                    let content = v8.unwrap_context_cell(v8.element_of(value, index)?);
                    let key = match index
                        .checked_sub(first)
                        .and_then(|slot| names.get(slot as usize))
                    {
                        Some(name) if map.kind == Kind::Context => Some(name.clone()),
                        _ if map.kind == Kind::Context => Some(match index {
                            0 => "[[scope]]".to_owned(),
                            1 => "[[previous]]".to_owned(),
                            _ => format!("[{index}]"),
                        }),
                        _ => None,
                    };
                    let content = self.value(content, if index < first { 0 } else { depth - 1 });
                    out.entries.push(Entry {
                        key,
                        map_key: None,
                        value: content,
                    });
                }
                out.more = length.saturating_sub(self.options.entries as u64);
            }
            Kind::Cell | Kind::FeedbackCell => {
                self.named("value", v8.field(value.address(), 8)?, 0, &mut out)
            }
            Kind::SharedFunctionInfo => {
                let shared = v8.shared(value)?;
                let place = v8
                    .function_location(&shared)
                    .map_or(String::new(), |place| format!(" {place}"));
                out.text = format!("<{name} {}{place}>", shared.name);
            }
            Kind::Script => out.text = format!("<{name} {}>", v8.script(value.address())?.name),
            Kind::Map => {
                let inner = v8.map(value);
                out.text = format!(
                    "<MAP of {}>",
                    inner.map_or("?".to_owned(), |map| v8.types.name(map.instance_type))
                );
            }
            _ => {}
        }
        Ok(out)
    }

    fn date(&self, value: Tagged) -> Option<f64> {
        let field = self
            .v8
            .field(value.address(), self.v8.c.js_date_value)
            .ok()?;
        // A tagged number in 20, a raw double later: a pointer to a number is one, and so is a small integer.
        if self.v8.column == 0
            || self
                .v8
                .kind_of(field)
                .is_ok_and(|kind| kind == Kind::HeapNumber)
        {
            return self.v8.number(field);
        }
        Some(f64::from_bits(field.0))
    }

    fn regexp(&self, value: Tagged) -> Result<String> {
        let v8 = self.v8;
        let source = v8.field(value.address(), v8.c.js_regexp_source)?;
        let flags = v8
            .field(value.address(), v8.c.js_regexp_flags)?
            .as_smi()
            .unwrap_or(0);
        // JSRegExp::Flag, by bit; written in the order of the language.
        const FLAGS: [(i32, char); 8] = [
            (7, 'd'),
            (0, 'g'),
            (1, 'i'),
            (6, 'l'),
            (2, 'm'),
            (5, 's'),
            (4, 'u'),
            (3, 'y'),
        ];
        let mut text = format!("/{}/", v8.text(source, 4096)?.text);
        text.extend(
            FLAGS
                .iter()
                .filter(|(bit, _)| flags >> bit & 1 == 1)
                .map(|(_, c)| *c),
        );
        if flags >> 8 & 1 == 1 {
            text.push('v');
        }
        Ok(text)
    }

    /// `TypeError: message` and the stack.
    fn error_head(&mut self, value: Tagged, class: &str) -> String {
        let v8 = self.v8;
        if let Some(stack) = v8.error_stack(value) {
            return format!("[{stack}]");
        }
        let text = |slot: Option<Slot>| match slot {
            Some(Slot::Value(value)) => v8.name_text(value),
            _ => None,
        };
        let name = text(v8.lookup(value, "name")).unwrap_or_else(|| class.to_owned());
        match text(v8.lookup(value, "message")).filter(|message| !message.is_empty()) {
            Some(message) => format!("[{name}: {message}]"),
            None => format!("[{name}]"),
        }
    }

    /// Name of its elements' type, bytes of one, how many, where they are.
    fn typed(&self, value: Tagged) -> Result<(&'static str, u64, u64, u64)> {
        self.v8.typed_array(value)
    }

    fn typed_entries(&mut self, value: Tagged, out: &mut Value) -> Result<()> {
        let v8 = self.v8;
        let (name, width, length, data) = self.typed(value)?;
        let class = out.class.clone();
        let limit = length.min(self.options.entries as u64);
        if class == "Buffer" || class == "FastBuffer" {
            out.brackets = None;
            let limit = length.min(50);
            let bytes = v8.memory.bytes(data, limit, 1 << 20)?;
            let mut text = String::from("<Buffer");
            for byte in bytes {
                let _ = write!(text, " {byte:02x}");
            }
            if length > limit {
                let _ = write!(text, " ... {} more bytes", length - limit);
            }
            out.text = text + ">";
            return Ok(());
        }
        out.more = length - limit;
        for index in 0..limit {
            let at = data.wrapping_add(index * width);
            let memory = &v8.memory;
            let text = match name {
                "Uint8Array" | "Uint8ClampedArray" => memory.u8(at)?.to_string(),
                "Int8Array" => (memory.u8(at)? as i8).to_string(),
                "Uint16Array" => memory.u16(at)?.to_string(),
                "Int16Array" => (memory.u16(at)? as i16).to_string(),
                "Uint32Array" => memory.u32(at)?.to_string(),
                "Int32Array" => (memory.u32(at)? as i32).to_string(),
                "Float16Array" => number_text(half(memory.u16(at)?)),
                "Float32Array" => number_text(f64::from(f32::from_bits(memory.u32(at)?))),
                "Float64Array" => number_text(f64::from_bits(memory.u64(at)?)),
                "BigUint64Array" => format!("{}n", memory.u64(at)?),
                "BigInt64Array" => format!("{}n", memory.u64(at)? as i64),
                _ => "?".to_owned(),
            };
            out.entries.push(Entry {
                key: None,
                map_key: None,
                value: Value::plain("number", text),
            });
        }
        Ok(())
    }

    fn buffer(&mut self, value: Tagged, kind: Kind, out: &mut Value) -> Result<()> {
        let v8 = self.v8;
        let at = value.address();
        if kind == Kind::JsDataView {
            let length = v8.memory.u64(v8.at(at, v8.c.view_length))?;
            let offset = v8.memory.u64(v8.at(at, v8.c.view_offset))?;
            out.entries.push(Entry {
                key: Some("byteLength".to_owned()),
                map_key: None,
                value: Value::plain("number", length.to_string()),
            });
            out.entries.push(Entry {
                key: Some("byteOffset".to_owned()),
                map_key: None,
                value: Value::plain("number", offset.to_string()),
            });
            self.named("buffer", v8.field(at, v8.c.view_buffer)?, 1, out);
            return Ok(());
        }
        let (store, length) = v8.array_buffer(value)?;
        let shown = length.min(50);
        let mut text = String::from("<");
        if let Ok(bytes) = v8.memory.bytes(store, shown, 1 << 20) {
            for (index, byte) in bytes.iter().enumerate() {
                let _ = write!(text, "{}{byte:02x}", if index == 0 { "" } else { " " });
            }
        } else if length > 0 {
            text.push_str("its bytes are not in the core");
        }
        if length > shown {
            let _ = write!(text, " ... {} more bytes", length - shown);
        }
        out.entries.push(Entry {
            key: Some("[Uint8Contents]".to_owned()),
            map_key: None,
            value: Value::plain("internal", text + ">"),
        });
        out.entries.push(Entry {
            key: Some("byteLength".to_owned()),
            map_key: None,
            value: Value::plain("number", length.to_string()),
        });
        Ok(())
    }

    fn promise(&mut self, value: Tagged, depth: usize, out: &mut Value) -> Result<()> {
        let v8 = self.v8;
        let flags = v8
            .field(value.address(), v8.c.js_promise_flags)?
            .as_smi()
            .unwrap_or(0);
        let result = v8.field(value.address(), v8.c.js_promise_result)?;
        let state = match flags & 3 {
            0 => "<pending>",
            1 => "<fulfilled>",
            _ => "<rejected>",
        };
        if flags & 3 == 0 {
            out.entries.push(Entry {
                key: None,
                map_key: None,
                value: Value::plain("internal", state),
            });
            for (handler, settles) in v8.reactions(value).into_iter().take(self.options.entries) {
                let waits = match v8
                    .awaiting_generator(handler)
                    .and_then(|generator| v8.generator_frame(generator).ok())
                {
                    Some(frame) => format!(
                        "await in {} ({})",
                        frame.name,
                        frame
                            .location
                            .map_or(String::new(), |place| place.to_string())
                    ),
                    None if v8
                        .kind_of(handler)
                        .is_ok_and(|kind| kind == Kind::JsFunction) =>
                    {
                        v8.brief(handler)
                    }
                    None => format!("settles {}", v8.brief(settles)),
                };
                out.entries.push(Entry {
                    key: Some("[[reaction]]".to_owned()),
                    map_key: None,
                    value: Value::plain("internal", waits),
                });
            }
        } else {
            self.named(state, result, depth, out);
        }
        Ok(())
    }

    /// The exports of a module namespace. (`JSModuleNamespace::module` 24, `Module::exports` 8: an ObjectHashTable from
    /// names to Cells.)
    fn module(&mut self, value: Tagged, depth: usize, out: &mut Value) -> Result<()> {
        let v8 = self.v8;
        let module = v8.field(value.address(), v8.c.object_header)?;
        let exports = v8.field(module.address(), 8)?;
        for entry in v8
            .hash_table(exports, 0, 2)?
            .into_iter()
            .take(self.options.entries)
        {
            let [name, cell] = entry[..] else { continue };
            let Some(name) = v8.name_text(name) else {
                continue;
            };
            let content = match v8.kind_of(cell) {
                Ok(Kind::Cell) => v8.field(cell.address(), 8)?,
                _ => cell,
            };
            self.named(&key_text(&name), content, depth, out);
        }
        out.entries.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(())
    }
}

fn hole(count: u64) -> Entry {
    let text = if count == 1 {
        "<1 empty item>".to_owned()
    } else {
        format!("<{count} empty items>")
    };
    Entry {
        key: None,
        map_key: None,
        value: Value::plain("hole", text),
    }
}

/// A number of 16 bits. (IEEE 754 binary16.)
fn half(bits: u16) -> f64 {
    let sign = if bits >> 15 == 1 { -1.0 } else { 1.0 };
    let (exponent, fraction) = (i32::from(bits >> 10 & 31), f64::from(bits & 0x3ff));
    sign * match exponent {
        0 => fraction * 2_f64.powi(-24),
        31 if fraction == 0.0 => f64::INFINITY,
        31 => f64::NAN,
        exponent => (1.0 + fraction / 1024.0) * 2_f64.powi(exponent - 15),
    }
}

/// Types of elements from elements kind 18 on (`TYPED_ARRAYS` of V8's `objects/elements-kind.h`), and bytes of one.
const TYPED_OLD: [(&str, u64); 11] = [
    ("Uint8Array", 1),
    ("Int8Array", 1),
    ("Uint16Array", 2),
    ("Int16Array", 2),
    ("Uint32Array", 4),
    ("Int32Array", 4),
    ("Float32Array", 4),
    ("Float64Array", 8),
    ("Uint8ClampedArray", 1),
    ("BigUint64Array", 8),
    ("BigInt64Array", 8),
];
const TYPED_NEW: [(&str, u64); 12] = [
    ("Uint8Array", 1),
    ("Int8Array", 1),
    ("Uint16Array", 2),
    ("Int16Array", 2),
    ("Uint32Array", 4),
    ("Int32Array", 4),
    ("BigUint64Array", 8),
    ("BigInt64Array", 8),
    ("Uint8ClampedArray", 1),
    ("Float32Array", 4),
    ("Float64Array", 8),
    ("Float16Array", 2),
];

impl V8 {
    /// The store and the length in bytes of an ArrayBuffer or SharedArrayBuffer.
    ///
    /// # Errors
    /// When it is none.
    pub fn array_buffer(&self, value: Tagged) -> Result<(u64, u64)> {
        let at = self.expect(value, Kind::JsArrayBuffer, "an ArrayBuffer")?;
        Ok((
            self.memory.u64(self.at(at, self.c.buffer_store))?,
            self.memory.u64(self.at(at, self.c.buffer_length))?,
        ))
    }

    /// Of a typed array: the name of its type, the bytes of an element, how many there are, where they are.
    ///
    /// # Errors
    /// When it is none.
    pub fn typed_array(&self, value: Tagged) -> Result<(&'static str, u64, u64, u64)> {
        let at = self.expect(value, Kind::JsTypedArray, "a typed array")?;
        let map = self.map_of(value)?;
        let kinds: &[(&str, u64)] = if self.column < 2 {
            &TYPED_OLD
        } else {
            &TYPED_NEW
        };
        let index = usize::from(self.elements_kind(&map).wrapping_sub(18));
        // Those over resizable buffers follow in the same order.
        let (name, width) = *kinds.get(index % kinds.len()).unwrap_or(&("TypedArray", 1));
        let bytes = self.memory.u64(self.at(at, self.c.view_length))?;
        let external = self.memory.u64(self.at(at, self.c.typed_external))?;
        let base = self.memory.u64(self.at(at, self.c.typed_base))?;
        Ok((name, width, bytes / width, external.wrapping_add(base)))
    }

    /// The slot at which the variables of a context begin: behind its scope and the context around it, and an extension
    /// where its scope has one.
    pub fn context_locals_start(&self, context: Tagged) -> u64 {
        let scope = self
            .field(context.address(), self.c.array_data)
            .unwrap_or_default();
        let extension = self
            .scope(scope)
            .is_ok_and(|parts| parts.flags >> 26 & 1 == 1);
        self.c.context_min_slots as u64 + u64::from(extension)
    }

    /// The variables that a function or context holds on to, from the innermost scope outwards: depth, name, value.
    ///
    /// # Errors
    /// When it is neither a function nor a context.
    pub fn closure(&self, value: Tagged) -> Result<Vec<(usize, String, Tagged)>> {
        let mut context = match self.kind_of(value)? {
            Kind::Context => value,
            _ => {
                let at = self.expect(value, Kind::JsFunction, "a function or a context")?;
                self.field(at, self.c.function_context)?
            }
        };
        let mut out = Vec::new();
        let mut seen = HashSet::new();
        let mut depth = 0;
        while self
            .kind_of(context)
            .is_ok_and(|kind| kind == Kind::Context)
            && !self
                .types
                .is_native_context(self.map_of(context)?.instance_type)
            && seen.insert(context.0)
        {
            let scope = self.field(context.address(), self.c.array_data)?;
            let names = self.scope_names(scope).unwrap_or_default();
            let first = self.context_locals_start(context);
            let length = self.array_length(context)?;
            for (index, name) in names.into_iter().enumerate() {
                let slot = first + index as u64;
                if slot < length {
                    out.push((
                        depth,
                        name,
                        self.unwrap_context_cell(self.element_of(context, slot)?),
                    ));
                }
            }
            context = self.field(
                context.address(),
                self.c.array_data + 8 * self.c.context_previous,
            )?;
            depth += 1;
        }
        Ok(out)
    }

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_numbers_as_javascript_does() {
        for (value, text) in [
            (3.25, "3.25"),
            (-0.0, "-0"),
            (5e-324, "5e-324"),
            (f64::MAX, "1.7976931348623157e+308"),
            (1e21, "1e+21"),
            (123456789012345680000.0, "123456789012345680000"),
            (0.000001, "0.000001"),
            (1e-7, "1e-7"),
            (f64::NEG_INFINITY, "-Infinity"),
        ] {
            assert_eq!(number_text(value), text);
        }
    }

    #[test]
    fn quotes_as_node_does() {
        assert_eq!(quoted("it's"), "\"it's\"");
        assert_eq!(quoted("it's \"x\"\n\0"), "`it's \"x\"\\n\\x00`");
        assert_eq!(key_text("a-b"), "'a-b'");
    }

    #[test]
    fn writes_times() {
        assert_eq!(
            iso_time(1_700_000_000_123.0).as_deref(),
            Some("2023-11-14T22:13:20.123Z")
        );
        assert_eq!(iso_time(-1.0).as_deref(), Some("1969-12-31T23:59:59.999Z"));
        assert_eq!(
            iso_time(8.64e15).as_deref(),
            Some("+275760-09-13T00:00:00.000Z")
        );
        assert_eq!(iso_time(f64::NAN), None);
        assert_eq!(half(0x3c00), 1.0);
    }
}
