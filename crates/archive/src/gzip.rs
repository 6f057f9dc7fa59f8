//! A gzip writer that compresses in several threads and still writes a single gzip member.
//!
//! Many readers of gzip files (Python's `tarfile` in stream mode among them) stop after the first member. So the
//! input is cut into blocks, each compressed on its own and closed by a sync flush: that ends it on a byte boundary,
//! and the compressed blocks simply follow each other in one deflate stream. Their checksums are combined.
//!
//! Runs of zeros are not compressed at all: [`GzipWriter::zeros`] copies deflate blocks prepared once.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::mpsc::{self, Receiver, Sender, SyncSender};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::JoinHandle;

use flate2::{Compress, Compression, FlushCompress, Status};

use crate::block::{Block, Pool};

/// Runs of zeros shorter than this are compressed like other bytes: to cut a block for them would cost more.
pub const MIN_ZEROS: u64 = 64 * 1024;

/// Small pieces are gathered up to this many bytes before they are written out.
const GATHER: usize = 64 * 1024;

/// Most pieces of output that wait for an earlier one; nearly all of them are runs of zeros.
const MAX_PIECES: usize = 256;

/// Gzip header: deflate, no flags, no time, fastest compression, Unix.
const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 4, 3];

/// An empty last deflate block.
const END: [u8; 2] = [3, 0];

/// How a [`GzipWriter`] works.
#[derive(Debug, Clone, Copy)]
pub struct GzipOptions {
    /// Number of compressing threads; 0 compresses in the caller's.
    pub threads: usize,
    /// 1 (fast) to 9 (small).
    pub level: u32,
    /// Called at the start of each thread, to lower its priority for instance.
    pub thread_start: fn(),
}

impl Default for GzipOptions {
    fn default() -> GzipOptions {
        GzipOptions {
            threads: crate::default_threads(),
            level: 1,
            thread_start: || {},
        }
    }
}

/// A compressing thread ended by a panic, so the stream cannot be completed.
/// It is the inner error of the [`io::Error`] that the writer gives then.
#[derive(Debug, thiserror::Error)]
#[error("a compressing thread ended unexpectedly")]
pub struct WorkerDied;

/// Compresses what is written to it as one gzip member, in several threads, and writes that to `W`.
///
/// The output is only complete after [`GzipWriter::finish`]. Dropping the writer earlier ends its threads.
/// `flush` does not cut the stream: it does nothing but is there for [`Write`].
///
/// Memory is bounded: `threads + 4` blocks of [`BLOCK_SIZE`](crate::BLOCK_SIZE) are under way at most, with their
/// compressed forms.
#[derive(Debug)]
pub struct GzipWriter<W: Write> {
    out: W,
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
    input: u64,
    failed: bool,
}

impl<W: Write> GzipWriter<W> {
    /// Starts the threads; nothing is written yet. Where no thread can be started, the caller's thread compresses.
    pub fn new(out: W, options: &GzipOptions) -> GzipWriter<W> {
        let workers = Workers::start(options);
        let threads = workers.threads.len();
        let mut gathered = Vec::with_capacity(GATHER);
        gathered.extend_from_slice(&HEADER);
        GzipWriter {
            out,
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
            input: 0,
            failed: false,
        }
    }

    /// An empty block, to be filled and given to [`GzipWriter::write_block`].
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

    /// Appends `n` zero bytes. From [`MIN_ZEROS`] on this compresses nothing: it costs about a thousandth of `n` in
    /// output and next to no time.
    ///
    /// # Errors
    /// Those of the output, and [`WorkerDied`].
    pub fn zeros(&mut self, n: u64) -> io::Result<()> {
        let mut left = n;
        if left >= MIN_ZEROS {
            self.close_current()?;
            let zeros = ZeroBlocks::get();
            for (size, zero) in zeros.sizes() {
                let count = left / size;
                if count > 0 {
                    left %= size;
                    self.input = self.input.wrapping_add(size.wrapping_mul(count));
                    self.append(Piece::Zeros { zero, count })?;
                }
            }
        }
        while left > 0 {
            let now = left.min(SMALL_ZEROS.len() as u64);
            self.write_all(&SMALL_ZEROS[..now as usize])?;
            left -= now;
        }
        Ok(())
    }

    /// Compresses what is left, writes the end of the stream and gives the output back.
    ///
    /// # Errors
    /// Those of the output, and [`WorkerDied`]; also when an earlier call failed.
    pub fn finish(self) -> io::Result<W> {
        self.finish_counted().map(|(out, _)| out)
    }

    /// As [`GzipWriter::finish`], with the number of bytes written in all.
    pub(crate) fn finish_counted(mut self) -> io::Result<(W, u64)> {
        self.close_current()?;
        while !self.under_way.is_empty() {
            self.drain_one()?;
        }
        self.check_sound()?;
        let crc = self.crc.clone().finalize();
        let mut end = [0; 10];
        end[..2].copy_from_slice(&END);
        end[2..6].copy_from_slice(&crc.to_le_bytes());
        end[6..].copy_from_slice(&(self.input as u32).to_le_bytes());
        self.emit(&end)?;
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
            return Err(io::Error::other(
                "an earlier write of this gzip stream failed",
            ));
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
                for _ in 0..count {
                    self.crc.combine(&zero.crc);
                    self.emit(&zero.deflated)?;
                }
            }
            Piece::Compressed(reply) => {
                self.blocks -= 1;
                let done = reply.wait()?;
                self.crc.combine(&done.crc);
                match done.zeros {
                    Some(zero) => self.emit(&zero.deflated)?,
                    None => self.emit(&done.deflated)?,
                }
                self.spare.push(done.deflated);
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

impl<W: Write> Write for GzipWriter<W> {
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

/// Zeros for runs too short for a prepared block.
static SMALL_ZEROS: [u8; 4096] = [0; 4096];

/// A part of the output, in its order.
#[derive(Debug)]
enum Piece {
    Compressed(Reply),
    Zeros { zero: &'static Zero, count: u64 },
}

/// A run of zeros, compressed once and for all.
#[derive(Debug)]
struct Zero {
    deflated: Vec<u8>,
    crc: crc32fast::Hasher,
}

/// Prepared runs of zeros: 4 KiB (a page), 8, 16 ... 1 MiB.
struct ZeroBlocks(Vec<Zero>);

impl ZeroBlocks {
    const SMALLEST: u64 = 4096;
    const COUNT: u32 = 9;

    fn get() -> &'static ZeroBlocks {
        static BLOCKS: OnceLock<ZeroBlocks> = OnceLock::new();
        BLOCKS.get_or_init(|| {
            let zeros = vec![0; (Self::SMALLEST << (Self::COUNT - 1)) as usize];
            let mut deflater = Deflater::new(9);
            let prepare = |power| {
                let run = &zeros[..(Self::SMALLEST << power) as usize];
                let mut deflated = Vec::new();
                deflater.deflate(run, &mut deflated);
                let mut crc = crc32fast::Hasher::new();
                crc.update(run);
                Zero { deflated, crc }
            };
            ZeroBlocks((0..Self::COUNT).map(prepare).collect())
        })
    }

    /// The runs with their sizes in bytes, the largest first.
    fn sizes(&'static self) -> impl Iterator<Item = (u64, &'static Zero)> {
        self.0
            .iter()
            .enumerate()
            .rev()
            .map(|(power, zero)| (Self::SMALLEST << power, zero))
    }

    /// The run of exactly this size, if `bytes` are all zeros and there is one.
    fn matching(&'static self, bytes: &[u8]) -> Option<&'static Zero> {
        let (_, zero) = self.sizes().find(|(size, _)| *size == bytes.len() as u64)?;
        // Chunks, because comparing them is done with wide instructions, and the first one mostly differs.
        let all = bytes
            .chunks(SMALL_ZEROS.len())
            .all(|chunk| *chunk == SMALL_ZEROS[..chunk.len()]);
        all.then_some(zero)
    }
}

/// Makes pieces of one raw deflate stream that do not refer to each other.
#[derive(Debug)]
struct Deflater(Compress);

impl Deflater {
    fn new(level: u32) -> Deflater {
        Deflater(Compress::new(Compression::new(level.clamp(1, 9)), false))
    }

    /// Replaces `out` by the compressed form of `input`, ended on a byte boundary, and open for more to follow.
    fn deflate(&mut self, input: &[u8], out: &mut Vec<u8>) {
        self.0.reset();
        out.clear();
        out.reserve(input.len() / 4 + 1024);
        loop {
            let from = self.0.total_in() as usize;
            let room = out.capacity() - out.len();
            let status = self
                .0
                .compress_vec(&input[from..], out, FlushCompress::Sync);
            // Room left in the output means that the flush is complete; without it there may be more to come.
            let complete = out.len() < out.capacity() && self.0.total_in() as usize == input.len();
            match status {
                Ok(Status::Ok) if complete => return,
                // No progress although there was room: the flush was already complete.
                Ok(Status::BufError) if room > 0 && complete => return,
                Ok(_) => out.reserve(input.len() / 4 + 1024),
                // Deflate has no errors but misuse of its own interface.
                Err(_) => unreachable!("raw deflate reported an error"),
            }
        }
    }
}

/// A compressed block.
struct Done {
    /// The compressed bytes, or nothing but a buffer to use again when `zeros` is given.
    deflated: Vec<u8>,
    zeros: Option<&'static Zero>,
    crc: crc32fast::Hasher,
}

/// Compresses a block into `buffer`.
fn compress(deflater: &mut Deflater, block: &Block, mut buffer: Vec<u8>) -> Done {
    let input = block.filled();
    match ZeroBlocks::get().matching(input) {
        Some(zero) => Done {
            deflated: buffer,
            zeros: Some(zero),
            crc: zero.crc.clone(),
        },
        None => {
            deflater.deflate(input, &mut buffer);
            let mut crc = crc32fast::Hasher::new();
            crc.update(input);
            Done {
                deflated: buffer,
                zeros: None,
                crc,
            }
        }
    }
}

/// A compressed block, or where it will come from.
enum Reply {
    Now(Done),
    Later(Receiver<Done>),
}

impl Reply {
    fn wait(self) -> io::Result<Done> {
        match self {
            Reply::Now(done) => Ok(done),
            // The sender went without sending: its thread panicked.
            Reply::Later(receiver) => receiver.recv().map_err(|_| io::Error::other(WorkerDied)),
        }
    }
}

impl std::fmt::Debug for Reply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Reply")
    }
}

struct Job {
    block: Arc<Block>,
    buffer: Vec<u8>,
    reply: SyncSender<Done>,
}

/// The compressing threads, or a compressor in their place.
#[derive(Debug)]
struct Workers {
    jobs: Option<Sender<Job>>,
    threads: Vec<JoinHandle<()>>,
    inline: Option<Deflater>,
}

impl Workers {
    fn start(options: &GzipOptions) -> Workers {
        let (jobs, queue) = mpsc::channel();
        let queue = Arc::new(Mutex::new(queue));
        let GzipOptions {
            threads,
            level,
            thread_start,
        } = *options;
        let mut started = Vec::new();
        for _ in 0..threads {
            let queue = Arc::clone(&queue);
            let thread = std::thread::Builder::new()
                .name("stillcore-gzip".to_owned())
                .stack_size(256 * 1024)
                .spawn(move || {
                    thread_start();
                    work(&queue, level);
                });
            // EAGAIN: a limit on processes or memory. Those that started are enough, even none.
            let Ok(thread) = thread else { break };
            started.push(thread);
        }
        let inline = started.is_empty().then(|| Deflater::new(level));
        Workers {
            jobs: Some(jobs),
            threads: started,
            inline,
        }
    }

    fn submit(&mut self, block: Arc<Block>, buffer: Vec<u8>) -> Result<Reply, WorkerDied> {
        if let Some(deflater) = &mut self.inline {
            return Ok(Reply::Now(compress(deflater, &block, buffer)));
        }
        let (reply, result) = mpsc::sync_channel(1);
        let jobs = self.jobs.as_ref().ok_or(WorkerDied)?;
        jobs.send(Job {
            block,
            buffer,
            reply,
        })
        .map_err(|_| WorkerDied)?;
        Ok(Reply::Later(result))
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        // Without a sender the queue ends, and with it the threads, after the few blocks that wait in it.
        self.jobs = None;
        for thread in self.threads.drain(..) {
            // A panic has been reported by the block that it left without a reply.
            let _ = thread.join();
        }
    }
}

fn work(queue: &Mutex<Receiver<Job>>, level: u32) {
    let mut deflater = Deflater::new(level);
    loop {
        let job = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(Job {
            block,
            buffer,
            reply,
        }) = job
        else {
            return;
        };
        let done = compress(&mut deflater, &block, buffer);
        // The block's buffer must be free again before the reply lets the caller ask for one.
        drop(block);
        // Nobody waits when the writer was dropped.
        let _ = reply.send(done);
    }
}
