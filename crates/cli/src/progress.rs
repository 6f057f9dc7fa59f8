//! A progress bar for long work: on a terminal, after a moment, and gone when the work is done.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Work that is done before that shows no bar.
const MOMENT: Duration = Duration::from_millis(400);

/// Shows how far work has come. It goes with the last clone.
#[derive(Clone)]
pub struct Bar(Arc<Mutex<State>>);

struct State {
    what: &'static str,
    began: Instant,
    bar: Option<ProgressBar>,
}

impl Bar {
    /// For work that can be called so: `unpacking`.
    pub fn new(what: &'static str) -> Bar {
        Bar(Arc::new(Mutex::new(State {
            what,
            began: Instant::now(),
            bar: None,
        })))
    }

    /// `done` of `total` bytes; of an unknown number.
    pub fn set(&self, done: u64, total: Option<u64>) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.bar.is_none() {
            if state.began.elapsed() < MOMENT {
                return;
            }
            // Nothing is drawn where stderr is no terminal.
            let bar = ProgressBar::with_draw_target(total, ProgressDrawTarget::stderr());
            let style = match total {
                Some(_) => "{msg} [{wide_bar}] {bytes}/{total_bytes}, {bytes_per_sec}, {eta} left",
                None => "{msg} {spinner} {bytes}, {bytes_per_sec}",
            };
            if let Ok(style) = ProgressStyle::with_template(style) {
                bar.set_style(style.progress_chars("=> "));
            }
            bar.set_message(state.what);
            state.bar = Some(bar);
        }
        if let Some(bar) = &state.bar {
            bar.set_position(done);
        }
    }
}

impl Drop for State {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
