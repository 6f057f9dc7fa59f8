//! The headers of an ELF core, one function each.

use std::ops::Range;

pub(super) const EHDR: u64 = 64;
pub(super) const PHDR: u64 = 56;
pub(super) const SHDR: u64 = 64;
pub(super) const PT_LOAD: u32 = 1;
pub(super) const PT_NOTE: u32 = 4;
/// `e_phnum` of a file with more program headers than fit: the number is then in section header 0.
pub(super) const PN_XNUM: u16 = 0xffff;
#[cfg(target_arch = "x86_64")]
const MACHINE: u16 = 62;
#[cfg(target_arch = "aarch64")]
const MACHINE: u16 = 183;

pub(super) fn elf_header(program_headers: u64, many: bool) -> Vec<u8> {
    let order = if cfg!(target_endian = "little") { 1 } else { 2 };
    let mut out = vec![
        0x7f, b'E', b'L', b'F', 2, order, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    ];
    out.extend(4u16.to_ne_bytes()); // ET_CORE
    out.extend(MACHINE.to_ne_bytes());
    out.extend(1u32.to_ne_bytes());
    out.extend(0u64.to_ne_bytes()); // entry
    out.extend(EHDR.to_ne_bytes()); // program headers
    out.extend(
        (if many {
            EHDR + program_headers * PHDR
        } else {
            0
        })
        .to_ne_bytes(),
    );
    out.extend(0u32.to_ne_bytes()); // flags
    out.extend((EHDR as u16).to_ne_bytes());
    out.extend((PHDR as u16).to_ne_bytes());
    out.extend(
        (if many {
            PN_XNUM
        } else {
            program_headers as u16
        })
        .to_ne_bytes(),
    );
    out.extend((if many { SHDR as u16 } else { 0 }).to_ne_bytes());
    out.extend(u16::from(many).to_ne_bytes());
    out.extend(0u16.to_ne_bytes());
    out
}

pub(super) fn program_header(
    out: &mut Vec<u8>,
    kind: u32,
    flags: u32,
    offset: u64,
    memory: Range<u64>,
    file_size: u64,
    align: u64,
) {
    out.extend(kind.to_ne_bytes());
    out.extend(flags.to_ne_bytes());
    for word in [
        offset,
        memory.start,
        0,
        file_size,
        memory.end - memory.start,
        align,
    ] {
        out.extend(word.to_ne_bytes());
    }
}

pub(super) fn section_header_zero(out: &mut Vec<u8>, program_headers: u64) {
    let mut header = [0; SHDR as usize];
    header[44..48].copy_from_slice(&(program_headers as u32).to_ne_bytes()); // sh_info
    out.extend(header);
}
