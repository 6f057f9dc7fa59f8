//! A Node addon that maps memory as JavaScript cannot: `map(request)` makes a mapping that stays, and gives its
//! addresses as `/proc/self/maps` writes them. `support/mapper.mjs` builds it, with rustc alone.
//!
//! ```text
//! file:PATH       private, read-only       shared:PATH     MAP_SHARED
//! memfd:NAME      a file in memory         sysv:           System V shared memory
//! zero:           /dev/zero, shared        anonymous:SIZE  private memory on a multiple of 256 KiB, as V8's is
//! churn:on        a thread that maps and unmaps such memory without end; churn:off ends it
//! marked:SIZE     the same, and kept out of forks, as V8's is
//!
//! discard:RANGE   gives back its pages, as V8 does with what it keeps for later
//! rewrite:RANGE   writes to each of its pages
//! replace:RANGE   unmaps it, and maps other memory there; around:RANGE twice as much, of which nothing is touched
//! ```

use std::ffi::{c_char, c_int, c_long, c_void, CString};
use std::fs::File;
use std::os::fd::{AsRawFd, FromRawFd};
use std::ptr::{null, null_mut};
use std::sync::atomic::{AtomicBool, Ordering};

type Value = *mut c_void;
type Callback = extern "C" fn(Value, Value) -> Value;

// SAFETY: these are the declarations of node_api.h, of mman.h, shm.h; Node and libc export them.
unsafe extern "C" {
    fn napi_create_function(env: Value, name: *const c_char, length: usize, call: Callback, data: *mut c_void, result: *mut Value) -> c_int;
    fn napi_create_string_utf8(env: Value, text: *const c_char, length: usize, result: *mut Value) -> c_int;
    fn napi_get_cb_info(env: Value, info: Value, count: *mut usize, arguments: *mut Value, this: *mut Value, data: *mut *mut c_void) -> c_int;
    fn napi_get_value_string_utf8(env: Value, value: Value, text: *mut c_char, size: usize, length: *mut usize) -> c_int;
    fn napi_set_named_property(env: Value, object: Value, name: *const c_char, value: Value) -> c_int;
    fn napi_throw_error(env: Value, code: *const c_char, message: *const c_char) -> c_int;

    fn mmap(at: *mut c_void, length: usize, protection: c_int, flags: c_int, fd: c_int, offset: c_long) -> *mut c_void;
    fn munmap(at: *mut c_void, length: usize) -> c_int;
    fn madvise(at: *mut c_void, length: usize, advice: c_int) -> c_int;
    fn memfd_create(name: *const c_char, flags: u32) -> c_int;
    fn shmget(key: c_int, size: usize, flags: c_int) -> c_int;
    fn shmat(id: c_int, at: *const c_void, flags: c_int) -> *mut c_void;
    fn shmctl(id: c_int, command: c_int, argument: *mut c_void) -> c_int;
}

const READ: c_int = 1;
const WRITE: c_int = 2;
const SHARED: c_int = 1;
const PRIVATE: c_int = 2;
const FIXED: c_int = 0x10;
const ANONYMOUS: c_int = 0x20;
const POPULATE: c_int = 0x8000;
const NORESERVE: c_int = 0x4000;
const DONTNEED: c_int = 4;
const DONTFORK: c_int = 10;
const FAILED: usize = usize::MAX;
const UNIT: usize = 256 << 10;

static CHURNING: AtomicBool = AtomicBool::new(false);

#[no_mangle]
pub extern "C" fn napi_register_module_v1(env: Value, exports: Value) -> Value {
    let mut function = null_mut();
    // SAFETY: called by Node with a live environment; the strings end with a zero.
    unsafe {
        napi_create_function(env, c"map".as_ptr(), 3, map, null_mut(), &mut function);
        napi_set_named_property(env, exports, c"map".as_ptr(), function);
    }
    exports
}

extern "C" fn map(env: Value, info: Value) -> Value {
    let (mut count, mut argument, mut length) = (1, null_mut(), 0);
    let mut text = [0u8; 4096];
    // SAFETY: room for one argument and for 4096 bytes is what the calls are told.
    unsafe {
        napi_get_cb_info(env, info, &mut count, &mut argument, null_mut(), null_mut());
        napi_get_value_string_utf8(env, argument, text.as_mut_ptr().cast(), text.len(), &mut length);
    }
    let request = String::from_utf8_lossy(&text[..length]);
    let (what, detail) = request.split_once(':').unwrap_or((&request, ""));
    match make(what, detail) {
        Ok((start, length)) => {
            let range = format!("{start:x}-{:x}", start + length);
            let mut result = null_mut();
            // SAFETY: pointer and length of a live string.
            unsafe { napi_create_string_utf8(env, range.as_ptr().cast(), range.len(), &mut result) };
            result
        }
        Err(error) => {
            let message = CString::new(format!("{request}: {error}")).unwrap_or_default();
            // SAFETY: a live string that ends with a zero.
            unsafe { napi_throw_error(env, null(), message.as_ptr()) };
            null_mut()
        }
    }
}

fn make(what: &str, detail: &str) -> Result<(usize, usize), std::io::Error> {
    let size_of = |file: &File| file.metadata().map(|metadata| (metadata.len() as usize).next_multiple_of(4096));
    match what {
        "file" => {
            let file = File::open(detail)?;
            place(size_of(&file)?, READ, PRIVATE, file.as_raw_fd())
        }
        "shared" => {
            let file = File::options().read(true).write(true).open(detail)?;
            place(size_of(&file)?, READ | WRITE, SHARED, file.as_raw_fd())
        }
        "memfd" => {
            let name = CString::new(detail).unwrap_or_default();
            // SAFETY: the name ends with a zero; the descriptor is new and ours.
            let file = unsafe { File::from_raw_fd(memfd_create(name.as_ptr(), 1)) };
            file.set_len(8192)?;
            place(8192, READ | WRITE, SHARED, file.as_raw_fd())
        }
        "zero" => place(8192, READ | WRITE, SHARED, File::options().read(true).write(true).open("/dev/zero")?.as_raw_fd()),
        "sysv" => {
            // SAFETY: a private segment, marked for removal as soon as it is attached.
            let at = unsafe {
                let id = shmget(0, 8192, 0o1600);
                let at = shmat(id, null(), 0) as usize;
                shmctl(id, 0, null_mut());
                at
            };
            if at == FAILED { Err(std::io::Error::last_os_error()) } else { Ok((at, 8192)) }
        }
        "anonymous" => aligned(detail.parse().unwrap_or(UNIT)),
        "marked" => {
            // With room above it, for what `around` puts there.
            let (start, length) = aligned(2 * detail.parse().unwrap_or(UNIT))?;
            let half = length / 2;
            // SAFETY: the two halves of a mapping that nobody else knows; 8 bytes fit into either.
            unsafe {
                munmap((start + half) as *mut c_void, half);
                std::ptr::write_bytes(start as *mut u8, 0x6d, half);
                madvise(start as *mut c_void, half, DONTFORK);
            }
            Ok((start, half))
        }
        "discard" | "rewrite" | "replace" | "around" => {
            let (start, end) = detail.split_once('-').ok_or(std::io::ErrorKind::InvalidInput)?;
            let number = |text| usize::from_str_radix(text, 16).map_err(std::io::Error::other);
            let (start, length) = (number(start)?, number(end)? - number(start)?);
            change(what, start, length)
        }
        "churn" => {
            if detail == "on" && !CHURNING.swap(true, Ordering::SeqCst) {
                std::thread::spawn(churn);
            } else if detail == "off" {
                CHURNING.store(false, Ordering::SeqCst);
            }
            Ok((0, 0))
        }
        _ => Err(std::io::Error::other("the mapper knows no such thing")),
    }
}

fn place(length: usize, protection: c_int, flags: c_int, fd: c_int) -> Result<(usize, usize), std::io::Error> {
    // SAFETY: a new mapping where the kernel wants it; nothing lies there yet.
    match unsafe { mmap(null_mut(), length, protection, flags, fd, 0) } as usize {
        FAILED => Err(std::io::Error::last_os_error()),
        at => Ok((at, length)),
    }
}

/// What becomes of a `marked` mapping.
fn change(what: &str, start: usize, length: usize) -> Result<(usize, usize), std::io::Error> {
    let at = start as *mut c_void;
    let map = |length, flags| {
        // SAFETY: in place of a mapping of this addon's own, and of the room above it that was left free.
        match unsafe { mmap(at, length, READ | WRITE, PRIVATE | ANONYMOUS | FIXED | flags, -1, 0) } as usize {
            FAILED => Err(std::io::Error::last_os_error()),
            _ => Ok(()),
        }
    };
    // SAFETY: the range is a mapping of this addon's own, to which nothing refers.
    unsafe {
        match what {
            "discard" => drop(madvise(at, length, DONTNEED)),
            "rewrite" => (start..start + length).step_by(4096).for_each(|page| ((page + 2048) as *mut u8).write_volatile(1)),
            _ => drop(munmap(at, length)),
        }
        match what {
            "replace" => map(length, POPULATE)?,
            "around" => map(2 * length, 0)?,
            _ => {}
        }
    }
    Ok((start, length))
}

/// Memory that looks like V8's, filled, between pages that are not mapped.
fn aligned(length: usize) -> Result<(usize, usize), std::io::Error> {
    let (room, _) = place(length + 2 * UNIT, READ | WRITE, PRIVATE | ANONYMOUS | NORESERVE, -1)?;
    let start = (room + 1).next_multiple_of(UNIT);
    let end = start + length;
    // SAFETY: both parts and what is filled lie in the mapping just made, of which nobody else knows.
    unsafe {
        munmap(room as *mut c_void, start - room);
        munmap(end as *mut c_void, room + length + 2 * UNIT - end);
        std::ptr::write_bytes(start as *mut u8, 0xa7, length);
    }
    Ok((start, length))
}

fn churn() {
    let mut kept = std::collections::VecDeque::new();
    while CHURNING.load(Ordering::SeqCst) {
        if let Ok(one) = aligned(UNIT) {
            kept.push_back(one);
        }
        if kept.len() > 16 {
            let (start, length): (usize, usize) = kept.pop_front().unwrap_or_default();
            // SAFETY: a mapping of this function's own that nothing refers to.
            unsafe { munmap(start as *mut c_void, length) };
        }
    }
}
