//! More notes for a core that the kernel wrote.
//!
//! The kernel dumps the copy, and the copy has one thread. Where the others stood was read before the fork: their
//! notes are put behind those of the kernel, in a new note segment at the end of the file, and the program header
//! is pointed at that. Debuggers list them like any other threads. The one that the kernel wrote gets the id of the
//! thread it is a copy of, or debuggers would look for that in vain.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::notes::{self, About, Thread};

/// The most that the kernel's notes may take: the list of files is by far the largest of them, and limited by
/// vm.max_map_count.
const MOST: u64 = 256 << 20;

/// Appends the notes of all but the first of `threads`, and the vendor note, to the core at `path`.
pub(crate) fn add_notes(path: &Path, threads: &[Thread], made_by: &str) -> io::Result<()> {
    let file = File::options().read(true).write(true).open(path)?;
    let (header, offset, size) = note_header(&file)?;
    let mut content = vec![0; usize::try_from(size).map_err(|_| damaged())?];
    file.read_exact_at(&mut content, offset)?;
    let about = About::this_process();
    let (calling, others) = threads.split_first().ok_or_else(damaged)?;
    let signal = set_ids(&mut content, calling.tid, &about);
    for thread in others {
        notes::prstatus(&mut content, &about, thread, signal);
        notes::fpregset(&mut content, thread);
    }
    notes::made_by(&mut content, made_by);
    let length = file.metadata()?.len();
    let end = length.next_multiple_of(4);
    if let Err(error) = file.write_all_at(&content, end) {
        // No room, or beyond the soft limit on file sizes, which is lower here than it was for the copy. The core is
        // whole without.
        file.set_len(length)?;
        return Err(error);
    }
    // p_offset, then p_filesz.
    file.write_all_at(&end.to_ne_bytes(), header + 8)?;
    file.write_all_at(&(content.len() as u64).to_ne_bytes(), header + 32)
}

/// In the kernel's own notes: of whom the thread and the process are copies. Gives the signal they tell.
fn set_ids(notes: &mut [u8], tid: i32, about: &About) -> u16 {
    let mut at = 0;
    let mut signal = 0;
    while let Some(header) = notes.get(at..at + 12) {
        let word = |at: usize| {
            u32::from_ne_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
        };
        let content = at + 12 + (word(0) as usize).next_multiple_of(4);
        let (size, kind) = (word(4) as usize, word(8));
        // pr_pid and pr_ppid stand together in both.
        let ids = match kind {
            notes::NT_PRSTATUS => Some((content + 32, tid)),
            notes::NT_PRPSINFO => Some((content + 24, about.pid)),
            _ => None,
        };
        if kind == notes::NT_PRSTATUS
            && let Some(bytes) = notes.get(content + 12..content + 14)
        {
            signal = u16::from_ne_bytes([bytes[0], bytes[1]]);
        }
        if let Some((place, id)) = ids
            && let Some(bytes) = notes.get_mut(place..place + 8)
        {
            bytes[..4].copy_from_slice(&id.to_ne_bytes());
            bytes[4..].copy_from_slice(&about.parent.to_ne_bytes());
        }
        at = content + size.next_multiple_of(4);
    }
    signal
}

/// Where the program header of the notes stands, and what it says: offset and size.
fn note_header(file: &File) -> io::Result<(u64, u64, u64)> {
    let mut elf = [0; 64];
    file.read_exact_at(&mut elf, 0)?;
    let half = |at: usize| u16::from_ne_bytes([elf[at], elf[at + 1]]);
    let table = long(&elf, 32);
    let mut count = u64::from(half(56));
    if count == 0xffff {
        let mut section = [0; 64];
        file.read_exact_at(&mut section, long(&elf, 40))?;
        count = u64::from(u32::from_ne_bytes([
            section[44],
            section[45],
            section[46],
            section[47],
        ]));
    }
    for index in 0..count {
        let at = table + index * 56;
        let mut program = [0; 56];
        file.read_exact_at(&mut program, at)?;
        if program[..4] == 4u32.to_ne_bytes() {
            let (offset, size) = (long(&program, 8), long(&program, 32));
            return if size <= MOST {
                Ok((at, offset, size))
            } else {
                Err(damaged())
            };
        }
    }
    Err(damaged())
}

fn long(bytes: &[u8], at: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[at..at + 8]);
    u64::from_ne_bytes(word)
}

fn damaged() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the core has no note segment")
}
