//! Which files belong to a core: those that the process had mapped, and of them the ELF files.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;

use crate::index::INDEX_NAME;
use crate::manifest::lossy;

const DELETED: &[u8] = b" (deleted)";

/// A file that a process had mapped, whatever kind of file it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MappedFile {
    /// Its path, without the kernel's mark for deleted files.
    pub path: PathBuf,
    /// The addresses of each of its mappings, in their order.
    pub ranges: Vec<Range<u64>>,
    /// The first mapping that begins at the start of the file.
    pub first: Option<Range<u64>>,
    /// Major and minor number of its device, as the kernel lists them. Some file systems give `stat` others.
    pub dev: (u32, u32),
    /// Its inode number.
    pub inode: u64,
    /// Whether the kernel marked it as deleted: another file may have its name by now.
    pub deleted: bool,
}

/// The files in the text of `/proc/PID/maps`, each once (by path, device and inode), in the order of their first
/// addresses. Memory without a file (`[heap]`, `[vdso]`, `anon_inode:...`) is not in the list; files in memory and
/// devices are. Lines that cannot be understood are passed over.
pub fn mapped_files(maps: &[u8]) -> Vec<MappedFile> {
    let mut files: Vec<MappedFile> = Vec::new();
    // Keyed by name, device and inode.
    let mut places = HashMap::<_, usize>::new();
    for line in maps.split(|&byte| byte == b'\n') {
        let Some(line) = Line::parse(line) else {
            continue;
        };
        let key = (line.name, line.dev, line.inode);
        let place = *places.entry(key).or_insert_with(|| {
            let (name, deleted) = match line.name.strip_suffix(DELETED) {
                Some(name) => (name, true),
                None => (line.name, false),
            };
            files.push(MappedFile {
                path: PathBuf::from(OsStr::from_bytes(&unescape(name))),
                ranges: Vec::new(),
                first: None,
                dev: line.dev,
                inode: line.inode,
                deleted,
            });
            files.len() - 1
        });
        let file = &mut files[place];
        if line.offset == 0 && file.first.is_none() {
            file.first = Some(line.range.clone());
        }
        file.ranges.push(line.range);
    }
    files
}

/// A line of `/proc/PID/maps` that names a file.
struct Line<'a> {
    range: Range<u64>,
    offset: u64,
    dev: (u32, u32),
    inode: u64,
    name: &'a [u8],
}

impl Line<'_> {
    fn parse(line: &[u8]) -> Option<Line<'_>> {
        let mut rest = line;
        let mut word = || {
            let end = rest.iter().position(|&byte| byte == b' ')?;
            let (word, after) = rest.split_at(end);
            rest = &after[1..];
            std::str::from_utf8(word).ok()
        };
        let (start, end) = word()?.split_once('-')?;
        let range = hex(start)?..hex(end)?;
        let _permissions = word()?;
        let offset = hex(word()?)?;
        let (major, minor) = word()?.split_once(':')?;
        let dev = (
            u32::from_str_radix(major, 16).ok()?,
            u32::from_str_radix(minor, 16).ok()?,
        );
        let inode = word()?.parse().ok()?;
        // The kernel pads with spaces. What is not a file has no name, or one that does not begin with a slash.
        let name = rest.trim_ascii_start();
        (name.first() == Some(&b'/') && !range.is_empty()).then_some(Line {
            range,
            offset,
            dev,
            inode,
            name,
        })
    }
}

fn hex(text: &str) -> Option<u64> {
    u64::from_str_radix(text, 16).ok()
}

/// The kernel writes a newline in a name as `\012`, and nothing else in another way: a backslash stands for itself.
fn unescape(name: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(name.len());
    let mut rest = name;
    while let Some((&byte, after)) = rest.split_first() {
        if let Some(after) = rest.strip_prefix(br"\012") {
            plain.push(b'\n');
            rest = after;
        } else {
            plain.push(byte);
            rest = after;
        }
    }
    plain
}

/// An ELF file, open for reading.
#[derive(Debug)]
pub(crate) struct Elf {
    pub(crate) file: File,
    pub(crate) metadata: Metadata,
    /// Its path; that of the listing, but for a file whose name merely looks like the kernel's mark.
    pub(crate) path: PathBuf,
}

/// Opens a mapped file if it is a regular ELF file, or says why it is not to be packed.
/// Nothing but regular files is ever opened: opening a device or a pipe can do things.
pub(crate) fn open_elf(mapped: &MappedFile) -> Result<Elf, String> {
    let name = mapped.path.as_os_str().as_bytes();
    if name.starts_with(b"/memfd:") {
        return Err("a file in memory (memfd), not a file on disk".to_owned());
    }
    if name.starts_with(b"/SYSV") && mapped.deleted {
        return Err("System V shared memory, not a file on disk".to_owned());
    }
    if name.starts_with(b"/dev/") {
        return Err("below /dev, where nothing is opened".to_owned());
    }
    let (file, metadata, path) = if mapped.deleted {
        open_deleted(mapped)?
    } else {
        let (file, metadata) = open_named(&mapped.path).map_err(why)?;
        (file, metadata, mapped.path.clone())
    };
    let mut magic = [0; 4];
    match file.read_exact_at(&mut magic, 0) {
        Ok(()) if magic == *b"\x7fELF" => Ok(Elf {
            file,
            metadata,
            path,
        }),
        Ok(()) => Err("not an ELF file".to_owned()),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            Err("not an ELF file".to_owned())
        }
        Err(error) => Err(why(error)),
    }
}

/// A file that has no name any more is reached through its mapping; that takes CAP_SYS_ADMIN or
/// CAP_CHECKPOINT_RESTORE.
fn open_deleted(mapped: &MappedFile) -> Result<(File, Metadata, PathBuf), String> {
    // A name may really end like that.
    let literal = [mapped.path.as_os_str().as_bytes(), DELETED].concat();
    let literal = PathBuf::from(OsStr::from_bytes(&literal));
    if let Ok((file, metadata)) = open_named(&literal)
        && metadata.ino() == mapped.inode
    {
        return Ok((file, metadata, literal));
    }
    let mut last = None;
    for range in &mapped.ranges {
        let link = format!("/proc/self/map_files/{:x}-{:x}", range.start, range.end);
        match open_regular(Path::new(&link), Links::Follow) {
            Ok((file, metadata)) if metadata.ino() == mapped.inode => {
                return Ok((file, metadata, mapped.path.clone()));
            }
            // The addresses belong to another mapping by now.
            Ok(_) => {}
            Err(error) => last = Some(error),
        }
    }
    Err(match last {
        Some(error) => format!("(deleted), and its mapping cannot be read: {error}"),
        None => "(deleted)".to_owned(),
    })
}

fn open_named(path: &Path) -> io::Result<(File, Metadata)> {
    open_regular(path, Links::Refuse)
}

/// What to do with a symbolic link at the end of a path.
enum Links {
    Follow,
    Refuse,
}

fn open_regular(path: &Path, links: Links) -> io::Result<(File, Metadata)> {
    let irregular = || io::Error::other("not a regular file (any more)");
    let (before, flags) = match links {
        Links::Follow => (std::fs::metadata(path)?, OFlag::empty()),
        Links::Refuse => (std::fs::symlink_metadata(path)?, OFlag::O_NOFOLLOW),
    };
    if !before.is_file() {
        return Err(irregular());
    }
    let flags = flags | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits())
        .open(path)?;
    let metadata = file.metadata()?;
    if metadata.is_file() {
        Ok((file, metadata))
    } else {
        Err(irregular())
    }
}

fn why(error: io::Error) -> String {
    error.to_string()
}

/// Where a file goes below the top folder: its own path made relative. Whatever would be named like the archive's
/// own entries (`core...`, `manifest.json`, `run-...`, the index) goes below `rootfs/`. `None` when nothing is left of
/// the path.
pub(crate) fn archive_path(path: &Path) -> Option<Vec<u8>> {
    let parts: Vec<&[u8]> = path
        .as_os_str()
        .as_bytes()
        .split(|&byte| byte == b'/')
        .filter(|part| !part.is_empty() && *part != b"." && *part != b"..")
        .collect();
    let first = parts.first()?;
    let reserved = first.starts_with(b"core")
        || first.starts_with(b"run-")
        || *first == b"manifest.json"
        || *first == INDEX_NAME;
    let path = parts.join(&b'/');
    Some(if reserved {
        [b"rootfs/", path.as_slice()].concat()
    } else {
        path
    })
}

/// Text for a path in the manifest.
pub(crate) fn path_text(path: &Path) -> String {
    lossy(path.as_os_str().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_file_is_listed_once_with_all_its_mappings() {
        let maps = b"\
00400000-00401000 r--p 00000000 08:01 10                         /usr/bin/node
00401000-00500000 r-xp 00001000 08:01 10                         /usr/bin/node
01000000-01100000 rw-p 00000000 00:00 0                          [heap]
7f0000000000-7f0000100000 rw-p 00000000 00:00 0 
7f0000200000-7f0000201000 rw-s 00000000 00:0f 5                  anon_inode:[io_uring]
7f0000300000-7f0000301000 rw-s 00000000 00:01 6                  /memfd:name (deleted)
7f0000400000-7f0000401000 r-xp 00002000 08:01 11                 /srv/my app/a\\b\\012c.node
7f0000402000-7f0000403000 r--p 00000000 08:01 11                 /srv/my app/a\\b\\012c.node
7f0000500000-7f0000501000 r-xp 00000000 08:01 12                 /lib/x.so (deleted)
7f0000600000-7f0000601000 r-xp 00000000 08:01 13                 /lib/x.so
7ffff0000000-7ffff0002000 r-xp 00000000 00:00 0                  [vdso]
ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0          [vsyscall]
";
        let files = mapped_files(maps);
        let names: Vec<_> = files
            .iter()
            .map(|file| (path_text(&file.path), file.deleted))
            .collect();
        let expected = [
            ("/usr/bin/node", false),
            ("/memfd:name", true),
            ("/srv/my app/a\\b\nc.node", false),
            ("/lib/x.so", true),
            ("/lib/x.so", false),
        ];
        assert_eq!(
            names,
            expected.map(|(name, deleted)| (name.to_owned(), deleted))
        );
        assert_eq!(files[0].ranges, [0x400000..0x401000, 0x401000..0x500000]);
        assert_eq!((files[0].dev, files[0].inode), ((8, 1), 10));
        assert_eq!(files[2].first, Some(0x7f0000402000..0x7f0000403000));
    }

    #[test]
    fn nonsense_is_passed_over() {
        let line = b"00400000-00401000 r--p 00000000 08:01 10 /usr/bin/node";
        for cut in 0..line.len() {
            assert!(mapped_files(&line[..cut]).len() <= 1);
        }
        assert_eq!(
            mapped_files(b"2-1 r--p 0 0:0 1 /x\n\xff\xff - - - -\n1-2 r--p 0 0 1 /x\n"),
            []
        );
    }

    #[test]
    fn a_path_stays_below_the_top_folder_and_away_from_its_entries() {
        let place = |path: &str| archive_path(Path::new(path)).map(|path| lossy(&path));
        for (path, expected) in [
            ("/usr/lib/x.so", Some("usr/lib/x.so")),
            ("/core-service/x.node", Some("rootfs/core-service/x.node")),
            ("/core", Some("rootfs/core")),
            ("/manifest.json", Some("rootfs/manifest.json")),
            ("/stillcore.index", Some("rootfs/stillcore.index")),
            ("/run-gdb.sh", Some("rootfs/run-gdb.sh")),
            ("/run-autopsy.sh", Some("rootfs/run-autopsy.sh")),
            ("/app/core/x.so", Some("app/core/x.so")),
            ("//a/./../../b", Some("a/b")),
            ("/..", None),
        ] {
            assert_eq!(place(path).as_deref(), expected);
        }
    }
}
