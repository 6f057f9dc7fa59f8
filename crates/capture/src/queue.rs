//! All captures of this process, workers included: one runs, at most four wait, forked already.
//!
//! Three kinds of threads meet here. The JavaScript threads begin captures ([`begin`]). The runner, a
//! thread of libuv's pool or one of our own, takes them one after another to their end ([`drain`]): it
//! sleeps in the kernel until the copy is dead, then verifies and packs. The keeper, a thread of our own
//! that lives as long as there are captures, puts V8's marks back after each fork and looks every 50 ms
//! after what must not wait for the runner: memory, time limits, copies that wait in line.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use nix::libc;

use crate::cgroup::Groups;
use crate::copy::{Copy, Ended, Files, Role};
use crate::dontfork;
use crate::error::Failure;
use crate::folder::{self, Folder, Title};
use crate::image::Wanted;
use crate::live::Live;
use crate::plan;
use crate::proof;
use crate::request::{
    Begun, Content, Describe, Done, Finish, Made, Method, Monitor, Outcome, Output, Progress,
    RawCore, Request, Target, Threads, Watch,
};
use crate::snapshot::{Settled, Snapshot};
use crate::sys;
use crate::threads;

/// Captures that may wait behind the running one.
const WAITING: usize = 4;

/// How often the keeper looks.
const LOOK: Duration = Duration::from_millis(50);

/// How long the runner may take to give up a capture whose verdict has fallen. After that the caller is
/// told all the same: a write to a dead network disk cannot be interrupted.
const GRACE: Duration = Duration::from_secs(3);

struct Capture {
    id: u64,
    owner: u64,
    directory: Option<PathBuf>,
    /// The folder that the result is made in; it may be gone by now.
    working: Option<PathBuf>,
    started: Instant,
    timeout: Duration,
    stall_timeout: Duration,
    method: Method,
    wanted: Wanted,
    passed_by: Option<Failure>,
    watch: Option<Watch>,
    resident: u64,
    title: Title,
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
    /// The marks are back, or cannot be put back.
    is_settled: bool,
    /// The copy is to be killed when they are.
    is_to_die: bool,
    output: Option<Output>,
    finish: Option<Finish>,
    describe: Option<Describe>,
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
            if failure.code == "ERR_CORE_MEMORY" {
                // There is no time to lose; a mark perhaps.
                self.copy.kill();
            }
            state.verdict = Some((failure, Instant::now()));
            self.monitor.stopped.store(true, Ordering::Relaxed);
            self.kill(&mut state);
            self.changed.notify_all();
        }
    }

    /// Kills the copy, as soon as the marks are back: without a look at the copy nobody knows for sure what had one.
    fn kill(&self, state: &mut State) {
        if state.is_settled {
            self.copy.kill();
        } else {
            state.is_to_die = true;
        }
    }

    /// Tells the end, unless it has been told.
    fn tell(&self, result: Result<Made, Failure>) {
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
        let (output, finish) = {
            let mut state = self.state();
            self.kill(&mut state);
            (state.output.take(), state.finish.take())
        };
        drop(output);
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
    let directory = match &request.target {
        Target::Directory(directory) => Some(directory.clone()),
        Target::Stream(_) => None,
    };
    let groups = Groups::of_this_process();
    check_memory(&groups)?;
    // A filter that kills shall kill a child: before anything unusual is done here, and before anything is changed.
    proof::ensure(directory.is_some())?;
    let (method, passed_by) = choose(request.method, directory.as_deref())?;
    let output = match request.target {
        Target::Directory(directory) => Output::Folder(Folder::create(&directory)?),
        Target::Stream(stream) => Output::Stream(stream),
    };
    let (title, role) = match &output {
        Output::Folder(folder) => {
            let role = folder
                .fd()
                .filter(|_| method == Method::Kernel)
                .map_or(Role::Read, Role::Dumped);
            (folder.title().clone(), role)
        }
        Output::Stream(_) => (Title::now(), Role::Read),
    };
    let working = match &output {
        Output::Folder(folder) => Some(folder.path().to_owned()),
        Output::Stream(_) => None,
    };
    let snapshot = Snapshot::take(role, request.all_threads)?;
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
        directory,
        working,
        started,
        timeout: request.timeout,
        stall_timeout: request.stall_timeout,
        method,
        wanted: request.wanted,
        passed_by: request.instead_of.or(passed_by),
        watch: request.watch,
        resident: dontfork::resident(),
        title,
        groups,
        kills_before: AtomicU64::new(u64::MAX),
        copy: snapshot.copy.clone(),
        monitor: Monitor::default(),
        steps: Mutex::default(),
        done: Mutex::new(Some(request.done)),
        state: Mutex::new(State {
            verdict: None,
            settled: None,
            is_settled: false,
            is_to_die: false,
            output: Some(output),
            finish: Some(request.finish),
            describe: Some(request.describe),
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
    Ok(Begun { id, pause, method })
}

/// The way of a capture, and why the kernel's was passed by where it was.
fn choose(
    wanted: Option<Method>,
    directory: Option<&Path>,
) -> Result<(Method, Option<Failure>), Failure> {
    let (Some(directory), None | Some(Method::Kernel)) = (directory, wanted) else {
        return Ok((Method::Direct, None));
    };
    let mut checked = plan::check(directory);
    if checked
        .as_ref()
        .is_err_and(|failure| failure.code == "ENOSPC")
    {
        // Perhaps it is the leftovers of a dead process that fill the disk.
        folder::sweep(directory);
        checked = plan::check(directory);
        if checked.is_err() {
            // A directory that cannot be used at all is the greater news: read-only images are always full.
            drop(Folder::create(directory)?);
        }
    }
    match checked {
        Ok(()) => Ok((Method::Kernel, None)),
        Err(failure) if wanted.is_none() && is_kernels_own(&failure.code) => {
            Ok((Method::Direct, Some(failure)))
        }
        Err(failure) => Err(failure),
    }
}

/// Whether a failure concerns the kernel's way only, so that the direct way may do.
pub fn is_kernels_own(code: &str) -> bool {
    matches!(
        code,
        "ERR_CORE_PATTERN"
            | "ERR_CORE_LIMIT"
            | "ERR_CORE_TRUNCATED"
            | "ENOSPC"
            | "EDQUOT"
            | "EFBIG"
    )
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

fn run(capture: &Capture) -> Result<Made, Failure> {
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
        Method::Kernel => Content::Dump(Dump::start(capture, settled.files)?),
    };
    let output = capture.state().output.take().ok_or_else(given_up)?;
    finish(RawCore {
        title: capture.title.clone(),
        output,
        passed_by: capture.passed_by.clone(),
        content,
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

/// The kernel at work on the core of a copy.
pub struct Dump<'a> {
    capture: &'a Capture,
    files: Files,
}

impl<'a> Dump<'a> {
    fn start(capture: &'a Capture, files: Files) -> Result<Dump<'a>, Failure> {
        // It may have waited in line for minutes.
        plan::check_pattern_now()?;
        capture.copy.go();
        Ok(Dump { capture, files })
    }

    /// Waits for its end, and gives the file: in the working folder, not yet verified.
    pub fn wait(&self) -> Result<PathBuf, Failure> {
        let capture = self.capture;
        let ended = capture.copy.wait(self.files.status.as_ref());
        capture.step("dumped");
        if let Some((failure, _)) = &capture.state().verdict {
            return Err(failure.clone());
        }
        judge(capture, ended)?;
        let folder = capture.working.as_deref().ok_or_else(given_up)?;
        let core =
            folder::core_in(folder).map_err(|error| Failure::io(&error, "open", Some(folder)))?;
        core.ok_or_else(|| {
            plan::explain_short(folder, 0)
                .or(self.files.limits.clone())
                .unwrap_or_else(no_file)
        })
    }
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

fn given_up() -> Failure {
    Failure::killed("was given up")
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
            .stack_size(256 << 10)
            .spawn(keep)?;
        queue.has_keeper = true;
    }
    Ok(())
}

fn keep() {
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
    let on_disk = capture.working.as_deref().map_or(0, folder::progress);
    let written = capture.monitor.bytes.load(Ordering::Relaxed);
    let now = on_disk + written;
    if let Some(watch) = &capture.watch {
        let total = capture.monitor.total.load(Ordering::Relaxed);
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
