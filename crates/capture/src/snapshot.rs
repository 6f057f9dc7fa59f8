//! The synchronous part of a capture, on the JavaScript thread: marks off, fork, and back.

use std::fs;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::errno::Errno;

use crate::copy::{Copy, Files, Role};
use crate::dontfork::{self, Extent, MarksLock, Spans};
use crate::error::{Failure, advice};
use crate::maps;
use crate::notes::Thread;
use crate::threads::{self, Finished, Held, How};

/// How long a copy may take to become ready before it is given up.
const READY: Duration = Duration::from_secs(10);

/// A copy of this process, made; the marks not yet back.
pub(crate) struct Snapshot {
    pub(crate) copy: Arc<Copy>,
    unsettled: Unsettled,
    /// The calling thread.
    own: Thread,
    /// The others, as they stood at the fork.
    stopped: Finished,
    /// Where they could not be stopped: those that slept.
    asleep: Vec<Thread>,
    /// How long the JavaScript thread was held by the forks.
    pub(crate) pause: Duration,
}

/// What a settled snapshot knows of its copy.
pub(crate) struct Settled {
    /// The text of its `/proc/PID/maps`.
    pub(crate) maps: Vec<u8>,
    /// The ranges that were marked MADV_DONTFORK and hold memory: what a whole core must have.
    pub(crate) heap: Vec<Range<u64>>,
    pub(crate) files: Files,
    /// All threads whose registers are known, the calling one first.
    pub(crate) threads: Vec<Thread>,
    /// How those of the others were read.
    pub(crate) how: How,
    /// How many threads there were.
    pub(crate) all_threads: usize,
}

/// Marks that are off, and what is needed to put them back.
struct Unsettled {
    lock: MarksLock,
    known: Known,
    /// Other threads mapped or unmapped memory between the forks.
    stirred: bool,
}

/// A copy whose marks are back.
struct Restored {
    maps: Vec<u8>,
    heap: Vec<Range<u64>>,
    files: Files,
}

/// Where the list of marks comes from.
enum Known {
    /// Listed before the fork.
    List(Vec<Range<u64>>),
    /// What this earlier copy lacks.
    Probe(Copy),
}

impl Snapshot {
    /// Forks. When this returns, the copy has the memory of this instant.
    pub(crate) fn take(role: Role<'_>, all_threads: bool) -> Result<Snapshot, Failure> {
        let Some(lock) = MarksLock::acquire(Duration::from_secs(5)) else {
            return Err(Failure::new(
                "ERR_CORE_BUSY",
                "Another capture of this process has been putting V8's fork marks back for over 5 seconds. \
                 Try again when it has ended.",
            ));
        };
        let started = Instant::now();
        let known = if dontfork::smaps_is_cheaper() {
            let list = dontfork::list_by_smaps()
                .map_err(|error| Failure::io(&error, "open", Some("/proc/self/smaps".as_ref())))?;
            Some(Known::List(list))
        } else {
            None
        };
        let spans = Spans::now();
        let mut own = Thread {
            tid: nix::unistd::gettid().as_raw(),
            ..Thread::default()
        };

        // From here to the release other threads stand still, perhaps with malloc's lock in their hands:
        // nothing is allocated, no lock is taken.
        let held = Held::stop(all_threads);
        let before = Extent::now();
        let probe = match &known {
            Some(_) => Ok(None),
            None => Copy::fork(Role::Probe, &mut own.registers).map(Some),
        };
        let unmarked = if probe.is_ok() {
            spans.unmark()
        } else {
            Ok(())
        };
        let forked = match (&probe, unmarked) {
            (Ok(_), Ok(())) => Some(Copy::fork(role, &mut own.registers)),
            _ => None,
        };
        let after = Extent::now();
        let stopped = held.release();

        let known = match (known, probe) {
            (Some(known), _) => known,
            (None, Ok(Some(probe))) => Known::Probe(probe),
            (None, Ok(None)) => unreachable!("a probe is forked where there is no list"),
            // Nothing has been unmarked yet.
            (None, Err(error)) => return Err(fork_failed(error)),
        };
        let forked = match (forked, unmarked) {
            (Some(forked), _) => forked.map_err(fork_failed),
            (None, Err(Errno::EINVAL)) => dontfork::unmark_each()
                .map_err(refused)
                .and_then(|()| Copy::fork(role, &mut own.registers).map_err(fork_failed)),
            (None, Err(errno)) => Err(refused(errno)),
            (None, Ok(())) => unreachable!("without a probe it has returned"),
        };
        let asleep = if stopped.was_refused() {
            threads::asleep(own.tid)
        } else {
            Vec::new()
        };
        let pause = started.elapsed();
        let stirred = before.is_none() || before != after;
        let unsettled = Unsettled {
            lock,
            known,
            stirred,
        };
        match forked {
            Ok(copy) => Ok(Snapshot {
                copy: Arc::new(copy),
                unsettled,
                own,
                stopped,
                asleep,
                pause,
            }),
            Err(failure) => {
                unsettled.undo();
                Err(failure)
            }
        }
    }

    /// Puts the marks back where nothing came of the capture; the copy dies.
    pub(crate) fn undo(self) {
        self.unsettled.undo();
    }

    /// Puts the marks back and learns what a whole core must hold. Not for the JavaScript thread: it
    /// reads lists and page maps for some 30 ms per GB. `tick` is called every 20 ms meanwhile.
    pub(crate) fn settle(self, tick: &mut dyn FnMut()) -> Result<Settled, Failure> {
        let Snapshot {
            copy,
            unsettled,
            own,
            stopped,
            asleep,
            ..
        } = self;
        let all_threads = stopped.all();
        let (mut others, mut how) = stopped.threads();
        if others.is_empty() && !asleep.is_empty() {
            (others, how) = (asleep, How::Syscall);
        }
        let Restored { maps, heap, files } = unsettled.settle(&copy, tick)?;
        let mut threads = vec![own];
        threads.extend(others);
        Ok(Settled {
            maps,
            heap,
            files,
            threads,
            how,
            all_threads,
        })
    }
}

impl Unsettled {
    fn settle(self, copy: &Copy, tick: &mut dyn FnMut()) -> Result<Restored, Failure> {
        let files = match copy.files(READY, tick) {
            Ok(files) => files,
            Err(failure) => {
                self.undo();
                return Err(failure);
            }
        };
        let text = match read_all(&files.maps) {
            Ok(text) if !text.is_empty() => text,
            _ => {
                self.undo();
                return Err(Failure::killed("died before its mappings were read"));
            }
        };
        let then = maps::parse(&text);
        let marked = match &self.known {
            Known::List(list) => {
                let lacking = maps::subtract(list, &maps::joined(&then));
                let marked = maps::subtract(list, &lacking);
                if !lacking.is_empty() && !self.stirred {
                    let _ = dontfork::restore(&marked, &then, Some(&files), tick);
                    return Err(dontfork::incomplete(&format!(
                        "{} ranges, the first at {:#x}, are not in the copy",
                        lacking.len(),
                        lacking[0].start
                    )));
                }
                marked
            }
            Known::Probe(probe) => {
                let listed = probe.files(READY, tick).and_then(|files| {
                    read_all(&files.maps).map_err(|error| Failure::io(&error, "read", None))
                });
                match listed {
                    Ok(text) => dontfork::list_by_probe(&then, &maps::parse(&text), self.stirred),
                    Err(failure) => {
                        // Somebody killed the probe: what had marks is lost with it. What lies where V8
                        // maps is marked; its memory is in the copy in any case.
                        let marked = dontfork::list_by_probe(&then, &[], true);
                        let _ = dontfork::restore(&marked, &then, Some(&files), tick);
                        return Err(failure);
                    }
                }
            }
        };
        if marked.is_empty() && !dontfork::list_by_smaps().unwrap_or_default().is_empty() {
            return Err(dontfork::incomplete(
                "the marks are still on after madvise(MADV_DOFORK)",
            ));
        }
        let heap = dontfork::restore(&marked, &then, Some(&files), tick)
            .map_err(|error| Failure::io(&error, "open", Some("/proc/self/maps".as_ref())))?;
        dontfork::set_known(&marked);
        drop(self.lock);
        Ok(Restored {
            maps: text,
            heap,
            files,
        })
    }

    /// Puts the marks back where there is no copy to compare with: this process as it is now stands for it.
    fn undo(self) {
        let Ok(text) = fs::read("/proc/self/maps") else {
            return;
        };
        let now = maps::parse(&text);
        let marked = match self.known {
            Known::List(list) => list,
            Known::Probe(probe) => {
                let listed = probe
                    .files(READY, &mut || ())
                    .ok()
                    .and_then(|files| read_all(&files.maps).ok());
                let probe = listed.map(|text| maps::parse(&text)).unwrap_or_default();
                let stirred = self.stirred || probe.is_empty();
                dontfork::list_by_probe(&now, &probe, stirred)
            }
        };
        let _ = dontfork::restore(&marked, &now, None, &mut || ());
    }
}

fn read_all(mut file: &fs::File) -> std::io::Result<Vec<u8>> {
    use std::io::Read;
    let mut text = Vec::with_capacity(1 << 16);
    file.read_to_end(&mut text)?;
    Ok(text)
}

fn refused(errno: Errno) -> Failure {
    dontfork::incomplete(&format!(
        "the kernel refused madvise(MADV_DOFORK) with {errno:?}"
    ))
}

fn fork_failed(error: std::io::Error) -> Failure {
    let errno = Errno::from_raw(error.raw_os_error().unwrap_or(Errno::EIO as i32));
    let words = match errno {
        Errno::EAGAIN => {
            "The limit on processes is reached (RLIMIT_NPROC, or the pids limit of the container): a capture \
             needs two more for a moment. Raise it, or wait until there are fewer."
        }
        Errno::ENOMEM => {
            "The kernel does not promise memory for a copy of this process (vm.overcommit_memory=2, or no \
             memory for page tables). Allow overcommit, or capture while the process is smaller."
        }
        other => advice(other),
    };
    Failure::system(errno, "fork", None, words)
}
