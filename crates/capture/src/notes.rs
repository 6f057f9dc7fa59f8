//! The notes of an ELF core, one function each.

use std::ops::Range;

use crate::calls::Call;
use crate::maps::Mapping;
use crate::registers::Registers;

/// One thread as the core will show it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Thread {
    pub(crate) tid: i32,
    pub(crate) registers: Registers,
    /// Signals it blocks and that wait for it, as bit sets.
    pub(crate) blocked: u64,
    pub(crate) pending: u64,
}

/// What the notes say of the process.
#[derive(Debug, Clone, Default)]
pub(crate) struct About {
    pub(crate) pid: i32,
    pub(crate) parent: i32,
    pub(crate) group: i32,
    pub(crate) session: i32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// The command's short name.
    pub(crate) name: Vec<u8>,
    /// The command line, arguments separated by spaces.
    pub(crate) arguments: Vec<u8>,
    /// `/proc/PID/auxv`.
    pub(crate) auxiliary: Vec<u8>,
}

impl About {
    /// This process.
    pub(crate) fn this_process() -> About {
        use nix::unistd::{getgid, getpgrp, getpid, getppid, getsid, getuid};
        // 0 where asking kills.
        let ask = |call: Call, id: &dyn Fn() -> i32| if call.is_deadly() { 0 } else { id() };
        let read = |name: &str| std::fs::read(format!("/proc/self/{name}")).unwrap_or_default();
        let mut arguments = read("cmdline");
        if arguments.last() == Some(&0) {
            arguments.pop();
        }
        for byte in &mut arguments {
            if *byte == 0 {
                *byte = b' ';
            }
        }
        About {
            pid: getpid().as_raw(),
            parent: getppid().as_raw(),
            group: ask(Call::GetGroup, &|| getpgrp().as_raw()),
            session: ask(Call::GetSession, &|| {
                getsid(None).map_or(0, |session| session.as_raw())
            }),
            uid: getuid().as_raw(),
            gid: getgid().as_raw(),
            name: read("comm").trim_ascii_end().to_vec(),
            arguments,
            auxiliary: read("auxv"),
        }
    }
}

pub(crate) const NT_PRSTATUS: u32 = 1;
const NT_PRFPREG: u32 = 2;
pub(crate) const NT_PRPSINFO: u32 = 3;
const NT_AUXV: u32 = 6;
const NT_SIGINFO: u32 = 0x5349_4749;
const NT_FILE: u32 = 0x4649_4c45;

/// The vendor note: JSON that says how the core was made. Its owner is `stillcore`.
pub(crate) const NT_MADE_BY: u32 = 1;

/// Appends a note. Name and content are padded to 4 bytes each, as in every core.
pub(crate) fn note(out: &mut Vec<u8>, owner: &[u8], kind: u32, content: &[u8]) {
    let size = |length: usize| (length as u32).to_ne_bytes();
    out.extend(size(owner.len() + 1));
    out.extend(size(content.len()));
    out.extend(kind.to_ne_bytes());
    out.extend(owner);
    out.push(0);
    pad(out);
    out.extend(content);
    pad(out);
}

fn pad(out: &mut Vec<u8>) {
    out.resize(out.len().next_multiple_of(4), 0);
}

/// `NT_PRSTATUS`: who the thread is, and its general registers. `signal` is 0 where nothing crashed; readers take that
/// of the last thread for the core's.
pub(crate) fn prstatus(out: &mut Vec<u8>, about: &About, thread: &Thread, signal: u16) {
    let mut content = Vec::with_capacity(400);
    content.extend([0; 12]); // si_signo, si_code, si_errno
    content.extend(signal.to_ne_bytes());
    content.extend([0; 2]);
    content.extend(thread.pending.to_ne_bytes());
    content.extend(thread.blocked.to_ne_bytes());
    for id in [thread.tid, about.parent, about.group, about.session] {
        content.extend(id.to_ne_bytes());
    }
    content.extend([0; 4 * 16]); // user, system, children's user and system time
    for register in thread.registers.general {
        content.extend(register.to_ne_bytes());
    }
    content.extend(i32::from(thread.registers.has_floating).to_ne_bytes());
    content.extend([0; 4]);
    note(out, b"CORE", NT_PRSTATUS, &content);
}

/// `NT_FPREGSET`, right after its thread's `NT_PRSTATUS`.
pub(crate) fn fpregset(out: &mut Vec<u8>, thread: &Thread) {
    if thread.registers.has_floating {
        note(out, b"CORE", NT_PRFPREG, &thread.registers.floating);
    }
}

/// `NT_PRPSINFO`: the process.
pub(crate) fn prpsinfo(out: &mut Vec<u8>, about: &About) {
    let mut content = vec![0, b'R', 0, 0]; // state, its letter, zombie, nice
    content.extend([0; 4]);
    content.extend([0; 8]); // flags
    content.extend(about.uid.to_ne_bytes());
    content.extend(about.gid.to_ne_bytes());
    for id in [about.pid, about.parent, about.group, about.session] {
        content.extend(id.to_ne_bytes());
    }
    content.extend(fixed::<16>(&about.name));
    content.extend(fixed::<80>(&about.arguments));
    note(out, b"CORE", NT_PRPSINFO, &content);
}

/// At most `N - 1` bytes of `text` and zeros.
fn fixed<const N: usize>(text: &[u8]) -> [u8; N] {
    let mut bytes = [0; N];
    let length = text.len().min(N - 1);
    bytes[..length].copy_from_slice(&text[..length]);
    bytes
}

/// `NT_SIGINFO`, all zero: there was no signal.
pub(crate) fn siginfo(out: &mut Vec<u8>) {
    note(out, b"CORE", NT_SIGINFO, &[0; 128]);
}

/// `NT_AUXV`, as the kernel gave it to the process.
pub(crate) fn auxv(out: &mut Vec<u8>, about: &About) {
    note(out, b"CORE", NT_AUXV, &about.auxiliary);
}

/// `NT_FILE`: which files are mapped where.
pub(crate) fn file(out: &mut Vec<u8>, mappings: &[Mapping], page: u64) {
    let files: Vec<&Mapping> = mappings
        .iter()
        .filter(|mapping| mapping.has_file())
        .collect();
    let mut content = Vec::new();
    content.extend((files.len() as u64).to_ne_bytes());
    content.extend(page.to_ne_bytes());
    for mapping in &files {
        for word in [
            mapping.range.start,
            mapping.range.end,
            mapping.offset / page,
        ] {
            content.extend(word.to_ne_bytes());
        }
    }
    for mapping in &files {
        content.extend(mapping.path());
        content.push(0);
    }
    note(out, b"CORE", NT_FILE, &content);
}

/// How the core was made, for whoever finds it.
pub(crate) fn made_by(out: &mut Vec<u8>, json: &str) {
    note(out, b"stillcore", NT_MADE_BY, json.as_bytes());
}

/// The vendor note's JSON, an object, and in it a list of addresses under a name: `leftOut`, of mapped files that held other
/// bytes than the files and are not in the core, since a reader would take them from the files; `untouched`, memory that no
/// page was ever given to, and that is not in the core since it is zero.
pub(crate) fn with_ranges(made_by: &str, name: &str, ranges: &[Range<u64>]) -> String {
    let Some(open) = made_by.strip_suffix('}').filter(|_| !ranges.is_empty()) else {
        return made_by.to_owned();
    };
    let listed: Vec<String> = ranges
        .iter()
        .map(|range| format!("[\"{:#x}\",\"{:#x}\"]", range.start, range.end))
        .collect();
    let comma = if open.ends_with('{') { "" } else { "," };
    format!("{open}{comma}\"{name}\":[{}]}}", listed.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_of_files_is_in_the_vendor_note() {
        assert_eq!(with_ranges("{\"pid\":7}", "leftOut", &[]), "{\"pid\":7}");
        assert_eq!(
            with_ranges("{\"pid\":7}", "leftOut", &[0x1000..0x3000, 0x8000..0x9000]),
            r#"{"pid":7,"leftOut":[["0x1000","0x3000"],["0x8000","0x9000"]]}"#
        );
        assert_eq!(
            with_ranges("{}", "untouched", &[0..1]),
            r#"{"untouched":[["0x0","0x1"]]}"#
        );
    }

    /// (owner, type, content) of every note, read by the rules of the ELF format.
    fn parse(mut bytes: &[u8]) -> Vec<(Vec<u8>, u32, Vec<u8>)> {
        let mut notes = Vec::new();
        while !bytes.is_empty() {
            let word = |at: usize| u32::from_ne_bytes(bytes[at..at + 4].try_into().unwrap());
            let (name, size, kind) = (word(0) as usize, word(4) as usize, word(8));
            let at = 12 + name.next_multiple_of(4);
            notes.push((
                bytes[12..12 + name - 1].to_vec(),
                kind,
                bytes[at..at + size].to_vec(),
            ));
            bytes = &bytes[at + size.next_multiple_of(4)..];
        }
        notes
    }

    #[test]
    fn sizes_are_the_kernels() {
        let (mut out, about) = (
            Vec::new(),
            About {
                name: b"a-name-that-is-too-long".to_vec(),
                ..About::default()
            },
        );
        let mut thread = Thread::default();
        thread.registers.has_floating = true;
        prstatus(&mut out, &about, &thread, 0);
        fpregset(&mut out, &thread);
        prpsinfo(&mut out, &about);
        siginfo(&mut out);
        made_by(&mut out, "{}");
        let sizes: Vec<_> = parse(&out)
            .iter()
            .map(|(owner, kind, content)| (owner.clone(), *kind, content.len()))
            .collect();
        let prstatus = if cfg!(target_arch = "x86_64") {
            336
        } else {
            392
        };
        assert_eq!(sizes[0], (b"CORE".to_vec(), NT_PRSTATUS, prstatus));
        assert_eq!(sizes[1].2, crate::registers::FLOATING);
        assert_eq!(sizes[2].2, 136);
        assert_eq!(sizes[3].2, 128);
        assert_eq!(sizes[4], (b"stillcore".to_vec(), NT_MADE_BY, 2));
        assert_eq!(&parse(&out)[2].2[40..56], b"a-name-that-is-\0");
    }

    #[test]
    fn files_are_listed_with_their_offsets_in_pages() {
        let mappings = crate::maps::parse(
            b"1000-3000 r-xp 00002000 fe:00 12 /lib/a\\012b (deleted)\n4000-5000 rw-p 00000000 00:00 0 [heap]\n",
        );
        let mut out = Vec::new();
        file(&mut out, &mappings, 4096);
        let content = &parse(&out)[0].2;
        let words: Vec<u64> = content[..40]
            .chunks(8)
            .map(|word| u64::from_ne_bytes(word.try_into().unwrap()))
            .collect();
        assert_eq!(words, [1, 4096, 0x1000, 0x3000, 2]);
        assert_eq!(&content[40..], b"/lib/a\nb (deleted)\0");
    }
}
