//! Who died or was captured: what the notes say of the process as a whole.

use std::ops::Range;

use serde_json::Value;

use crate::notes::Note;
use crate::words::{word32, word64};
use crate::{CoreError, CoreFile};

const NT_PRPSINFO: u32 = 3;
const NT_AUXV: u32 = 6;
const NT_SIGINFO: u32 = 0x5349_4749;
const NT_FILE: u32 = 0x4649_4c45;
/// The vendor note's type; its owner is `stillcore`, its content JSON.
const NT_MADE_BY: u32 = 1;

/// Most mappings that a list of files may have; `vm.max_map_count` is 65530 unless raised.
const MAX_FILES: u64 = 4 << 20;

/// Longest vendor note that is read.
const MAX_VENDOR: u64 = 16 << 20;

/// What the notes say of the process.
#[derive(Debug, Clone, Default)]
pub struct About {
    /// Process id, from `NT_PRPSINFO`.
    pub pid: Option<i32>,
    /// Its parent's.
    pub ppid: Option<i32>,
    /// Real user and group id.
    pub uid: Option<u32>,
    /// See `uid`.
    pub gid: Option<u32>,
    /// The short name (`pr_fname`), at most 15 bytes.
    pub name: Vec<u8>,
    /// The command line with spaces between the arguments (`pr_psargs`), at most 79 bytes.
    pub arguments: Vec<u8>,
    /// The signal that made the core, where there was one.
    pub signal: Option<Signal>,
    /// How it was made, for cores of stillcore's own.
    pub capture: Option<CaptureNote>,
    /// The auxiliary vector: type and value.
    pub auxv: Vec<(u64, u64)>,
    /// Which files were mapped where, in the core's order.
    pub files: Vec<MappedFile>,
    /// Notes that are there and could not be read, with the reason.
    pub unreadable: Vec<String>,
}

/// The first signal's `siginfo_t`; its number alone where the core has none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Signal {
    /// Its number.
    pub number: i32,
    /// `si_code`.
    pub code: i32,
    /// The address of a fault (`si_addr`), for SIGSEGV, SIGBUS, SIGILL, SIGFPE and SIGTRAP that the kernel raised.
    pub address: Option<u64>,
    /// Who sent it (`si_pid`, `si_uid`), for signals that a process sent.
    pub sender: Option<(i32, u32)>,
}

/// The vendor note: a copy of a live process.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CaptureNote {
    /// The tool, `stillcore`, and its version.
    pub tool: Option<String>,
    /// See `tool`.
    pub version: Option<String>,
    /// `kernel` or `direct`.
    pub method: Option<String>,
    /// When, as RFC 3339.
    pub time: Option<String>,
    /// Node's version, such as `v22.1.0`.
    pub node: Option<String>,
    /// The captured process, not its copy.
    pub pid: Option<i64>,
    /// What it says in words.
    pub note: Option<String>,
    /// Id and name of each thread.
    pub threads: Vec<(i64, String)>,
    /// Addresses of mapped files that held other bytes than the files, and are not in the core (`leftOut`).
    pub left_out: Vec<Range<u64>>,
    /// Memory that was never touched, and is not in the core since it is zero (`untouched`).
    pub untouched: Vec<Range<u64>>,
    /// The note as it stands there.
    pub json: String,
}

/// A mapping of a file (one row of `NT_FILE`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MappedFile {
    /// Addresses.
    pub range: Range<u64>,
    /// Where it begins in the file, in bytes.
    pub offset: u64,
    /// As the kernel wrote it, ` (deleted)` included.
    pub path: Vec<u8>,
}

impl About {
    /// Reads what `notes` say.
    ///
    /// # Errors
    /// [`CoreError::Io`]. What is damaged is left out and listed in [`About::unreadable`].
    pub fn read(core: &CoreFile, notes: &[Note]) -> Result<About, CoreError> {
        let mut about = About::default();
        for note in notes {
            let result = match (note.name.as_str(), note.kind) {
                ("CORE", NT_PRPSINFO) if about.pid.is_none() => about.prpsinfo(core, note),
                ("CORE", NT_SIGINFO) if about.signal.is_none() => about.siginfo(core, note),
                ("CORE", NT_AUXV) if about.auxv.is_empty() => about.auxv(core, note),
                ("CORE", NT_FILE) if about.files.is_empty() => about.files(core, note),
                ("stillcore", NT_MADE_BY) if about.capture.is_none() => about.vendor(core, note),
                _ => Ok(()),
            };
            match result {
                Ok(()) => {}
                Err(error @ CoreError::Io(_)) => return Err(error),
                Err(error) => about
                    .unreadable
                    .push(format!("note {} {:#x}: {error}", note.name, note.kind)),
            }
        }
        Ok(about)
    }

    /// The value of an entry of the auxiliary vector (`AT_PHDR` is 3, `AT_ENTRY` 9, `AT_SYSINFO_EHDR` 33).
    pub fn auxiliary(&self, kind: u64) -> Option<u64> {
        self.auxv
            .iter()
            .find(|(known, _)| *known == kind)
            .map(|&(_, value)| value)
    }

    /// `struct elf_prpsinfo` of a 64-bit Linux: state (4), padding, flags (8), uid, gid, four ids, name (16),
    /// arguments (80).
    fn prpsinfo(&mut self, core: &CoreFile, note: &Note) -> Result<(), CoreError> {
        let content = short(core, note, 4096)?;
        let number = |at| word32(&content, at).ok_or(CoreError::Damaged("it is too short"));
        self.uid = Some(number(16)?);
        self.gid = Some(number(20)?);
        self.pid = Some(number(24)? as i32);
        self.ppid = Some(number(28)? as i32);
        let text = |range: Range<usize>| {
            let bytes = content.get(range).unwrap_or_default();
            let end = bytes.iter().position(|&byte| byte == 0);
            bytes[..end.unwrap_or(bytes.len())].to_vec()
        };
        self.name = text(40..56);
        self.arguments = text(56..136);
        while self.arguments.last() == Some(&b' ') {
            self.arguments.pop();
        }
        Ok(())
    }

    /// `siginfo_t` of a 64-bit Linux: si_signo, si_errno, si_code, padding, then the union.
    fn siginfo(&mut self, core: &CoreFile, note: &Note) -> Result<(), CoreError> {
        let content = short(core, note, 4096)?;
        let number = |at| word32(&content, at).ok_or(CoreError::Damaged("it is too short"));
        let (signo, code) = (number(0)? as i32, number(8)? as i32);
        if signo == 0 {
            // A capture of ours: nothing died.
            return Ok(());
        }
        // SIGILL, SIGTRAP, SIGBUS, SIGFPE, SIGSEGV with a code of the kernel's own. SI_KERNEL (128) has no address.
        let fault = matches!(signo, 4 | 5 | 7 | 8 | 11) && code > 0 && code != 128;
        // SI_USER, SI_QUEUE, SI_TKILL.
        let sent = matches!(code, 0 | -1 | -6);
        self.signal = Some(Signal {
            number: signo,
            code,
            address: word64(&content, 16).filter(|_| fault),
            sender: word32(&content, 16)
                .zip(word32(&content, 20))
                .map(|(pid, uid)| (pid as i32, uid))
                .filter(|_| sent),
        });
        Ok(())
    }

    fn auxv(&mut self, core: &CoreFile, note: &Note) -> Result<(), CoreError> {
        let content = short(core, note, 1 << 16)?;
        self.auxv = content
            .chunks_exact(16)
            .filter_map(|pair| Some((word64(pair, 0)?, word64(pair, 8)?)))
            .take_while(|(kind, _)| *kind != 0)
            .collect();
        Ok(())
    }

    /// `fs/binfmt_elf.c`, `fill_files_note`: count, page size, that many (start, end, offset in pages), then the names.
    fn files(&mut self, core: &CoreFile, note: &Note) -> Result<(), CoreError> {
        let content = core.note_content(note)?;
        let short = CoreError::Damaged("the list of files ends too early");
        let (Some(count), Some(page)) = (word64(&content, 0), word64(&content, 8)) else {
            return Err(short);
        };
        let names = count
            .checked_mul(24)
            .and_then(|bytes| usize::try_from(bytes).ok()?.checked_add(16))
            .filter(|_| count <= MAX_FILES)
            .and_then(|at| content.get(at..))
            .ok_or(short)?;
        let mut names = names.split(|&byte| byte == 0);
        for index in 0..count as usize {
            let word = |at| word64(&content, 16 + 24 * index + at).unwrap_or(0);
            let Some(path) = names.next() else {
                return Err(CoreError::Damaged("the list of files lacks names"));
            };
            let (start, end) = (word(0), word(8));
            if start < end {
                self.files.push(MappedFile {
                    range: start..end,
                    offset: word(16).saturating_mul(page),
                    path: path.to_vec(),
                });
            }
        }
        Ok(())
    }

    fn vendor(&mut self, core: &CoreFile, note: &Note) -> Result<(), CoreError> {
        if note.range.end - note.range.start > MAX_VENDOR {
            return Err(CoreError::Damaged("it is too long"));
        }
        let json = String::from_utf8(core.note_content(note)?)
            .map_err(|_| CoreError::Damaged("it is not UTF-8"))?;
        let value: Value = serde_json::from_str(&json)
            .map_err(|_| CoreError::Damaged("it is not the JSON that it should be"))?;
        let text = |key: &str| value[key].as_str().map(str::to_owned);
        let threads = value["threads"].as_array().map_or(&[][..], Vec::as_slice);
        self.capture = Some(CaptureNote {
            tool: text("tool"),
            version: text("version"),
            method: text("method"),
            time: text("time"),
            node: text("node"),
            pid: value["pid"].as_i64(),
            note: text("note"),
            threads: threads
                .iter()
                .filter_map(|thread| {
                    Some((thread["tid"].as_i64()?, thread["name"].as_str()?.to_owned()))
                })
                .collect(),
            left_out: ranges(&value["leftOut"]),
            untouched: ranges(&value["untouched"]),
            json,
        });
        Ok(())
    }
}

/// `[["0x7f3a00400000", "0x7f3a00401000"]]`
fn ranges(list: &Value) -> Vec<Range<u64>> {
    let list = list.as_array().map_or(&[][..], Vec::as_slice);
    list.iter()
        .filter_map(|range| Some(address(&range[0])?..address(&range[1])?))
        .collect()
}

/// `"0x7f3a00401000"`
fn address(value: &Value) -> Option<u64> {
    u64::from_str_radix(value.as_str()?.strip_prefix("0x")?, 16).ok()
}

/// The first `limit` bytes of a note.
fn short(core: &CoreFile, note: &Note, limit: u64) -> Result<Vec<u8>, CoreError> {
    let mut note = note.clone();
    note.range.end = note.range.end.min(note.range.start.saturating_add(limit));
    core.note_content(&note)
}
