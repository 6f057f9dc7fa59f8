//! The end of a copy: killed, waited for, and how it came.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;

use nix::errno::Errno;
use nix::libc;
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid};
use nix::unistd::Pid;

use super::Copy;
use crate::calls::Call;
use crate::sys;

/// How a copy ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ended {
    /// The signal that ended it, 0 for an exit.
    pub(crate) signal: i32,
    /// Its exit status where no signal did.
    pub(crate) status: i32,
    /// SIGKILL was pending at the end: somebody killed it while the kernel was already dumping. The wait
    /// status still says SIGSEGV then, with the core flag set.
    pub(crate) killed: bool,
}

impl Copy {
    /// SIGKILL, unless it has been reaped.
    pub(crate) fn kill(&self) {
        let reaped = self
            .reaped
            .lock()
            .unwrap_or_else(|poison| poison.into_inner());
        if !*reaped {
            sys::kill(self.pid, self.pidfd.as_ref().map(AsRawFd::as_raw_fd));
        }
    }

    /// Whether it still holds memory.
    pub(crate) fn is_alive(&self) -> bool {
        !*self
            .reaped
            .lock()
            .unwrap_or_else(|poison| poison.into_inner())
    }

    /// Kills and reaps it, unless it has been reaped. When this returns, it does nothing any more.
    pub(crate) fn end(&self) {
        if self.is_alive() {
            self.kill();
            self.wait(None);
        }
    }

    /// Waits for its end and reaps it. Blocks in the kernel; [`Copy::kill`] from another thread ends it.
    pub(crate) fn wait(&self, status: Option<&File>) -> Ended {
        // __WALL: a child whose exit signal is not SIGCHLD is invisible without it.
        let flags = WaitPidFlag::WEXITED | WaitPidFlag::__WALL;
        // By pid: nobody else can have it as long as the copy is not reaped, and every kernel knows it.
        let id = || Id::Pid(Pid::from_raw(self.pid));
        let by_id = !Call::WaitId.is_deadly();
        let ended = loop {
            if !by_id {
                break Err(Errno::EPERM);
            }
            match waitid(id(), flags | WaitPidFlag::WNOWAIT) {
                Err(Errno::EINTR) => {}
                other => break other,
            }
        };
        let ended = match ended {
            // Refused, or worse (a seccomp filter). The older call cannot leave it unreaped.
            Err(errno) if errno != Errno::ECHILD => self.wait_by_old_call(),
            done => done,
        };
        let killed = status.is_some_and(sigkill_pending);
        let mut reaped = self
            .reaped
            .lock()
            .unwrap_or_else(|poison| poison.into_inner());
        if !*reaped {
            if by_id {
                let _ = waitid(id(), flags);
            }
            *reaped = true;
        }
        match ended {
            Ok(WaitStatus::Signaled(_, signal, _)) => {
                let signal = signal as i32;
                Ended {
                    signal,
                    status: 0,
                    killed: killed || signal == libc::SIGKILL,
                }
            }
            Ok(WaitStatus::Exited(_, status)) => Ended {
                signal: 0,
                status,
                killed,
            },
            // Somebody else's waitpid(-1, __WALL) took it: nothing is known of its end.
            _ => Ended {
                signal: 0,
                status: -1,
                killed,
            },
        }
    }

    fn wait_by_old_call(&self) -> nix::Result<WaitStatus> {
        if Call::Wait4.is_deadly() {
            return Err(Errno::EPERM);
        }
        self.wait_by(Some(WaitPidFlag::__WALL))
    }

    /// Ends and reaps a proof as libuv reaps what it started, where nothing else is allowed.
    pub(crate) fn end_as_node_does(&self) {
        self.kill();
        let _ = self.wait_by(None);
    }

    fn wait_by(&self, flags: Option<WaitPidFlag>) -> nix::Result<WaitStatus> {
        loop {
            match waitpid(Pid::from_raw(self.pid), flags) {
                Err(Errno::EINTR) => {}
                Ok(ended) => {
                    *self
                        .reaped
                        .lock()
                        .unwrap_or_else(|poison| poison.into_inner()) = true;
                    return Ok(ended);
                }
                failed => return failed,
            }
        }
    }
}

/// Whether `/proc/PID/status` of a dead, unreaped process shows SIGKILL pending.
fn sigkill_pending(status: &File) -> bool {
    let mut text = [0u8; 4096];
    let Ok(length) = status.read_at(&mut text, 0) else {
        return false;
    };
    text[..length].split(|byte| *byte == b'\n').any(|line| {
        let set = line
            .strip_prefix(b"SigPnd:")
            .or_else(|| line.strip_prefix(b"ShdPnd:"));
        set.and_then(|set| u64::from_str_radix(std::str::from_utf8(set).ok()?.trim(), 16).ok())
            .is_some_and(|set| set & (1 << (libc::SIGKILL - 1)) != 0)
    })
}
