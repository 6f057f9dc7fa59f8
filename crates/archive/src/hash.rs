//! SHA-256 in a thread of its own, beside the compression of the same blocks.

use std::ffi::CStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::thread::JoinHandle;
use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::block::Block;
use crate::compression::ZERO_PAGE;
use crate::stream::WorkerDied;

/// Messages that may wait for the thread; each holds at most one block.
const QUEUE: usize = 4;

/// A finished SHA-256.
pub(crate) type Sha = [u8; 32];

enum Message {
    Bytes(Arc<Block>),
    Zeros(u64),
    End,
}

/// Hashes one file after the other; their digests come out in the same order.
#[derive(Debug)]
pub(crate) struct HashThread {
    messages: Option<SyncSender<Message>>,
    digests: Receiver<Sha>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    /// Without a thread: the state, and the way to `digests`.
    inline: Option<(Sha256, mpsc::Sender<Sha>)>,
}

impl HashThread {
    /// Starts the thread. Where none can be started, the caller's thread hashes.
    pub(crate) fn start(thread_start: fn(&'static CStr)) -> HashThread {
        let (messages, queue) = mpsc::sync_channel(QUEUE);
        let (digest, digests) = mpsc::channel();
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, thread_digest) = (Arc::clone(&stop), digest.clone());
        let thread = std::thread::Builder::new()
            .stack_size(256 * 1024)
            .spawn(move || {
                thread_start(c"stillcore-hash");
                let mut sha = Sha256::new();
                for message in queue {
                    apply(&mut sha, message, &thread_digest, &stopped);
                }
            });
        match thread {
            Ok(thread) => HashThread {
                messages: Some(messages),
                digests,
                stop,
                thread: Some(thread),
                inline: None,
            },
            Err(_) => HashThread {
                messages: None,
                digests,
                stop,
                thread: None,
                inline: Some((Sha256::new(), digest)),
            },
        }
    }

    /// The next bytes of the file.
    pub(crate) fn bytes(&mut self, block: Arc<Block>) -> Result<(), WorkerDied> {
        self.send(Message::Bytes(block))
    }

    /// The next `n` bytes of the file are zeros.
    pub(crate) fn zeros(&mut self, n: u64) -> Result<(), WorkerDied> {
        self.send(Message::Zeros(n))
    }

    /// The file is complete: its digest will be the next that [`HashThread::digest`] gives.
    pub(crate) fn end(&mut self) -> Result<(), WorkerDied> {
        self.send(Message::End)
    }

    /// The digest of the next complete file, or `None` when it is not there within `patience`.
    pub(crate) fn digest(&mut self, patience: Duration) -> Result<Option<Sha>, WorkerDied> {
        match self.digests.recv_timeout(patience) {
            Ok(sha) => Ok(Some(sha)),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => Err(WorkerDied),
        }
    }

    fn send(&mut self, message: Message) -> Result<(), WorkerDied> {
        match (&mut self.inline, &self.messages) {
            (Some((sha, digest)), _) => {
                apply(sha, message, digest, &self.stop);
                Ok(())
            }
            (None, Some(messages)) => messages.send(message).map_err(|_| WorkerDied),
            (None, None) => Err(WorkerDied),
        }
    }
}

impl Drop for HashThread {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.messages = None;
        if let Some(thread) = self.thread.take() {
            // A panic has been reported as WorkerDied.
            let _ = thread.join();
        }
    }
}

fn apply(sha: &mut Sha256, message: Message, digest: &mpsc::Sender<Sha>, stop: &AtomicBool) {
    match message {
        Message::Bytes(block) => sha.update(block.filled()),
        Message::Zeros(mut n) => {
            while n > 0 && !stop.load(Ordering::Relaxed) {
                let now = n.min(ZERO_PAGE.len() as u64);
                sha.update(&ZERO_PAGE[..now as usize]);
                n -= now;
            }
        }
        Message::End => {
            // Nobody waits when the collection was stopped.
            let _ = digest.send(sha.finalize_reset().into());
        }
    }
}
