//! The threads of the dumped process, as the notes tell them.

use crate::notes::Note;
use crate::words::{word16, word32, word64};
use crate::{Arch, CoreError, CoreFile, Registers};

const NT_PRSTATUS: u32 = 1;
const NT_FPREGSET: u32 = 2;
const NT_SIGINFO: u32 = 0x5349_4749;
const NT_X86_XSTATE: u32 = 0x202;
const NT_ARM_TLS: u32 = 0x401;

/// A thread, with the registers it had.
#[derive(Debug, Clone)]
pub struct Thread {
    /// Its id as the process saw it; 0 in cores whose writer did not know.
    pub tid: i32,
    /// Its name, where a note tells it.
    pub name: Option<Vec<u8>>,
    /// The signal it was dumped for (`pr_cursig`), or 0.
    pub signal: i32,
    /// Signals that waited for it, and that it blocked: bit 0 is signal 1.
    pub pending: u64,
    /// See `pending`.
    pub blocked: u64,
    /// The general registers.
    pub registers: Registers,
    /// `NT_FPREGSET`: the floating-point registers as the kernel lays them out.
    pub floating: Option<Note>,
    /// `NT_X86_XSTATE`: the area that XSAVE writes.
    pub extended: Option<Note>,
    /// `NT_SIGINFO`: the signal's `siginfo_t`.
    pub signal_info: Option<Note>,
}

/// All threads in the core's order: the one that died, or that was asked to be dumped, is the first.
///
/// # Errors
/// [`CoreError::Unsupported`] for a processor that is not read here, [`CoreError::Io`]. A note that is too short for
/// its type is passed by.
pub(crate) fn threads(core: &CoreFile, notes: &[Note]) -> Result<Vec<Thread>, CoreError> {
    let arch = Arch::of(core).ok_or(CoreError::Unsupported(
        "only cores of x86_64 and aarch64 have threads that can be read",
    ))?;
    let mut threads: Vec<Thread> = Vec::new();
    for note in notes {
        let system = matches!(note.name.as_str(), "CORE" | "LINUX");
        if !system {
            continue;
        }
        if note.kind == NT_PRSTATUS {
            let mut content = note.clone();
            // Longer than any kernel writes it.
            content.range.end = content.range.end.min(content.range.start + 4096);
            threads.extend(prstatus(arch, &whole(core, &content)?));
            continue;
        }
        // What follows a thread's status is that thread's.
        let Some(thread) = threads.last_mut() else {
            continue;
        };
        match note.kind {
            NT_FPREGSET => thread.floating = Some(note.clone()),
            NT_X86_XSTATE if arch == Arch::X86_64 => thread.extended = Some(note.clone()),
            NT_SIGINFO => thread.signal_info = Some(note.clone()),
            NT_ARM_TLS if arch == Arch::Aarch64 && note.range.end - note.range.start <= 16 => {
                if let Some(tpidr) = word64(&whole(core, note)?, 0) {
                    thread.registers.set_named("tpidr", tpidr);
                }
            }
            _ => {}
        }
    }
    Ok(threads)
}

/// The content of a note; nothing of one that the end of the file cuts off.
fn whole(core: &CoreFile, note: &Note) -> Result<Vec<u8>, CoreError> {
    match core.note_content(note) {
        Err(CoreError::Truncated { .. }) => Ok(Vec::new()),
        other => other,
    }
}

/// `struct elf_prstatus` of a 64-bit Linux: siginfo (12), cursig (2+2), pending, blocked, four ids, four times, then
/// the registers (`asm/user.h`: `user_regs_struct`, `user_pt_regs`).
fn prstatus(arch: Arch, content: &[u8]) -> Option<Thread> {
    const REGISTERS: usize = 112;
    let mut registers = Registers::new(arch);
    for (index, &number) in arch.prstatus_order().iter().enumerate() {
        registers.set(number, Some(word64(content, REGISTERS + 8 * index)?));
    }
    Some(Thread {
        tid: word32(content, 32)? as i32,
        name: None,
        signal: i32::from(word16(content, 12)?),
        pending: word64(content, 16)?,
        blocked: word64(content, 24)?,
        registers,
        floating: None,
        extended: None,
        signal_info: None,
    })
}
