//! Which system calls a seccomp filter kills for, found out by a child that may die of it.
//!
//! A filter need not answer with an error: it may end the process that made the call. Filters are written for what a
//! service does, and some of what a capture does no service does. So where there is a filter, each such call is made
//! first by a child, the proof, which is born by the very flags of `fork(3)`: what Node itself may do to start a
//! program. It says what it is about to try, and tries; where it dies of that, another one goes on with the next.
//! From then on nobody in this process makes a call that kills: there is another way, or it can be left out, or the
//! capture is refused with a clear error. What only the helper of `threads.rs` calls it tries by itself.
//!
//! Without a filter nothing of that happens. With one it is a fork more, once: the proof goes on as a probe.

use std::fs;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use nix::libc::{self, c_int, c_long, c_void};

use crate::child::{self, Orders, call};
use crate::copy::{Copy, Role};
use crate::dontfork;
use crate::error::Failure;
use crate::registers::Registers;
use crate::threads;

/// System calls that a capture makes and Node does not, in the order in which they are tried.
#[repr(u8)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Call {
    /// Waiting for a child by `waitid` and `__WALL`. These two are first: the proofs themselves are waited for.
    WaitId,
    /// The same by `wait4`.
    Wait4,
    /// `madvise(MADV_DOFORK)`.
    Unmark,
    PidfdSendSignal,
    RecvMsg,
    SendTo,
    Poll,
    Flock,
    RenameNoReplace,
    /// `fcntl(F_SETPIPE_SZ)`.
    PipeSize,
    /// `prctl(PR_GET_DUMPABLE)`.
    GetDumpable,
    /// `prctl(PR_SET_NAME)`.
    SetName,
    GetGroup,
    GetSession,
    CloseRange,
    /// `clone(CLONE_PIDFD)`, exit signal 0.
    ClonePidfd,
    /// `clone` without any flag.
    ClonePlain,
    /// `clone` of the helper that stops threads.
    CloneHelper,
    SetPriority,
    IoprioSet,
}

const CALLS: [Call; 20] = [
    Call::WaitId,
    Call::Wait4,
    Call::Unmark,
    Call::PidfdSendSignal,
    Call::RecvMsg,
    Call::SendTo,
    Call::Poll,
    Call::Flock,
    Call::RenameNoReplace,
    Call::PipeSize,
    Call::GetDumpable,
    Call::SetName,
    Call::GetGroup,
    Call::GetSession,
    Call::CloseRange,
    Call::ClonePidfd,
    Call::ClonePlain,
    Call::CloneHelper,
    Call::SetPriority,
    Call::IoprioSet,
];

/// What a proof says when it has tried all.
pub(crate) const ALL_TRIED: u8 = 0xff;

/// How long a proof may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Calls that kill, as a bit set.
static DEADLY: AtomicU32 = AtomicU32::new(0);

/// For how many filters that has been found out. Filters are only ever added.
static PROVEN: Mutex<Option<u64>> = Mutex::new(None);

impl Call {
    fn bit(self) -> u32 {
        1 << self as u8
    }

    /// Whether a filter kills for this call.
    pub(crate) fn is_deadly(self) -> bool {
        self.is_in(DEADLY.load(Ordering::Relaxed))
    }

    /// Whether it is one of a set.
    pub(crate) fn is_in(self, set: u32) -> bool {
        set & self.bit() != 0
    }

    /// Whether it is known not to kill. Without a capture before it, and with a filter, nothing is known.
    pub(crate) fn is_safe(self) -> bool {
        let Some(filters) = filters() else {
            return true;
        };
        let proven = *PROVEN.lock().unwrap_or_else(|poison| poison.into_inner());
        proven == Some(filters) && !self.is_deadly()
    }
}

/// All that kill, for a copy, which cannot ask.
pub(crate) fn deadly() -> u32 {
    DEADLY.load(Ordering::Relaxed)
}

/// Finds out, unless that has been done, which calls kill. An error where a capture cannot do without one of them;
/// `in_folder`: one that writes into a folder.
pub(crate) fn ensure(in_folder: bool) -> Result<(), Failure> {
    let Some(filters) = filters() else {
        return Ok(());
    };
    let mut proven = PROVEN.lock().unwrap_or_else(|poison| poison.into_inner());
    if *proven != Some(filters) {
        let proof = find_out(proven.is_none())?;
        // Where there is no hope, that is the news.
        if check(deadly(), false).is_ok() {
            // What a copy calls before it is ready, and cannot do without, is called now as well.
            proof.files(PATIENCE, &mut || ())?;
        } else if cannot_wait(deadly()) {
            proof.end_as_node_does();
        }
        *proven = Some(filters);
    }
    drop(proven);
    check(deadly(), in_folder)
}

/// Gives the proof that lived through all that does not kill: a probe now.
fn find_out(for_the_first_time: bool) -> Result<Copy, Failure> {
    // Until it is known how to wait for a child, nobody does.
    let mut unknown = match for_the_first_time {
        true => Call::WaitId.bit() | Call::Wait4.bit(),
        false => 0,
    };
    let (mut from, mut deadly) = (0, 0);
    let mut died = Vec::new();
    loop {
        DEADLY.store(deadly | unknown, Ordering::Relaxed);
        let role = Role::Proof { from, deadly };
        let proof = Copy::fork(role, &mut Registers::default()).map_err(Failure::from)?;
        let tried = proof.tried(PATIENCE)?;
        let below = tried.map_or(u32::MAX, |tried| (1 << tried) - 1);
        unknown &= !below;
        if let Some(tried) = tried {
            deadly |= 1 << tried;
            unknown &= !deadly;
            from = tried + 1;
            died.push(proof);
            continue;
        }
        DEADLY.store(deadly, Ordering::Relaxed);
        let others = |proof: &Copy| {
            if cannot_wait(deadly) {
                proof.end_as_node_does();
                return false;
            }
            // Status -1: somebody else's wait took it, or nobody can wait; what it died of is not known.
            let ended = proof.wait(None);
            ended.signal != libc::SIGSYS && ended.status != -1
        };
        if died.iter().any(others) {
            return Err(Failure::killed("died before it was ready"));
        }
        return Ok(proof);
    }
}

/// Whether there is no way to wait for a copy.
fn cannot_wait(deadly: u32) -> bool {
    Call::WaitId.is_in(deadly) && Call::Wait4.is_in(deadly)
}

fn check(deadly: u32, in_folder: bool) -> Result<(), Failure> {
    let kills = |call: Call| call.is_in(deadly);
    let needed = if kills(Call::Unmark) {
        return Err(dontfork::incomplete(
            "a seccomp filter kills for madvise(MADV_DOFORK)",
        ));
    } else if cannot_wait(deadly) {
        "waitid and wait4 with __WALL"
    } else if kills(Call::ClonePidfd) && kills(Call::ClonePlain) {
        "clone without an exit signal"
    } else if kills(Call::RecvMsg) {
        "recvmsg"
    } else if kills(Call::Flock) && in_folder {
        "flock"
    } else {
        return Ok(());
    };
    Err(Failure::new(
        "ERR_CORE_DENIED",
        format!(
            "A seccomp filter kills for {needed}, which a capture cannot do without. That was found out by a child, \
             which died of it; the service itself was not touched. Allow {needed} in the seccomp profile of this \
             process."
        ),
    ))
}

/// How many seccomp filters the calling thread has; None without one. Kernels before 5.9 do not count them.
fn filters() -> Option<u64> {
    let status = fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
    count(&status)
}

fn count(status: &str) -> Option<u64> {
    let field = |name: &str| -> Option<u64> {
        let rest = status.lines().find_map(|line| line.strip_prefix(name))?;
        rest.trim().parse().ok()
    };
    match field("Seccomp:") {
        None | Some(0) => None,
        Some(_) => Some(field("Seccomp_filters:").unwrap_or(1)),
    }
}

// --- the child's side ----------------------------------------------------------------------------
// As in `child.rs`: raw calls on prepared data only.

/// Tries all calls from `orders.tries` on, each announced by its number. Comes back if none kills.
///
/// # Safety
/// As for [`child::live`].
pub(crate) unsafe fn try_all(orders: &Orders, from: u8) {
    let say = |what: u8| {
        // SAFETY: one live byte.
        unsafe {
            call(
                libc::SYS_write,
                orders.socket as usize,
                &raw const what as usize,
                1,
                0,
            )
        }
    };
    for tried in CALLS {
        if (tried as u8) < from {
            continue;
        }
        if say(tried as u8).is_err() {
            return;
        }
        // SAFETY: as this function's.
        unsafe { make(tried, orders.deadly) };
    }
    let _ = say(ALL_TRIED);
}

const NONE: usize = usize::MAX;

/// Makes a call with the numbers that a capture gives it: a filter sees numbers, and no memory. But where it would do
/// something it gets no descriptor, no child or no file to do that with.
unsafe fn make(tried: Call, deadly: u32) {
    // SAFETY: integers, static strings and pointers to this stack frame; clones as described below.
    unsafe {
        let mut space = [0u64; 32];
        let memory = space.as_mut_ptr() as usize;
        let at = libc::AT_FDCWD as usize;
        let empty = c"".as_ptr() as usize;
        let _ = match tried {
            Call::Unmark => call(
                libc::SYS_madvise,
                0x10000,
                0x1000,
                libc::MADV_DOFORK as usize,
                0,
            ),
            Call::WaitId => {
                let flags = libc::WEXITED | libc::__WALL | libc::WNOWAIT;
                call(
                    libc::SYS_waitid,
                    libc::P_PID as usize,
                    c_int::MAX as usize,
                    memory,
                    flags as usize,
                )
            }
            Call::Wait4 => call(
                libc::SYS_wait4,
                c_int::MAX as usize,
                memory,
                libc::__WALL as usize,
                0,
            ),
            Call::PidfdSendSignal => call(
                libc::SYS_pidfd_send_signal,
                NONE,
                libc::SIGKILL as usize,
                0,
                0,
            ),
            Call::RecvMsg => {
                let flags = libc::MSG_CMSG_CLOEXEC | libc::MSG_DONTWAIT;
                call(libc::SYS_recvmsg, NONE, memory, flags as usize, 0)
            }
            Call::SendTo => call(
                libc::SYS_sendto,
                NONE,
                memory,
                1,
                libc::MSG_NOSIGNAL as usize,
            ),
            Call::Poll => Ok(libc::poll(std::ptr::null_mut(), 0, 0) as usize),
            Call::Flock => call(
                libc::SYS_flock,
                NONE,
                (libc::LOCK_EX | libc::LOCK_NB) as usize,
                0,
                0,
            ),
            Call::RenameNoReplace => {
                let flags = libc::RENAME_NOREPLACE as usize;
                // The fifth argument, hence not by `call`.
                libc::syscall(libc::SYS_renameat2, at, empty, at, empty, flags);
                Ok(0)
            }
            Call::PipeSize => call(
                libc::SYS_fcntl,
                NONE,
                libc::F_SETPIPE_SZ as usize,
                1 << 20,
                0,
            ),
            Call::GetDumpable => call(libc::SYS_prctl, libc::PR_GET_DUMPABLE as usize, 0, 0, 0),
            Call::SetName => {
                let name = c"stillcore-proof".as_ptr() as usize;
                call(libc::SYS_prctl, libc::PR_SET_NAME as usize, name, 0, 0)
            }
            // As libc's, here and with `poll`: which system calls these are differs, and they are nothing but those.
            Call::GetGroup => Ok(libc::getpgrp() as usize),
            Call::GetSession => Ok(libc::getsid(0) as usize),
            Call::CloseRange => call(
                libc::SYS_close_range,
                c_int::MAX as usize - 1,
                c_int::MAX as usize,
                0,
                0,
            ),
            Call::ClonePidfd => born(deadly, clone(libc::CLONE_PIDFD, memory)),
            Call::ClonePlain => born(deadly, clone(0, memory)),
            Call::CloneHelper => born(deadly, clone_helper(memory)),
            Call::SetPriority => call(libc::SYS_setpriority, libc::PRIO_PROCESS as usize, 0, 19, 0),
            Call::IoprioSet => child::set_io_idle(),
        };
    }
}

/// As `sys::clone_process` does it; what is born ends at once.
unsafe fn clone(flags: c_int, memory: usize) -> c_long {
    // SAFETY: no CLONE_VM: it has this stack for itself, and ends.
    unsafe {
        let pid = libc::syscall(
            libc::SYS_clone,
            flags as libc::c_ulong,
            0usize,
            memory,
            0usize,
            0usize,
        );
        if pid == 0 {
            child::exit(0);
        }
        pid
    }
}

/// As `threads.rs` does it.
unsafe fn clone_helper(memory: usize) -> c_long {
    extern "C" fn nothing(_: *mut c_void) -> c_int {
        0
    }
    const STACK: usize = 16 << 10;
    // SAFETY: a stack of its own; where its id is cleared there is room on this stack, and `born` waits for its end.
    unsafe {
        let stack = libc::mmap(
            std::ptr::null_mut(),
            STACK,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_STACK,
            -1,
            0,
        );
        if stack == libc::MAP_FAILED {
            return -1;
        }
        let none = std::ptr::null_mut::<c_void>();
        libc::clone(
            nothing,
            stack.byte_add(STACK),
            threads::HELPER_FLAGS,
            none,
            none,
            none,
            memory as *mut c_void,
        )
        .into()
    }
}

/// Waits for what was born: left behind it would be a zombie of whoever adopts it, of the service perhaps.
unsafe fn born(deadly: u32, pid: c_long) -> Result<usize, i32> {
    if pid <= 0 {
        return Ok(0);
    }
    let mut about = [0u64; 32];
    let memory = about.as_mut_ptr() as usize;
    // SAFETY: its own child, and live memory.
    unsafe {
        if Call::WaitId.is_in(deadly) {
            call(
                libc::SYS_wait4,
                pid as usize,
                memory,
                libc::__WALL as usize,
                0,
            )
        } else {
            call(
                libc::SYS_waitid,
                libc::P_PID as usize,
                pid as usize,
                memory,
                (libc::WEXITED | libc::__WALL) as usize,
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_places_in_the_list() {
        for (place, call) in CALLS.into_iter().enumerate() {
            assert_eq!(place, call as usize);
        }
        assert!(CALLS.len() <= 32, "bits of the set");
    }

    #[test]
    fn filters_are_counted() {
        assert_eq!(
            count("Name:\tnode\nSeccomp:\t0\nSeccomp_filters:\t0\n"),
            None
        );
        assert_eq!(count("Seccomp:\t2\nSeccomp_filters:\t3\n"), Some(3));
        assert_eq!(count("Seccomp:\t2\n"), Some(1));
        assert_eq!(count(""), None);
    }

    #[test]
    fn what_cannot_be_done_without_is_named() {
        let code = |calls: &[Call], in_folder| {
            let deadly = calls.iter().fold(0, |set, call| set | call.bit());
            check(deadly, in_folder).err().map(|failure| failure.code)
        };
        assert_eq!(
            code(&[Call::Unmark], true).as_deref(),
            Some("ERR_CORE_INCOMPLETE")
        );
        assert_eq!(
            code(&[Call::Flock], true).as_deref(),
            Some("ERR_CORE_DENIED")
        );
        assert_eq!(code(&[Call::Flock], false), None);
        assert_eq!(code(&[Call::WaitId, Call::ClonePidfd], true), None);
        let both = [Call::ClonePlain, Call::ClonePidfd];
        assert_eq!(code(&both, false).as_deref(), Some("ERR_CORE_DENIED"));
    }

    /// Without a filter all comes back, and nothing is left behind.
    #[test]
    fn a_proof_tries_all() {
        let proof = Copy::fork(
            Role::Proof { from: 0, deadly: 0 },
            &mut Registers::default(),
        );
        let proof = proof.unwrap();
        assert_eq!(proof.tried(PATIENCE).unwrap(), None);
        proof.files(PATIENCE, &mut || ()).unwrap();
        drop(proof);
        let stat = fs::read_to_string("/proc/thread-self/children").unwrap_or_default();
        assert_eq!(stat.trim(), "");
    }
}
