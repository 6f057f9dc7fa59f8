//! What a forked copy does between its birth and its end.
//!
//! The copy has one thread, and every lock of the process may be held by a thread that is not there:
//! malloc, stdio, the dynamic linker, Rust's own. So here are raw system calls on data that was
//! prepared before the fork, and nothing else: no allocation, no lock, no panic, no libc function that
//! is more than its system call. Whatever fails, the copy ends in `_exit`; it never goes back to JavaScript.

mod raw;
mod report;
mod tries;

use nix::libc::{self, c_int};

use crate::calls::Call;
use raw::{call, exit, open, set_io_idle, set_soft_limit, write_to};
use report::report;

pub(crate) use report::{FILES, MAPS, MEM, PAGEMAP, Report, SMAPS, STATUS, Step};
pub(crate) use tries::ALL_TRIED;

/// What the parent prepared for its copy.
pub(crate) struct Orders {
    /// A probe only shows its list of mappings and waits to be killed.
    pub(crate) probe: bool,
    /// From which call on a proof tries them all, before it goes on as a probe.
    pub(crate) tries: Option<u8>,
    /// The nice value that it takes once it is ready.
    pub(crate) nice: i32,
    /// Calls that kill, as [`crate::calls`] has them.
    pub(crate) deadly: u32,
    /// The parent's pid, to find out whether it died before the death signal was set.
    pub(crate) parent: libc::pid_t,
    /// The copy's end of the socket to its parent.
    pub(crate) socket: c_int,
    /// The working folder, open; -1 for a copy that will not be dumped.
    pub(crate) folder: c_int,
}

/// The exit status of a copy that SIGSEGV did not end. Never seen: the handler is reset and the signal
/// unblocked; but a way out must exist.
pub(crate) const FELL_THROUGH: c_int = 99;

const SIGSEGV_ONLY: u64 = !(1 << (libc::SIGSEGV - 1));

/// `struct sigaction` as the system call takes it; glibc's has another order.
#[repr(C)]
struct KernelSigaction {
    handler: usize,
    flags: u64,
    restorer: usize,
    mask: u64,
}

/// Closes everything but `keep`: an inherited socket would hold a client's connection open, an
/// inherited listener its port, an inherited lock its file.
unsafe fn close_all_but(keep: c_int, in_ranges: bool) {
    // SAFETY: integers only; the descriptors are the copy's own.
    unsafe {
        let below = in_ranges
            && (keep == 0 || call(libc::SYS_close_range, 0, keep as usize - 1, 0, 0).is_ok());
        let above = below
            && call(
                libc::SYS_close_range,
                keep as usize + 1,
                c_int::MAX as usize,
                0,
                0,
            )
            .is_ok();
        if below && above {
            return;
        }
        // Before Linux 5.9, or refused: by hand, from the list of open ones, until none is left.
        let Ok(list) = open(c"/proc/self/fd", libc::O_RDONLY | libc::O_DIRECTORY) else {
            return;
        };
        let mut entries = [0u64; 512];
        for _ in 0..4096 {
            let _ = call(
                libc::SYS_lseek,
                list as usize,
                0,
                libc::SEEK_SET as usize,
                0,
            );
            let size = core::mem::size_of_val(&entries);
            let Ok(filled) = call(
                libc::SYS_getdents64,
                list as usize,
                entries.as_mut_ptr() as usize,
                size,
                0,
            ) else {
                break;
            };
            let bytes = entries.as_ptr().cast::<u8>();
            let mut at = 0;
            let mut closed = 0;
            while at + 19 < filled {
                let record =
                    u16::from_ne_bytes([bytes.add(at + 16).read(), bytes.add(at + 17).read()]);
                let mut fd: c_int = 0;
                let mut digit = at + 19;
                while digit < filled && bytes.add(digit).read().is_ascii_digit() {
                    fd = fd
                        .wrapping_mul(10)
                        .wrapping_add(c_int::from(bytes.add(digit).read() - b'0'));
                    digit += 1;
                }
                if digit > at + 19 && fd != keep && fd != list {
                    let _ = call(libc::SYS_close, fd as usize, 0, 0, 0);
                    closed += 1;
                }
                at += (record as usize).max(19);
            }
            if closed == 0 {
                break;
            }
        }
        let _ = call(libc::SYS_close, list as usize, 0, 0, 0);
    }
}

unsafe fn fail(orders: &Orders, step: Step, errno: i32) -> ! {
    // SAFETY: the socket is still open: it is the one that `close_all_but` keeps.
    unsafe {
        report(orders.socket, step, errno, &[None; FILES]);
        exit(1)
    }
}

/// The whole life of a copy.
///
/// # Safety
/// Only in a process just made by [`crate::sys::clone_process`], with all signals blocked before it.
pub(crate) unsafe fn live(orders: &Orders) -> ! {
    // SAFETY: raw calls with integers, static strings and pointers to this stack frame; see the module.
    unsafe {
        // Whoever kills it before its time (a seccomp filter) shall not leave a core where the service works.
        let _ = set_soft_limit(libc::RLIMIT_CORE as c_int, false);
        if let Some(from) = orders.tries {
            tries::try_all(orders.socket, from, orders.deadly);
        }
        let _ = call(
            libc::SYS_prctl,
            libc::PR_SET_PDEATHSIG as usize,
            libc::SIGKILL as usize,
            0,
            0,
        );
        // The parent may have died before that line. In a pid namespace whose parent is outside getppid
        // gives 0, but ours is always inside: it is this very process.
        if call(libc::SYS_getppid, 0, 0, 0, 0) != Ok(orders.parent as usize) {
            exit(2);
        }
        // Without it the kernel writes no core, and /proc/self/{maps,mem} belong to root.
        let _ = call(libc::SYS_prctl, libc::PR_SET_DUMPABLE as usize, 1, 0, 0);
        if orders.folder >= 0
            && let Err(errno) = call(libc::SYS_fchdir, orders.folder as usize, 0, 0, 0)
        {
            fail(orders, Step::Chdir, errno);
        }
        close_all_but(orders.socket, !Call::CloseRange.is_in(orders.deadly));

        let maps = match open(c"/proc/self/maps", libc::O_RDONLY | libc::O_CLOEXEC) {
            Ok(fd) => Some(fd),
            Err(errno) => fail(orders, Step::Maps, errno),
        };
        if orders.probe {
            report(
                orders.socket,
                Step::Ready,
                0,
                &[maps, None, None, None, None],
            );
            wait_for_go(orders.socket);
            exit(0);
        }

        // If memory runs out, the kernel shall take the copy and not the service.
        write_to(c"/proc/self/oom_score_adj", b"1000");
        // Where that is refused the limits may still do as they are: what comes out is verified.
        let limits = set_soft_limit(libc::RLIMIT_CORE as c_int, true)
            .and_then(|()| set_soft_limit(libc::RLIMIT_FSIZE as c_int, true));
        // Everything: anonymous, file-backed, shared, huge pages, DAX, ELF headers.
        write_to(c"/proc/self/coredump_filter", b"0xff");
        let files = [
            maps,
            open(c"/proc/self/pagemap", libc::O_RDONLY | libc::O_CLOEXEC).ok(),
            open(c"/proc/self/mem", libc::O_RDONLY | libc::O_CLOEXEC).ok(),
            open(c"/proc/self/status", libc::O_RDONLY | libc::O_CLOEXEC).ok(),
            open(c"/proc/self/smaps", libc::O_RDONLY | libc::O_CLOEXEC).ok(),
        ];
        report(
            orders.socket,
            Step::Ready,
            limits.err().unwrap_or(0),
            &files,
        );
        let mut bit = 0;
        while bit < FILES {
            if let Some(fd) = files[bit] {
                let _ = call(libc::SYS_close, fd as usize, 0, 0, 0);
            }
            bit += 1;
        }
        // Only now: until the report the parent's marks are off, and nobody should wait for us.
        if !Call::SetPriority.is_in(orders.deadly) {
            let _ = call(
                libc::SYS_setpriority,
                libc::PRIO_PROCESS as usize,
                0,
                orders.nice as usize,
                0,
            );
        }
        if !Call::IoprioSet.is_in(orders.deadly) {
            let _ = set_io_idle();
        }

        if !wait_for_go(orders.socket) {
            exit(3);
        }
        // An application's own SIGSEGV handler would return, and the copy would live on as a second
        // service. And kill, not raise: glibc's raise asks for the thread id of the parent.
        let action = KernelSigaction {
            handler: libc::SIG_DFL,
            flags: 0,
            restorer: 0,
            mask: 0,
        };
        let _ = call(
            libc::SYS_rt_sigaction,
            libc::SIGSEGV as usize,
            &raw const action as usize,
            0,
            8,
        );
        let mask = SIGSEGV_ONLY;
        let _ = call(
            libc::SYS_rt_sigprocmask,
            libc::SIG_SETMASK as usize,
            &raw const mask as usize,
            0,
            8,
        );
        let own = call(libc::SYS_getpid, 0, 0, 0, 0).unwrap_or(0);
        if own != 0 {
            let _ = call(libc::SYS_kill, own, libc::SIGSEGV as usize, 0, 0);
        }
        exit(FELL_THROUGH)
    }
}

/// Sleeps until the parent says go (true) or is gone (false).
unsafe fn wait_for_go(socket: c_int) -> bool {
    let mut order = 0u8;
    loop {
        // SAFETY: one byte into a live variable.
        match unsafe {
            call(
                libc::SYS_read,
                socket as usize,
                &raw mut order as usize,
                1,
                0,
            )
        } {
            Ok(1) => return true,
            Err(libc::EINTR) => {}
            _ => return false,
        }
    }
}
