//! ELF notes: named, typed records in a `PT_NOTE` segment or an `SHT_NOTE` section.

use std::ops::Range;

use crate::CoreError;
use crate::source::{Source, read_up_to};

/// Most notes that are listed; a core has a handful per thread.
const MAX_NOTES: usize = 1 << 20;

/// Longest note name in bytes; real ones ("CORE", "LINUX", "GNU", "FreeBSD") are below ten.
const MAX_NAME: usize = 256;

/// One ELF note. Its content stays in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// The owner's name without the closing NUL, such as `CORE` or `GNU`; bytes that are not UTF-8 are replaced.
    pub name: String,
    /// The note's type (`n_type`); its meaning depends on the name.
    pub kind: u32,
    /// Where the content (descriptor) lies in the file, in bytes from its start.
    pub range: Range<u64>,
}

/// Appends the notes in `area` of the file to `notes`. `align` is the segment's `p_align`: 8 pads to 8 bytes,
/// anything else to 4.
pub(crate) fn read_notes(
    file: &dyn Source,
    area: Range<u64>,
    align: u64,
    notes: &mut Vec<Note>,
) -> Result<(), CoreError> {
    let align = if align == 8 { 8 } else { 4 };
    let mut at = area.start;
    // Fewer bytes than a note's header are padding.
    while area.end.saturating_sub(at) >= 12 {
        if notes.len() >= MAX_NOTES {
            return Err(CoreError::Damaged("it has too many notes"));
        }
        let mut head = [0_u8; 12 + MAX_NAME];
        let room = usize::try_from(area.end - at)
            .unwrap_or(usize::MAX)
            .min(head.len());
        let got = read_up_to(file, &mut head[..room], at)?;
        if got < 12 {
            return Err(CoreError::Truncated {
                expected: area.end,
                actual: at + got as u64,
            });
        }
        let word = |i: usize| u32::from_le_bytes([head[i], head[i + 1], head[i + 2], head[i + 3]]);
        let (name_len, content_len, kind) = (word(0) as usize, u64::from(word(4)), word(8));
        if name_len > MAX_NAME {
            return Err(CoreError::Damaged("a note's name is too long"));
        }
        let Some(name) = head[..got].get(12..12 + name_len) else {
            return Err(CoreError::Damaged("a note's name reaches beyond the notes"));
        };
        let content = padded(at, 12 + name_len as u64, align)?;
        let end = content
            .checked_add(content_len)
            .filter(|&end| end <= area.end);
        let Some(end) = end else {
            return Err(CoreError::Damaged("a note reaches beyond the notes"));
        };
        let name = name.split(|&byte| byte == 0).next().unwrap_or_default();
        let name = String::from_utf8_lossy(name).into_owned();
        notes.push(Note {
            name,
            kind,
            range: content..end,
        });
        // The last note's padding may be absent.
        at = padded(area.start, end - area.start, align)?.min(area.end);
    }
    Ok(())
}

/// `base + length`, the length rounded up to the alignment.
fn padded(base: u64, length: u64, align: u64) -> Result<u64, CoreError> {
    length
        .checked_next_multiple_of(align)
        .and_then(|length| base.checked_add(length))
        .ok_or(CoreError::Damaged("a note lies outside of any file"))
}
