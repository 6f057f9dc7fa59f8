//! A value that a frame holds, in whichever form the compiler left it.

use std::sync::Arc;

use crate::tagged::Tagged;
use crate::types::Kind;
use crate::v8::{MapInfo, V8};

/// Deepest object in an object that is shown of those that were never made.
const MAX_DEPTH: usize = 3;
/// Most of its words that are shown.
const MAX_WORDS: usize = 40;

/// A value of a frame.
#[derive(Debug, Clone, PartialEq)]
pub enum FrameValue {
    /// A value as the heap has them.
    Tagged(Tagged),
    /// A number that the compiler keeps as such.
    Number(f64),
    /// The same of a BigInt.
    BigInt(i128),
    /// The same of a truth.
    Boolean(bool),
    /// An object, or a string, that the compiler did not need to make; the deoptimiser would.
    Unmade(Arc<Unmade>),
    /// The compiler has dropped it: nothing that follows needs it.
    OptimizedOut,
    /// It is somewhere that the core does not tell: a register of the moment, or memory that is missing.
    Unknown,
}

/// An object that was never made.
#[derive(Debug, Clone, PartialEq)]
pub struct Unmade {
    /// It is a string: its words are two halves. Otherwise the words of the object, its map first.
    pub string: bool,
    /// In the order of its fields.
    pub words: Vec<FrameValue>,
}

impl FrameValue {
    /// The value, when it is one of the heap's.
    pub fn tagged(&self) -> Option<Tagged> {
        match self {
            FrameValue::Tagged(value) => Some(*value),
            _ => None,
        }
    }
}

impl V8 {
    /// A value of a frame in a few words.
    pub fn brief_value(&self, value: &FrameValue) -> String {
        self.frame_value_text(value, 0)
    }

    fn frame_value_text(&self, value: &FrameValue, depth: usize) -> String {
        match value {
            FrameValue::Tagged(value) => self.brief(*value),
            FrameValue::Number(value) => crate::print::number_text(*value),
            FrameValue::BigInt(value) => format!("{value}n"),
            FrameValue::Boolean(value) => value.to_string(),
            FrameValue::OptimizedOut => "(optimized out)".to_owned(),
            FrameValue::Unknown => "(not in the core: in a register)".to_owned(),
            FrameValue::Unmade(unmade) if unmade.string => {
                if depth >= MAX_DEPTH {
                    return "(a string never made)".to_owned();
                }
                let halves: Vec<String> = unmade
                    .words
                    .iter()
                    .map(|half| self.frame_value_text(half, depth + 1))
                    .collect();
                format!("{} (never made)", halves.join(" + "))
            }
            FrameValue::Unmade(unmade) => self.unmade_text(unmade, depth),
        }
    }

    /// `Point { x: 1, y: 2 } (never made)`: the fields that its map names, and elements.
    fn unmade_text(&self, unmade: &Unmade, depth: usize) -> String {
        let map = unmade
            .words
            .first()
            .and_then(FrameValue::tagged)
            .and_then(|word| self.map(word));
        let Some(map) = map else {
            return "(an object never made)".to_owned();
        };
        // A number or a context in a box of its own.
        if map.kind == Kind::HeapNumber
            && let Some(number) = unmade.words.get(1)
        {
            return self.frame_value_text(number, depth);
        }
        let class = self
            .map_constructor(&map)
            .and_then(|function| self.function_name(function).ok())
            .filter(|name| !name.is_empty())
            .unwrap_or_else(|| "Object".to_owned());
        if depth >= MAX_DEPTH {
            return format!("[{class}] (never made)");
        }
        let mut parts = Vec::new();
        if map.kind.is_js_object() {
            for (name, word) in self.map_fields(&map) {
                if let Some(value) = unmade.words.get(word) {
                    parts.push(format!(
                        "{name}: {}",
                        self.frame_value_text(value, depth + 1)
                    ));
                }
            }
            if let Some(FrameValue::Unmade(elements)) = unmade.words.get(2) {
                // Map and length come first.
                for value in elements.words.iter().skip(2).take(MAX_WORDS) {
                    parts.push(self.frame_value_text(value, depth + 1));
                }
            }
        } else {
            for value in unmade.words.iter().skip(1).take(MAX_WORDS) {
                parts.push(self.frame_value_text(value, depth + 1));
            }
        }
        format!("{class} {{ {} }} (never made)", parts.join(", "))
    }

    /// The fields that a map's objects have in themselves: names, and at which word.
    fn map_fields(&self, map: &MapInfo) -> Vec<(String, usize)> {
        let inside = i64::from(map.size / 8) - i64::from(map.inobject);
        self.map_keys(map)
            .unwrap_or_default()
            .into_iter()
            .filter_map(|(key, details, _)| {
                let index = (details & self.c.prop_index_mask) >> self.c.prop_index_shift;
                let field = details & (self.c.prop_kind_mask | self.c.prop_location_mask) == 0;
                (field && index < inside).then_some(())?;
                let word = usize::from(map.inobject) + usize::try_from(index).ok()?;
                Some((self.name_text(key)?, word))
            })
            .collect()
    }
}
