//! `DT_SONAME`: the name by which a library is asked for, which is often not the name of its file.

use goblin::elf::dynamic::{DT_SONAME, DT_STRSZ, DT_STRTAB};
use goblin::elf::program_header::{PT_DYNAMIC, PT_LOAD};

use crate::CoreError;
use crate::elf::ElfHeaders;
use crate::source::{Source, read_up_to};

/// Most bytes of a dynamic section that are read.
const MAX_DYNAMIC: u64 = 64 * 1024;

/// Longest name that is believed.
const MAX_NAME: u64 = 256;

/// The `DT_SONAME` of a shared library, or `None` when it has none. 64-bit files only: for others the answer is `None`.
///
/// # Errors
/// [`CoreError::NotElf`], [`CoreError::Unsupported`], [`CoreError::Truncated`] and [`CoreError::Damaged`] when the
/// headers cannot be read, [`CoreError::Io`].
pub fn soname(file: &dyn Source) -> Result<Option<Vec<u8>>, CoreError> {
    let elf = ElfHeaders::read(file)?;
    if !elf.is_64() {
        return Ok(None);
    }
    let headers = elf.program_headers(file)?;
    let Some(dynamic) = headers.iter().find(|header| header.p_type == PT_DYNAMIC) else {
        return Ok(None);
    };
    let table = bytes(file, dynamic.p_offset, dynamic.p_filesz.min(MAX_DYNAMIC))?;
    let entry = |tag: u64| {
        let (entries, _) = table.as_chunks::<16>();
        entries.iter().find_map(|entry| {
            let (words, _) = entry.as_chunks::<8>();
            (u64::from_le_bytes(words[0]) == tag).then(|| u64::from_le_bytes(words[1]))
        })
    };
    let (Some(name), Some(strings), Some(size)) =
        (entry(DT_SONAME), entry(DT_STRTAB), entry(DT_STRSZ))
    else {
        return Ok(None);
    };
    // In the file the address of the strings is still that of the link.
    let holder = headers.iter().find(|header| {
        header.p_type == PT_LOAD
            && strings
                .checked_sub(header.p_vaddr)
                .is_some_and(|offset| offset < header.p_filesz)
    });
    let at = holder.and_then(|header| {
        (strings - header.p_vaddr)
            .checked_add(header.p_offset)?
            .checked_add(name)
    });
    let Some(at) = at.filter(|_| name < size) else {
        return Ok(None);
    };
    let name = bytes(file, at, (size - name).min(MAX_NAME))?;
    let end = name.iter().position(|&byte| byte == 0);
    Ok(end.filter(|&end| end > 0).map(|end| name[..end].to_vec()))
}

/// `size` bytes at `offset`, or as many as there are.
fn bytes(file: &dyn Source, offset: u64, size: u64) -> Result<Vec<u8>, CoreError> {
    let mut bytes = vec![0; size as usize];
    let got = read_up_to(file, &mut bytes, offset)?;
    bytes.truncate(got);
    Ok(bytes)
}
