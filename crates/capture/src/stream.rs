//! The way of an archive to a reader that may be slow, or gone.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::PollFlags;

use crate::calls::Call;
use crate::monitor::Monitor;
use crate::sys;

/// The writing end of a pipe whose reader lives in JavaScript.
#[derive(Debug)]
pub struct Stream(File);

/// A pipe for an archive: the descriptor for the reader, and the writing end.
pub fn pipe() -> io::Result<(OwnedFd, Stream)> {
    let (reader, writer) = nix::unistd::pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?;
    Ok((reader, Stream(File::from(writer))))
}

impl Stream {
    /// A writer that waits for the reader until the capture's verdict falls: a reader that takes nothing
    /// for the stall limit ends it.
    pub fn writer<'a>(&'a self, monitor: &'a Monitor) -> impl Write + 'a {
        if !Call::PipeSize.is_deadly() {
            // As much as an unprivileged process may have; fewer, larger pieces for the event loop.
            let _ = fcntl(&self.0, FcntlArg::F_SETPIPE_SZ(1 << 20));
        }
        Patient {
            file: &self.0,
            monitor,
        }
    }
}

struct Patient<'a> {
    file: &'a File,
    monitor: &'a Monitor,
}

impl Write for Patient<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match self.file.write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Ok(length) => {
                    self.monitor.advance(length as u64);
                    return Ok(length);
                }
                failed => return failed,
            }
            if !self.monitor.advance(0) {
                return Err(Errno::ECANCELED.into());
            }
            let _ = sys::wait_for(self.file.as_fd(), PollFlags::POLLOUT, 100);
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
