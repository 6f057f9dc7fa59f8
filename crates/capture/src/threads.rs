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
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::libc::{self, c_int, c_long, c_void, pid_t};

use crate::notes::Thread;
use crate::proof::Call;
use crate::registers::Registers;
use crate::sys;

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

/// States of [`Desk::state`], in their order.
/// The helper has ended, in whatever way: the kernel writes that, and wakes who waits.
const ENDED: u32 = 0;
/// The helper looks whether it may call what this thread has to call for yama.
const BORN: u32 = 1;
/// It may, and waits to be named.
const PROVEN: u32 = 2;
/// It may begin.
const NAMED: u32 = 3;
/// All threads that could be stopped are.
const STOPPED: u32 = 4;
/// Not one could.
const REFUSED: u32 = 5;
/// They may go on.
const RELEASE: u32 = 6;

/// One thread as the helper notes it.
#[repr(C)]
struct Seat {
    tid: pid_t,
    state: SeatState,
    registers: Registers,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum SeatState {
    Seized,
    /// Stopped, and its registers read.
    Stopped,
    /// Stopped, but of its registers only stack pointer and program counter were given.
    Partly,
    /// Stopped, but its registers were refused.
    Mute,
    /// It may not be traced.
    Refused,
    Gone,
}

/// What this thread and the helper share. Lives on this thread's heap; the helper shares all memory.
struct Desk {
    state: AtomicU32,
    /// `/proc/self/task`, opened by this thread: for the helper "self" is somebody else.
    tasks: c_int,
    /// This thread: never stopped.
    own: pid_t,
    seats: Vec<Seat>,
    taken: usize,
    deadline_stop_ns: u64,
    deadline_hold_ns: u64,
}

/// The other threads, stopped (or, where that was refused, running). Dropping it lets them go.
pub(crate) struct Held {
    desk: Box<Desk>,
    helper: Option<Helper>,
    _tasks: Option<File>,
    all: usize,
    released: bool,
}

struct Helper {
    pid: pid_t,
    stack: *mut c_void,
}

const STACK: usize = 64 << 10;

/// How the helper is born. CLONE_VM: it reads registers straight into our memory. CLONE_FILES: it may use our open
/// directory. Not CLONE_THREAD: a thread cannot trace its own group. Exit signal 0, like a copy.
/// CHILD_CLEARTID: its end, be it by a filter that kills, is seen in the desk.
pub(crate) const HELPER_FLAGS: c_int = libc::CLONE_VM
    | libc::CLONE_FS
    | libc::CLONE_FILES
    | libc::CLONE_UNTRACED
    | libc::CLONE_CHILD_CLEARTID;

// SAFETY: the stack pointer is only used to unmap the stack, by whoever owns the Helper.
unsafe impl Send for Helper {}

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

/// Waits for the helper's end. Should that not be seen, its stack and its desk are left to it for ever.
fn reap(helper: Option<Helper>, desk: &mut Box<Desk>) {
    if let Some(helper) = helper
        && !helper.reap(desk)
    {
        std::mem::forget(std::mem::replace(desk, Box::new(Desk::empty())));
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

impl Desk {
    fn empty() -> Desk {
        Desk {
            state: AtomicU32::new(RELEASE),
            tasks: -1,
            own: 0,
            seats: Vec::new(),
            taken: 0,
            deadline_stop_ns: 0,
            deadline_hold_ns: 0,
        }
    }

    /// The helper's word.
    fn set(&self, state: u32) {
        self.state.store(state, Ordering::Release);
        self.wake();
    }

    /// The other side's word, which must not hide that the helper has ended.
    fn advance(&self, state: u32) {
        let _ = self
            .state
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |now| {
                (now != ENDED).then_some(state)
            });
        self.wake();
    }

    fn wake(&self) {
        // SAFETY: the futex word lives as long as the desk.
        unsafe {
            raw(
                libc::SYS_futex,
                &raw const self.state as usize,
                libc::FUTEX_WAKE as usize,
                16,
                0,
            )
        };
    }

    /// The same for the helper, until its own deadline.
    fn wait_while_raw(&self, state: u32) {
        while self.state.load(Ordering::Acquire) == state && monotonic() < self.deadline_stop_ns {
            let slice = libc::timespec {
                tv_sec: 0,
                tv_nsec: 20_000_000,
            };
            // SAFETY: a live futex word and a live timespec.
            unsafe {
                raw(
                    libc::SYS_futex,
                    &raw const self.state as usize,
                    libc::FUTEX_WAIT as usize,
                    state as usize,
                    &raw const slice as usize,
                )
            };
        }
    }

    /// Sleeps while the state is `state`, at most `patience`.
    fn wait_while(&self, state: u32, patience: Duration) {
        let until = Instant::now() + patience;
        while self.state.load(Ordering::Acquire) == state {
            let Some(left) = until.checked_duration_since(Instant::now()) else {
                return;
            };
            let left = libc::timespec {
                tv_sec: left.as_secs() as _,
                tv_nsec: left.subsec_nanos() as _,
            };
            // SAFETY: a live futex word and a live timespec.
            unsafe {
                raw(
                    libc::SYS_futex,
                    &raw const self.state as usize,
                    libc::FUTEX_WAIT as usize,
                    state as usize,
                    &raw const left as usize,
                )
            };
        }
    }
}

impl Helper {
    fn start(desk: &Desk) -> Option<Helper> {
        // SAFETY: a fresh anonymous mapping.
        let stack = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                STACK,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_STACK,
                -1,
                0,
            )
        };
        if stack == libc::MAP_FAILED {
            return None;
        }
        // It is told of every stop by a SIGCHLD, and has Node's handlers, which write into the pipe that it shares.
        let blocked = sys::SignalsBlocked::new();
        // SAFETY: the stack is ours and large enough; `help` and the desk outlive the helper, which is reaped
        // before either is dropped.
        let pid = unsafe {
            libc::clone(
                help,
                stack.byte_add(STACK),
                HELPER_FLAGS,
                &raw const *desk as *mut c_void,
                std::ptr::null_mut::<c_void>(), // where its id goes: nowhere
                std::ptr::null_mut::<c_void>(), // no thread block of its own
                &raw const desk.state as *mut c_void,
            )
        };
        drop(blocked);
        if pid == -1 {
            // SAFETY: nobody runs on it.
            unsafe { libc::munmap(stack, STACK) };
            return None;
        }
        Some(Helper { pid, stack })
    }

    /// False: it could not be seen that it has ended.
    fn reap(self, desk: &Desk) -> bool {
        // Its end raises no SIGCHLD, hence __WALL. It ends by itself at the latest when its deadline is over.
        let waited = || {
            if Call::WaitId.is_deadly() {
                // SAFETY: our own child.
                return match unsafe { libc::waitpid(self.pid, std::ptr::null_mut(), libc::__WALL) }
                {
                    -1 => -1,
                    _ => 0,
                };
            }
            // SAFETY: waits for our own child, and fills a live variable.
            unsafe {
                let mut about: libc::siginfo_t = std::mem::zeroed();
                let flags = libc::WEXITED | libc::__WALL;
                libc::waitid(libc::P_PID, self.pid as libc::id_t, &raw mut about, flags)
            }
        };
        let reaped = loop {
            if waited() == 0 {
                break true;
            }
            if Errno::last() != Errno::EINTR {
                break false;
            }
        };
        if !reaped {
            // Refused by a filter, or taken by somebody else's wait.
            let until = Instant::now() + HOLD * 2;
            let ended = || desk.state.load(Ordering::Acquire) == ENDED;
            while !ended() && Instant::now() < until {
                std::thread::park_timeout(Duration::from_millis(1));
            }
            if !ended() {
                return false;
            }
            if !Call::Wait4.is_deadly() {
                // SAFETY: our own child, dead.
                unsafe { libc::waitpid(self.pid, std::ptr::null_mut(), libc::__WALL) };
            }
        }
        // SAFETY: nobody runs on it any more.
        unsafe { libc::munmap(self.stack, STACK) };
        true
    }
}

// --- the helper's side ---------------------------------------------------------------------------
// It shares the memory and even the thread block of the thread that made it: no errno (hence raw calls
// that give the error as their value), no allocation, no lock, no panic.

#[cfg(target_arch = "x86_64")]
unsafe fn raw(number: c_long, a: usize, b: usize, c: usize, d: usize) -> isize {
    let result: isize;
    // SAFETY: the caller's; the instruction clobbers rcx and r11.
    unsafe {
        core::arch::asm!(
            "syscall",
            inlateout("rax") number as isize => result,
            in("rdi") a, in("rsi") b, in("rdx") c, in("r10") d, in("r8") 0usize, in("r9") 0usize,
            lateout("rcx") _, lateout("r11") _,
        );
    }
    result
}

#[cfg(target_arch = "aarch64")]
unsafe fn raw(number: c_long, a: usize, b: usize, c: usize, d: usize) -> isize {
    let result: isize;
    // SAFETY: the caller's.
    unsafe {
        core::arch::asm!(
            "svc 0",
            in("x8") number,
            inlateout("x0") a as isize => result,
            in("x1") b, in("x2") c, in("x3") d, in("x4") 0usize, in("x5") 0usize,
        );
    }
    result
}

fn monotonic() -> u64 {
    let mut now = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: writes into a live timespec. By the vdso: no system call, and errno only where it fails.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
    (now.tv_sec as u64)
        .wrapping_mul(1_000_000_000)
        .wrapping_add(now.tv_nsec as u64)
}

const PTRACE_SEIZE: usize = 0x4206;
const PTRACE_INTERRUPT: usize = 0x4207;
const PTRACE_GETREGSET: usize = 0x4204;
const PTRACE_DETACH: usize = 17;
const NT_PRSTATUS: usize = 1;
const NT_PRFPREG: usize = 2;

extern "C" fn help(desk: *mut c_void) -> c_int {
    // SAFETY: `Helper::start` passes the desk, which outlives this process; the thread that owns it reads the
    // seats only after this process has ended, so nobody else touches them now.
    let desk = unsafe { &mut *desk.cast::<Desk>() };
    // SAFETY: raw calls with integers and pointers to live memory; see the head of this part.
    unsafe {
        raw(
            libc::SYS_prctl,
            libc::PR_SET_PDEATHSIG as usize,
            libc::SIGKILL as usize,
            0,
            0,
        );
        // Should a filter kill this process, its core is nobody's business. (Before Linux 5.16 that dump would
        // even take down who shares its memory.)
        let none = libc::rlimit64 {
            rlim_cur: 0,
            rlim_max: 0,
        };
        raw(
            libc::SYS_prlimit64,
            0,
            libc::RLIMIT_CORE as usize,
            &raw const none as usize,
            0,
        );
        // The other side has to name us to yama. Should a filter kill for that, it shall not be the service.
        if desk.state.load(Ordering::Acquire) == BORN {
            raw(libc::SYS_prctl, libc::PR_SET_PTRACER as usize, 0, 0, 0);
            desk.set(PROVEN);
            desk.wait_while_raw(PROVEN);
        }
        seize_all(desk);
        wait_for_stops(desk);
        let stopped = desk.seats.iter().take(desk.taken).any(|seat| {
            matches!(
                seat.state,
                SeatState::Stopped | SeatState::Partly | SeatState::Mute
            )
        });
        if desk.state.load(Ordering::Acquire) != RELEASE {
            desk.set(if stopped { STOPPED } else { REFUSED });
        }
        if stopped {
            while desk.state.load(Ordering::Acquire) == STOPPED
                && monotonic() < desk.deadline_hold_ns
            {
                let left = libc::timespec {
                    tv_sec: 0,
                    tv_nsec: 50_000_000,
                };
                raw(
                    libc::SYS_futex,
                    &raw const desk.state as usize,
                    libc::FUTEX_WAIT as usize,
                    STOPPED as usize,
                    &raw const left as usize,
                );
            }
        }
        let mut index = 0;
        while index < desk.taken {
            if let Some(seat) = desk.seats.get(index)
                && !matches!(seat.state, SeatState::Gone | SeatState::Refused)
            {
                raw(libc::SYS_ptrace, PTRACE_DETACH, seat.tid as usize, 0, 0);
            }
            index += 1;
        }
        // Threads that never stopped cannot be detached: the end of this process does that.
    }
    0
}

unsafe fn pause_for(nanoseconds: i64) {
    let time = libc::timespec {
        tv_sec: 0,
        tv_nsec: nanoseconds as _,
    };
    // SAFETY: a live timespec.
    unsafe { raw(libc::SYS_nanosleep, &raw const time as usize, 0, 0, 0) };
}

/// Seizes and interrupts every thread but the owner, until a look at the list finds no new one.
unsafe fn seize_all(desk: &mut Desk) {
    let mut entries = [0u64; 1024];
    let bytes = entries.as_mut_ptr().cast::<u8>();
    let mut round = 0;
    while round < 8 {
        round += 1;
        let mut found = 0;
        // SAFETY: the directory is open as long as the owner holds it; the buffer is live.
        unsafe {
            raw(
                libc::SYS_lseek,
                desk.tasks as usize,
                0,
                libc::SEEK_SET as usize,
                0,
            )
        };
        loop {
            // SAFETY: as above.
            let filled = unsafe {
                raw(
                    libc::SYS_getdents64,
                    desk.tasks as usize,
                    bytes as usize,
                    size_of_val(&entries),
                    0,
                )
            };
            if filled <= 0 {
                break;
            }
            let mut at = 0usize;
            while at.wrapping_add(19) < filled as usize {
                // SAFETY: `at` and the name lie inside what the kernel filled.
                let (length, tid) = unsafe { entry(bytes, at, filled as usize) };
                at = at.wrapping_add(length.max(19));
                if tid == 0
                    || tid == desk.own
                    || desk
                        .seats
                        .iter()
                        .take(desk.taken)
                        .any(|seat| seat.tid == tid)
                {
                    continue;
                }
                let taken = desk.taken;
                let Some(seat) = desk.seats.get_mut(taken) else {
                    return;
                };
                desk.taken = taken.wrapping_add(1);
                seat.tid = tid;
                // No PTRACE_O_EXITKILL: when this process ends, the threads must live.
                // SAFETY: integers only.
                let seized = unsafe { raw(libc::SYS_ptrace, PTRACE_SEIZE, tid as usize, 0, 0) };
                if seized < 0 {
                    seat.state = if seized == -(libc::ESRCH as isize) {
                        SeatState::Gone
                    } else {
                        SeatState::Refused
                    };
                    continue;
                }
                // SAFETY: integers only.
                let told = unsafe { raw(libc::SYS_ptrace, PTRACE_INTERRUPT, tid as usize, 0, 0) };
                if told < 0 && told != -(libc::ESRCH as isize) {
                    // It will never stop. The end of this process lets it go.
                    seat.state = SeatState::Refused;
                    continue;
                }
                seat.state = SeatState::Seized;
                found += 1;
            }
        }
        if found == 0 {
            break;
        }
    }
}

/// Length and thread id of a directory entry; 0 for `.` and `..`.
unsafe fn entry(bytes: *const u8, at: usize, filled: usize) -> (usize, pid_t) {
    let mut tid: pid_t = 0;
    // SAFETY: the caller checked that 19 bytes follow; digits are only read below `filled`.
    unsafe {
        let length = u16::from_ne_bytes([bytes.add(at + 16).read(), bytes.add(at + 17).read()]);
        let mut digit = at + 19;
        while digit < filled && bytes.add(digit).read().is_ascii_digit() {
            tid = tid
                .wrapping_mul(10)
                .wrapping_add(pid_t::from(bytes.add(digit).read() - b'0'));
            digit += 1;
        }
        (length as usize, tid)
    }
}

/// Waits until all seized threads stand still or the deadline is over, and reads their registers.
unsafe fn wait_for_stops(desk: &mut Desk) {
    loop {
        let mut left = false;
        let mut index = 0;
        while index < desk.taken {
            let Some(seat) = desk.seats.get_mut(index) else {
                break;
            };
            index += 1;
            if seat.state != SeatState::Seized {
                continue;
            }
            let mut status: c_int = 0;
            let flags = (libc::__WALL | libc::WNOHANG) as usize;
            // SAFETY: a live status word.
            let waited = unsafe {
                raw(
                    libc::SYS_wait4,
                    seat.tid as usize,
                    &raw mut status as usize,
                    flags,
                    0,
                )
            };
            if waited == 0 {
                left = true;
            } else if waited > 0 && libc::WIFSTOPPED(status) {
                // SAFETY: the thread is stopped, and the buffers in its seat are live.
                unsafe { read_registers(seat, desk.tasks) };
            } else if waited < 0 && waited != -(libc::ECHILD as isize) {
                seat.state = SeatState::Refused;
            } else {
                seat.state = SeatState::Gone;
            }
        }
        if !left
            || monotonic() > desk.deadline_stop_ns
            || desk.state.load(Ordering::Acquire) == RELEASE
        {
            return;
        }
        // SAFETY: gives the processor to those who still have to stop.
        unsafe { pause_for(10_000) };
    }
}

/// By the newer call of ptrace, by the older one, or from the list of the kernel.
unsafe fn read_registers(seat: &mut Seat, tasks: c_int) {
    let mut general = libc::iovec {
        iov_base: seat.registers.general.as_mut_ptr().cast(),
        iov_len: size_of_val(&seat.registers.general),
    };
    let mut floating = libc::iovec {
        iov_base: seat.registers.floating.as_mut_ptr().cast(),
        iov_len: size_of_val(&seat.registers.floating),
    };
    let tid = seat.tid as usize;
    // SAFETY: both vectors describe live memory of the size given.
    unsafe {
        #[cfg_attr(not(target_arch = "x86_64"), allow(unused_mut))]
        let mut read = raw(
            libc::SYS_ptrace,
            PTRACE_GETREGSET,
            tid,
            NT_PRSTATUS,
            &raw mut general as usize,
        );
        #[cfg_attr(not(target_arch = "x86_64"), allow(unused_mut))]
        let mut floats = raw(
            libc::SYS_ptrace,
            PTRACE_GETREGSET,
            tid,
            NT_PRFPREG,
            &raw mut floating as usize,
        );
        // In the same layout. Other machines never had it.
        #[cfg(target_arch = "x86_64")]
        if read < 0 || floats < 0 {
            const PTRACE_GETREGS: usize = 12;
            const PTRACE_GETFPREGS: usize = 14;
            let (general, floating) = (general.iov_base as usize, floating.iov_base as usize);
            if read < 0 {
                read = raw(libc::SYS_ptrace, PTRACE_GETREGS, tid, 0, general);
            }
            if floats < 0 {
                floats = raw(libc::SYS_ptrace, PTRACE_GETFPREGS, tid, 0, floating);
            }
        }
        seat.registers.has_floating = floats == 0;
        seat.state = if read == 0 {
            SeatState::Stopped
        } else if read_listed(seat, tasks) {
            SeatState::Partly
        } else {
            SeatState::Mute
        };
    }
}

/// Stack pointer and program counter of a stopped thread, from `/proc/PID/task/TID/syscall`.
unsafe fn read_listed(seat: &mut Seat, tasks: c_int) -> bool {
    // From the right: the digits of the id end where the name begins.
    let mut path = *b"\0\0\0\0\0\0\0\0\0\0/syscall\0";
    let mut start = 10;
    let mut left = seat.tid.unsigned_abs();
    for place in path.iter_mut().take(10).rev() {
        *place = b'0' + (left % 10) as u8;
        left /= 10;
        start -= 1;
        if left == 0 {
            break;
        }
    }
    let Some(path) = path.get(start..) else {
        return false;
    };
    let mut text = [0u8; 256];
    // SAFETY: the directory is open as long as the owner holds it, the path ends with a NUL, the buffer is live.
    let length = unsafe {
        let flags = (libc::O_RDONLY | libc::O_CLOEXEC) as usize;
        let path = path.as_ptr() as usize;
        let file = raw(libc::SYS_openat, tasks as usize, path, flags, 0);
        if file < 0 {
            return false;
        }
        let buffer = text.as_mut_ptr() as usize;
        let length = raw(libc::SYS_read, file as usize, buffer, text.len(), 0);
        raw(libc::SYS_close, file as usize, 0, 0, 0);
        length
    };
    let known = usize::try_from(length)
        .ok()
        .and_then(|length| text.get(..length));
    seat.registers.has_floating = false;
    known.is_some_and(|text| seat.registers.set_by_syscall(text))
}
