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

use nix::libc;

use crate::copy::{Copy, Role};
use crate::dontfork;
use crate::error::Failure;
use crate::registers::Registers;

mod tries;

pub(crate) use tries::try_all;

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
