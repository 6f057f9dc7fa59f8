//! How far a capture is, for whoever works on it and whoever looks after it; and the word to stop it.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use crate::brake::Brake;

/// Progress of a capture, and the word to stop it.
pub struct Monitor {
    started: Instant,
    steps: Mutex<Vec<(&'static str, f64)>>,
    bytes: AtomicU64,
    total: AtomicU64,
    stopped: AtomicBool,
    brake: Mutex<Option<Brake>>,
}

impl Monitor {
    /// Of a capture that was asked for at that time.
    pub(crate) fn since(started: Instant) -> Monitor {
        Monitor {
            started,
            steps: Mutex::default(),
            bytes: AtomicU64::new(0),
            total: AtomicU64::new(0),
            stopped: AtomicBool::new(false),
            brake: Mutex::default(),
        }
    }

    /// Says how many bytes there will be, once that is known.
    pub fn expect(&self, total: u64) {
        self.total.store(total, Ordering::Relaxed);
    }

    /// Notes `bytes` more of progress. False: stop as soon as possible, the verdict has fallen. Takes a rest first
    /// where the service lacks processor time for it.
    pub fn advance(&self, bytes: u64) -> bool {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        if let Ok(mut brake) = self.brake.try_lock() {
            let brake = brake.get_or_insert_with(Brake::of_this_process);
            let rest = brake.rest(Instant::now());
            if !rest.is_zero() && !self.is_stopped() {
                // Not a sleep: no thread of Node's makes that call.
                std::thread::park_timeout(rest);
            }
        }
        !self.is_stopped()
    }

    /// Bytes taken into the result, and how many there will be: 0 as long as nobody knows.
    pub(crate) fn written(&self) -> (u64, u64) {
        let of = |number: &AtomicU64| number.load(Ordering::Relaxed);
        (of(&self.bytes), of(&self.total))
    }

    pub(crate) fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    /// Notes that a step is over.
    pub(crate) fn step(&self, name: &'static str) {
        let at = self.started.elapsed().as_secs_f64() * 1e3;
        self.steps
            .lock()
            .unwrap_or_else(|poison| poison.into_inner())
            .push((name, at));
    }

    /// The steps that are over, each with the milliseconds from the call to its end.
    pub(crate) fn steps(&self) -> Vec<(&'static str, f64)> {
        self.steps
            .lock()
            .unwrap_or_else(|poison| poison.into_inner())
            .clone()
    }
}
