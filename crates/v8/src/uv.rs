//! libuv's handles and requests, as `uv.h` and `uv/unix.h` of 1.46 to 1.51 lay them out on 64 bits: the public structures are
//! its ABI, which has not moved since 1.0 but for what is noted.

use crate::v8::V8;

/// `uv_handle_type`.
const HANDLES: [&str; 18] = [
    "unknown", "async", "check", "fs_event", "fs_poll", "handle", "idle", "pipe", "poll",
    "prepare", "process", "stream", "tcp", "timer", "tty", "udp", "signal", "file",
];
/// `uv_req_type`.
const REQUESTS: [&str; 11] = [
    "unknown",
    "req",
    "connect",
    "write",
    "shutdown",
    "udp_send",
    "fs",
    "work",
    "getaddrinfo",
    "getnameinfo",
    "random",
];
const REQUEST_FS: usize = 6;
const REQUEST_GETADDRINFO: usize = 8;
/// `uv_fs_type`, from 0 on.
const OPERATIONS: [&str; 37] = [
    "custom",
    "open",
    "close",
    "read",
    "write",
    "sendfile",
    "stat",
    "lstat",
    "fstat",
    "ftruncate",
    "utime",
    "futime",
    "access",
    "chmod",
    "fchmod",
    "fsync",
    "fdatasync",
    "unlink",
    "rmdir",
    "mkdir",
    "mkdtemp",
    "rename",
    "scandir",
    "link",
    "symlink",
    "readlink",
    "chown",
    "fchown",
    "realpath",
    "copyfile",
    "lchown",
    "opendir",
    "readdir",
    "closedir",
    "statfs",
    "mkstemp",
    "lutime",
];

// uv_handle_t: data, loop, type, close_cb, queue[2], u[4], next_closing, flags.
const HANDLE_TYPE: u64 = 16;
const HANDLE_FLAGS: u64 = 88;
const ACTIVE: u32 = 4;
const REFERENCED: u32 = 8;
/// Where the fields of each kind of handle begin.
const HANDLE_END: u64 = 96;
/// uv_stream_t: write_queue_size, alloc_cb, read_cb, connect_req, shutdown_req, io_watcher; its fd.
const STREAM_FD: u64 = 184;
/// uv_udp_t: send_queue_size, send_queue_count, alloc_cb, recv_cb, io_watcher; its fd.
const UDP_FD: u64 = 176;

// uv_req_t: data, type, reserved[6].
const REQUEST_TYPE: u64 = 8;
/// uv_fs_t: fs_type, loop, cb, result, ptr, path.
const FS_TYPE: u64 = 64;
const FS_PATH: u64 = 104;
/// uv_getaddrinfo_t: loop, work_req (5 words), cb, hints, hostname.
const GETADDRINFO_HOSTNAME: u64 = 128;

/// `uv_loop_t.time`, measured in Node 20 to 26: milliseconds of the monotonic clock.
pub(crate) const LOOP_TIME: u64 = 0x220;

/// Longest path or host name that is read.
const MAX_NAME: usize = 4096;

/// What libuv knows of a handle or a request.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Uv {
    /// Its type: `tcp`, `fs`.
    pub kind: Option<&'static str>,
    /// libuv waits for it; of handles.
    pub active: Option<bool>,
    /// It keeps the loop alive; of handles.
    pub referenced: Option<bool>,
    /// The file descriptor, of streams and UDP sockets.
    pub fd: Option<i32>,
    /// The process that runs, of child processes.
    pub pid: Option<i32>,
    /// The signal's number, of signal handlers.
    pub signal: Option<i32>,
    /// What is done, of requests to the file system.
    pub operation: Option<&'static str>,
    /// The path that is watched or worked on, or the name that is looked up.
    pub name: Option<String>,
}

impl V8 {
    /// A handle (`uv_handle_t`).
    pub(crate) fn uv_handle(&self, at: u64) -> Uv {
        let int = |offset: u64| {
            self.memory
                .u32(at.wrapping_add(offset))
                .ok()
                .map(|value| value as i32)
        };
        let kind = int(HANDLE_TYPE)
            .and_then(|kind| HANDLES.get(usize::try_from(kind).ok()?))
            .copied();
        let mut uv = Uv {
            kind,
            ..Uv::default()
        };
        if let Some(flags) = int(HANDLE_FLAGS) {
            uv.active = Some(flags as u32 & ACTIVE != 0);
            uv.referenced = Some(flags as u32 & REFERENCED != 0);
        }
        let positive = |value: &i32| (0..1 << 24).contains(value);
        match kind {
            Some("tcp" | "pipe" | "tty") => uv.fd = int(STREAM_FD).filter(positive),
            Some("udp") => uv.fd = int(UDP_FD).filter(positive),
            // exit_cb, pid; signal_cb, signum; path.
            Some("process") => uv.pid = int(HANDLE_END + 8).filter(|pid| *pid > 0),
            Some("signal") => uv.signal = int(HANDLE_END + 8).filter(|signal| *signal > 0),
            Some("fs_event") => uv.name = self.uv_name(at.wrapping_add(HANDLE_END)),
            _ => {}
        }
        uv
    }

    /// A request (`uv_req_t`).
    pub(crate) fn uv_request(&self, at: u64) -> Option<Uv> {
        let kind = self.memory.u32(at.wrapping_add(REQUEST_TYPE)).ok()? as usize;
        if !(1..REQUESTS.len()).contains(&kind) {
            return None;
        }
        let mut uv = Uv {
            kind: Some(REQUESTS[kind]),
            ..Uv::default()
        };
        match kind {
            REQUEST_FS => {
                let operation = self.memory.u32(at.wrapping_add(FS_TYPE)).ok()? as usize;
                uv.operation = OPERATIONS.get(operation).copied();
                uv.name = self.uv_name(at.wrapping_add(FS_PATH));
            }
            REQUEST_GETADDRINFO => {
                uv.name = self.uv_name(at.wrapping_add(GETADDRINFO_HOSTNAME));
            }
            _ => {}
        }
        Some(uv)
    }

    /// What a `char*` points to.
    fn uv_name(&self, at: u64) -> Option<String> {
        let text = self.memory.u64(at).ok().filter(|text| *text != 0)?;
        self.memory
            .c_string(text, MAX_NAME)
            .ok()
            .filter(|text| !text.is_empty())
    }
}
