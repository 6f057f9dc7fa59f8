//! A forked copy, seen from its parent: its report, its order to go, its end.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::libc::{self, c_int, pid_t};
use nix::poll::PollFlags;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, socketpair};

use crate::calls::{self, Call};
use crate::child::{self, Orders};
use crate::error::Failure;
use crate::registers::Registers;
use crate::sys::{self, Cloned};

mod end;

pub(crate) use end::Ended;

/// A living (or dead and not yet reaped) copy. Dropping it kills and reaps it: no zombie, no orphan.
pub(crate) struct Copy {
    pid: pid_t,
    pidfd: Option<OwnedFd>,
    socket: OwnedFd,
    /// Set under the lock when the pid is free for others: from then on nothing may signal it.
    reaped: Mutex<bool>,
}

/// Why there is no copy. Not yet in words, since nothing may be allocated where it arises.
#[derive(Debug)]
pub(crate) enum ForkError {
    Socketpair(Errno),
    Fork(io::Error),
}

impl From<ForkError> for Failure {
    fn from(error: ForkError) -> Failure {
        match error {
            ForkError::Socketpair(errno) => Failure::io(&errno.into(), "socketpair", None),
            ForkError::Fork(error) => fork_failed(&error),
        }
    }
}

/// What a copy is made for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Role<'a> {
    /// To find out which system calls kill, from the one with this number on; of those before it these do. Then to
    /// be a probe.
    Proof { from: u8, deadly: u32 },
    /// To show which mappings a plain fork leaves out.
    Probe,
    /// To be dumped by the kernel into this folder.
    Dumped(BorrowedFd<'a>),
    /// To sleep and be read.
    Read,
}

/// What a ready copy handed over: its own `/proc/self` files, opened by itself. That way no permission
/// of the parent matters, nor whether the mounted /proc belongs to this pid namespace.
pub(crate) struct Files {
    pub(crate) maps: File,
    pub(crate) pagemap: Option<File>,
    pub(crate) mem: Option<File>,
    pub(crate) status: Option<File>,
    pub(crate) smaps: Option<File>,
    /// Why it could not raise its soft limits on cores and file sizes.
    pub(crate) limits: Option<Failure>,
}

impl Copy {
    /// Forks. `folder` is the working folder of a copy that the kernel shall dump.
    ///
    /// Allocates nothing: other threads may be stopped, one of them inside malloc. Leaves in `registers` where the
    /// calling thread stands in the copy.
    pub(crate) fn fork(role: Role<'_>, registers: &mut Registers) -> Result<Copy, ForkError> {
        let (ours, theirs) = socketpair(
            AddressFamily::Unix,
            // As libuv makes them for its children: no filter for Node objects to that.
            SockType::Stream,
            None,
            SockFlag::SOCK_CLOEXEC,
        )
        .map_err(ForkError::Socketpair)?;
        let is_proof = matches!(role, Role::Proof { .. });
        let orders = Orders {
            probe: is_proof || matches!(role, Role::Probe),
            tries: match role {
                Role::Proof { from, .. } => Some(from),
                _ => None,
            },
            deadly: match role {
                Role::Proof { deadly, .. } => deadly,
                _ => calls::deadly(),
            },
            nice: sys::nice_of_copies(),
            parent: nix::unistd::getpid().as_raw(),
            socket: theirs.as_raw_fd(),
            folder: match role {
                Role::Dumped(folder) => folder.as_raw_fd(),
                _ => -1,
            },
        };
        // A signal for the whole process group that came between birth and blocking would run Node's
        // handler in the copy, and that writes into the pipe it shares with the parent.
        let blocked = sys::SignalsBlocked::new();
        registers.here();
        // SAFETY: on the child's side `live` follows at once: raw calls only, and it never returns.
        let cloned = unsafe {
            match sys::clone_process(is_proof) {
                Ok(Cloned::Child) => child::live(&orders),
                other => other,
            }
        };
        drop(blocked);
        match cloned.map_err(ForkError::Fork)? {
            Cloned::Parent { pid, pidfd } => Ok(Copy {
                pid,
                pidfd,
                socket: ours,
                reaped: Mutex::new(false),
            }),
            Cloned::Child => unreachable!("`live` does not return"),
        }
    }

    /// Reads what a proof says, at most for `patience`: the number of the call that it died of, None when it lived
    /// through all of them.
    pub(crate) fn tried(&self, patience: Duration) -> Result<Option<u8>, Failure> {
        let until = Instant::now() + patience;
        let mut last = None;
        let mut on: c_int = 1;
        // SAFETY: one live int. As libuv does it for its own sockets.
        unsafe { libc::ioctl(self.socket.as_raw_fd(), libc::FIONBIO, &raw mut on) };
        loop {
            let mut said = [0];
            match nix::unistd::read(&self.socket, &mut said) {
                Ok(1) if said[0] == child::ALL_TRIED => return Ok(None),
                Ok(1) => last = Some(said[0]),
                Ok(_) => {
                    return last
                        .map(Some)
                        .ok_or_else(|| Failure::killed("died before it was ready"));
                }
                Err(Errno::EAGAIN) if Instant::now() > until => return Err(late(patience)),
                // Neither `poll` nor `nanosleep` has been tried yet.
                Err(Errno::EAGAIN | Errno::EINTR) => {
                    std::thread::park_timeout(Duration::from_micros(50));
                }
                Err(errno) => return Err(Failure::system(errno, "read", None, "")),
            }
        }
    }

    /// Waits for the copy to be ready, at most `patience`; `tick` is called about every 20 ms meanwhile.
    pub(crate) fn files(
        &self,
        patience: Duration,
        tick: &mut dyn FnMut(),
    ) -> Result<Files, Failure> {
        let until = Instant::now() + patience;
        loop {
            let is_ready = sys::wait_for(self.socket.as_fd(), PollFlags::POLLIN, 20)
                .map_err(|errno| Failure::system(errno, "poll", None, ""))?;
            if is_ready && let Some(files) = self.receive()? {
                return Ok(files);
            }
            if Instant::now() > until {
                return Err(late(patience));
            }
            tick();
        }
    }

    /// None: nothing has come yet.
    fn receive(&self) -> Result<Option<Files>, Failure> {
        let mut bytes = [0u8; size_of::<child::Report>()];
        let received = match sys::receive::<{ child::FILES }>(self.socket.as_fd(), &mut bytes) {
            Err(Errno::EAGAIN) => return Ok(None),
            received => received.map_err(|errno| Failure::system(errno, "recvmsg", None, ""))?,
        };
        if received.lost {
            return Err(Failure::io(&Errno::EMFILE.into(), "recvmsg", None));
        }
        if received.length != bytes.len() {
            // End of file: it died before it was ready.
            return Err(Failure::killed("died before it was ready"));
        }
        let word = |at: usize| {
            u32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
        };
        let (step, errno, present) = (word(0), Errno::from_raw(word(4) as i32), word(8));
        let refused = |call| Failure::io(&errno.into(), call, None);
        let limits = (errno as i32 != 0).then(|| refused("prlimit"));
        match step {
            step if step == child::Step::Ready as u32 => {}
            step if step == child::Step::Chdir as u32 => return Err(refused("fchdir")),
            _ => return Err(refused("open /proc/self/maps")),
        }
        let mut descriptors = received.files.into_iter().map(File::from);
        let mut file = |bit: usize| {
            if present & (1 << bit) != 0 {
                descriptors.next()
            } else {
                None
            }
        };
        let (maps, pagemap, mem) = (file(child::MAPS), file(child::PAGEMAP), file(child::MEM));
        let (status, smaps) = (file(child::STATUS), file(child::SMAPS));
        let maps = maps.ok_or_else(|| {
            Failure::new(
                "ERR_CORE_DENIED",
                "The copy of this process could not hand over its list of mappings: passing descriptors \
                 over a socket is refused here (a seccomp filter?).",
            )
        })?;
        Ok(Some(Files {
            maps,
            pagemap,
            mem,
            status,
            smaps,
            limits,
        }))
    }

    /// Lets a ready copy raise its SIGSEGV.
    pub(crate) fn go(&self) {
        if Call::SendTo.is_deadly() {
            // All signals are blocked in the thread that calls this, SIGPIPE too.
            let _ = nix::unistd::write(&self.socket, b"g");
            return;
        }
        // A copy that is dead already says so when it is waited for.
        let _ = nix::sys::socket::send(self.socket.as_raw_fd(), b"g", MsgFlags::MSG_NOSIGNAL);
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        self.end();
    }
}

fn late(patience: Duration) -> Failure {
    Failure::new(
        "ERR_CORE_TIMEOUT",
        format!(
            "The copy of this process was not ready after {} ms: this machine (or this container) gives it no \
             processor time. Nothing is left on disk.",
            patience.as_millis()
        ),
    )
}

fn fork_failed(error: &io::Error) -> Failure {
    if error.raw_os_error() != Some(libc::ENOMEM) {
        return Failure::io(error, "fork", None);
    }
    Failure::system(
        Errno::ENOMEM,
        "fork",
        None,
        "The kernel does not promise memory for a copy of this process (vm.overcommit_memory=2, a mapping larger \
         than the machine, or no memory for page tables). Allow overcommit, or capture while the process is smaller.",
    )
}
