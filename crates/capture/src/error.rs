//! What a failed capture says.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use nix::errno::Errno;

/// Why a capture failed: a stable code, what was found and what to do, and for failed system calls the
/// same details Node's own errors carry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Stable code: `ERR_CORE_*` or the name of an errno (`ENOSPC`).
    pub code: String,
    /// What was found, what it means, what to do.
    pub message: String,
    /// The errno as a positive number, where a system call failed.
    pub errno: Option<i32>,
    /// The system call that failed, or that would have failed.
    pub syscall: Option<&'static str>,
    /// The file concerned.
    pub path: Option<PathBuf>,
}

impl Failure {
    /// A failure of stillcore's own making: `code` is one of the documented `ERR_CORE_*`.
    pub fn new(code: &str, message: impl Into<String>) -> Failure {
        Failure {
            code: code.to_owned(),
            message: message.into(),
            errno: None,
            syscall: None,
            path: None,
        }
    }

    /// A failed system call, worded as Node words it (`ENOENT: no such file or directory, mkdir '/x'`),
    /// followed by `advice` when there is something the reader can do about it.
    pub fn system(
        errno: Errno,
        syscall: &'static str,
        path: Option<&Path>,
        advice: &str,
    ) -> Failure {
        let code = format!("{errno:?}");
        let mut message = format!("{code}: {}, {syscall}", words(errno));
        if let Some(path) = path {
            message.push_str(&format!(" '{}'", path.display()));
        }
        if !advice.is_empty() {
            message.push_str(". ");
            message.push_str(advice);
        }
        Failure {
            code,
            message,
            errno: Some(errno as i32),
            syscall: Some(syscall),
            path: path.map(Path::to_owned),
        }
    }

    /// The same from a `std::io::Error`; one without an errno becomes `EIO` and keeps its words.
    pub fn io(error: &io::Error, syscall: &'static str, path: Option<&Path>) -> Failure {
        match error.raw_os_error() {
            Some(number) => {
                let errno = Errno::from_raw(number);
                let advice = match errno {
                    Errno::EACCES | Errno::EPERM | Errno::ENOSYS if path.is_none() => {
                        "Something refuses this system call here (a seccomp filter, a security module): allow it."
                    }
                    errno => advice(errno),
                };
                Failure::system(errno, syscall, path, advice)
            }
            None => {
                let mut failure = Failure::system(Errno::EIO, syscall, path, "");
                failure.message.push_str(&format!(" ({error})"));
                failure
            }
        }
    }

    pub(crate) fn killed(how: &str) -> Failure {
        Failure::new(
            "ERR_CORE_KILLED",
            format!(
                "The copy of this process that was to become the core {how}. Nothing is left on disk; \
                 the service itself was not touched. Capture again, and look for whoever kills processes \
                 here (an out-of-memory daemon, a supervisor, a seccomp policy) if it happens again."
            ),
        )
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

/// What an errno means, in libuv's words where they differ from nix's.
fn words(errno: Errno) -> String {
    let words = match errno {
        Errno::EAGAIN => "resource temporarily unavailable",
        Errno::EBADF => "bad file descriptor",
        Errno::EBUSY => "resource busy or locked",
        Errno::EEXIST => "file already exists",
        Errno::EFAULT => "bad address in system call argument",
        Errno::EISDIR => "illegal operation on a directory",
        Errno::EIO => "i/o error",
        Errno::ENAMETOOLONG => "name too long",
        Errno::ENOMEM => "not enough memory",
        Errno::ETXTBSY => "text file is busy",
        Errno::EXDEV => "cross-device link not permitted",
        errno => {
            let words = errno.desc();
            return words[..1].to_lowercase() + &words[1..];
        }
    };
    words.to_owned()
}

/// What a person can do about an errno that is common here.
pub(crate) fn advice(errno: Errno) -> &'static str {
    match errno {
        Errno::ENOSPC | Errno::EDQUOT => {
            "Free some space, or name a directory on a larger file system (option `directory` or STILLCORE_DIRECTORY)."
        }
        Errno::EROFS => {
            "The file system is read-only: name a writable directory (option `directory` or STILLCORE_DIRECTORY)."
        }
        Errno::EACCES | Errno::EPERM => {
            "This process may not write there: name a directory that it owns (option `directory` or STILLCORE_DIRECTORY)."
        }
        Errno::ENOENT => {
            "The directory does not exist: create it, or name another one (option `directory` or STILLCORE_DIRECTORY)."
        }
        Errno::ENOTDIR => {
            "It is no directory: name one (option `directory` or STILLCORE_DIRECTORY)."
        }
        Errno::EAGAIN => {
            "The limit on processes and threads is reached (RLIMIT_NPROC, or the pids limit of the container): a \
             capture needs a few more for a moment. Raise it, or wait until there are fewer."
        }
        Errno::EMFILE | Errno::ENFILE => {
            "No descriptor is free: a capture needs some twenty for a moment. Raise the limit (ulimit -n, \
             LimitNOFILE=), or close some."
        }
        Errno::EFBIG => "Raise the limit on file sizes (ulimit -f, LimitFSIZE=).",
        _ => "",
    }
}
