//! Slows packing down while the control group is out of processor time.
//!
//! Threads of the lowest priority keep out of the service's way as long as processors are what is scarce. In a control
//! group with a quota it is time: when all of a period's (100 ms) is used, by whomever, the whole group stands still to
//! its end. So whoever packs looks every few milliseconds how often that has happened, and when it has, rests for a
//! multiple of what it has worked; the rests become shorter again as soon as it does not happen any more.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::cgroup;

/// How often it looks. Longer than packing one block takes, shorter than a period.
const LOOK: Duration = Duration::from_millis(10);

/// The longest rest, as a multiple of the work before it: a capture that takes longer also costs the service more.
const MOST: u32 = 8;

/// The longest at a time, so that an abort is noticed.
const NAP: Duration = Duration::from_millis(100);

/// Looks after the quota of a control group, for one thread that works.
#[derive(Debug)]
pub(crate) struct Brake {
    /// `cpu.stat` of the own group and of those above it that have a quota.
    statistics: Vec<PathBuf>,
    throttled: u64,
    /// Since when it works.
    since: Instant,
    /// Rest for each time of work: 0 where nothing is wrong.
    factor: u32,
}

impl Brake {
    /// For this process; without a quota it never rests.
    pub(crate) fn of_this_process() -> Brake {
        let statistics = cgroup::folders_of_this_process("cpu")
            .into_iter()
            .map(|folder| folder.join("cpu.stat"))
            .filter(|path| periods(path).is_some_and(|periods| periods > 0))
            .collect();
        Brake::new(statistics)
    }

    fn new(statistics: Vec<PathBuf>) -> Brake {
        let throttled = count(&statistics);
        Brake {
            statistics,
            throttled,
            since: Instant::now(),
            factor: 0,
        }
    }

    /// Work has been done. Gives the rest that is due.
    pub(crate) fn rest(&mut self, now: Instant) -> Duration {
        let worked = now.saturating_duration_since(self.since);
        if self.statistics.is_empty() || worked < LOOK {
            return Duration::ZERO;
        }
        let throttled = count(&self.statistics);
        self.factor = if throttled > self.throttled {
            (self.factor * 2).clamp(1, MOST)
        } else {
            self.factor.saturating_sub(1)
        };
        self.throttled = throttled;
        let rest = (worked * self.factor).min(NAP);
        self.since = now + rest;
        rest
    }
}

/// How often the groups stood still.
fn count(statistics: &[PathBuf]) -> u64 {
    let of = |path| field(path, "nr_throttled ");
    statistics.iter().filter_map(of).sum()
}

/// Without a quota there are none.
fn periods(path: &PathBuf) -> Option<u64> {
    field(path, "nr_periods ")
}

fn field(path: &PathBuf, name: &str) -> Option<u64> {
    let text = fs::read_to_string(path).ok()?;
    text.lines()
        .find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_rests_while_the_group_is_throttled_and_no_longer() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cpu.stat");
        let set = |throttled: u32| {
            let text = format!("nr_periods 90\nnr_throttled {throttled}\nthrottled_time 5\n");
            fs::write(&path, text).unwrap();
        };
        set(3);
        let mut brake = Brake::new(vec![path.clone()]);
        let mut now = brake.since;
        let mut work = |brake: &mut Brake| {
            now += Duration::from_millis(10);
            let rest = brake.rest(now);
            now += rest;
            rest.as_millis()
        };
        assert_eq!(work(&mut brake), 0);
        let mut rests = Vec::new();
        for throttled in 4..10 {
            set(throttled);
            rests.push(work(&mut brake));
        }
        assert_eq!(rests, [10, 20, 40, 80, 80, 80]);
        let rests: Vec<_> = (0..9).map(|_| work(&mut brake)).collect();
        assert_eq!(rests, [70, 60, 50, 40, 30, 20, 10, 0, 0]);
    }

    #[test]
    fn without_a_quota_it_does_not_even_look() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cpu.stat");
        fs::write(&path, "usage_usec 5\nnr_periods 0\nnr_throttled 0\n").unwrap();
        assert_eq!(periods(&path), Some(0));
        let mut brake = Brake::new(Vec::new());
        assert_eq!(
            brake.rest(Instant::now() + Duration::from_secs(1)),
            Duration::ZERO
        );
    }
}
