//! Buffers of one fixed size that go from thread to thread and come back by themselves.

use std::sync::{Arc, Mutex, PoisonError};

/// Bytes in a full block. Large enough that a block costs little on its own, small enough that a dozen of them
/// are no burden for the process that is packed.
pub const BLOCK_SIZE: usize = 512 * 1024;

/// Where the buffers of dropped blocks wait to be used again.
#[derive(Debug, Clone, Default)]
pub(crate) struct Pool {
    free: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Pool {
    /// An empty block. Its buffer may hold bytes of an earlier use behind its length.
    pub(crate) fn block(&self) -> Block {
        let used = self
            .free
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop();
        let bytes = used.unwrap_or_else(|| vec![0; BLOCK_SIZE]);
        Block {
            bytes,
            len: 0,
            pool: self.clone(),
        }
    }
}

/// Up to [`BLOCK_SIZE`] bytes on their way through the compressor.
#[derive(Debug)]
pub struct Block {
    bytes: Vec<u8>,
    len: usize,
    pool: Pool,
}

impl Block {
    /// The bytes that have been filled in.
    pub fn filled(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    /// The room behind them; its content is arbitrary.
    pub fn room(&mut self) -> &mut [u8] {
        &mut self.bytes[self.len..]
    }

    /// Says that the first `n` bytes of [`Block::room`] are now filled in; never more than the room there is.
    pub fn advance(&mut self, n: usize) {
        self.len = self.len.saturating_add(n).min(self.bytes.len());
    }

    /// Whether there is no room left.
    pub fn is_full(&self) -> bool {
        self.len == self.bytes.len()
    }

    /// Whether nothing has been filled in.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        self.pool
            .free
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(bytes);
    }
}
