//! The other threads of this process: held for the instant of a fork, and their registers read.
//!
//! A forked copy has the calling thread only; where the others stood is known to nobody but this process. So a
//! helper (a process that shares our memory, hence able to ptrace our threads) seizes and interrupts them, reads
//! their registers into memory that was laid out before, keeps them while the fork happens, and lets go. That also
//! makes the copy exact: nobody maps or writes between its birth and that of the probe.
//!
//! A stopped thread may hold any lock: between [`Held`] and its drop this thread must not allocate, and must not
//! take a lock. Every wait has an end: if this thread were stuck all the same, the helper lets go by itself.

use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use nix::libc::{self, pid_t};

use crate::calls::Call;
use crate::notes::Thread;
use crate::registers::Registers;

mod desk;
mod helper;
mod seize;

use desk::{BORN, Desk, NAMED, PROVEN, RELEASE, STOPPED, Seat, SeatState, monotonic};
pub(crate) use helper::HELPER_FLAGS;
use helper::{Helper, reap};

/// More threads than this are not looked at.
const MOST: usize = 4096;

/// How long the threads may take to stop. One in uninterruptible sleep never does, and is left out.
const STOP: Duration = Duration::from_millis(50);

/// After this the helper lets go, whatever this thread does.
const HOLD: Duration = Duration::from_secs(5);

/// How the registers of the other threads were read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// All registers, of stopped threads.
    Ptrace,
    /// Stack pointer and program counter of those that slept in a system call.
    Syscall,
    /// Not at all.
    None,
}

/// The other threads, stopped (or, where that was refused, running). Dropping it lets them go.
pub(crate) struct Held {
    desk: Box<Desk>,
    helper: Option<Helper>,
    _tasks: Option<File>,
    all: usize,
    released: bool,
}

/// What became of the helper, to be reaped where it may take a moment.
pub(crate) struct Finished {
    desk: Box<Desk>,
    stopped: bool,
    all: usize,
    helper: Option<Helper>,
}

impl Held {
    /// Stops all other threads. With `wanted` false, or where it is refused, nobody is stopped.
    pub(crate) fn stop(wanted: bool) -> Held {
        let tasks = File::open("/proc/self/task").ok();
        let has_yama = yama();
        let count = fs::read_dir("/proc/self/task").map_or(0, |entries| entries.count());
        // Room for threads that are born meanwhile.
        let room = (count + count / 4 + 16).min(MOST);
        let mut seats = Vec::new();
        if wanted && count > 1 {
            seats.resize_with(room, || Seat {
                tid: 0,
                state: SeatState::Gone,
                registers: Registers::default(),
            });
        }
        let now = monotonic();
        let mut held = Held {
            desk: Box::new(Desk {
                state: AtomicU32::new(if has_yama { BORN } else { NAMED }),
                tasks: tasks.as_ref().map_or(-1, AsRawFd::as_raw_fd),
                // SAFETY: takes nothing, gives the thread's id.
                own: unsafe { libc::syscall(libc::SYS_gettid) } as pid_t,
                seats,
                taken: 0,
                deadline_stop_ns: now + STOP.as_nanos() as u64,
                deadline_hold_ns: now + HOLD.as_nanos() as u64,
            }),
            helper: None,
            _tasks: tasks,
            all: count,
            released: false,
        };
        // In a pid namespace that sees the /proc of another one, the ids there are those of other threads here.
        if held.desk.seats.is_empty() || own_in_proc() != Some(held.desk.own) {
            return held;
        }
        if !Call::CloneHelper.is_deadly() {
            held.helper = Helper::start(&held.desk);
        }
        let Some(helper) = &held.helper else {
            return held;
        };
        if !has_yama {
            held.desk.wait_while(NAMED, STOP * 2);
            return held;
        }
        held.desk.wait_while(BORN, STOP);
        if held.desk.state.load(Ordering::Acquire) != PROVEN {
            return held;
        }
        // With yama in its usual setting a process may only be traced by its ancestors, or by whom it names.
        // SAFETY: integers only; where there is no yama it answers EINVAL.
        unsafe { libc::prctl(libc::PR_SET_PTRACER, helper.pid as libc::c_ulong, 0, 0, 0) };
        held.desk.advance(NAMED);
        held.desk.wait_while(NAMED, STOP * 2);
        // SAFETY: as above; 0 names nobody.
        unsafe { libc::prctl(libc::PR_SET_PTRACER, 0, 0, 0, 0) };
        held
    }

    /// Lets the threads go on.
    pub(crate) fn release(mut self) -> Finished {
        let stopped = self.desk.state.load(Ordering::Acquire) == STOPPED;
        self.let_go();
        let desk = std::mem::replace(&mut self.desk, Box::new(Desk::empty()));
        Finished {
            desk,
            stopped,
            all: self.all,
            helper: self.helper.take(),
        }
    }

    fn let_go(&mut self) {
        if self.helper.is_some() && !self.released {
            self.released = true;
            self.desk.advance(RELEASE);
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.let_go();
        reap(self.helper.take(), &mut self.desk);
    }
}

impl Finished {
    /// Whether threads were to be stopped, and not one was.
    pub(crate) fn was_refused(&self) -> bool {
        !self.desk.seats.is_empty() && !self.stopped
    }

    /// Waits for the helper's end and gives the threads it read, and how many there were, the calling one counted.
    /// Of those that it could not read, but others it could, what `/proc/self/task/*/syscall` tells.
    pub(crate) fn threads(mut self) -> (Vec<Thread>, How, usize) {
        reap(self.helper.take(), &mut self.desk);
        let seats = &self.desk.seats[..self.desk.taken.min(self.desk.seats.len())];
        let is_read = |seat: &Seat| matches!(seat.state, SeatState::Stopped | SeatState::Partly);
        if !seats.iter().any(is_read) {
            return (Vec::new(), How::None, self.all);
        }
        let threads: Vec<_> = seats
            .iter()
            .filter_map(|seat| match seat.state {
                SeatState::Gone => None,
                _ if is_read(seat) => Some(Thread {
                    tid: seat.tid,
                    registers: seat.registers.clone(),
                    ..Thread::default()
                }),
                // One in uninterruptible sleep is where it was.
                _ => sleeping(seat.tid),
            })
            .collect();
        // Counted when they stood still: one that was on its end before that is none of them.
        let others = seats
            .iter()
            .filter(|seat| seat.state != SeatState::Gone)
            .count();
        (threads, How::Ptrace, 1 + others)
    }
}

/// Where the other threads stand that sleep in a system call, by `/proc/self/task/*/syscall`: all that can be known
/// without ptrace. They are not stopped, so a thread may have gone on before the fork.
pub(crate) fn asleep(own: pid_t) -> Vec<Thread> {
    let entries = fs::read_dir("/proc/self/task")
        .into_iter()
        .flatten()
        .flatten();
    let tids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<pid_t>().ok());
    let own = own_in_proc().unwrap_or(own);
    tids.filter(|tid| *tid != own)
        .filter_map(sleeping)
        .collect()
}

/// Where a thread stands that sleeps in a system call.
fn sleeping(tid: pid_t) -> Option<Thread> {
    let text = fs::read(format!("/proc/self/task/{tid}/syscall")).ok()?;
    let mut thread = Thread {
        tid,
        ..Thread::default()
    };
    thread.registers.set_by_syscall(&text).then_some(thread)
}

/// The thread's name, as it is now.
pub(crate) fn name(tid: pid_t) -> Option<String> {
    let name = fs::read_to_string(format!("/proc/self/task/{tid}/comm")).ok()?;
    Some(name.trim_end().to_owned())
}

impl Drop for Finished {
    fn drop(&mut self) {
        reap(self.helper.take(), &mut self.desk);
    }
}

/// Whether this kernel has yama: it may want to be told who traces. Else that call, which Node itself does not
/// make, need not be made.
fn yama() -> bool {
    static YAMA: OnceLock<bool> = OnceLock::new();
    *YAMA.get_or_init(|| {
        let found = fs::metadata("/proc/sys/kernel/yama");
        !found.is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound)
    })
}

/// The id of the calling thread as the mounted /proc has it.
fn own_in_proc() -> Option<pid_t> {
    let link = fs::read_link("/proc/thread-self").ok()?;
    link.file_name()?.to_str()?.parse().ok()
}
