//! The proof from inside: each call tried. As in `child.rs`: raw calls on prepared data only.

use nix::libc::{self, c_int, c_long, c_void};

use super::raw::{self, call};
use crate::calls::{CALLS, Call};
use crate::threads;

/// What a proof says when it has tried all.
pub(crate) const ALL_TRIED: u8 = 0xff;

/// Tries all calls from this number on, each announced by its number. Comes back if none kills. `deadly`: those of the
/// numbers before it that kill.
///
/// # Safety
/// As for [`super::live`]; the socket is open.
pub(crate) unsafe fn try_all(socket: c_int, from: u8, deadly: u32) {
    let say = |what: u8| {
        // SAFETY: one live byte.
        unsafe {
            call(
                libc::SYS_write,
                socket as usize,
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
        unsafe { make(tried, deadly) };
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
            Call::IoprioSet => raw::set_io_idle(),
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
            raw::exit(0);
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
