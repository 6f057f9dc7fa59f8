//! The few system calls that neither `std` nor `nix` offers in the shape needed here.
//! Parent side only; everything a forked copy calls is in `child.rs` and its folder.

use std::io;
use std::ops::Range;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

use nix::errno::Errno;
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::calls::Call;

/// How a raw [`clone_process`] came back.
pub(crate) enum Cloned {
    /// In the parent: the copy's pid, and its pidfd where the kernel gives one (5.2 and later).
    Parent {
        pid: libc::pid_t,
        pidfd: Option<OwnedFd>,
    },
    /// In the copy.
    Child,
}

/// Copies the calling thread's process with the bare system call.
///
/// Not `fork(3)`: glibc's wrapper runs atfork handlers, takes locks and rewrites the thread list, so
/// that gdb shows a phantom thread in the copy's core. Exit signal 0: the copy's end raises no SIGCHLD,
/// `waitpid(-1)` of libuv or of the application never sees it, and SIGCHLD set to SIG_IGN cannot reap it.
/// `as_node_does`: by the flags of `fork(3)`, with SIGCHLD and all, for what may not be anything unusual.
///
/// # Safety
/// In the copy only the calling thread exists, and any lock may be held for ever by a thread that is
/// not there: nothing but raw system calls on prepared data may follow on [`Cloned::Child`], up to `_exit`.
pub(crate) unsafe fn clone_process(as_node_does: bool) -> io::Result<Cloned> {
    let mut pidfd: RawFd = -1;
    let mut pid = -1;
    // Where its id is stored in the child, and cleared at its end: in memory of its own.
    let mut tid: libc::pid_t = 0;
    let tid = &raw mut tid;
    let fork = libc::CLONE_CHILD_SETTID | libc::CLONE_CHILD_CLEARTID | libc::SIGCHLD;
    // A filter that knows the flags of its day refuses those that came later.
    for (flags, is_wanted) in [
        (fork, as_node_does),
        (
            libc::CLONE_PIDFD,
            !as_node_does && !Call::ClonePidfd.is_deadly(),
        ),
        (0, !as_node_does && !Call::ClonePlain.is_deadly()),
        // No kernel objects to exit signal 0; who imitates one (qemu) may.
        (fork, !as_node_does),
    ] {
        let is_last_hope = flags == fork && !as_node_does;
        if !is_wanted || (is_last_hope && Errno::last() != Errno::EINVAL) {
            continue;
        }
        // SAFETY: no CLONE_VM, so the copy has its own memory and may go on using this very stack; the
        // third argument is where CLONE_PIDFD stores the descriptor (the same place on x86_64 and aarch64), and of
        // the last two one is for the id, the other for a thread block that no flag asks for.
        pid = unsafe {
            libc::syscall(
                libc::SYS_clone,
                flags as libc::c_ulong,
                0usize,
                &raw mut pidfd,
                tid,
                tid,
            )
        };
        let refused = [Errno::EPERM, Errno::EINVAL, Errno::ENOSYS];
        if pid != -1 || !refused.contains(&Errno::last()) {
            break;
        }
    }
    match pid {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(Cloned::Child),
        pid => Ok(Cloned::Parent {
            pid: pid as libc::pid_t,
            // SAFETY: the kernel has just made this descriptor for us; kernels before 5.2 ignore the
            // flag and leave -1.
            pidfd: (pidfd >= 0).then(|| unsafe { OwnedFd::from_raw_fd(pidfd) }),
        }),
    }
}

/// `madvise(2)` with an advice that only changes whether a mapping is copied by fork.
pub(crate) fn advise_fork(range: &Range<u64>, copy: bool) -> Result<(), Errno> {
    let advice = if copy {
        libc::MADV_DOFORK
    } else {
        libc::MADV_DONTFORK
    };
    // SAFETY: MADV_DOFORK and MADV_DONTFORK never change what the memory holds or whether it is
    // mapped, so no reference into the range can be invalidated.
    let done = unsafe {
        libc::madvise(
            range.start as *mut libc::c_void,
            (range.end - range.start) as usize,
            advice,
        )
    };
    Errno::result(done).map(drop)
}

/// What [`receive`] got.
pub(crate) struct Received {
    /// Bytes of the message.
    pub(crate) length: usize,
    pub(crate) files: Vec<OwnedFd>,
    /// More came with it than found a free descriptor.
    pub(crate) lost: bool,
}

/// A message and up to `N` descriptors that come with it, without waiting. nix gives none of the
/// descriptors when there was no room for all, and they would stay open for ever.
pub(crate) fn receive<const N: usize>(
    socket: BorrowedFd<'_>,
    bytes: &mut [u8],
) -> Result<Received, Errno> {
    #[repr(C)]
    struct Control<const N: usize> {
        header: libc::cmsghdr,
        files: [RawFd; N],
    }
    // SAFETY: all-zero is a valid cmsghdr, array of integers and msghdr; every pointer put into the
    // msghdr outlives the call. The kernel fills in `cmsg_len` to what it wrote, so those descriptors
    // are there, and have just been made for us.
    unsafe {
        let mut control: Control<N> = std::mem::zeroed();
        let mut part = libc::iovec {
            iov_base: bytes.as_mut_ptr().cast(),
            iov_len: bytes.len(),
        };
        let mut message: libc::msghdr = std::mem::zeroed();
        message.msg_iov = &raw mut part;
        message.msg_iovlen = 1;
        message.msg_control = (&raw mut control).cast();
        message.msg_controllen = size_of_val(&control) as _;
        let flags = libc::MSG_CMSG_CLOEXEC | libc::MSG_DONTWAIT;
        let length = Errno::result(libc::recvmsg(socket.as_raw_fd(), &raw mut message, flags))?;
        let rights = control.header.cmsg_level == libc::SOL_SOCKET
            && control.header.cmsg_type == libc::SCM_RIGHTS;
        let count = (control.header.cmsg_len as usize).saturating_sub(size_of::<libc::cmsghdr>());
        let files = control.files.iter().take(match rights {
            true => count / size_of::<RawFd>(),
            false => 0,
        });
        Ok(Received {
            length: length as usize,
            files: files.map(|fd| OwnedFd::from_raw_fd(*fd)).collect(),
            lost: message.msg_flags & libc::MSG_CTRUNC != 0,
        })
    }
}

/// SIGKILL, through the pidfd where there is one.
pub(crate) fn kill(pid: libc::pid_t, pidfd: Option<RawFd>) {
    if let Some(fd) = pidfd
        && !Call::PidfdSendSignal.is_deadly()
    {
        // SAFETY: plain integers and a null siginfo.
        let sent = unsafe {
            libc::syscall(
                libc::SYS_pidfd_send_signal,
                fd,
                libc::SIGKILL,
                std::ptr::null::<u8>(),
                0,
            )
        };
        if sent == 0 || Errno::last() == Errno::ESRCH {
            return;
        }
    }
    // SAFETY: plain integers. The caller holds the copy unreaped, so the pid cannot be anybody else's.
    unsafe { libc::kill(pid, libc::SIGKILL) };
}

/// Every signal blocked for the calling thread until this is dropped.
pub(crate) struct SignalsBlocked {
    before: libc::sigset_t,
}

impl SignalsBlocked {
    pub(crate) fn new() -> Self {
        // SAFETY: both sets are plain memory filled by the calls; pthread_sigmask only fails on a bad
        // first argument.
        unsafe {
            let mut all: libc::sigset_t = std::mem::zeroed();
            let mut before: libc::sigset_t = std::mem::zeroed();
            libc::sigfillset(&raw mut all);
            libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, &raw mut before);
            SignalsBlocked { before }
        }
    }
}

impl Drop for SignalsBlocked {
    fn drop(&mut self) {
        // SAFETY: puts back the set that `new` read.
        unsafe {
            libc::pthread_sigmask(
                libc::SIG_SETMASK,
                &raw const self.before,
                std::ptr::null_mut(),
            )
        };
    }
}

/// Bytes of a page here: 4 KiB on x86_64; 4, 16 or 64 on aarch64.
pub(crate) fn page_size() -> u64 {
    static SIZE: OnceLock<u64> = OnceLock::new();
    *SIZE.get_or_init(|| {
        // SAFETY: takes a number; glibc and musl have the answer in memory.
        let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
        u64::try_from(size).unwrap_or(4096)
    })
}

/// Whether this process is marked as not to be dumped (PR_SET_DUMPABLE 0). A copy lifts that for itself.
pub fn is_undumpable() -> bool {
    // SAFETY: takes nothing but the number.
    Call::GetDumpable.is_safe() && unsafe { libc::prctl(libc::PR_GET_DUMPABLE, 0, 0, 0, 0) } == 0
}

/// Waits, at most so many milliseconds, for a descriptor to be ready. False: not yet.
pub(crate) fn wait_for(
    file: BorrowedFd<'_>,
    events: PollFlags,
    milliseconds: u16,
) -> Result<bool, Errno> {
    if Call::Poll.is_deadly() {
        // Any way to let time pass that Node's own threads have. Whoever asks finds out whether it is ready.
        std::thread::park_timeout(Duration::from_millis(1));
        return Ok(true);
    }
    let mut waiting = [PollFd::new(file, events)];
    match poll(&mut waiting, PollTimeout::from(milliseconds)) {
        Ok(ready) => Ok(ready > 0),
        Err(Errno::EINTR) => Ok(false),
        Err(errno) => Err(errno),
    }
}

/// Names the calling thread, one of our own.
pub fn name_thread(name: &std::ffi::CStr) {
    if !Call::SetName.is_deadly() {
        // SAFETY: the kernel reads up to the NUL, or 16 bytes.
        unsafe { libc::prctl(libc::PR_SET_NAME, name.as_ptr(), 0, 0, 0) };
    }
}

/// How much nicer than the service a copy is. By the kernel's weights (1024 for a nice of 0, 110 for 10) it gets a tenth
/// of what a busy thread of the service gets. With the lowest priority it is a seventieth: where there is more to do than
/// there are processors a dump would take minutes, and so would the end of a copy, whose pages the service pays for as
/// long as it takes. Nobody can help a copy, as the packing threads are helped.
const NICER: i32 = 10;

/// The lowest priority.
const NICEST: i32 = 19;

static COPIES: AtomicI32 = AtomicI32::new(NICER);

/// Finds out what is nicer than this process is. It need not be at 0.
pub(crate) fn prepare_priority() {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let own = nice_in(&stat).unwrap_or(0);
    COPIES.store((own + NICER).min(NICEST), Ordering::Relaxed);
}

/// The nice value in a line of `/proc/PID/stat`. The name before it may hold anything.
fn nice_in(stat: &str) -> Option<i32> {
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_ascii_whitespace().nth(16)?.parse().ok()
}

/// The nice value of a copy.
pub(crate) fn nice_of_copies() -> i32 {
    COPIES.load(Ordering::Relaxed)
}

/// Names the calling thread and takes it out of the way of the service: no signals, lowest CPU priority.
/// For threads of our own only; a priority once lowered cannot be raised again without privilege. So whoever waits for
/// such a thread must be able to go on without it.
pub fn background_thread(name: &'static std::ffi::CStr) {
    std::mem::forget(SignalsBlocked::new());
    name_thread(name);
    if !Call::SetPriority.is_deadly() {
        // SAFETY: plain integers; on Linux a thread id is a valid PRIO_PROCESS target and 0 is the caller.
        unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, NICEST) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nice_value_is_found_behind_any_name() {
        let line = "7 (a) S 2) R 1 7 7 0 -1 4194304 92 0 0 0 0 0 0 0 39 19 1 0 5 8 1";
        assert_eq!(nice_in(line), Some(19));
        assert_eq!(nice_in(""), None);
        let own = std::fs::read_to_string("/proc/self/stat").unwrap();
        // SAFETY: plain integers.
        let told = unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) };
        assert_eq!(nice_in(&own), Some(told));
    }
}
