//! The kernel at work on the core of a copy.

use std::path::PathBuf;
use std::sync::Arc;

use nix::libc;

use crate::cgroup::Groups;
use crate::copy::{Copy, Ended, Files};
use crate::error::Failure;
use crate::folder;
use crate::monitor::Monitor;
use crate::plan;

/// A core that the kernel writes.
pub struct Dump<'a> {
    copy: Arc<Copy>,
    files: Files,
    folder: PathBuf,
    groups: Groups,
    /// How often the kernel had killed in the group when the copy was settled.
    kills_before: u64,
    monitor: &'a Monitor,
}

impl<'a> Dump<'a> {
    /// Lets the kernel begin. `folder` is the one that the copy works in.
    pub(crate) fn start(
        copy: Arc<Copy>,
        files: Files,
        folder: PathBuf,
        groups: Groups,
        kills_before: u64,
        monitor: &'a Monitor,
    ) -> Result<Dump<'a>, Failure> {
        // It may have waited in line for minutes.
        plan::check_pattern_now()?;
        copy.go();
        Ok(Dump {
            copy,
            files,
            folder,
            groups,
            kills_before,
            monitor,
        })
    }

    /// Waits for its end, and gives the file: in the working folder, not yet verified.
    pub fn wait(&self) -> Result<PathBuf, Failure> {
        let ended = self.copy.wait(self.files.status.as_ref());
        self.monitor.step("dumped");
        if self.monitor.is_stopped() {
            return Err(Failure::killed("was given up"));
        }
        self.judge(ended)?;
        let core = folder::core_in(&self.folder)
            .map_err(|error| Failure::io(&error, "open", Some(&self.folder)))?;
        core.ok_or_else(|| {
            plan::explain_short(&self.folder, 0)
                .or(self.files.limits.clone())
                .unwrap_or_else(no_file)
        })
    }

    /// Whether the copy ended as it should: by its own SIGSEGV.
    fn judge(&self, ended: Ended) -> Result<(), Failure> {
        if ended.killed {
            if self.groups.kills() > self.kills_before {
                return Err(Failure::new(
                    "ERR_CORE_MEMORY",
                    "The kernel ran out of memory for the control group of this process and killed the copy that was \
                     to become the core; the service lives. Raise the memory limit, or capture earlier.",
                ));
            }
            return Err(Failure::killed("was killed from outside (SIGKILL)"));
        }
        match ended.signal {
            libc::SIGSEGV => Ok(()),
            libc::SIGSYS => Err(Failure::killed("was killed by a seccomp filter (SIGSYS)")),
            0 => Err(Failure::killed(&format!(
                "ended by itself with status {}",
                ended.status
            ))),
            signal => Err(Failure::killed(&format!("was killed by signal {signal}"))),
        }
    }
}

fn no_file() -> Failure {
    Failure::new(
        "ERR_CORE_PATTERN",
        "The kernel left no core in the working folder, though kernel.core_pattern promised one: was it changed \
         this moment, or does it give a name that cannot be made here? See `cat /proc/sys/kernel/core_pattern` \
         and the kernel's log.",
    )
}
