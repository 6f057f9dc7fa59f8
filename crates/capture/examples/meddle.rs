//! A shared library that changes the process which loads it, as native code in a service may: for the tests of
//! captures in bad conditions. Node undoes at its start what it inherits of this, so it must come later:
//! `process.dlopen` runs it (and then complains that it is no addon).
//!
//! What it does the environment variable `MEDDLE` says, in words: `ignore:17` (a signal), `block:11` (for the
//! calling thread), `dumpable:0`.

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
            _ => false,
        }
    }
}
