//! Objects: their properties, elements, collections and class.

mod array;
mod class;
mod collection;
mod elements;
mod property;

use crate::tagged::Tagged;

pub use elements::Elements;
pub use property::Property;

/// Most maps or prototypes that are followed in a chain.
const MAX_CHAIN: usize = 512;

/// The value of a property or an element.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Slot {
    /// A tagged word.
    Value(Tagged),
    /// A number that stands in an array of doubles.
    Double(f64),
    /// Nothing: an absent element.
    Hole,
    /// A getter and a setter; each may be undefined or null.
    Accessor(Tagged, Tagged),
    /// V8 computes it when it is asked: a function's `length`, an array's.
    Native,
}
