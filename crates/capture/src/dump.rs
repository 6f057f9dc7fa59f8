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

/// A core that the kernel writes. Dropping it ends the copy and waits for that: from then on nothing is written.
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

impl Drop for Dump<'_> {
    fn drop(&mut self) {
        self.copy.end();
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

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::copy::Role;
    use crate::folder::Folder;
    use crate::request::{Content, Output, RawCore, Threads};
    use crate::snapshot::Snapshot;

    /// What fails beside the dump, files that cannot be packed, lets go of everything while the kernel writes.
    #[test]
    fn the_copy_has_ended_before_its_folder_goes() {
        let root = tempfile::tempdir().unwrap();
        if plan::check(root.path()).is_err() {
            eprintln!("skipped: the kernel would leave no core here");
            return;
        }
        // So much that it is not over at once.
        let memory = vec![0xa7u8; 64 << 20];
        let folder = Folder::create(root.path()).unwrap();
        let path = folder.path().to_owned();
        let snapshot = Snapshot::take(Role::Dumped(folder.fd().unwrap()), true).unwrap();
        let copy = snapshot.copy.clone();
        let settled = snapshot.settle(&mut || ()).unwrap();
        let monitor = Monitor::since(Instant::now());
        let groups = Groups::of_this_process();
        let dump = Dump::start(
            copy.clone(),
            settled.files,
            path.clone(),
            groups,
            u64::MAX,
            &monitor,
        );
        let core = RawCore {
            title: folder.title().clone(),
            passed_by: None,
            content: Content::Dump(dump.unwrap()),
            output: Output::Folder(folder),
            maps: settled.maps,
            heap: settled.heap,
            threads: Threads {
                list: settled.threads,
                how: settled.how,
                all: settled.all_threads,
                made_by: String::new(),
            },
            monitor: &monitor,
        };
        let watching = std::thread::spawn(move || {
            while path.exists() {
                std::thread::yield_now();
            }
            copy.is_alive()
        });
        assert!(copy_is_at_work(&core), "the dump was over too early");
        drop(core);
        assert!(!watching.join().unwrap(), "it could still write");
        assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), 0);
        drop(memory);
    }

    fn copy_is_at_work(core: &RawCore<'_>) -> bool {
        match &core.content {
            Content::Dump(dump) => dump.copy.is_alive(),
            Content::Live(_) => false,
        }
    }
}
