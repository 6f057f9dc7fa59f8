//! What the thread that takes a copy and its helper share: a word that both wait on, and a seat for each other thread.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use nix::libc::{self, c_int, c_long, pid_t};

use crate::registers::Registers;

// States of [`Desk::state`], in their order.

/// The helper has ended, in whatever way: the kernel writes that, and wakes who waits.
pub(super) const ENDED: u32 = 0;

/// The helper looks whether it may call what this thread has to call for yama.
pub(super) const BORN: u32 = 1;

/// It may, and waits to be named.
pub(super) const PROVEN: u32 = 2;

/// It may begin.
pub(super) const NAMED: u32 = 3;

/// All threads that could be stopped are.
pub(super) const STOPPED: u32 = 4;

/// Not one could.
pub(super) const REFUSED: u32 = 5;

/// They may go on.
pub(super) const RELEASE: u32 = 6;

/// One thread as the helper notes it.
#[repr(C)]
pub(super) struct Seat {
    pub(super) tid: pid_t,
    pub(super) state: SeatState,
    pub(super) registers: Registers,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum SeatState {
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
pub(super) struct Desk {
    pub(super) state: AtomicU32,
    /// `/proc/self/task`, opened by this thread: for the helper "self" is somebody else.
    pub(super) tasks: c_int,
    /// This thread: never stopped.
    pub(super) own: pid_t,
    pub(super) seats: Vec<Seat>,
    pub(super) taken: usize,
    pub(super) deadline_stop_ns: u64,
    pub(super) deadline_hold_ns: u64,
}

impl Desk {
    pub(super) fn empty() -> Desk {
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
    pub(super) fn set(&self, state: u32) {
        self.state.store(state, Ordering::Release);
        self.wake();
    }

    /// The other side's word, which must not hide that the helper has ended.
    pub(super) fn advance(&self, state: u32) {
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
    pub(super) fn wait_while_raw(&self, state: u32) {
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
    pub(super) fn wait_while(&self, state: u32, patience: Duration) {
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

// The helper shares even the thread block of the thread that made it: no errno, hence calls that give the error as their
// value.

#[cfg(target_arch = "x86_64")]
pub(super) unsafe fn raw(number: c_long, a: usize, b: usize, c: usize, d: usize) -> isize {
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
pub(super) unsafe fn raw(number: c_long, a: usize, b: usize, c: usize, d: usize) -> isize {
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

pub(super) fn monotonic() -> u64 {
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
