//! The helper as the thread sees it that made it: its birth and its end.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::libc::{self, c_int, c_void, pid_t};

use super::HOLD;
use super::desk::{Desk, ENDED};
use super::seize::help;
use crate::calls::Call;
use crate::sys;

pub(super) struct Helper {
    pub(super) pid: pid_t,
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

/// Waits for the helper's end. Should that not be seen, its stack and its desk are left to it for ever.
pub(super) fn reap(helper: Option<Helper>, desk: &mut Box<Desk>) {
    if let Some(helper) = helper
        && !helper.reap(desk)
    {
        std::mem::forget(std::mem::replace(desk, Box::new(Desk::empty())));
    }
}

impl Helper {
    pub(super) fn start(desk: &Desk) -> Option<Helper> {
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
