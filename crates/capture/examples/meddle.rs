//! A shared library that changes the process which loads it, as native code in a service may: for the tests of
//! captures in bad conditions. Node undoes at its start what it inherits of this, so it must come later:
//! `process.dlopen` runs it (and then complains that it is no addon).
//!
//! What it does the environment variable `MEDDLE` says, in words: `ignore:17` (a signal), `block:11` (for the
//! calling thread), `dumpable:0`, `vfork:3` (a thread that sleeps, uninterruptibly, for those seconds until its child
//! ends), `dontdump:1` (one page of memory with a secret in it, marked MADV_DONTDUMP).

#[used]
#[unsafe(link_section = ".init_array")]
static AT_LOAD: extern "C" fn() = meddle;

extern "C" fn meddle() {
    let words = std::env::var("MEDDLE").unwrap_or_default();
    for word in words.split_ascii_whitespace() {
        let done = match word.split_once(':') {
            Some((what, number)) => number.parse().is_ok_and(|number| apply(what, number)),
            None => false,
        };
        if !done {
            eprintln!("meddle: {word}: {}", std::io::Error::last_os_error());
            std::process::exit(70);
        }
    }
}

fn apply(what: &str, number: i32) -> bool {
    // SAFETY: plain integers, and pointers to live variables.
    unsafe {
        match what {
            "ignore" => libc::signal(number, libc::SIG_IGN) != libc::SIG_ERR,
            "block" => {
                let mut set: libc::sigset_t = std::mem::zeroed();
                libc::sigemptyset(&raw mut set);
                libc::sigaddset(&raw mut set, number);
                libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) == 0
            }
            "dumpable" => libc::prctl(libc::PR_SET_DUMPABLE, number, 0, 0, 0) == 0,
            "vfork" => {
                std::thread::spawn(move || {
                    if vfork() == 0 {
                        let time = libc::timespec {
                            tv_sec: number.into(),
                            tv_nsec: 0,
                        };
                        libc::syscall(
                            libc::SYS_nanosleep,
                            &raw const time,
                            std::ptr::null_mut::<u8>(),
                        );
                        libc::_exit(0);
                    }
                });
                true
            }
            "dontdump" => {
                let page = libc::mmap(
                    std::ptr::null_mut(),
                    4096,
                    libc::PROT_READ | libc::PROT_WRITE,
                    libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                    -1,
                    0,
                );
                if page == libc::MAP_FAILED {
                    return false;
                }
                // Put together here: it shall be nowhere else in memory.
                let secret = ["not", "for", "any", "dump"];
                let bytes = page.cast::<u8>();
                let mut at = 0;
                for word in secret {
                    for byte in word.bytes() {
                        bytes.add(at).write(byte.to_ascii_uppercase());
                        at += 1;
                    }
                    bytes.add(at).write(b'_');
                    at += 1;
                }
                libc::madvise(page, 4096, libc::MADV_DONTDUMP) == 0
            }
            _ => false,
        }
    }
}

/// The bare call, for libc's crate does not have it any more.
unsafe fn vfork() -> libc::c_long {
    // SAFETY: the child only sleeps and ends, on a stack of its parent's that nobody else touches meanwhile.
    unsafe {
        libc::syscall(
            libc::SYS_clone,
            (libc::CLONE_VM | libc::CLONE_VFORK) as libc::c_ulong,
            0usize,
            0usize,
            0usize,
            0usize,
        )
    }
}
