//! System calls that a capture makes and Node does not, and which of them a seccomp filter kills for.
//!
//! A filter need not answer with an error: it may end the process that made the call. Filters are written for what a
//! service does, and some of what a capture does no service does. `proof.rs` finds out what kills, and from then on
//! nobody in this process makes such a call: there is another way, or it can be left out, or the capture is refused
//! with a clear error. What only the helper of `threads.rs` calls it tries by itself.

use std::fs;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard};

/// One of them. They are tried in this order.
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

/// All of them, in that order.
pub(crate) const CALLS: [Call; 20] = [
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

/// Calls that kill, as a bit set.
static DEADLY: AtomicU32 = AtomicU32::new(0);

/// For how many filters that has been found out. Filters are only ever added.
static PROVEN: Mutex<Option<u64>> = Mutex::new(None);

impl Call {
    /// Its place in a set.
    pub(crate) fn bit(self) -> u32 {
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
        *proven() == Some(filters) && !self.is_deadly()
    }
}

/// For how many filters it is known what kills; None before that was ever asked. Whoever finds it out holds the lock meanwhile.
pub(crate) fn proven() -> MutexGuard<'static, Option<u64>> {
    PROVEN.lock().unwrap_or_else(|poison| poison.into_inner())
}

/// What kills, as it turns out.
pub(crate) fn set_deadly(deadly: u32) {
    DEADLY.store(deadly, Ordering::Relaxed);
}

/// All that kill, for a copy, which cannot ask.
pub(crate) fn deadly() -> u32 {
    DEADLY.load(Ordering::Relaxed)
}

/// How many seccomp filters the calling thread has; None without one. Kernels before 5.9 do not count them.
pub(crate) fn filters() -> Option<u64> {
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
}
