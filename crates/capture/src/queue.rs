//! All captures of this process, workers included: one runs, at most four wait, forked already.
//!
//! Three kinds of threads meet here. The JavaScript threads begin captures ([`begin`]). The runner, a
//! thread of libuv's pool or one of our own, takes them one after another to their end ([`drain`]): it
//! sleeps in the kernel until the copy is dead, then verifies and packs. The keeper, a thread of our own
//! that lives as long as there are captures, puts V8's marks back after each fork and looks every 50 ms
//! after what must not wait for the runner: memory, time limits, copies that wait in line.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use nix::errno::Errno;

use crate::cgroup::Groups;
use crate::copy::Role;
use crate::dontfork;
use crate::error::Failure;
use crate::folder::{self, Folder, Title};
use crate::monitor::Monitor;
use crate::plan;
use crate::proof;
use crate::request::{Begun, Method, Output, Request, Target};
use crate::shortage::Shortage;
use crate::snapshot::Snapshot;

mod capture;
mod keeper;
mod runner;

use capture::{Capture, State};
use keeper::wake_keeper;
pub use runner::drain;

/// Captures that may wait behind the running one.
const WAITING: usize = 4;

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
    check_address_space()?;
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
        monitor: Monitor::since(started),
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

/// Nothing is begun where a limit on memory might end the process.
fn check_address_space() -> Result<(), Failure> {
    match Shortage::now() {
        None => Ok(()),
        Some(shortage) => Err(Failure::system(
            Errno::ENOMEM,
            "mmap",
            None,
            &format!("{} {}", shortage.why(), Shortage::CHANGE),
        )),
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
