//! Runs a command under a seccomp filter, as a container's profile might have one: for the tests of captures
//! in bad conditions.
//!
//! ```text
//! refuse madvise:2=11:EPERM clone:0&0x1000:EINVAL ioprio_set:KILL -- node server.js
//! ```
//!
//! A rule names a system call, then what its arguments must be (`INDEX=VALUE`, or `INDEX&BITS`: any of them
//! set; none: always), then what happens: an errno by name, `DONE` (answers 0, and does nothing),
//! `KILL` (the whole process), `KILL_THREAD` or `ALLOW`. Rules are tried in their order; what none matches is allowed,
//! unless the last rule is `OTHERS:KILL`. A system call may also be given by its number.

use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use libc::{c_long, sock_filter, sock_fprog};

const CALLS: &[(&str, c_long)] = &[
    ("clone", libc::SYS_clone),
    ("close_range", libc::SYS_close_range),
    ("fchdir", libc::SYS_fchdir),
    ("fchmodat", libc::SYS_fchmodat),
    ("fcntl", libc::SYS_fcntl),
    ("flock", libc::SYS_flock),
    ("getppid", libc::SYS_getppid),
    ("getsid", libc::SYS_getsid),
    ("ioctl", libc::SYS_ioctl),
    ("ioprio_set", libc::SYS_ioprio_set),
    ("kill", libc::SYS_kill),
    ("madvise", libc::SYS_madvise),
    ("pidfd_send_signal", libc::SYS_pidfd_send_signal),
    ("prctl", libc::SYS_prctl),
    ("prlimit64", libc::SYS_prlimit64),
    ("process_vm_readv", libc::SYS_process_vm_readv),
    ("ptrace", libc::SYS_ptrace),
    ("recvmsg", libc::SYS_recvmsg),
    ("renameat2", libc::SYS_renameat2),
    ("rt_sigaction", libc::SYS_rt_sigaction),
    ("rt_sigprocmask", libc::SYS_rt_sigprocmask),
    ("sendmsg", libc::SYS_sendmsg),
    ("sendto", libc::SYS_sendto),
    ("setpriority", libc::SYS_setpriority),
    ("socketpair", libc::SYS_socketpair),
    ("userfaultfd", libc::SYS_userfaultfd),
    ("wait4", libc::SYS_wait4),
    ("waitid", libc::SYS_waitid),
    // Not on aarch64, where libc makes them of others.
    #[cfg(target_arch = "x86_64")]
    ("getpgrp", libc::SYS_getpgrp),
    #[cfg(target_arch = "x86_64")]
    ("poll", libc::SYS_poll),
];

const ERRNOS: &[(&str, i32)] = &[
    ("DONE", 0),
    ("EPERM", libc::EPERM),
    ("EACCES", libc::EACCES),
    ("EINVAL", libc::EINVAL),
    ("ENOSYS", libc::ENOSYS),
];

#[cfg(target_arch = "x86_64")]
const ARCH: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const ARCH: u32 = 0xc000_00b7;

/// Offsets in `struct seccomp_data`.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const ARGUMENTS: u32 = 16;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let Some(at) = words.iter().position(|word| word == "--") else {
        eprintln!("usage: refuse RULE... -- COMMAND ARGUMENT...");
        return ExitCode::from(2);
    };
    let (mut rules, command) = (&words[..at], &words[at + 1..]);
    let mut others = libc::SECCOMP_RET_ALLOW;
    if let Some((last, before)) = rules.split_last()
        && last == "OTHERS:KILL"
    {
        (rules, others) = (before, libc::SECCOMP_RET_KILL_PROCESS);
    }
    let mut program = vec![
        load(ARCHITECTURE),
        jump(libc::BPF_JEQ, ARCH, 1, 0),
        answer(libc::SECCOMP_RET_ALLOW),
    ];
    for rule in rules {
        match compile(rule) {
            Ok(part) => program.extend(part),
            Err(what) => {
                eprintln!("refuse: {rule}: {what}");
                return ExitCode::from(2);
            }
        }
    }
    program.push(answer(others));
    if let Err(error) = install(&mut program) {
        eprintln!("refuse: no filter could be installed: {error}");
        return ExitCode::from(3);
    }
    let Some((name, arguments)) = command.split_first() else {
        return ExitCode::from(2);
    };
    let error = Command::new(name).args(arguments).exec();
    eprintln!("refuse: {name}: {error}");
    ExitCode::from(4)
}

fn compile(rule: &str) -> Result<Vec<sock_filter>, String> {
    let parts: Vec<&str> = rule.split(':').collect();
    let (&name, rest) = parts.split_first().ok_or("empty")?;
    let (&action, conditions) = rest.split_last().ok_or("no action")?;
    let known = CALLS.iter().find(|(known, _)| *known == name);
    let known = known.map(|(_, number)| *number as u32);
    let number = known.or_else(|| name.parse().ok());
    let number = number.ok_or("no such system call in the list of this program")?;

    // What each test needs to go on; else it jumps over the rest of the rule.
    let mut tests = vec![(NUMBER, libc::BPF_JEQ, number)];
    for condition in conditions {
        let (sign, kind) = match condition.contains('&') {
            true => ('&', libc::BPF_JSET),
            false => ('=', libc::BPF_JEQ),
        };
        let (index, value) = condition
            .split_once(sign)
            .ok_or("INDEX=VALUE or INDEX&BITS")?;
        let index: u32 = index.parse().map_err(|_| "no index")?;
        tests.push((ARGUMENTS + 8 * index, kind, parse(value)?));
    }
    let length = 2 * tests.len() + 1;
    let mut program = Vec::with_capacity(length);
    for (offset, kind, value) in tests {
        program.push(load(offset));
        let left = length - program.len() - 1;
        program.push(jump(kind, value, 0, left as u8));
    }
    program.push(answer(match action {
        "KILL" => libc::SECCOMP_RET_KILL_PROCESS,
        "ALLOW" => libc::SECCOMP_RET_ALLOW,
        "KILL_THREAD" => libc::SECCOMP_RET_KILL_THREAD,
        errno => {
            let known = ERRNOS.iter().find(|(known, _)| *known == errno);
            let (_, errno) = known.ok_or("no such action in the list of this program")?;
            libc::SECCOMP_RET_ERRNO | *errno as u32
        }
    }));
    Ok(program)
}

fn parse(number: &str) -> Result<u32, String> {
    match number.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16),
        None => number.parse(),
    }
    .map_err(|error| error.to_string())
}

/// Loads a 32-bit word; of an argument the lower half.
fn load(offset: u32) -> sock_filter {
    sock_filter {
        code: (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16,
        jt: 0,
        jf: 0,
        k: offset,
    }
}

fn jump(kind: u32, value: u32, jt: u8, jf: u8) -> sock_filter {
    sock_filter {
        code: (libc::BPF_JMP | kind | libc::BPF_K) as u16,
        jt,
        jf,
        k: value,
    }
}

fn answer(action: u32) -> sock_filter {
    sock_filter {
        code: (libc::BPF_RET | libc::BPF_K) as u16,
        jt: 0,
        jf: 0,
        k: action,
    }
}

fn install(program: &mut [sock_filter]) -> std::io::Result<()> {
    let program = sock_fprog {
        len: program.len() as u16,
        filter: program.as_mut_ptr(),
    };
    // SAFETY: the kernel copies the program during the call; everything else is plain integers.
    let installed = unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
            && libc::prctl(
                libc::PR_SET_SECCOMP,
                libc::SECCOMP_MODE_FILTER,
                &raw const program,
            ) == 0
    };
    if installed {
        Ok(())
    } else {
        Err(std::io::Error::last_os_error())
    }
}
