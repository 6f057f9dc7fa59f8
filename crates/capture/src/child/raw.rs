//! Bare system calls, for a process that has nothing else. As in `child.rs`: no allocation, no lock, no panic.

use nix::libc::{self, c_int, c_long};

/// A system call by its number.
///
/// # Safety
/// The call's own: what is a pointer to it must point to live data of the kind that it wants.
pub(crate) unsafe fn call(
    number: c_long,
    a: usize,
    b: usize,
    c: usize,
    d: usize,
) -> Result<usize, i32> {
    // SAFETY: as this function's.
    match unsafe { libc::syscall(number, a, b, c, d, 0usize) } {
        -1 => Err(errno()),
        value => Ok(value as usize),
    }
}

fn errno() -> i32 {
    // SAFETY: errno lives in the thread's own TLS block, which the copy has as well.
    unsafe { *libc::__errno_location() }
}

/// Ends the process, and nothing is run on the way out.
///
/// # Safety
/// Only in a copy: the process ends.
pub(crate) unsafe fn exit(status: c_int) -> ! {
    loop {
        // SAFETY: does not return.
        unsafe { libc::syscall(libc::SYS_exit_group, status) };
    }
}

/// Opens a file by its name.
///
/// # Safety
/// As for [`call`]; the name is live.
pub(crate) unsafe fn open(path: &core::ffi::CStr, flags: c_int) -> Result<c_int, i32> {
    // SAFETY: a NUL-terminated string that lives for ever.
    unsafe {
        call(
            libc::SYS_openat,
            libc::AT_FDCWD as usize,
            path.as_ptr() as usize,
            flags as usize,
            0,
        )
    }
    .map(|fd| fd as c_int)
}

/// Writes a few bytes to a file that is there, if that can be done.
///
/// # Safety
/// As for [`open`].
pub(crate) unsafe fn write_to(path: &core::ffi::CStr, text: &[u8]) {
    // SAFETY: the buffer is live. Failures are harmless: these files only tune the copy, and the
    // finished core is verified.
    unsafe {
        if let Ok(fd) = open(path, libc::O_WRONLY) {
            let _ = call(
                libc::SYS_write,
                fd as usize,
                text.as_ptr() as usize,
                text.len(),
                0,
            );
            let _ = call(libc::SYS_close, fd as usize, 0, 0, 0);
        }
    }
}

/// The copy's disk accesses come after everybody else's.
///
/// # Safety
/// None but that it holds for the process that calls it.
pub(crate) unsafe fn set_io_idle() -> Result<usize, i32> {
    const IOPRIO_WHO_PROCESS: usize = 1;
    const IOPRIO_IDLE: usize = 3 << 13;
    // SAFETY: integers only.
    unsafe { call(libc::SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, IOPRIO_IDLE, 0) }
}

/// Sets a soft limit to nothing, or to all that the hard one allows.
///
/// # Safety
/// None but that it holds for the process that calls it.
pub(crate) unsafe fn set_soft_limit(resource: c_int, raise: bool) -> Result<(), i32> {
    let mut limit = libc::rlimit64 {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: reads into and writes from a live struct of the size prlimit64 wants.
    unsafe {
        call(
            libc::SYS_prlimit64,
            0,
            resource as usize,
            0,
            &raw mut limit as usize,
        )?;
        limit.rlim_cur = if raise { limit.rlim_max } else { 0 };
        call(
            libc::SYS_prlimit64,
            0,
            resource as usize,
            &raw const limit as usize,
            0,
        )?;
    }
    Ok(())
}
