//! SHA-256 in a thread of its own, beside the compression of the same blocks.

use std::collections::VecDeque;
use std::ffi::CStr;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::block::Block;
use crate::compression::ZERO_PAGE;
use crate::patience::Patience;
use crate::stream::WorkerDied;

/// Messages that may wait for the thread; each holds at most one block.
const QUEUE: usize = 4;

/// So many zeros are hashed at a time: whoever else could go on need not wait for more.
const ZEROS: u64 = 4 << 20;

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
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    patience: Patience,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Message>,
    sha: Sha256,
    /// Somebody has taken `sha` and a message, and hashes.
    busy: bool,
    digests: VecDeque<Sha>,
    /// The thread shall end.
    over: bool,
    /// It ended by a panic.
    died: bool,
}

impl HashThread {
    /// Starts the thread. Where none can be started, the caller's thread hashes.
    pub(crate) fn start(thread_start: fn(&'static CStr)) -> HashThread {
        let shared = Arc::new(Shared::default());
        let own = Watched(Arc::clone(&shared));
        let thread = std::thread::Builder::new()
            .stack_size(256 * 1024)
            .spawn(move || {
                thread_start(c"stillcore-hash");
                own.0.work();
            });
        HashThread {
            shared,
            thread: thread.ok(),
            patience: Patience::default(),
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
        self.wait(patience, |state| !state.digests.is_empty())?;
        Ok(self.shared.lock().digests.pop_front())
    }

    fn send(&mut self, message: Message) -> Result<(), WorkerDied> {
        let has_room = |state: &State| state.queue.len() < QUEUE;
        while !self.wait(Duration::MAX, has_room)? {}
        self.shared.lock().queue.push_back(message);
        self.shared.changed.notify_all();
        if self.thread.is_none() {
            while self.shared.do_one() {}
        }
        Ok(())
    }

    /// Waits until something is so, at most for that time. Helps where the thread does not get on, and gives false then.
    fn wait(
        &mut self,
        at_most: Duration,
        is_so: impl Fn(&State) -> bool,
    ) -> Result<bool, WorkerDied> {
        let shared = &self.shared;
        let at_most = at_most.min(self.patience.wait());
        let go_on = |state: &mut State| !is_so(state) && !state.died;
        let waited = shared
            .changed
            .wait_timeout_while(shared.lock(), at_most, go_on);
        let (state, waited) = waited.unwrap_or_else(PoisonError::into_inner);
        if state.died {
            return Err(WorkerDied);
        }
        drop(state);
        if waited.timed_out() {
            self.patience.help(|| shared.do_one());
        } else {
            self.patience.kept();
        }
        Ok(!waited.timed_out())
    }
}

impl Drop for HashThread {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.over = true;
        state.queue.clear();
        drop(state);
        self.shared.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            // A panic has been reported as WorkerDied.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The life of the thread.
    fn work(&self) {
        loop {
            let state = self.lock();
            let state = self
                .changed
                .wait_while(state, |state| {
                    !state.over && (state.busy || state.queue.is_empty())
                })
                .unwrap_or_else(PoisonError::into_inner);
            if state.over {
                return;
            }
            drop(state);
            self.do_one();
        }
    }

    /// Hashes one message, or a part of one; false where there is none, or another thread is at it.
    fn do_one(&self) -> bool {
        let mut state = self.lock();
        if state.busy {
            return false;
        }
        let Some(message) = state.queue.pop_front() else {
            return false;
        };
        state.busy = true;
        let mut sha = std::mem::take(&mut state.sha);
        drop(state);
        let mut rest = None;
        let mut digest: Option<Sha> = None;
        match message {
            Message::Bytes(block) => sha.update(block.filled()),
            Message::Zeros(n) => {
                let mut now = n.min(ZEROS);
                rest = (n > now).then(|| Message::Zeros(n - now));
                while now > 0 {
                    let page = now.min(ZERO_PAGE.len() as u64);
                    sha.update(&ZERO_PAGE[..page as usize]);
                    now -= page;
                }
            }
            Message::End => digest = Some(sha.finalize_reset().into()),
        }
        let mut state = self.lock();
        state.sha = sha;
        state.busy = false;
        state.digests.extend(digest);
        if let Some(rest) = rest.filter(|_| !state.over) {
            state.queue.push_front(rest);
        }
        drop(state);
        self.changed.notify_all();
        true
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Shared")
    }
}

/// Tells those who wait when the thread panics.
struct Watched(Arc<Shared>);

impl Drop for Watched {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.lock().died = true;
            self.0.changed.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::Pool;

    fn block(pool: &Pool, byte: u8) -> Arc<Block> {
        let mut block = pool.block();
        block.room()[..1000].fill(byte);
        block.advance(1000);
        Arc::new(block)
    }

    #[test]
    fn a_thread_that_gets_no_processor_does_not_hold_it_up() {
        static STARVED: Mutex<()> = Mutex::new(());
        let starved = STARVED.lock().unwrap();
        let mut hash = HashThread::start(|_| drop(STARVED.lock().unwrap()));
        let pool = Pool::default();
        for byte in 0..8 {
            hash.bytes(block(&pool, byte)).unwrap();
        }
        hash.zeros(3 * ZEROS + 5).unwrap();
        hash.end().unwrap();
        hash.end().unwrap();
        let mut next = || loop {
            if let Some(sha) = hash.digest(Duration::from_millis(1)).unwrap() {
                break sha;
            }
        };
        let (first, second) = (next(), next());
        drop(starved);
        let mut expected = Sha256::new();
        for byte in 0..8 {
            expected.update([byte; 1000]);
        }
        expected.update(vec![0; 3 * ZEROS as usize + 5]);
        assert_eq!(first, Sha::from(expected.finalize()));
        assert_eq!(second, Sha::from(Sha256::digest([])));
    }

    #[test]
    fn a_panic_in_the_thread_is_an_error() {
        let mut hash = HashThread::start(|_| panic!("on purpose"));
        let began = std::time::Instant::now();
        while hash.digest(Duration::from_millis(50)).is_ok() {
            assert!(began.elapsed() < Duration::from_secs(60));
        }
    }
}
