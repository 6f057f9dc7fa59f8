//! Why something about the JavaScript in a core cannot be told.

/// What went wrong. Most of these are soft: the command that meets one shows it in the place of the value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum V8Error {
    /// The core holds no bytes for this address.
    #[error("no memory at {address:#x}")]
    Missing {
        /// The first address that is absent.
        address: u64,
    },
    /// The word is no tagged pointer to an object with a valid map.
    #[error("{address:#x} is no object of V8's heap (whatis says what is there)")]
    NotObject {
        /// The word as it was given.
        address: u64,
    },
    /// The object is of another kind than was asked for.
    #[error("{address:#x} is not {wanted} (it is {found})")]
    Kind {
        /// The object.
        address: u64,
        /// What it should be, with an article.
        wanted: &'static str,
        /// Its type's name.
        found: String,
    },
    /// The object contradicts itself: a length beyond its page, an index beyond its table.
    #[error("the object at {address:#x} is damaged: {what}")]
    Damaged {
        /// The object.
        address: u64,
        /// What is wrong with it.
        what: &'static str,
    },
    /// There is no V8 in this process, or none that shows itself.
    #[error("no V8 was found in this core: {0}")]
    NoV8(String),
    /// The version of V8 is not one whose layout is known.
    #[error(
        "V8 {version} ({node}) is not supported: the layouts of Node 20, 22, 24 and 26 are known (--force reads it as the nearest of them)"
    )]
    Unsupported {
        /// V8's version.
        version: String,
        /// Which Node that is, in words.
        node: String,
    },
    /// The binary was built with pointer compression.
    #[error(
        "this node (V8 {version}) was built with pointer compression: the words of its heap have 4 bytes, and such heaps are not read. Threads and native stacks are: stillcore bt CORE"
    )]
    Compressed {
        /// V8's version.
        version: String,
    },
    /// Constants without which nothing can be read were not found.
    #[error("the layout of this V8 is not known, so nothing is shown; missing: {0}")]
    Layout(String),
    /// Anything else that the asker should read.
    #[error("{0}")]
    Other(String),
}

/// What most functions of this crate give.
pub type Result<T> = std::result::Result<T, V8Error>;
