//! Names of Linux signals and of what raised them (`si_code`), the same on x86_64 and aarch64.

/// `SIGSEGV`, or `signal 77`.
pub fn name(number: i32) -> String {
    const NAMES: [&str; 31] = [
        "SIGHUP",
        "SIGINT",
        "SIGQUIT",
        "SIGILL",
        "SIGTRAP",
        "SIGABRT",
        "SIGBUS",
        "SIGFPE",
        "SIGKILL",
        "SIGUSR1",
        "SIGSEGV",
        "SIGUSR2",
        "SIGPIPE",
        "SIGALRM",
        "SIGTERM",
        "SIGSTKFLT",
        "SIGCHLD",
        "SIGCONT",
        "SIGSTOP",
        "SIGTSTP",
        "SIGTTIN",
        "SIGTTOU",
        "SIGURG",
        "SIGXCPU",
        "SIGXFSZ",
        "SIGVTALRM",
        "SIGPROF",
        "SIGWINCH",
        "SIGIO",
        "SIGPWR",
        "SIGSYS",
    ];
    let known = usize::try_from(number)
        .ok()
        .and_then(|number| NAMES.get(number.checked_sub(1)?));
    match (known, number) {
        (Some(name), _) => (*name).to_owned(),
        (None, 34..=64) => format!("SIGRTMIN+{}", number - 34),
        (None, _) => format!("signal {number}"),
    }
}

/// The constant's name and what it means, from `siginfo.h`.
pub fn code(signal: i32, code: i32) -> Option<(&'static str, &'static str)> {
    let found = match (signal, code) {
        (_, 0) => ("SI_USER", "sent by kill()"),
        (_, 0x80) => ("SI_KERNEL", "raised by the kernel"),
        (_, -1) => ("SI_QUEUE", "sent by sigqueue()"),
        (_, -2) => ("SI_TIMER", "a timer expired"),
        (_, -6) => ("SI_TKILL", "sent by tgkill(), as abort() and raise() do"),
        (4, 1) => ("ILL_ILLOPC", "illegal opcode"),
        (4, 2) => ("ILL_ILLOPN", "illegal operand"),
        (4, 5) => ("ILL_PRVOPC", "privileged opcode"),
        (5, 1) => ("TRAP_BRKPT", "breakpoint"),
        (5, 2) => ("TRAP_TRACE", "trace trap"),
        (7, 1) => ("BUS_ADRALN", "misaligned address"),
        (7, 2) => (
            "BUS_ADRERR",
            "no such physical address: a mapped file that became shorter, or no memory left",
        ),
        (7, 3) => ("BUS_OBJERR", "hardware error"),
        (8, 1) => ("FPE_INTDIV", "integer division by zero"),
        (8, 2) => ("FPE_INTOVF", "integer overflow"),
        (8, 3) => ("FPE_FLTDIV", "floating-point division by zero"),
        (8, 7) => ("FPE_FLTINV", "invalid floating-point operation"),
        (11, 1) => ("SEGV_MAPERR", "nothing is mapped there"),
        (11, 2) => ("SEGV_ACCERR", "the mapping does not permit it"),
        (11, 3) => ("SEGV_BNDERR", "bounds check failed"),
        (11, 4) => ("SEGV_PKUERR", "a protection key forbids it"),
        (31, 1) => ("SYS_SECCOMP", "a system call that a seccomp filter forbids"),
        _ => return None,
    };
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_kernels() {
        for (number, expected) in [
            (1, "SIGHUP"),
            (6, "SIGABRT"),
            (11, "SIGSEGV"),
            (31, "SIGSYS"),
            (34, "SIGRTMIN+0"),
            (0, "signal 0"),
            (-3, "signal -3"),
            (i32::MIN, "signal -2147483648"),
        ] {
            assert_eq!(name(number), expected);
        }
        assert_eq!(code(11, 1).unwrap().0, "SEGV_MAPERR");
        assert_eq!(code(6, -6).unwrap().0, "SI_TKILL");
        assert_eq!(code(11, 77), None);
    }
}
