//! One capture, from its fork to its end.

use std::path::PathBuf;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use crate::cgroup::Groups;
use crate::copy::Copy;
use crate::error::Failure;
use crate::folder::Title;
use crate::image::Wanted;
use crate::monitor::Monitor;
use crate::request::{Describe, Done, Finish, Made, Method, Outcome, Output, Watch};
use crate::snapshot::Settled;

pub(super) struct Capture {
    pub(super) id: u64,
    pub(super) owner: u64,
    pub(super) directory: Option<PathBuf>,
    /// The folder that the result is made in; it may be gone by now.
    pub(super) working: Option<PathBuf>,
    pub(super) started: Instant,
    pub(super) timeout: Duration,
    pub(super) stall_timeout: Duration,
    pub(super) method: Method,
    pub(super) wanted: Wanted,
    pub(super) passed_by: Option<Failure>,
    pub(super) watch: Option<Watch>,
    pub(super) resident: u64,
    pub(super) title: Title,
    pub(super) groups: Groups,
    /// How often the kernel had killed in the group when the copy was settled.
    pub(super) kills_before: AtomicU64,
    pub(super) copy: Arc<Copy>,
    pub(super) monitor: Monitor,
    pub(super) done: Mutex<Option<Done>>,
    pub(super) state: Mutex<State>,
    pub(super) changed: Condvar,
}

/// What changes while a capture lives.
pub(super) struct State {
    /// Why it ends early, and since when that is known.
    pub(super) verdict: Option<(Failure, Instant)>,
    pub(super) settled: Option<Result<Settled, Failure>>,
    /// The marks are back, or cannot be put back.
    pub(super) is_settled: bool,
    /// The copy is to be killed when they are.
    pub(super) is_to_die: bool,
    pub(super) output: Option<Output>,
    pub(super) finish: Option<Finish>,
    pub(super) describe: Option<Describe>,
    /// Progress when last looked at, and when it last grew; from the time it runs.
    pub(super) progress: Option<(u64, Instant)>,
}

impl Capture {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .unwrap_or_else(|poison| poison.into_inner())
    }

    pub(super) fn step(&self, name: &'static str) {
        self.monitor.step(name);
    }

    /// Lets it end early. The first verdict holds.
    pub(super) fn condemn(&self, failure: Failure) {
        let mut state = self.state();
        if state.verdict.is_none() {
            if failure.code == "ERR_CORE_MEMORY" {
                // There is no time to lose; a mark perhaps.
                self.copy.kill();
            }
            state.verdict = Some((failure, Instant::now()));
            self.monitor.stop();
            self.kill(&mut state);
            self.changed.notify_all();
        }
    }

    /// Kills the copy, as soon as the marks are back: without a look at the copy nobody knows for sure what had one.
    pub(super) fn kill(&self, state: &mut State) {
        if state.is_settled {
            self.copy.kill();
        } else {
            state.is_to_die = true;
        }
    }

    /// Tells the end, unless it has been told.
    pub(super) fn tell(&self, result: Result<Made, Failure>) {
        let done = self
            .done
            .lock()
            .unwrap_or_else(|poison| poison.into_inner())
            .take();
        if let Some(done) = done {
            done(Outcome {
                result,
                steps: self.monitor.steps(),
            });
        }
    }

    /// Everything that it left, in memory and on disk, goes.
    pub(super) fn clear(&self) {
        let (output, finish) = {
            let mut state = self.state();
            self.kill(&mut state);
            (state.output.take(), state.finish.take())
        };
        drop(output);
        drop(finish);
    }
}
