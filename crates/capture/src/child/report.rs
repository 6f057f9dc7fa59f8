//! What a copy says to its parent when it is ready, or why it cannot be: one message, with descriptors.

use nix::libc::{self, c_int, c_void};

use super::raw::{call, exit};

/// Where a copy stands when it reports.
#[repr(u32)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// All prepared; the descriptors that come with it are, by their bits in `Report::files`,
    /// `/proc/self/{maps,pagemap,mem,status,smaps}`. An errno that comes with it is why the soft RLIMIT_CORE or
    /// RLIMIT_FSIZE could not be raised.
    Ready = 1,
    /// `fchdir` into the working folder.
    Chdir = 2,
    /// Opening `/proc/self/maps`.
    Maps = 3,
}

/// The one message of a copy to its parent.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub(crate) struct Report {
    pub(crate) step: u32,
    pub(crate) errno: i32,
    pub(crate) files: u32,
}

/// Number of descriptors that can come with a [`Report`].
pub(crate) const FILES: usize = 5;
/// Bit numbers in [`Report::files`].
pub(crate) const MAPS: usize = 0;
pub(crate) const PAGEMAP: usize = 1;
pub(crate) const MEM: usize = 2;
pub(crate) const STATUS: usize = 3;
pub(crate) const SMAPS: usize = 4;

#[repr(C)]
struct Control {
    header: libc::cmsghdr,
    files: [c_int; FILES],
}

/// Sends it. Where not even that can be done, the copy ends.
///
/// # Safety
/// Only in a copy; the socket and the files are open.
pub(crate) unsafe fn report(socket: c_int, step: Step, errno: i32, files: &[Option<c_int>; FILES]) {
    let mut message = Report {
        step: step as u32,
        errno,
        files: 0,
    };
    let mut control = Control {
        // SAFETY: all-zero is a valid cmsghdr (it has padding fields on some targets).
        header: unsafe { core::mem::zeroed() },
        files: [0; FILES],
    };
    let mut count = 0;
    let mut bit = 0;
    while bit < FILES {
        if let Some(fd) = files[bit] {
            control.files[count] = fd;
            count += 1;
            message.files |= 1 << bit;
        }
        bit += 1;
    }
    let length = core::mem::size_of::<libc::cmsghdr>() + count * core::mem::size_of::<c_int>();
    control.header.cmsg_len = length as _;
    control.header.cmsg_level = libc::SOL_SOCKET;
    control.header.cmsg_type = libc::SCM_RIGHTS;
    let mut part = libc::iovec {
        iov_base: (&raw mut message).cast::<c_void>(),
        iov_len: core::mem::size_of::<Report>(),
    };
    // SAFETY: all-zero is a valid msghdr; every pointer put into it outlives the call.
    unsafe {
        let mut header: libc::msghdr = core::mem::zeroed();
        header.msg_iov = &raw mut part;
        header.msg_iovlen = 1;
        if count > 0 {
            header.msg_control = (&raw mut control).cast::<c_void>();
            // To the byte: what follows the message would be taken for the next one.
            header.msg_controllen = length as _;
        }
        let send = |header: &libc::msghdr| {
            call(
                libc::SYS_sendmsg,
                socket as usize,
                &raw const *header as usize,
                libc::MSG_NOSIGNAL as usize,
                0,
            )
        };
        if send(&header).is_err() {
            // Passing descriptors may be refused; then say at least that.
            (*part.iov_base.cast::<Report>()).files = 0;
            header.msg_control = core::ptr::null_mut();
            header.msg_controllen = 0;
            if send(&header).is_err() {
                exit(4);
            }
        }
    }
}
