//! How a stream is written.

use std::ffi::CStr;

use crate::compression::Compression;

/// How a [`StreamWriter`](crate::StreamWriter) works.
#[derive(Debug, Clone, Copy)]
pub struct PackOptions {
    /// What is written.
    pub compression: Compression,
    /// One of [`Compression::levels`]; the nearest of them where it is not, the first where none is given.
    pub level: Option<u32>,
    /// Number of compressing threads; 0 compresses in the caller's. Where nothing is compressed there are none.
    pub threads: usize,
    /// Called at the start of each thread, to lower its priority for instance.
    pub thread_start: fn(&'static CStr),
}

impl Default for PackOptions {
    fn default() -> PackOptions {
        PackOptions {
            compression: Compression::default(),
            level: None,
            threads: crate::default_threads(),
            thread_start: |_| {},
        }
    }
}
