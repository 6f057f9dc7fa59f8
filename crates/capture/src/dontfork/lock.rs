//! Who may change marks: one capture at a time.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex};
use std::time::Duration;

/// Held from before the marks are listed until they are back: a listing made in between would see none,
/// and a capture from another thread would take that for a process without marks. It is taken on the
/// JavaScript thread and given back by the keeper, hence no `MutexGuard`.
static MARKS: (Mutex<bool>, Condvar) = (Mutex::new(false), Condvar::new());

/// Counts how often that lock was taken.
static GENERATION: AtomicU64 = AtomicU64::new(0);

/// The right to change marks. Dropping it lets the next capture go on.
pub(crate) struct MarksLock(());

impl MarksLock {
    /// None when another capture has not put its marks back within `patience`.
    pub(crate) fn acquire(patience: Duration) -> Option<MarksLock> {
        let (held, freed) = (&MARKS.0, &MARKS.1);
        let guard = held.lock().unwrap_or_else(|poison| poison.into_inner());
        let (mut guard, timeout) = freed
            .wait_timeout_while(guard, patience, |held| *held)
            .unwrap_or_else(|poison| poison.into_inner());
        if timeout.timed_out() {
            return None;
        }
        *guard = true;
        GENERATION.fetch_add(1, Ordering::SeqCst);
        Some(MarksLock(()))
    }
}

impl Drop for MarksLock {
    fn drop(&mut self) {
        *MARKS.0.lock().unwrap_or_else(|poison| poison.into_inner()) = false;
        MARKS.1.notify_one();
    }
}

/// A number that stays the same as long as no capture takes marks off; None while one has them off.
/// For whoever lists marks without the lock, which would keep a capture waiting.
pub(crate) fn undisturbed() -> Option<u64> {
    let held = MARKS.0.lock().unwrap_or_else(|poison| poison.into_inner());
    (!*held).then(|| GENERATION.load(Ordering::SeqCst))
}
