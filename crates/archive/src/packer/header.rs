//! The header of an entry.

use std::time::SystemTime;

use tar::{EntryType, Header};

use crate::index::RECORD;

/// The header of an entry, with an entry before it for a long name; `path` is below the top folder.
pub(super) fn header(top: &[u8], path: &[u8], kind: EntryType, attributes: Attributes) -> Vec<u8> {
    let mut name = top.to_vec();
    if !path.is_empty() {
        name.push(b'/');
        name.extend_from_slice(path);
    }
    if kind == EntryType::Directory {
        name.push(b'/');
    }
    let mut bytes = Vec::with_capacity(RECORD);
    let mut header = Header::new_gnu();
    let room = header.as_old().name.len();
    if name.len() > room {
        long(&mut bytes, EntryType::GNULongName, &name);
    }
    set_name(&mut header, &name[..name.len().min(room)]);
    header.set_entry_type(kind);
    header.set_size(attributes.size);
    header.set_mode(attributes.mode);
    set_common(&mut header, attributes.mtime);
    bytes.extend_from_slice(header.as_bytes());
    bytes
}

/// The header of a symbolic link, with entries before it for what is long.
#[cfg(feature = "package")]
pub(super) fn link_header(
    top: &[u8],
    path: &[u8],
    target: &[u8],
    attributes: Attributes,
) -> Vec<u8> {
    let mut bytes = header(top, path, EntryType::Symlink, attributes);
    // The header is the last record; a target too long for it goes before everything.
    let at = bytes.len() - RECORD;
    let field = 157..257;
    let short = &target[..target.len().min(field.len())];
    bytes[at..][field.start..field.start + short.len()].copy_from_slice(short);
    let mut last = Header::new_gnu();
    last.as_mut_bytes().copy_from_slice(&bytes[at..]);
    last.set_cksum();
    bytes[at..].copy_from_slice(last.as_bytes());
    if short.len() < target.len() {
        let mut before = Vec::new();
        long(&mut before, EntryType::GNULongLink, target);
        before.append(&mut bytes);
        bytes = before;
    }
    bytes
}

/// GNU's way for long names: an entry of its own before, with the name and a NUL as content.
fn long(bytes: &mut Vec<u8>, kind: EntryType, name: &[u8]) {
    let mut long = Header::new_gnu();
    set_name(&mut long, b"././@LongLink");
    long.set_entry_type(kind);
    long.set_size(name.len() as u64 + 1);
    long.set_mode(0o644);
    set_common(&mut long, 0);
    bytes.extend_from_slice(long.as_bytes());
    bytes.extend_from_slice(name);
    bytes.resize((bytes.len() + 1).next_multiple_of(RECORD), 0);
}

/// What the header of an entry says besides its name and kind.
pub(super) struct Attributes {
    /// Bytes of content.
    pub(super) size: u64,
    /// Permission bits.
    pub(super) mode: u32,
    /// Seconds since 1970.
    pub(super) mtime: u64,
}

/// Puts a name in a header as it is; it must fit.
fn set_name(header: &mut Header, name: &[u8]) {
    let field = &mut header.as_old_mut().name;
    for (to, from) in field.iter_mut().zip(name) {
        *to = *from;
    }
}

/// Fills what all headers have alike, and the checksum: last.
fn set_common(header: &mut Header, mtime: u64) {
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(mtime);
    header.set_cksum();
}

/// Seconds since 1970.
pub(super) fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}
