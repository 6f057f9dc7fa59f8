//! Whether the kernel would leave a core file in the working folder. Decided before the fork: a copy that
//! died into a pipe would hand its memory, full of secrets, to somebody else's handler and ring its alarm.

use std::fs;
use std::io;
use std::path::Path;

use nix::errno::Errno;
use nix::libc;
use nix::sys::resource::{Resource, getrlimit};
use nix::sys::statvfs::statvfs;

use crate::dontfork;
use crate::error::{Failure, advice};

const PATTERN_FILE: &str = "/proc/sys/kernel/core_pattern";

/// Checks the core pattern, the limits and the free space for a core of this process in `directory`.
pub(crate) fn check(directory: &Path) -> Result<(), Failure> {
    check_pattern_now()?;

    // A lower bound: what is in memory will be in the core.
    let size = dontfork::resident();
    if size == 0 {
        return Err(no_proc("/proc/self/statm cannot be read"));
    }
    check_core_limit(size)?;
    check_file_limit(size, directory)?;
    check_space(size, directory)
}

/// Checks the core pattern alone.
pub(crate) fn check_pattern_now() -> Result<(), Failure> {
    let (pattern, with_pid) = pattern().map_err(|error| match error.raw_os_error() {
        Some(libc::EMFILE | libc::ENFILE) => {
            Failure::io(&error, "open", Some(Path::new(PATTERN_FILE)))
        }
        _ => no_proc(&format!("{PATTERN_FILE} cannot be read ({error})")),
    })?;
    check_pattern(&pattern, with_pid)
}

/// The core pattern, and whether the kernel adds the pid to its names.
pub(crate) fn pattern() -> io::Result<(String, bool)> {
    let pattern = fs::read_to_string(PATTERN_FILE)?;
    let with_pid =
        fs::read_to_string("/proc/sys/kernel/core_uses_pid").is_ok_and(|text| text.trim() != "0");
    Ok((pattern.trim_end_matches('\n').to_owned(), with_pid))
}

fn no_proc(what: &str) -> Failure {
    Failure::new(
        "ERR_CORE_NO_PROC",
        format!(
            "{what}: a core cannot be taken without /proc. Mount it in this container or chroot."
        ),
    )
}

/// What a pattern does that leaves no core in the working folder; None for one that does.
pub(crate) fn diversion(pattern: &str, with_pid: bool) -> Option<&'static str> {
    match pattern.as_bytes().first() {
        Some(b'|') => Some("gives every core to a program"),
        Some(b'@') => Some("gives every core to a socket"),
        Some(b'/') => Some("puts every core at a path of its own"),
        None if !with_pid => Some("is empty, so that no core is written"),
        _ if pattern.trim_start_matches("./").contains('/') => {
            Some("puts every core in a folder of its own")
        }
        _ => None,
    }
}

fn check_pattern(pattern: &str, with_pid: bool) -> Result<(), Failure> {
    let Some(what) = diversion(pattern, with_pid) else {
        return Ok(());
    };
    Err(Failure::new(
        "ERR_CORE_PATTERN",
        format!(
            "The kernel would not leave a core in the working folder: kernel.core_pattern is '{pattern}', \
             which {what}. No signal was raised, no handler was called. The administrator of this host can \
             change it: sysctl -w kernel.core_pattern=core. Or do without the kernel: option `method: 'direct'`."
        ),
    ))
}

fn check_core_limit(size: u64) -> Result<(), Failure> {
    match getrlimit(Resource::RLIMIT_CORE) {
        Ok((_, 0)) => Err(core_limit("0: no core may be written")),
        Ok((_, hard)) if hard < size => Err(core_limit(&too_small(hard, size))),
        _ => Ok(()),
    }
}

fn too_small(limit: u64, size: u64) -> String {
    format!("{limit} bytes, and a core of this process has at least {size}")
}

fn core_limit(what: &str) -> Failure {
    Failure::new(
        "ERR_CORE_LIMIT",
        format!(
            "The hard limit on core files (RLIMIT_CORE) is {what}. Raise it where the service is started \
             (ulimit -Hc unlimited, LimitCORE=infinity, docker --ulimit core=-1); the soft limit does not matter. Or do without the kernel: \
             option `method: 'direct'`."
        ),
    )
}

fn check_file_limit(size: u64, directory: &Path) -> Result<(), Failure> {
    match getrlimit(Resource::RLIMIT_FSIZE) {
        Ok((_, hard)) if hard < size => Err(file_limit(&too_small(hard, size), directory)),
        _ => Ok(()),
    }
}

fn file_limit(what: &str, directory: &Path) -> Failure {
    Failure::system(
        Errno::EFBIG,
        "write",
        Some(directory),
        &format!(
            "The hard limit on file sizes (RLIMIT_FSIZE) is {what}. Raise it where the service is started \
             (ulimit -f, LimitFSIZE=)."
        ),
    )
}

fn check_space(size: u64, directory: &Path) -> Result<(), Failure> {
    match free_space(directory) {
        Some(free) if free < size => Err(Failure::system(
            Errno::ENOSPC,
            "write",
            Some(directory),
            &format!(
                "{free} bytes are free, and a core of this process has at least {size}. {}",
                advice(Errno::ENOSPC)
            ),
        )),
        _ => Ok(()),
    }
}

/// Bytes that this process may still write there; None where the file system does not say.
pub(crate) fn free_space(directory: &Path) -> Option<u64> {
    let numbers = statvfs(directory).ok()?;
    if numbers.blocks() == 0 {
        return None;
    }
    // Root may use what is reserved for root.
    let blocks = if nix::unistd::geteuid().is_root() {
        numbers.blocks_free()
    } else {
        numbers.blocks_available()
    };
    Some(blocks.saturating_mul(numbers.fragment_size()))
}

/// Why the kernel's core came out short, or not at all: told from what can be seen afterwards.
pub(crate) fn explain_short(directory: &Path, size: u64) -> Option<Failure> {
    // The kernel stops at the first write that fails, so a full disk is still full but for a few blocks,
    // and a limit is a little above what was written.
    let cut_by = |limit| match getrlimit(limit) {
        Ok((_, hard)) if hard != u64::MAX && size + (1 << 20) > hard => {
            Some(format!("{hard} bytes, which the core has reached"))
        }
        _ => None,
    };
    if let Some(what) = cut_by(Resource::RLIMIT_FSIZE) {
        return Some(file_limit(&what, directory));
    }
    if let Some(what) = cut_by(Resource::RLIMIT_CORE) {
        return Some(core_limit(&what));
    }
    // In a container root may be nobody for whom space is reserved.
    let numbers = statvfs(directory).ok()?;
    let free = numbers
        .blocks_available()
        .saturating_mul(numbers.fragment_size());
    (numbers.blocks() != 0 && free < 4 << 20).then(|| {
        Failure::system(
            Errno::ENOSPC,
            "write",
            Some(directory),
            &format!(
                "The file system ran full while the core was written. {}",
                advice(Errno::ENOSPC)
            ),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        for good in ["core", "core.%p", "%e-%t.core", "./core", "dump", "core.%E"] {
            assert_eq!(check_pattern(good, false), Ok(()), "{good}");
        }
        for bad in [
            "|/usr/lib/systemd/systemd-coredump %P",
            "@/run/x.sock",
            "/var/crash/core.%p",
            "",
            "a/core",
        ] {
            let failure = check_pattern(bad, false).unwrap_err();
            assert_eq!(failure.code, "ERR_CORE_PATTERN");
            assert!(failure.message.contains(&format!("'{bad}'")), "{failure}");
        }
        assert_eq!(
            check_pattern("", true),
            Ok(()),
            "core_uses_pid names it .<pid>"
        );
    }
}
