//! Words of the dumped memory, through a bounded cache of blocks.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, RwLock};

use crate::error::{Result, V8Error};
use crate::target::Target;

/// Bytes in a cached block.
const BLOCK: usize = 16 << 10;
const PAGE: usize = 4096;
/// Most blocks that are kept: 64 MiB. At the limit all are forgotten; the next reads bring back what is in use. (With
/// 16 MiB jsstack read a small core forty times over.)
const MAX_BLOCKS: usize = 4096;

struct Block {
    bytes: Box<[u8]>,
    /// One bit a page: whether the core holds it.
    held: u32,
}

/// Memory of the process, read by the word.
pub struct Memory {
    target: Arc<dyn Target>,
    id: u64,
    blocks: RwLock<HashMap<u64, Arc<Block>>>,
}

static NEXT: AtomicU64 = AtomicU64::new(1);

/// The blocks that a thread touched last, by the low bits of their numbers: (memory, number, block).
type Recent = Vec<(u64, u64, Option<Arc<Block>>)>;
const RECENT: usize = 64;

thread_local! {
    static LAST: RefCell<Recent> = RefCell::new(vec![(0, 0, None); RECENT]);
}

impl Memory {
    /// The memory of a process.
    pub fn new(target: Arc<dyn Target>) -> Memory {
        Memory {
            target,
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            blocks: RwLock::default(),
        }
    }

    /// The process it belongs to.
    pub fn target(&self) -> &Arc<dyn Target> {
        &self.target
    }

    fn load(&self, number: u64) -> Arc<Block> {
        if let Ok(blocks) = self.blocks.read()
            && let Some(block) = blocks.get(&number)
        {
            return block.clone();
        }
        let base = number * BLOCK as u64;
        let mut bytes = vec![0; BLOCK].into_boxed_slice();
        let mut held = 0;
        if self.target.read(base, &mut bytes).is_ok() {
            held = u32::MAX;
        } else {
            for (page, chunk) in bytes.chunks_mut(PAGE).enumerate() {
                if self.target.read(base + (page * PAGE) as u64, chunk).is_ok() {
                    held |= 1 << page;
                }
            }
        }
        let block = Arc::new(Block { bytes, held });
        if let Ok(mut blocks) = self.blocks.write() {
            if blocks.len() >= MAX_BLOCKS {
                blocks.clear();
            }
            blocks.insert(number, block.clone());
        }
        block
    }

    /// Calls `take` with the block of an address; none is held across calls.
    fn with<T>(&self, number: u64, take: impl FnOnce(&Block) -> T) -> T {
        LAST.with(|last| {
            let mut last = last.borrow_mut();
            let slot = &mut last[number as usize % RECENT];
            if slot.0 != self.id || slot.1 != number || slot.2.is_none() {
                *slot = (self.id, number, Some(self.load(number)));
            }
            match &slot.2 {
                Some(block) => take(block),
                None => take(&Block {
                    bytes: Box::default(),
                    held: 0,
                }),
            }
        })
    }

    /// Fills `buf` from `address` on.
    ///
    /// # Errors
    /// [`V8Error::Missing`] with the first address that is not held.
    pub fn read(&self, address: u64, buf: &mut [u8]) -> Result<()> {
        if buf.len() > 8 * BLOCK {
            return self.target.read(address, buf);
        }
        let mut done = 0;
        while done < buf.len() {
            let at = address
                .checked_add(done as u64)
                .ok_or(V8Error::Missing { address })?;
            let inside = (at % BLOCK as u64) as usize;
            let until = (inside / PAGE + 1) * PAGE;
            let now = (until - inside).min(buf.len() - done);
            let held = self.with(at / BLOCK as u64, |block| {
                let held = block.held >> (inside / PAGE) & 1 == 1;
                if held {
                    buf[done..done + now].copy_from_slice(&block.bytes[inside..inside + now]);
                }
                held
            });
            if !held {
                return Err(V8Error::Missing { address: at });
            }
            done += now;
        }
        Ok(())
    }

    /// The 8 bytes at an address.
    ///
    /// # Errors
    /// [`V8Error::Missing`].
    pub fn u64(&self, address: u64) -> Result<u64> {
        let mut word = [0; 8];
        self.read(address, &mut word)?;
        Ok(u64::from_le_bytes(word))
    }

    /// The 4 bytes at an address.
    ///
    /// # Errors
    /// [`V8Error::Missing`].
    pub fn u32(&self, address: u64) -> Result<u32> {
        let mut word = [0; 4];
        self.read(address, &mut word)?;
        Ok(u32::from_le_bytes(word))
    }

    /// The 2 bytes at an address.
    ///
    /// # Errors
    /// [`V8Error::Missing`].
    pub fn u16(&self, address: u64) -> Result<u16> {
        let mut word = [0; 2];
        self.read(address, &mut word)?;
        Ok(u16::from_le_bytes(word))
    }

    /// The byte at an address.
    ///
    /// # Errors
    /// [`V8Error::Missing`].
    pub fn u8(&self, address: u64) -> Result<u8> {
        let mut byte = [0];
        self.read(address, &mut byte)?;
        Ok(byte[0])
    }

    /// `len` bytes from an address on; refuses more than `limit`.
    ///
    /// # Errors
    /// [`V8Error::Missing`], [`V8Error::Damaged`] when it is too much.
    pub fn bytes(&self, address: u64, len: u64, limit: u64) -> Result<Vec<u8>> {
        if len > limit {
            return Err(V8Error::Damaged {
                address,
                what: "it claims to be impossibly long",
            });
        }
        let mut bytes = vec![0; len as usize];
        self.read(address, &mut bytes)?;
        Ok(bytes)
    }

    /// A C string of at most `limit` bytes.
    ///
    /// # Errors
    /// [`V8Error::Missing`], [`V8Error::Damaged`] when it has no end.
    pub fn c_string(&self, address: u64, limit: usize) -> Result<String> {
        let mut bytes = Vec::new();
        while bytes.len() < limit {
            match self.u8(address.wrapping_add(bytes.len() as u64))? {
                0 => return Ok(String::from_utf8_lossy(&bytes).into_owned()),
                byte => bytes.push(byte),
            }
        }
        Err(V8Error::Damaged {
            address,
            what: "a C string without end",
        })
    }
}
