//! Looks after all captures every 50 ms, on a thread of our own, whatever the runner waits for.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::capture::Capture;
use super::runner::internal;
use super::{CHANGED, Queue, check_memory, queue};
use crate::error::Failure;
use crate::folder;
use crate::request::Progress;
use crate::sys;

/// How often the keeper looks.
const LOOK: Duration = Duration::from_millis(50);

/// How long the runner may take to give up a capture whose verdict has fallen. After that the caller is
/// told all the same: a write to a dead network disk cannot be interrupted.
const GRACE: Duration = Duration::from_secs(3);

pub(super) fn wake_keeper(queue: &mut Queue) -> io::Result<()> {
    if !queue.has_keeper {
        std::thread::Builder::new()
            .stack_size(256 << 10)
            .spawn(keep)?;
        queue.has_keeper = true;
    }
    Ok(())
}

pub(super) fn keep() {
    sys::name_thread(c"stillcore-keep");
    std::mem::forget(sys::SignalsBlocked::new());
    loop {
        let mut guard = queue();
        if let Some((capture, snapshot)) = guard.unsettled.pop_front() {
            drop(guard);
            capture
                .kills_before
                .store(capture.groups.kills(), Ordering::Relaxed);
            let settle = std::panic::AssertUnwindSafe(|| snapshot.settle(&mut look));
            let settled = std::panic::catch_unwind(settle).unwrap_or_else(|_| Err(internal()));
            capture.step("settled");
            let mut state = capture.state();
            state.settled = Some(settled);
            state.is_settled = true;
            if state.is_to_die {
                capture.copy.kill();
            }
            drop(state);
            capture.changed.notify_all();
            continue;
        }
        if guard.waiting.is_empty() && guard.running.is_none() {
            guard.has_keeper = false;
            return;
        }
        drop(CHANGED.wait_timeout(guard, LOOK));
        look();
    }
}

/// One look after all that lives.
pub(super) fn look() {
    let (running, waiting) = {
        let queue = queue();
        (queue.running.clone(), queue.waiting.clone())
    };
    // Those in line go first: if that is enough, the running one may still end well.
    let mut copies: Vec<_> = waiting
        .iter()
        .filter(|capture| capture.copy.is_alive())
        .collect();
    if copies.is_empty() {
        copies.extend(running.iter().filter(|capture| capture.copy.is_alive()));
    }
    if let Some(tight) = copies
        .first()
        .and_then(|capture| check_memory(&capture.groups).err())
    {
        for capture in copies {
            capture.condemn(tight.clone());
        }
    }
    for capture in running.iter().chain(&waiting) {
        if capture.started.elapsed() > capture.timeout {
            capture.condemn(timed_out("is not finished", capture.timeout, "timeout"));
        }
    }
    if let Some(capture) = &running {
        look_at_running(capture);
    }
    for capture in &waiting {
        clear_away(capture);
    }
}

pub(super) fn look_at_running(capture: &Capture) {
    let mut state = capture.state();
    if let Some((failure, since)) = &state.verdict {
        if since.elapsed() > GRACE {
            let failure = failure.clone();
            drop(state);
            capture.tell(Err(failure));
        }
        return;
    }
    let on_disk = capture.working.as_deref().map_or(0, folder::progress);
    let (written, total) = capture.monitor.written();
    let now = on_disk + written;
    if let Some(watch) = &capture.watch {
        watch(match total {
            0 => Progress {
                phase: "dumping",
                bytes: on_disk / 2,
                total: capture.resident,
            },
            total => Progress {
                phase: "writing",
                bytes: written.min(total),
                total,
            },
        });
    }
    let Some((last, grew)) = &mut state.progress else {
        return;
    };
    if now != *last {
        (*last, *grew) = (now, Instant::now());
    } else if grew.elapsed() > capture.stall_timeout {
        drop(state);
        capture.condemn(timed_out(
            "made no progress",
            capture.stall_timeout,
            "stallTimeout",
        ));
    }
}

/// Ends a capture in line whose verdict has fallen, without waiting for its turn.
pub(super) fn clear_away(capture: &Arc<Capture>) {
    let verdict = {
        let state = capture.state();
        let failed = match &state.settled {
            Some(Err(failure)) => Some(failure.clone()),
            _ => None,
        };
        state
            .verdict
            .as_ref()
            .map(|(failure, _)| failure.clone())
            .or(failed)
    };
    let Some(failure) = verdict else { return };
    let mut queue = queue();
    let before = queue.waiting.len();
    queue.waiting.retain(|waiting| waiting.id != capture.id);
    let taken = queue.waiting.len() < before;
    drop(queue);
    if taken {
        capture.clear();
        capture.step("failed");
        CHANGED.notify_all();
        capture.tell(Err(failure));
    }
}

pub(super) fn timed_out(what: &str, limit: Duration, option: &str) -> Failure {
    Failure::new(
        "ERR_CORE_TIMEOUT",
        format!(
            "The capture {what} after {} ms and was given up; nothing is left on disk. Is the disk slow or full, \
             or the processor busy? The option `{option}` sets the limit.",
            limit.as_millis()
        ),
    )
}
