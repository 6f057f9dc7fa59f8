//! The synchronous part of a capture, on the JavaScript thread: marks off, fork, and back.

use std::fs;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::errno::Errno;

use crate::copy::{Copy, Files, Role};
use crate::dontfork::{self, Extent, MarksLock, Spans, Stirred};
use crate::error::Failure;
use crate::maps::{self, Mapping};
use crate::notes::Thread;
use crate::threads::{self, Finished, Held, How};

/// Descriptors that the forks take and that settling takes, with some for what threads of ours read meanwhile.
const DESCRIPTORS: (usize, usize) = (8, 10);

/// How long a copy may take to become ready before it is given up.
const READY: Duration = Duration::from_secs(10);

/// A copy of this process, made; the marks not yet back.
pub(crate) struct Snapshot {
    pub(crate) copy: Arc<Copy>,
    unsettled: Unsettled,
    /// The calling thread.
    calling: Thread,
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
    /// Our own `/proc/self/maps`, opened while the marks were still on: later no descriptor may be free.
    own: fs::File,
    /// Places for the descriptors that settling needs, so that it does not fail where all are taken.
    spare: Vec<fs::File>,
    known: Known,
    /// Whether other threads mapped or unmapped memory between the forks.
    stirred: Stirred,
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
        let maps = Path::new("/proc/self/maps");
        let own = fs::File::open(maps).map_err(|error| Failure::io(&error, "open", Some(maps)))?;
        let reserve =
            |count| -> std::io::Result<Vec<_>> { (0..count).map(|_| own.try_clone()).collect() };
        let lacking = |error| Failure::io(&error, "dup", None);
        let for_forks = reserve(DESCRIPTORS.0).map_err(lacking)?;
        let spare = reserve(DESCRIPTORS.1).map_err(lacking)?;
        drop(for_forks);
        let started = Instant::now();
        let known = if dontfork::smaps_is_cheaper() {
            let list = dontfork::list_by_smaps()
                .map_err(|error| Failure::io(&error, "open", Some("/proc/self/smaps".as_ref())))?;
            Some(Known::List(list))
        } else {
            None
        };
        let spans = Spans::now();
        let mut calling = Thread {
            tid: nix::unistd::gettid().as_raw(),
            ..Thread::default()
        };

        // From here to the release other threads stand still, perhaps with malloc's lock in their hands:
        // nothing is allocated, no lock is taken.
        let held = Held::stop(all_threads);
        let before = Extent::now();
        let probe = match &known {
            Some(_) => Ok(None),
            None => Copy::fork(Role::Probe, &mut calling.registers).map(Some),
        };
        let unmarked = if probe.is_ok() {
            spans.unmark()
        } else {
            Ok(())
        };
        let forked = match (&probe, unmarked) {
            (Ok(_), Ok(())) => Some(Copy::fork(role, &mut calling.registers)),
            _ => None,
        };
        let after = Extent::now();
        let stopped = held.release();

        let known = match (known, probe) {
            (Some(known), _) => known,
            (None, Ok(Some(probe))) => Known::Probe(probe),
            (None, Ok(None)) => unreachable!("a probe is forked where there is no list"),
            // Nothing has been unmarked yet.
            (None, Err(error)) => return Err(error.into()),
        };
        let forked = match (forked, unmarked) {
            (Some(forked), _) => forked.map_err(Failure::from),
            (None, Err(Errno::EINVAL)) => dontfork::unmark_each()
                .map_err(refused)
                .and_then(|()| Ok(Copy::fork(role, &mut calling.registers)?)),
            (None, Err(errno)) => Err(refused(errno)),
            (None, Ok(())) => unreachable!("without a probe it has returned"),
        };
        let asleep = if stopped.was_refused() {
            threads::asleep(calling.tid)
        } else {
            Vec::new()
        };
        let pause = started.elapsed();
        let stirred = match before.is_some() && before == after {
            true => Stirred::No,
            false => Stirred::ByAnybody,
        };
        let unsettled = Unsettled {
            lock,
            own,
            spare,
            known,
            stirred,
        };
        match forked {
            Ok(copy) => Ok(Snapshot {
                copy: Arc::new(copy),
                unsettled,
                calling,
                stopped,
                asleep,
                pause,
            }),
            Err(failure) => {
                unsettled.undo(Stirred::ByNewThreads);
                Err(failure)
            }
        }
    }

    /// Puts the marks back where nothing came of the capture; the copy dies.
    pub(crate) fn undo(self) {
        self.unsettled.undo(Stirred::ByNewThreads);
    }

    /// Puts the marks back and learns what a whole core must hold. Not for the JavaScript thread: it
    /// reads lists and page maps for some 30 ms per GB. `tick` is called every 20 ms meanwhile.
    pub(crate) fn settle(self, tick: &mut dyn FnMut()) -> Result<Settled, Failure> {
        let Snapshot {
            copy,
            unsettled,
            calling,
            stopped,
            asleep,
            ..
        } = self;
        let (mut others, mut how, all_threads) = stopped.threads();
        if others.is_empty() && !asleep.is_empty() {
            (others, how) = (asleep, How::Syscall);
        }
        let Restored { maps, heap, files } = unsettled.settle(&copy, tick)?;
        let mut threads = vec![calling];
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
    fn settle(mut self, copy: &Copy, tick: &mut dyn FnMut()) -> Result<Restored, Failure> {
        self.spare.clear();
        let files = match copy.files(READY, tick) {
            Ok(files) => files,
            Err(failure) => {
                self.undo(Stirred::ByAnybody);
                return Err(failure);
            }
        };
        let text = match read_whole(&files.maps) {
            Ok(Some(text)) => text,
            _ => {
                self.undo(Stirred::ByAnybody);
                return Err(Failure::killed("died before its mappings were read"));
            }
        };
        let then = maps::parse(&text);
        let marked = match &self.known {
            Known::List(list) => {
                let lacking = maps::subtract(list, &maps::joined(&then));
                let marked = maps::subtract(list, &lacking);
                if !lacking.is_empty() && self.stirred == Stirred::No {
                    let _ = dontfork::restore(&marked, &then, &self.now(), Some(&files), tick);
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
                    read_whole(&files.maps)
                        .map_err(|error| Failure::io(&error, "read", None))?
                        .ok_or_else(|| Failure::killed("died before its mappings were read"))
                });
                match listed {
                    Ok(text) => dontfork::list_by_probe(&then, &maps::parse(&text), self.stirred),
                    Err(failure) => {
                        // Somebody killed the probe: what had marks is lost with it.
                        let marked = dontfork::list_by_memory(&then);
                        let _ = dontfork::restore(&marked, &then, &self.now(), Some(&files), tick);
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
        let heap = dontfork::restore(&marked, &then, &self.now(), Some(&files), tick)
            .map_err(|error| Failure::io(&error, "read", Some("/proc/self/pagemap".as_ref())))?;
        dontfork::set_known(&marked);
        drop(self.lock);
        Ok(Restored {
            maps: text,
            heap,
            files,
        })
    }

    /// Puts the marks back where there is no copy to compare with: this process as it is now stands for it.
    /// `since`: who may have mapped memory after the forks. Where the service has run on, anybody.
    fn undo(mut self, since: Stirred) {
        self.spare.clear();
        let now = self.now();
        let marked = match &self.known {
            Known::List(list) => list.clone(),
            Known::Probe(probe) => {
                let listed = probe
                    .files(READY, &mut || ())
                    .ok()
                    .and_then(|files| read_whole(&files.maps).ok().flatten());
                match listed {
                    Some(text) => {
                        let stirred = match self.stirred {
                            Stirred::No => since,
                            stirred => stirred,
                        };
                        dontfork::list_by_probe(&now, &maps::parse(&text), stirred)
                    }
                    None => dontfork::list_by_memory(&now),
                }
            }
        };
        let _ = dontfork::restore(&marked, &now, &now, None, &mut || ());
    }

    fn now(&self) -> Vec<Mapping> {
        maps::parse(&read_all(&self.own).unwrap_or_default())
    }
}

fn read_all(mut file: &fs::File) -> std::io::Result<Vec<u8>> {
    use std::io::{Read, Seek};
    let mut text = Vec::with_capacity(1 << 16);
    file.rewind()?;
    file.read_to_end(&mut text)?;
    Ok(text)
}

/// The list of mappings of a copy. None where the copy died before it was read to the end: the rest is missing then
/// without an error, and what is not in the list would be taken for unmapped.
fn read_whole(file: &fs::File) -> std::io::Result<Option<Vec<u8>>> {
    use std::os::unix::fs::FileExt;
    let text = read_all(file)?;
    let is_alive = file.read_at(&mut [0], 0)? > 0;
    Ok(is_alive.then_some(text))
}

fn refused(errno: Errno) -> Failure {
    dontfork::incomplete(&format!(
        "the kernel refused madvise(MADV_DOFORK) with {errno:?}"
    ))
}
