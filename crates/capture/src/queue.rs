//! All captures of this process, workers included: one runs, at most four wait, forked already.
//!
//! Three kinds of threads meet here. The JavaScript threads begin captures ([`begin`]). The runner, a
//! thread of libuv's pool or one of our own, takes them one after another to their end ([`drain`]): it
//! sleeps in the kernel until the copy is dead, then verifies and packs. The keeper, a thread of our own
//! that lives as long as there are captures, puts V8's marks back after each fork and looks every 50 ms
//! after what must not wait for the runner: memory, time limits, copies that wait in line.

use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use nix::libc;

use crate::cgroup::Groups;
use crate::copy::{Copy, Ended};
use crate::error::Failure;
use crate::folder::{self, Folder};
use crate::plan;
use crate::snapshot::{Settled, Snapshot};
use crate::sys;

/// Captures that may wait behind the running one.
const WAITING: usize = 4;

/// How often the keeper looks.
const LOOK: Duration = Duration::from_millis(50);

/// How long the runner may take to give up a capture whose verdict has fallen. After that the caller is
/// told all the same: a write to a dead network disk cannot be interrupted.
const GRACE: Duration = Duration::from_secs(3);

/// Makes the result out of the kernel's core, on the runner's thread.
pub type Finish = Box<dyn FnOnce(RawCore<'_>) -> Result<PathBuf, Failure> + Send>;

/// Is told the end of a capture, once, on any thread.
pub type Done = Box<dyn FnOnce(Outcome) + Send>;

/// What a caller wants of a capture.
pub struct Request {
    /// Where the result goes. Absolute.
    pub directory: PathBuf,
    /// Who asks, for [`end_all_of`].
    pub owner: u64,
    /// The most it may take in all.
    pub timeout: Duration,
    /// The most it may take without a byte of progress while it runs.
    pub stall_timeout: Duration,
    /// Verifies and packs.
    pub finish: Finish,
    /// Learns the end.
    pub done: Done,
}

/// A core as the kernel left it, not yet verified.
pub struct RawCore<'a> {
    /// The working folder; dropping it removes everything.
    pub folder: Folder,
    /// The core in it.
    pub path: PathBuf,
    /// `/proc/PID/maps` of the copy.
    pub maps: Vec<u8>,
    /// Ranges that a whole core holds: V8's pages.
    pub heap: Vec<Range<u64>>,
    /// For long work on the core: to be told of every piece of progress.
    pub monitor: &'a Monitor,
}

impl RawCore<'_> {
    /// Why a core of `size` bytes is shorter than its headers promise.
    pub fn truncated(&self, size: u64, expected: u64) -> Failure {
        plan::explain_short(self.folder.path(), size).unwrap_or_else(|| {
            Failure::new(
                "ERR_CORE_TRUNCATED",
                format!(
                    "The kernel wrote only {size} of {expected} bytes of the core and does not say why. \
                     It was removed. Look at the free space, the quotas and the limits (ulimit -c, ulimit -f) \
                     of this process, and at the kernel's log."
                ),
            )
        })
    }

    /// What a core without all of V8's pages is worth.
    pub fn incomplete(&self, missing: &[Range<u64>]) -> Failure {
        let bytes: u64 = missing.iter().map(|range| range.end - range.start).sum();
        crate::dontfork::incomplete(&format!(
            "{bytes} bytes of V8's memory in {} ranges, the first at {:#x}, are not in it",
            missing.len(),
            missing.first().map_or(0, |range| range.start)
        ))
    }
}

/// How a capture ended.
pub struct Outcome {
    /// The path of the core or archive.
    pub result: Result<PathBuf, Failure>,
    /// What was done, and how many milliseconds after the call it was over.
    pub steps: Vec<(&'static str, f64)>,
}

/// A capture that has begun.
pub struct Begun {
    /// For [`abort`].
    pub id: u64,
    /// How long the forks held the calling thread.
    pub pause: Duration,
}

/// Progress of a capture, and the word to stop it.
#[derive(Default)]
pub struct Monitor {
    bytes: AtomicU64,
    stopped: AtomicBool,
}

impl Monitor {
    /// Notes `bytes` more of progress. False: stop as soon as possible, the verdict has fallen.
    pub fn advance(&self, bytes: u64) -> bool {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        !self.stopped.load(Ordering::Relaxed)
    }
}

struct Capture {
    id: u64,
    owner: u64,
    directory: PathBuf,
    started: Instant,
    timeout: Duration,
    stall_timeout: Duration,
    groups: Groups,
    /// How often the kernel had killed in the group when the copy was settled.
    kills_before: AtomicU64,
    copy: Arc<Copy>,
    monitor: Monitor,
    steps: Mutex<Vec<(&'static str, f64)>>,
    done: Mutex<Option<Done>>,
    state: Mutex<State>,
    changed: Condvar,
}

/// What changes while a capture lives.
struct State {
    /// Why it ends early, and since when that is known.
    verdict: Option<(Failure, Instant)>,
    settled: Option<Result<Settled, Failure>>,
    folder: Option<Folder>,
    finish: Option<Finish>,
    /// Progress when last looked at, and when it last grew; from the time it runs.
    progress: Option<(u64, Instant)>,
}

impl Capture {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .unwrap_or_else(|poison| poison.into_inner())
    }

    fn step(&self, name: &'static str) {
        let at = self.started.elapsed().as_secs_f64() * 1e3;
        self.steps
            .lock()
            .unwrap_or_else(|poison| poison.into_inner())
            .push((name, at));
    }

    /// Lets it end early. The first verdict holds.
    fn condemn(&self, failure: Failure) {
        let mut state = self.state();
        if state.verdict.is_none() {
            state.verdict = Some((failure, Instant::now()));
            self.monitor.stopped.store(true, Ordering::Relaxed);
            self.copy.kill();
            self.changed.notify_all();
        }
    }

    /// Tells the end, unless it has been told.
    fn tell(&self, result: Result<PathBuf, Failure>) {
        let done = self
            .done
            .lock()
            .unwrap_or_else(|poison| poison.into_inner())
            .take();
        if let Some(done) = done {
            let steps = self
                .steps
                .lock()
                .unwrap_or_else(|poison| poison.into_inner())
                .clone();
            done(Outcome { result, steps });
        }
    }

    /// Everything that it left, in memory and on disk, goes.
    fn clear(&self) {
        let (folder, finish) = {
            let mut state = self.state();
            (state.folder.take(), state.finish.take())
        };
        self.copy.kill();
        drop(folder);
        drop(finish);
    }
}

#[derive(Default)]
struct Queue {
    /// Begun, not yet in line: the forks are under way.
    reserved: usize,
    /// Forked, the marks not yet back.
    unsettled: VecDeque<(Arc<Capture>, Snapshot)>,
    waiting: VecDeque<Arc<Capture>>,
    running: Option<Arc<Capture>>,
    has_runner: bool,
    has_keeper: bool,
    last_id: u64,
}

static QUEUE: Mutex<Queue> = Mutex::new(Queue {
    reserved: 0,
    unsettled: VecDeque::new(),
    waiting: VecDeque::new(),
    running: None,
    has_runner: false,
    has_keeper: false,
    last_id: 0,
});

/// Something for the keeper to do, or nothing left to do for anybody.
static CHANGED: Condvar = Condvar::new();

fn queue() -> MutexGuard<'static, Queue> {
    QUEUE.lock().unwrap_or_else(|poison| poison.into_inner())
}

/// A place in the queue, given back unless it is taken.
struct Place;

impl Place {
    fn reserve() -> Result<Place, Failure> {
        let mut queue = queue();
        let taken = queue.reserved + queue.waiting.len() + usize::from(queue.running.is_some());
        if taken > WAITING {
            return Err(Failure::new(
                "ERR_CORE_BUSY",
                format!(
                    "One capture of this process is running and {WAITING} are waiting: each holds a copy of the \
                     process, so no more are begun. Wait for one to end."
                ),
            ));
        }
        queue.reserved += 1;
        Ok(Place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        queue().reserved -= 1;
    }
}

// --- the JavaScript thread -----------------------------------------------------------------------

/// Begins a capture. When this returns, the fork has happened: the core will show the memory of this instant.
///
/// `launch` is called when nobody runs [`drain`]: it must have some other thread do so.
pub fn begin(
    request: Request,
    launch: impl FnOnce() -> Result<(), Failure>,
) -> Result<Begun, Failure> {
    let started = Instant::now();
    let place = Place::reserve()?;
    let directory = &request.directory;
    if let Err(failure) = plan::check(directory) {
        // Perhaps it is the leftovers of a dead process that fill the disk.
        if failure.code != "ENOSPC" {
            return Err(failure);
        }
        folder::sweep(directory);
        if let Err(failure) = plan::check(directory) {
            // A directory that cannot be used at all is the greater news: read-only images are always full.
            drop(Folder::create(directory)?);
            return Err(failure);
        }
    }
    let groups = Groups::of_this_process();
    check_memory(&groups)?;
    let folder = Folder::create(directory)?;
    let snapshot = Snapshot::take(&folder)?;
    let pause = snapshot.pause;

    let mut queue = queue();
    // After the fork: a thread that is just starting maps memory, between the probe and the copy.
    if let Err(error) = wake_keeper(&mut queue) {
        drop(queue);
        snapshot.undo();
        return Err(Failure::io(&error, "clone", None));
    }
    queue.last_id += 1;
    let capture = Arc::new(Capture {
        id: queue.last_id,
        owner: request.owner,
        directory: request.directory,
        started,
        timeout: request.timeout,
        stall_timeout: request.stall_timeout,
        groups,
        kills_before: AtomicU64::new(u64::MAX),
        copy: snapshot.copy.clone(),
        monitor: Monitor::default(),
        steps: Mutex::default(),
        done: Mutex::new(Some(request.done)),
        state: Mutex::new(State {
            verdict: None,
            settled: None,
            folder: Some(folder),
            finish: Some(request.finish),
            progress: None,
        }),
        changed: Condvar::new(),
    });
    capture.step("forked");
    let id = capture.id;
    queue.unsettled.push_back((capture.clone(), snapshot));
    queue.waiting.push_back(capture.clone());
    let launched = if queue.has_runner { Ok(()) } else { launch() };
    match launched {
        Ok(()) => queue.has_runner = true,
        Err(_) => queue.waiting.retain(|waiting| waiting.id != id),
    }
    drop(queue);
    drop(place);
    CHANGED.notify_all();
    if let Err(failure) = launched {
        // The keeper still puts the marks back. The caller learns of it here, and only here.
        capture
            .done
            .lock()
            .unwrap_or_else(|poison| poison.into_inner())
            .take();
        capture.clear();
        return Err(failure);
    }
    Ok(Begun { id, pause })
}

fn check_memory(groups: &Groups) -> Result<(), Failure> {
    match groups.headroom() {
        Some(room) if !room.is_enough() => Err(Failure::new(
            "ERR_CORE_MEMORY",
            format!(
                "The control group of this process has {} MB left of its {} MB, and a copy of the process may \
                 take as much as changes while it lives: with less than {} MB in reserve the kernel might kill \
                 the service for it. Raise the memory limit, capture earlier, or lower the reserve \
                 (STILLCORE_MEMORY_RESERVE, in bytes).",
                room.free >> 20,
                room.limit >> 20,
                room.reserve >> 20
            ),
        )),
        _ => Ok(()),
    }
}

/// Ends the capture `id` early. `ABORT_ERR` is what its caller is told.
pub fn abort(id: u64) {
    end(
        |capture| capture.id == id,
        &Failure::new("ABORT_ERR", "The operation was aborted"),
    );
}

/// Ends all captures of `owner`, whose thread is going away.
pub fn end_all_of(owner: u64) {
    end(|capture| capture.owner == owner, &gone());
}

/// Ends all captures of the process and waits, at most `patience`, until nothing of them is left on disk.
pub fn end_all(patience: Duration) {
    end(|_| true, &gone());
    let queue = queue();
    let busy = |queue: &mut Queue| queue.running.is_some() || !queue.waiting.is_empty();
    let _ = CHANGED.wait_timeout_while(queue, patience, busy);
}

fn gone() -> Failure {
    Failure::new("ABORT_ERR", "The thread that began this capture has ended")
}

fn end(which: impl Fn(&Capture) -> bool, failure: &Failure) {
    let chosen: Vec<_> = {
        let queue = queue();
        queue
            .running
            .iter()
            .chain(&queue.waiting)
            .filter(|capture| which(capture))
            .cloned()
            .collect()
    };
    for capture in chosen {
        capture.condemn(failure.clone());
    }
    // The keeper clears away those that wait in line.
    CHANGED.notify_all();
}

// --- the runner ----------------------------------------------------------------------------------

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

fn next() -> Option<Arc<Capture>> {
    let mut queue = queue();
    let next = queue.waiting.pop_front();
    queue.running = next.clone();
    queue.has_runner = next.is_some();
    next
}

fn run(capture: &Capture) -> Result<PathBuf, Failure> {
    folder::sweep(&capture.directory);
    let (settled, finish) = {
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
        (state.settled.take(), state.finish.take())
    };
    let (Some(settled), Some(finish)) = (settled, finish) else {
        return Err(Failure::killed("was given up"));
    };
    let settled = settled?;
    // It may have waited in line for minutes.
    plan::check_pattern_now()?;
    capture.copy.go();
    let ended = capture.copy.wait(settled.files.status.as_ref());
    capture.step("dumped");
    let folder = capture.state().folder.take();
    let Some(folder) = folder else {
        return Err(Failure::killed("was given up"));
    };
    if let Some((failure, _)) = &capture.state().verdict {
        return Err(failure.clone());
    }
    judge(capture, ended)?;
    let core = folder
        .core()
        .map_err(|error| Failure::io(&error, "open", Some(folder.path())))?;
    let Some(path) = core else {
        let refused = settled.files.limits.clone();
        return Err(plan::explain_short(folder.path(), 0)
            .or(refused)
            .unwrap_or_else(no_file));
    };
    finish(RawCore {
        folder,
        path,
        maps: settled.maps,
        heap: settled.heap,
        monitor: &capture.monitor,
    })
}

/// Whether the copy ended as it should: by its own SIGSEGV.
fn judge(capture: &Capture, ended: Ended) -> Result<(), Failure> {
    if ended.killed {
        if capture.groups.kills() > capture.kills_before.load(Ordering::Relaxed) {
            return Err(Failure::new(
                "ERR_CORE_MEMORY",
                "The kernel ran out of memory for the control group of this process and killed the copy that was \
                 to become the core; the service lives. Raise the memory limit, or capture earlier.",
            ));
        }
        return Err(Failure::killed("was killed from outside (SIGKILL)"));
    }
    match ended.signal {
        libc::SIGSEGV => Ok(()),
        libc::SIGSYS => Err(Failure::killed("was killed by a seccomp filter (SIGSYS)")),
        0 => Err(Failure::killed(&format!(
            "ended by itself with status {}",
            ended.status
        ))),
        signal => Err(Failure::killed(&format!("was killed by signal {signal}"))),
    }
}

fn internal() -> Failure {
    Failure::new(
        "ERR_CORE_INTERNAL",
        "stillcore itself failed in this capture. Nothing is left on disk and the service is not touched; please \
         report it.",
    )
}

fn no_file() -> Failure {
    Failure::new(
        "ERR_CORE_PATTERN",
        "The kernel left no core in the working folder, though kernel.core_pattern promised one: was it changed \
         this moment, or does it give a name that cannot be made here? See `cat /proc/sys/kernel/core_pattern` \
         and the kernel's log.",
    )
}

// --- the keeper ----------------------------------------------------------------------------------

fn wake_keeper(queue: &mut Queue) -> io::Result<()> {
    if !queue.has_keeper {
        std::thread::Builder::new()
            .name("stillcore-keep".into())
            .stack_size(256 << 10)
            .spawn(keep)?;
        queue.has_keeper = true;
    }
    Ok(())
}

fn keep() {
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
            capture.state().settled = Some(settled);
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
fn look() {
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

fn look_at_running(capture: &Capture) {
    let mut state = capture.state();
    if let Some((failure, since)) = &state.verdict {
        if since.elapsed() > GRACE {
            let failure = failure.clone();
            drop(state);
            capture.tell(Err(failure));
        }
        return;
    }
    let on_disk = state.folder.as_ref().map_or(0, Folder::progress);
    let now = on_disk + capture.monitor.bytes.load(Ordering::Relaxed);
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
fn clear_away(capture: &Arc<Capture>) {
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

fn timed_out(what: &str, limit: Duration, option: &str) -> Failure {
    Failure::new(
        "ERR_CORE_TIMEOUT",
        format!(
            "The capture {what} after {} ms and was given up; nothing is left on disk. Is the disk slow or full, \
             or the processor busy? The option `{option}` sets the limit.",
            limit.as_millis()
        ),
    )
}
