//! A printed value: a tree, from which text and JSON are made.

use std::fmt::Write as _;

use serde::Serialize;

use super::PrintOptions;
use super::text::{more, quoted};

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
    /// How many of the entries are elements or members of a collection; named properties come behind those.
    #[serde(skip)]
    pub items: usize,
    /// How many elements or members of a collection are not shown.
    #[serde(skip_serializing_if = "is_zero")]
    pub more: u64,
    /// How many properties are not shown.
    #[serde(rename = "moreProperties", skip_serializing_if = "is_zero")]
    pub more_properties: u64,
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
    #[serde(rename = "mapKey", skip_serializing_if = "Option::is_none")]
    pub map_key: Option<Value>,
    /// The value.
    pub value: Value,
}

impl Value {
    pub(super) fn plain(what: &'static str, text: impl Into<String>) -> Value {
        Value {
            what,
            address: None,
            class: String::new(),
            text: text.into(),
            brackets: None,
            entries: Vec::new(),
            items: 0,
            more: 0,
            more_properties: 0,
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
        // Those of undefined, null, true and false tell nothing: there is one of each.
        let told = !matches!(self.what, "undefined" | "null" | "boolean" | "hole");
        let address = self.address.filter(|_| options.addresses && told);
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
            // `[Object: null prototype]` and `[Array Iterator]` have their brackets already.
            let name = match name
                .strip_prefix('[')
                .and_then(|name| name.strip_suffix(']'))
            {
                Some(bare) if !bare.contains(['[', ']']) => bare,
                _ => name,
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
        if self.entries.is_empty() && self.more == 0 && self.more_properties == 0 {
            out.push_str(open);
            out.push_str(close);
            return;
        }
        let mut lines: Vec<String> = self
            .entries
            .iter()
            .map(|entry| entry.line(indent + 1, options))
            .collect();
        let mut items = self.items.min(lines.len());
        if self.more > 0 {
            lines.insert(items, more(self.more, "item", "items"));
            items += 1;
        }
        if self.more_properties > 0 {
            lines.push(more(self.more_properties, "property", "properties"));
        }
        // A Buffer's bytes stay together.
        if open == "<" {
            let _ = write!(out, "{open}{}{close}", lines.join(", "));
            return;
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
        let last = lines.len() - 1;
        // Short elements share a line.
        let share = open == "[" && lines[..items].iter().all(|line| line.len() <= 20);
        let mut column = 0;
        for (index, line) in lines.iter().enumerate() {
            let comma = if index == last { "" } else { "," };
            if share && index < items && column > 0 && column + line.len() + 2 <= 76 {
                let _ = write!(out, " {line}{comma}");
                column += line.len() + 2;
            } else {
                let _ = write!(out, "\n{pad}{line}{comma}");
                column = pad.len() + line.len() + 1;
            }
        }
        let _ = write!(out, "\n{}{close}", "  ".repeat(indent));
    }
}

impl Entry {
    /// An entry without a key.
    pub(super) fn item(value: Value) -> Entry {
        Entry {
            key: None,
            map_key: None,
            value,
        }
    }

    /// An entry with a key.
    pub(super) fn named(key: impl Into<String>, value: Value) -> Entry {
        Entry {
            key: Some(key.into()),
            map_key: None,
            value,
        }
    }

    /// A string under a key.
    pub(super) fn text(key: &str, text: &str) -> Entry {
        Entry::named(key, Value::plain("string", quoted(text)))
    }

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
