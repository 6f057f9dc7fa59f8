//! What a command found.

use serde_json::Value as Json;

use super::hex;

/// What a command found.
#[derive(Debug, Default)]
pub struct Answer {
    /// For people.
    pub lines: Vec<String>,
    /// For programs.
    pub json: Json,
    /// The addresses that it is about, for the next command of a pipe.
    pub addresses: Vec<u64>,
    /// It is a list of these addresses and nothing else: they are written as they are, since there may be millions.
    pub listed: bool,
    /// What should be known beside it.
    pub notes: Vec<String>,
}

impl Answer {
    /// One line, and its value.
    pub fn line(text: impl Into<String>, json: Json) -> Answer {
        Answer {
            lines: vec![text.into()],
            json,
            ..Answer::default()
        }
    }

    /// A list of addresses.
    pub fn list(addresses: Vec<u64>) -> Answer {
        Answer {
            addresses,
            listed: true,
            ..Answer::default()
        }
    }

    /// The addresses of a list as they are written.
    pub fn list_items(&self) -> impl Iterator<Item = String> {
        let list = if self.listed {
            self.addresses.as_slice()
        } else {
            &[]
        };
        list.iter().map(|address| hex(*address))
    }

    /// The lines for people, made now where they are a list's.
    pub fn take_lines(&mut self) -> Vec<String> {
        let mut lines = std::mem::take(&mut self.lines);
        lines.extend(self.list_items());
        lines
    }

    /// The value for programs, likewise.
    pub fn take_json(&mut self) -> Json {
        if self.listed {
            return self.list_items().collect();
        }
        std::mem::replace(&mut self.json, Json::Null)
    }
}
