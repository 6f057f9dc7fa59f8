//! Takes captures to their end, on a thread of libuv's pool or one of our own.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use super::capture::Capture;
use super::{CHANGED, queue};
use crate::dump::Dump;
use crate::error::Failure;
use crate::folder;
use crate::live::Live;
use crate::request::{Content, Made, Method, RawCore, Threads};
use crate::sys;
use crate::threads;

/// Takes captures to their end, one after another, until none is left.
pub fn drain() {
    let _blocked = sys::SignalsBlocked::new();
    while let Some(capture) = next() {
        // A panic in here must not take the queue with it.
        let ran = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run(&capture)));
        let result = ran.unwrap_or_else(|_| Err(internal()));
        let result = result.map_err(|failure| {
            let verdict = capture.state().verdict.take();
            capture.clear();
            verdict.map_or(failure, |(failure, _)| failure)
        });
        capture.step(if result.is_ok() {
            "published"
        } else {
            "failed"
        });
        // Its place is free before its caller knows: a caller may begin the next one at once.
        queue().running = None;
        CHANGED.notify_all();
        capture.tell(result);
    }
}

pub(super) fn next() -> Option<Arc<Capture>> {
    let mut queue = queue();
    let next = queue.waiting.pop_front();
    queue.running = next.clone();
    queue.has_runner = next.is_some();
    next
}

pub(super) fn run(capture: &Capture) -> Result<Made, Failure> {
    if let Some(directory) = &capture.directory {
        folder::sweep(directory);
    }
    let (settled, finish, describe) = {
        let mut state = capture.state();
        while state.settled.is_none() && state.verdict.is_none() {
            state = capture
                .changed
                .wait(state)
                .unwrap_or_else(|poison| poison.into_inner());
        }
        if let Some((failure, _)) = &state.verdict {
            return Err(failure.clone());
        }
        state.progress = Some((0, Instant::now()));
        (
            state.settled.take(),
            state.finish.take(),
            state.describe.take(),
        )
    };
    let (Some(settled), Some(finish), Some(describe)) = (settled, finish, describe) else {
        return Err(given_up());
    };
    let settled = settled?;
    let names: Vec<_> = settled
        .threads
        .iter()
        .map(|thread| (thread.tid, threads::name(thread.tid).unwrap_or_default()))
        .collect();
    let made_by = describe(capture.method, capture.title.time.to_rfc3339(), &names);
    let content = match capture.method {
        Method::Direct => {
            let live = Live::plan(capture.copy.clone(), &settled, &made_by, &capture.wanted)?;
            capture.step("laid out");
            Content::Live(live)
        }
        Method::Kernel => Content::Dump(Dump::start(
            capture.copy.clone(),
            settled.files,
            capture.working.clone().ok_or_else(given_up)?,
            capture.groups.clone(),
            capture.kills_before.load(Ordering::Relaxed),
            &capture.monitor,
        )?),
    };
    let output = capture.state().output.take().ok_or_else(given_up)?;
    finish(RawCore {
        title: capture.title.clone(),
        passed_by: capture.passed_by.clone(),
        content,
        output,
        maps: settled.maps,
        heap: settled.heap,
        threads: Threads {
            list: settled.threads,
            how: settled.how,
            all: settled.all_threads,
            made_by,
        },
        monitor: &capture.monitor,
    })
}

pub(super) fn given_up() -> Failure {
    Failure::killed("was given up")
}

pub(super) fn internal() -> Failure {
    Failure::new(
        "ERR_CORE_INTERNAL",
        "stillcore itself failed in this capture. Nothing is left on disk and the service is not touched; please \
         report it.",
    )
}
