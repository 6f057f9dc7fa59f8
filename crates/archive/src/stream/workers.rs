//! The threads that compress blocks.

use std::fmt;
use std::io;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender, SyncSender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use super::PackOptions;
use crate::block::Block;
use crate::compression::{Compression, Encoder, Zero, ZeroBlocks};
use crate::patience::Patience;

/// A compressing thread ended by a panic, so the stream cannot be completed.
/// It is the inner error of the [`io::Error`] that the writer gives then.
#[derive(Debug, thiserror::Error)]
#[error("a compressing thread ended unexpectedly")]
pub struct WorkerDied;

/// A compressed block.
pub(super) struct Done {
    /// The compressed bytes, or nothing but a buffer to use again when `zeros` is given.
    pub(super) packed: Vec<u8>,
    pub(super) zeros: Option<&'static Zero>,
    /// Bytes that were compressed.
    pub(super) size: usize,
    pub(super) crc: crc32fast::Hasher,
}

/// Compresses blocks, all but those that are zeros.
struct BlockEncoder {
    encoder: Encoder,
    zeros: Option<&'static ZeroBlocks>,
}

impl BlockEncoder {
    /// `None` where nothing is compressed.
    fn new(options: &PackOptions) -> Option<BlockEncoder> {
        Some(BlockEncoder {
            encoder: Encoder::new(options.compression, options.level)?,
            zeros: ZeroBlocks::get(options.compression),
        })
    }

    /// Compresses a block into `buffer`.
    fn compress(&mut self, block: &Block, mut buffer: Vec<u8>) -> io::Result<Done> {
        let input = block.filled();
        if let Some(zero) = self.zeros.and_then(|zeros| zeros.matching(input)) {
            return Ok(Done {
                packed: buffer,
                zeros: Some(zero),
                size: input.len(),
                crc: zero.crc.clone(),
            });
        }
        self.encoder.encode(input, &mut buffer)?;
        let mut crc = crc32fast::Hasher::new();
        crc.update(input);
        Ok(Done {
            packed: buffer,
            zeros: None,
            size: input.len(),
            crc,
        })
    }
}

impl fmt::Debug for BlockEncoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BlockEncoder")
    }
}

/// A compressed block, or where it will come from.
pub(super) enum Reply {
    Now(io::Result<Done>),
    Later {
        /// For whoever cannot wait.
        block: Arc<Block>,
        work: Arc<Work>,
        receiver: Receiver<io::Result<Done>>,
    },
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reply")
    }
}

/// A block to compress and a buffer for it, until somebody takes them.
type Work = Mutex<Option<(Arc<Block>, Vec<u8>)>>;

fn take(work: &Work) -> Option<(Arc<Block>, Vec<u8>)> {
    work.lock().unwrap_or_else(PoisonError::into_inner).take()
}

struct Job {
    work: Arc<Work>,
    reply: SyncSender<io::Result<Done>>,
}

/// The compressing threads, or a compressor in their place.
pub(super) struct Workers {
    options: PackOptions,
    jobs: Option<Sender<Job>>,
    pub(super) threads: Vec<JoinHandle<()>>,
    /// Of the caller's thread: from the start where there are no others, or when it first helped.
    own: Option<BlockEncoder>,
    patience: Patience,
}

impl fmt::Debug for Workers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Workers")
    }
}

impl Workers {
    /// Starts them.
    pub(super) fn start(options: &PackOptions) -> Workers {
        let (jobs, queue) = mpsc::channel();
        let queue = Arc::new(Mutex::new(queue));
        let options = *options;
        let threads = match options.compression {
            Compression::None => 0,
            Compression::Gzip | Compression::Zstd => options.threads,
        };
        let mut started = Vec::new();
        for _ in 0..threads {
            let queue = Arc::clone(&queue);
            let thread = std::thread::Builder::new()
                .stack_size(256 * 1024)
                .spawn(move || {
                    (options.thread_start)(c"stillcore-pack");
                    work(&queue, &options);
                });
            // EAGAIN: a limit on processes or memory. Those that started are enough, even none.
            let Ok(thread) = thread else { break };
            started.push(thread);
        }
        Workers {
            options,
            jobs: Some(jobs),
            threads: started,
            own: None,
            patience: Patience::default(),
        }
    }

    /// Gives them a block.
    pub(super) fn submit(
        &mut self,
        block: Arc<Block>,
        buffer: Vec<u8>,
    ) -> Result<Reply, WorkerDied> {
        if self.threads.is_empty() {
            return Ok(Reply::Now(self.compress(&block, buffer)));
        }
        let (reply, receiver) = mpsc::sync_channel(1);
        let work = Arc::new(Mutex::new(Some((Arc::clone(&block), buffer))));
        let jobs = self.jobs.as_ref().ok_or(WorkerDied)?;
        jobs.send(Job {
            work: Arc::clone(&work),
            reply,
        })
        .map_err(|_| WorkerDied)?;
        Ok(Reply::Later {
            block,
            work,
            receiver,
        })
    }

    /// Waits for what becomes of it, and does it here where that takes too long.
    pub(super) fn wait(&mut self, reply: Reply) -> io::Result<Done> {
        let (block, work, receiver) = match reply {
            Reply::Now(done) => return done,
            Reply::Later {
                block,
                work,
                receiver,
            } => (block, work, receiver),
        };
        match receiver.recv_timeout(self.patience.wait()) {
            Ok(done) => {
                self.patience.kept();
                done
            }
            // The sender went without sending: its thread panicked.
            Err(RecvTimeoutError::Disconnected) => Err(io::Error::other(WorkerDied)),
            Err(RecvTimeoutError::Timeout) => {
                // Perhaps a thread has begun, and got no further. What it makes of it then is not needed.
                let buffer = take(&work).map_or_else(Vec::new, |(_, buffer)| buffer);
                let mut patience = std::mem::take(&mut self.patience);
                let done = patience.help(|| self.compress(&block, buffer));
                self.patience = patience;
                done
            }
        }
    }

    /// Compresses in this thread.
    fn compress(&mut self, block: &Block, buffer: Vec<u8>) -> io::Result<Done> {
        if self.own.is_none() {
            self.own = BlockEncoder::new(&self.options);
        }
        match &mut self.own {
            Some(encoder) => encoder.compress(block, buffer),
            None => Err(io::Error::other(WorkerDied)),
        }
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

fn work(queue: &Mutex<Receiver<Job>>, options: &PackOptions) {
    let Some(mut encoder) = BlockEncoder::new(options) else {
        return;
    };
    loop {
        let job = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(Job { work, reply }) = job else {
            return;
        };
        // The caller's thread was not patient enough.
        let Some((block, buffer)) = take(&work) else {
            continue;
        };
        let done = encoder.compress(&block, buffer);
        // The block's buffer must be free again before the reply lets the caller ask for one.
        drop(block);
        // Nobody waits when the writer was dropped.
        let _ = reply.send(done);
    }
}
