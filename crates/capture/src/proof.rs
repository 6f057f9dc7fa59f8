//! Which system calls a seccomp filter kills for, found out by a child that may die of it.
//!
//! Where there is a filter, each call of `calls.rs` is made first by a child, the proof, which is born by the very flags
//! of `fork(3)`: what Node itself may do to start a program. It says what it is about to try, and tries
//! (`child/tries.rs`); where it dies of that, another one goes on with the next.
//!
//! Without a filter nothing of that happens. With one it is a fork more, once: the proof goes on as a probe.

use std::time::Duration;

use nix::libc;

use crate::calls::{self, Call, deadly, filters};
use crate::copy::{Copy, Role};
use crate::dontfork;
use crate::error::Failure;
use crate::registers::Registers;

/// How long a proof may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Finds out, unless that has been done, which calls kill. An error where a capture cannot do without one of them;
/// `in_folder`: one that writes into a folder.
pub(crate) fn ensure(in_folder: bool) -> Result<(), Failure> {
    let Some(filters) = filters() else {
        return Ok(());
    };
    let mut proven = calls::proven();
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
        calls::set_deadly(deadly | unknown);
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
        calls::set_deadly(deadly);
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

#[cfg(test)]
mod tests {
    use super::*;

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
        let stat = std::fs::read_to_string("/proc/thread-self/children").unwrap_or_default();
        assert_eq!(stat.trim(), "");
    }
}
