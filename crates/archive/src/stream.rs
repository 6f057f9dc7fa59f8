//! A writer that compresses in several threads and still writes one stream that every program reads.
//!
//! The input is cut into blocks, each compressed on its own; their compressed forms follow each other.
//!
//! Gzip: many readers (Python's `tarfile` in stream mode among them) stop after the first member. So each block is
//! closed by a sync flush: that ends it on a byte boundary, and all of them are one deflate stream in one member.
//! Their checksums are combined. Zstandard: each block is a frame with its checksum.
//!
//! Runs of zeros are not compressed at all: [`StreamWriter::zeros`] copies pieces prepared once.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::Arc;

use crate::block::{Block, Pool};
use crate::compression::{Compression, ZERO_PAGE, Zero, ZeroBlocks};
use crate::index::{END, IndexWriter, stored};

mod options;
mod workers;

pub use options::PackOptions;
pub use workers::WorkerDied;

use workers::{Reply, Workers};

/// Runs of zeros shorter than this are compressed like other bytes: to cut a block for them would cost more.
pub const MIN_ZEROS: u64 = 64 * 1024;

/// Small pieces are gathered up to this many bytes before they are written out.
const GATHER: usize = 64 * 1024;

/// Most pieces of output that wait for an earlier one; nearly all of them are runs of zeros.
const MAX_PIECES: usize = 256;

/// An empty last deflate block.
const GZIP_END: [u8; 2] = [3, 0];

/// A Zstandard frame without content.
const EMPTY_FRAME: [u8; 9] = [0x28, 0xb5, 0x2f, 0xfd, 0x20, 0, 1, 0, 0];

/// Compresses what is written to it, in several threads, and writes that to `W`: one gzip member, Zstandard frames,
/// or the bytes as they are.
///
/// The output is only complete after [`StreamWriter::finish`]. Dropping the writer earlier ends its threads.
/// `flush` does not cut the stream: it does nothing but is there for [`Write`].
///
/// All output is written by the thread that uses the writer. When a write blocks, the compressing threads finish the
/// blocks they have and wait. Where they do not get on, that thread compresses too. Memory is bounded: `threads + 4` blocks of [`BLOCK_SIZE`](crate::BLOCK_SIZE) are under
/// way at most, with their compressed forms.
#[derive(Debug)]
pub struct StreamWriter<W: Write> {
    out: W,
    compression: Compression,
    gathered: Vec<u8>,
    written: u64,
    pool: Pool,
    current: Option<Block>,
    workers: Workers,
    under_way: VecDeque<Piece>,
    /// Blocks among the pieces under way.
    blocks: usize,
    limit: usize,
    spare: Vec<Vec<u8>>,
    crc: crc32fast::Hasher,
    /// What [`StreamWriter::finish_tar`] appends.
    index: IndexWriter,
    input: u64,
    failed: bool,
}

impl<W: Write> StreamWriter<W> {
    /// Starts the threads; nothing is written yet. Where no thread can be started, the caller's thread compresses.
    pub fn new(out: W, options: &PackOptions) -> StreamWriter<W> {
        let workers = Workers::start(options);
        let threads = workers.threads.len();
        let mut gathered = Vec::with_capacity(GATHER);
        gathered.extend_from_slice(options.compression.header());
        StreamWriter {
            out,
            compression: options.compression,
            gathered,
            written: 0,
            pool: Pool::default(),
            current: None,
            workers,
            under_way: VecDeque::new(),
            blocks: 0,
            limit: (threads + 4).min(2 * threads + 2),
            spare: Vec::new(),
            crc: crc32fast::Hasher::new(),
            index: IndexWriter::default(),
            input: 0,
            failed: false,
        }
    }

    /// An empty block, to be filled and given to [`StreamWriter::write_block`].
    pub fn block(&self) -> Block {
        self.pool.block()
    }

    /// Appends a block without copying it. Others may go on reading it.
    ///
    /// # Errors
    /// Those of the output, and [`WorkerDied`].
    pub fn write_block(&mut self, block: Arc<Block>) -> io::Result<()> {
        self.close_current()?;
        self.push(block)
    }

    /// Appends `n` zero bytes. From [`MIN_ZEROS`] on this compresses nothing: it costs at most about a thousandth of
    /// `n` in output and next to no time. Without compression the zeros are written as they are.
    ///
    /// # Errors
    /// Those of the output, and [`WorkerDied`].
    pub fn zeros(&mut self, n: u64) -> io::Result<()> {
        let mut left = n;
        if left >= MIN_ZEROS {
            self.close_current()?;
            if self.compression == Compression::None {
                return self.plain_zeros(n);
            }
            for zero in ZeroBlocks::get(self.compression)
                .into_iter()
                .flat_map(ZeroBlocks::sizes)
            {
                let count = left / zero.size;
                if count > 0 {
                    left %= zero.size;
                    self.input = self.input.wrapping_add(zero.size.wrapping_mul(count));
                    self.append(Piece::Zeros { zero, count })?;
                }
            }
        }
        while left > 0 {
            let now = left.min(ZERO_PAGE.len() as u64);
            self.write_all(&ZERO_PAGE[..now as usize])?;
            left -= now;
        }
        Ok(())
    }

    fn plain_zeros(&mut self, n: u64) -> io::Result<()> {
        let mut block = self.block();
        let room = block.room();
        let full = usize::try_from(n).map_or(room.len(), |n| n.min(room.len()));
        room[..full].fill(0);
        block.advance(full);
        let mut left = n;
        while left > 0 {
            let now = left.min(full as u64);
            self.plain(&block.filled()[..now as usize])?;
            left -= now;
        }
        Ok(())
    }

    /// Writes bytes as they are.
    fn plain(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.check_sound()?;
        self.input = self.input.wrapping_add(bytes.len() as u64);
        let result = self.emit(bytes);
        self.failed |= result.is_err();
        result
    }

    /// Compresses what is left, writes the end of the stream and gives the output back.
    ///
    /// # Errors
    /// Those of the output, and [`WorkerDied`]; also when an earlier call failed.
    pub fn finish(mut self) -> io::Result<W> {
        self.drain_all()?;
        self.end().map(|(out, _)| out)
    }

    /// Ends a tar archive: appends the index, where something is compressed, and the two empty records.
    /// `head` makes the header of the index's entry for so many bytes of content. As [`StreamWriter::finish`] then, with
    /// the number of bytes written in all.
    pub(crate) fn finish_tar(mut self, head: impl FnOnce(u64) -> Vec<u8>) -> io::Result<(W, u64)> {
        self.drain_all()?;
        if self.compression == Compression::None {
            self.plain(&[0; END])?;
            return self.end();
        }
        let at = self.written + self.gathered.len() as u64;
        let bytes = std::mem::take(&mut self.index).finish(at, self.input, head);
        self.crc.update(&bytes);
        self.input = self.input.wrapping_add(bytes.len() as u64);
        for (head, piece) in stored(self.compression, &bytes) {
            self.emit(&head)?;
            self.emit(piece)?;
        }
        self.end()
    }

    fn drain_all(&mut self) -> io::Result<()> {
        self.close_current()?;
        while !self.under_way.is_empty() {
            self.drain_one()?;
        }
        self.check_sound()
    }

    fn end(mut self) -> io::Result<(W, u64)> {
        match self.compression {
            Compression::Gzip => {
                let crc = self.crc.clone().finalize();
                let mut end = [0; 10];
                end[..2].copy_from_slice(&GZIP_END);
                end[2..6].copy_from_slice(&crc.to_le_bytes());
                end[6..].copy_from_slice(&(self.input as u32).to_le_bytes());
                self.emit(&end)?;
            }
            // Nothing at all would not be taken for Zstandard.
            Compression::Zstd if self.input == 0 => self.emit(&EMPTY_FRAME)?,
            Compression::Zstd | Compression::None => {}
        }
        self.write_gathered()?;
        self.out.flush()?;
        Ok((self.out, self.written))
    }

    /// Bytes given to the writer so far.
    pub fn input_bytes(&self) -> u64 {
        self.input
            + self
                .current
                .as_ref()
                .map_or(0, |block| block.filled().len() as u64)
    }

    /// Bytes written to the output so far.
    pub fn output_bytes(&self) -> u64 {
        self.written
    }

    fn close_current(&mut self) -> io::Result<()> {
        match self.current.take() {
            Some(block) if !block.is_empty() => self.push(Arc::new(block)),
            _ => Ok(()),
        }
    }

    fn push(&mut self, block: Arc<Block>) -> io::Result<()> {
        if block.is_empty() {
            return Ok(());
        }
        if self.compression == Compression::None {
            return self.plain(block.filled());
        }
        self.input = self.input.wrapping_add(block.filled().len() as u64);
        let buffer = self.spare.pop().unwrap_or_default();
        let piece = match self.workers.submit(block, buffer) {
            Ok(reply) => Piece::Compressed(reply),
            Err(WorkerDied) => {
                self.failed = true;
                return Err(io::Error::other(WorkerDied));
            }
        };
        self.append(piece)
    }

    /// Queues a piece in order, and writes out the oldest when there are enough.
    fn append(&mut self, piece: Piece) -> io::Result<()> {
        self.check_sound()?;
        self.blocks += usize::from(matches!(piece, Piece::Compressed(_)));
        self.under_way.push_back(piece);
        while self.blocks >= self.limit || self.under_way.len() >= MAX_PIECES {
            self.drain_one()?;
        }
        Ok(())
    }

    /// After a failure a part of the stream is missing, and nothing must look whole.
    fn check_sound(&self) -> io::Result<()> {
        if self.failed {
            return Err(io::Error::other("an earlier write of this stream failed"));
        }
        Ok(())
    }

    fn drain_one(&mut self) -> io::Result<()> {
        let Some(piece) = self.under_way.pop_front() else {
            return Ok(());
        };
        let result = self.drain(piece);
        self.failed |= result.is_err();
        result
    }

    fn drain(&mut self, piece: Piece) -> io::Result<()> {
        match piece {
            Piece::Zeros { zero, count } => {
                self.index.zeros(zero.size, zero.packed.len(), count);
                for _ in 0..count {
                    self.crc.combine(&zero.crc);
                    self.emit(&zero.packed)?;
                }
            }
            Piece::Compressed(reply) => {
                self.blocks -= 1;
                let done = self.workers.wait(reply)?;
                self.crc.combine(&done.crc);
                match done.zeros {
                    Some(zero) => {
                        self.index.zeros(zero.size, zero.packed.len(), 1);
                        self.emit(&zero.packed)?;
                    }
                    None => {
                        let crc = done.crc.clone().finalize();
                        self.index.block(done.size, done.packed.len(), crc);
                        self.emit(&done.packed)?;
                    }
                }
                self.spare.push(done.packed);
            }
        }
        Ok(())
    }

    fn emit(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.gathered.len() + bytes.len() <= GATHER {
            self.gathered.extend_from_slice(bytes);
            return Ok(());
        }
        self.write_gathered()?;
        if bytes.len() < GATHER / 2 {
            self.gathered.extend_from_slice(bytes);
        } else {
            self.out.write_all(bytes)?;
            self.written += bytes.len() as u64;
        }
        Ok(())
    }

    fn write_gathered(&mut self) -> io::Result<()> {
        self.out.write_all(&self.gathered)?;
        self.written += self.gathered.len() as u64;
        self.gathered.clear();
        Ok(())
    }
}

impl<W: Write> Write for StreamWriter<W> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        if buf.is_empty() {
            return Ok(0);
        }
        let block = self.current.get_or_insert_with(|| self.pool.block());
        let room = block.room();
        let n = room.len().min(buf.len());
        room[..n].copy_from_slice(&buf[..n]);
        block.advance(n);
        if block.is_full() {
            self.close_current()?;
        }
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A part of the output, in its order.
#[derive(Debug)]
enum Piece {
    Compressed(Reply),
    Zeros { zero: &'static Zero, count: u64 },
}
