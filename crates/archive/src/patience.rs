//! How long the caller's thread waits for threads of low priority before it does a piece of their work itself.
//!
//! Threads that keep out of the way of a busy service get next to nothing where there is more to do than there are
//! processors: a thread of the lowest priority gets a seventieth of what a normal one gets. An archive must come to its
//! end all the same. So the caller, whose priority is a normal one, helps; and since it would be in the way then, never
//! for more than about a tenth of the time.

use std::time::{Duration, Instant};

/// At first. A block takes some milliseconds of a processor.
const FIRST: Duration = Duration::from_millis(250);

/// Always: there may have been nothing to do.
const LEAST: Duration = Duration::from_millis(10);

/// For how many times as long as it has worked it waits again.
const WAIT: u32 = 9;

/// For pieces of work of one kind and about one size.
#[derive(Debug)]
pub(crate) struct Patience {
    wait: Duration,
    /// What a piece takes. By the clock, and on a busy machine that goes on while others run: the least is the best guess.
    piece: Duration,
}

impl Default for Patience {
    fn default() -> Patience {
        Patience {
            wait: FIRST,
            piece: Duration::MAX,
        }
    }
}

impl Patience {
    /// How long to wait now.
    pub(crate) fn wait(&self) -> Duration {
        self.wait
    }

    /// They have done it in time.
    pub(crate) fn kept(&mut self) {
        self.wait = (self.wait * 2).min(FIRST);
    }

    /// Does their work, and is the less patient the less that takes.
    pub(crate) fn help<T>(&mut self, work: impl FnOnce() -> T) -> T {
        let began = Instant::now();
        let done = work();
        self.piece = self.piece.min(began.elapsed());
        self.wait = (self.piece * WAIT).clamp(LEAST, FIRST);
        done
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_helps_for_a_tenth_of_the_time_until_that_is_not_needed_any_more() {
        let mut patience = Patience::default();
        assert_eq!(patience.wait(), FIRST);
        patience.help(|| std::thread::sleep(Duration::from_millis(2)));
        let short = patience.wait();
        assert!(short >= Duration::from_millis(18), "{short:?}");
        patience.help(|| ());
        assert_eq!(patience.wait(), LEAST);
        for _ in 0..20 {
            patience.kept();
        }
        assert_eq!(patience.wait(), FIRST);
    }
}
