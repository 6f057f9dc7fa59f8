//! What a command found.

use serde_json::Value as Json;

/// What a command found.
#[derive(Debug, Default)]
pub struct Answer {
    /// For people.
    pub lines: Vec<String>,
    /// For programs.
    pub json: Json,
    /// The addresses that it is about, for the next command of a pipe.
    pub addresses: Vec<u64>,
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
}
