//! The helper from inside: threads seized, their registers read, and let go.
//!
//! It shares the memory and even the thread block of the thread that made it: raw calls only, no allocation, no lock, no
//! panic.

use std::sync::atomic::Ordering;

use nix::libc::{self, c_int, c_void, pid_t};

use super::desk::{BORN, Desk, PROVEN, REFUSED, RELEASE, STOPPED, Seat, SeatState, monotonic, raw};

const PTRACE_SEIZE: usize = 0x4206;
const PTRACE_INTERRUPT: usize = 0x4207;
const PTRACE_GETREGSET: usize = 0x4204;
const PTRACE_DETACH: usize = 17;
const NT_PRSTATUS: usize = 1;
const NT_PRFPREG: usize = 2;

pub(super) extern "C" fn help(desk: *mut c_void) -> c_int {
    // SAFETY: `Helper::start` passes the desk, which outlives this process; the thread that owns it reads the
    // seats only after this process has ended, so nobody else touches them now.
    let desk = unsafe { &mut *desk.cast::<Desk>() };
    // SAFETY: raw calls with integers and pointers to live memory; see the head of this part.
    unsafe {
        raw(
            libc::SYS_prctl,
            libc::PR_SET_PDEATHSIG as usize,
            libc::SIGKILL as usize,
            0,
            0,
        );
        // Should a filter kill this process, its core is nobody's business. (Before Linux 5.16 that dump would
        // even take down who shares its memory.)
        let none = libc::rlimit64 {
            rlim_cur: 0,
            rlim_max: 0,
        };
        raw(
            libc::SYS_prlimit64,
            0,
            libc::RLIMIT_CORE as usize,
            &raw const none as usize,
            0,
        );
        // The other side has to name us to yama. Should a filter kill for that, it shall not be the service.
        if desk.state.load(Ordering::Acquire) == BORN {
            raw(libc::SYS_prctl, libc::PR_SET_PTRACER as usize, 0, 0, 0);
            desk.set(PROVEN);
            desk.wait_while_raw(PROVEN);
        }
        seize_all(desk);
        wait_for_stops(desk);
        let stopped = desk.seats.iter().take(desk.taken).any(|seat| {
            matches!(
                seat.state,
                SeatState::Stopped | SeatState::Partly | SeatState::Mute
            )
        });
        if desk.state.load(Ordering::Acquire) != RELEASE {
            desk.set(if stopped { STOPPED } else { REFUSED });
        }
        if stopped {
            while desk.state.load(Ordering::Acquire) == STOPPED
                && monotonic() < desk.deadline_hold_ns
            {
                let left = libc::timespec {
                    tv_sec: 0,
                    tv_nsec: 50_000_000,
                };
                raw(
                    libc::SYS_futex,
                    &raw const desk.state as usize,
                    libc::FUTEX_WAIT as usize,
                    STOPPED as usize,
                    &raw const left as usize,
                );
            }
        }
        let mut index = 0;
        while index < desk.taken {
            if let Some(seat) = desk.seats.get(index)
                && !matches!(seat.state, SeatState::Gone | SeatState::Refused)
            {
                raw(libc::SYS_ptrace, PTRACE_DETACH, seat.tid as usize, 0, 0);
            }
            index += 1;
        }
        // Threads that never stopped cannot be detached: the end of this process does that.
    }
    0
}

unsafe fn pause_for(nanoseconds: i64) {
    let time = libc::timespec {
        tv_sec: 0,
        tv_nsec: nanoseconds as _,
    };
    // SAFETY: a live timespec.
    unsafe { raw(libc::SYS_nanosleep, &raw const time as usize, 0, 0, 0) };
}

/// Seizes and interrupts every thread but the owner, until a look at the list finds no new one.
unsafe fn seize_all(desk: &mut Desk) {
    let mut entries = [0u64; 1024];
    let bytes = entries.as_mut_ptr().cast::<u8>();
    let mut round = 0;
    while round < 8 {
        round += 1;
        let mut found = 0;
        // SAFETY: the directory is open as long as the owner holds it; the buffer is live.
        unsafe {
            raw(
                libc::SYS_lseek,
                desk.tasks as usize,
                0,
                libc::SEEK_SET as usize,
                0,
            )
        };
        loop {
            // SAFETY: as above.
            let filled = unsafe {
                raw(
                    libc::SYS_getdents64,
                    desk.tasks as usize,
                    bytes as usize,
                    size_of_val(&entries),
                    0,
                )
            };
            if filled <= 0 {
                break;
            }
            let mut at = 0usize;
            while at.wrapping_add(19) < filled as usize {
                // SAFETY: `at` and the name lie inside what the kernel filled.
                let (length, tid) = unsafe { entry(bytes, at, filled as usize) };
                at = at.wrapping_add(length.max(19));
                if tid == 0
                    || tid == desk.own
                    || desk
                        .seats
                        .iter()
                        .take(desk.taken)
                        .any(|seat| seat.tid == tid)
                {
                    continue;
                }
                let taken = desk.taken;
                let Some(seat) = desk.seats.get_mut(taken) else {
                    return;
                };
                desk.taken = taken.wrapping_add(1);
                seat.tid = tid;
                // No PTRACE_O_EXITKILL: when this process ends, the threads must live.
                // SAFETY: integers only.
                let seized = unsafe { raw(libc::SYS_ptrace, PTRACE_SEIZE, tid as usize, 0, 0) };
                if seized < 0 {
                    seat.state = if seized == -(libc::ESRCH as isize) {
                        SeatState::Gone
                    } else {
                        SeatState::Refused
                    };
                    continue;
                }
                // SAFETY: integers only.
                let told = unsafe { raw(libc::SYS_ptrace, PTRACE_INTERRUPT, tid as usize, 0, 0) };
                if told < 0 && told != -(libc::ESRCH as isize) {
                    // It will never stop. The end of this process lets it go.
                    seat.state = SeatState::Refused;
                    continue;
                }
                seat.state = SeatState::Seized;
                found += 1;
            }
        }
        if found == 0 {
            break;
        }
    }
}

/// Length and thread id of a directory entry; 0 for `.` and `..`.
unsafe fn entry(bytes: *const u8, at: usize, filled: usize) -> (usize, pid_t) {
    let mut tid: pid_t = 0;
    // SAFETY: the caller checked that 19 bytes follow; digits are only read below `filled`.
    unsafe {
        let length = u16::from_ne_bytes([bytes.add(at + 16).read(), bytes.add(at + 17).read()]);
        let mut digit = at + 19;
        while digit < filled && bytes.add(digit).read().is_ascii_digit() {
            tid = tid
                .wrapping_mul(10)
                .wrapping_add(pid_t::from(bytes.add(digit).read() - b'0'));
            digit += 1;
        }
        (length as usize, tid)
    }
}

/// Waits until all seized threads stand still or the deadline is over, and reads their registers.
unsafe fn wait_for_stops(desk: &mut Desk) {
    loop {
        let mut left = false;
        let mut index = 0;
        while index < desk.taken {
            let Some(seat) = desk.seats.get_mut(index) else {
                break;
            };
            index += 1;
            if seat.state != SeatState::Seized {
                continue;
            }
            let mut status: c_int = 0;
            let flags = (libc::__WALL | libc::WNOHANG) as usize;
            // SAFETY: a live status word.
            let waited = unsafe {
                raw(
                    libc::SYS_wait4,
                    seat.tid as usize,
                    &raw mut status as usize,
                    flags,
                    0,
                )
            };
            if waited == 0 {
                left = true;
            } else if waited > 0 && libc::WIFSTOPPED(status) {
                // SAFETY: the thread is stopped, and the buffers in its seat are live.
                unsafe { read_registers(seat, desk.tasks) };
            } else if waited < 0 && waited != -(libc::ECHILD as isize) {
                seat.state = SeatState::Refused;
            } else {
                seat.state = SeatState::Gone;
            }
        }
        if !left
            || monotonic() > desk.deadline_stop_ns
            || desk.state.load(Ordering::Acquire) == RELEASE
        {
            return;
        }
        // SAFETY: gives the processor to those who still have to stop.
        unsafe { pause_for(10_000) };
    }
}

/// By the newer call of ptrace, by the older one, or from the list of the kernel.
unsafe fn read_registers(seat: &mut Seat, tasks: c_int) {
    let mut general = libc::iovec {
        iov_base: seat.registers.general.as_mut_ptr().cast(),
        iov_len: size_of_val(&seat.registers.general),
    };
    let mut floating = libc::iovec {
        iov_base: seat.registers.floating.as_mut_ptr().cast(),
        iov_len: size_of_val(&seat.registers.floating),
    };
    let tid = seat.tid as usize;
    // SAFETY: both vectors describe live memory of the size given.
    unsafe {
        let get = |set, into: &mut libc::iovec| {
            let call = PTRACE_GETREGSET;
            raw(libc::SYS_ptrace, call, tid, set, &raw mut *into as usize)
        };
        let read = get(NT_PRSTATUS, &mut general);
        let floats = get(NT_PRFPREG, &mut floating);
        // In the same layout. Other machines never had it.
        #[cfg(target_arch = "x86_64")]
        let (read, floats) = {
            const PTRACE_GETREGS: usize = 12;
            const PTRACE_GETFPREGS: usize = 14;
            let older = |read: isize, call, into: &libc::iovec| match read {
                0.. => read,
                _ => raw(libc::SYS_ptrace, call, tid, 0, into.iov_base as usize),
            };
            (
                older(read, PTRACE_GETREGS, &general),
                older(floats, PTRACE_GETFPREGS, &floating),
            )
        };
        seat.registers.has_floating = floats == 0;
        seat.state = if read == 0 {
            SeatState::Stopped
        } else if read_listed(seat, tasks) {
            SeatState::Partly
        } else {
            SeatState::Mute
        };
    }
}

/// Stack pointer and program counter of a stopped thread, from `/proc/PID/task/TID/syscall`.
unsafe fn read_listed(seat: &mut Seat, tasks: c_int) -> bool {
    // From the right: the digits of the id end where the name begins.
    let mut path = *b"\0\0\0\0\0\0\0\0\0\0/syscall\0";
    let mut start = 10;
    let mut left = seat.tid.unsigned_abs();
    for place in path.iter_mut().take(10).rev() {
        *place = b'0' + (left % 10) as u8;
        left /= 10;
        start -= 1;
        if left == 0 {
            break;
        }
    }
    let Some(path) = path.get(start..) else {
        return false;
    };
    let mut text = [0u8; 256];
    // SAFETY: the directory is open as long as the owner holds it, the path ends with a NUL, the buffer is live.
    let length = unsafe {
        let flags = (libc::O_RDONLY | libc::O_CLOEXEC) as usize;
        let path = path.as_ptr() as usize;
        let file = raw(libc::SYS_openat, tasks as usize, path, flags, 0);
        if file < 0 {
            return false;
        }
        let buffer = text.as_mut_ptr() as usize;
        let length = raw(libc::SYS_read, file as usize, buffer, text.len(), 0);
        raw(libc::SYS_close, file as usize, 0, 0, 0);
        length
    };
    let known = usize::try_from(length)
        .ok()
        .and_then(|length| text.get(..length));
    seat.registers.has_floating = false;
    known.is_some_and(|text| seat.registers.set_by_syscall(text))
}
