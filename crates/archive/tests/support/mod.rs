//! What the tests of opening share: a small core, archives of it, and other people's programs.
#![allow(dead_code)] // each test uses a part of it

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use stillcore_archive::{
    Cache, CacheUse, Compression, ManifestHead, MappedFile, OpenError, OpenOptions, Opened,
    PackJob, PackOptions, pack,
};
use stillcore_corefile::{CoreFile, Source};

pub const TOP: &str = "core_20260102.030405.77.001";

/// An ELF core: headers, one note, and two segments of `size` bytes in all, the second one mostly a hole.
/// It shares no layout code with the reader.
pub fn core_file(size: u64) -> File {
    let file = tempfile::tempfile().unwrap();
    let mut head = Vec::new();
    head.extend_from_slice(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0");
    head.extend_from_slice(&[4, 0, 62, 0, 1, 0, 0, 0]);
    for number in [0_u64, 64, 0] {
        head.extend_from_slice(&number.to_le_bytes());
    }
    head.extend_from_slice(&0_u32.to_le_bytes());
    for number in [64_u16, 56, 3, 0, 0, 0] {
        head.extend_from_slice(&number.to_le_bytes());
    }
    let note = [
        [
            5_u32.to_le_bytes(),
            16_u32.to_le_bytes(),
            1_u32.to_le_bytes(),
        ]
        .concat(),
        b"CORE\0\0\0\0".to_vec(),
        vec![7; 16],
    ]
    .concat();
    let data = 1_300_000_u64.div_ceil(4096) * 4096;
    let segments = [
        (4_u32, 1024_u64, 0_u64, note.len() as u64),
        (1, 4096, 0x10_0000, data),
        (1, 4096 + data, 0x4000_0000, size - data - 4096),
    ];
    for (kind, offset, address, len) in segments {
        head.extend_from_slice(&kind.to_le_bytes());
        head.extend_from_slice(&6_u32.to_le_bytes());
        for number in [offset, address, 0, len, len, 4] {
            head.extend_from_slice(&number.to_le_bytes());
        }
    }
    file.write_all_at(&head, 0).unwrap();
    file.write_all_at(&note, 1024).unwrap();
    file.write_all_at(&noise(data as usize, 1), 4096).unwrap();
    // Data in the middle of the hole, across the borders of blocks, and at the end.
    for at in [size / 2 + 1234, size - 70_000] {
        file.write_all_at(&noise(66_000, at), at).unwrap();
    }
    file.set_len(size).unwrap();
    file
}

/// A core of a few KB.
pub fn tiny_core() -> Vec<u8> {
    let mut core = core_bytes(3 << 20);
    core.truncate(8192);
    // One segment of a page instead of the two.
    core[56..58].copy_from_slice(&2_u16.to_le_bytes());
    for at in [32, 40] {
        core[64 + 56 + at..64 + 56 + at + 8].copy_from_slice(&4096_u64.to_le_bytes());
    }
    core
}

/// Bytes that compress to about half.
pub fn noise(n: usize, seed: u64) -> Vec<u8> {
    let mut x = seed | 1;
    (0..n)
        .map(|_| {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            (x as u8) & 0x0f | 0x40
        })
        .collect()
}

pub fn core_bytes(size: u64) -> Vec<u8> {
    let mut bytes = vec![0; size as usize];
    core_file(size).read_exact_at(&mut bytes, 0).unwrap();
    bytes
}

/// An archive of ours with this core and one program.
pub fn ours(core: &File, compression: Compression, top: &str) -> Vec<u8> {
    ours_with(core, compression, top, &[a_program()])
}

pub fn ours_with(
    core: &File,
    compression: Compression,
    top: &str,
    files: &[MappedFile],
) -> Vec<u8> {
    let mut out = Vec::new();
    let job = PackJob {
        top,
        executable: None,
        core,
        core_mtime: SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000),
        files,
        manifest: ManifestHead {
            pid: 77,
            ..ManifestHead::default()
        },
        options: PackOptions {
            compression,
            threads: 2,
            ..PackOptions::default()
        },
        progress: &|_| true,
    };
    pack(&mut out, &job).unwrap();
    out
}

/// A small one with a build-id.
pub fn a_program() -> MappedFile {
    use std::os::unix::fs::MetadataExt;
    let path = fs::canonicalize("/bin/sh").unwrap();
    MappedFile {
        inode: fs::metadata(&path).unwrap().ino(),
        path,
        ranges: vec![0x1000..0x2000],
        first: Some(0x1000..0x2000),
        dev: (8, 1),
        deleted: false,
    }
}

/// A folder with a cache of its own.
pub struct Place {
    pub folder: tempfile::TempDir,
    pub options: OpenOptions,
}

impl Place {
    pub fn new() -> Place {
        let folder = tempfile::tempdir().unwrap();
        let options = OpenOptions {
            cache: CacheUse::At(Cache::at(folder.path().join("cache"), 1 << 30)),
            ..OpenOptions::default()
        };
        Place { folder, options }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
        path
    }

    pub fn cache(&self) -> Cache {
        match &self.options.cache {
            CacheUse::At(cache) => cache.clone(),
            _ => unreachable!(),
        }
    }
}

/// All bytes of a source, read in odd pieces.
pub fn all(source: &Arc<dyn Source>) -> Vec<u8> {
    let mut bytes = vec![0xaa; source.len() as usize];
    let mut at = 0;
    while at < bytes.len() {
        let end = (at + 300_007).min(bytes.len());
        let n = source.read_at(at as u64, &mut bytes[at..end]).unwrap();
        assert!(n > 0);
        at += n;
    }
    assert_eq!(source.read_at(source.len(), &mut [0]).unwrap(), 0);
    bytes
}

/// Runs a program with this input; `None`, said so, when there is no such program.
pub fn run_with(program: &str, args: &[&str], input: &[u8]) -> Option<Vec<u8>> {
    let child = Command::new(program)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut child) = child else {
        eprintln!("skipped: there is no {program} here");
        return None;
    };
    let mut stdin = child.stdin.take().unwrap();
    let output = std::thread::scope(|scope| {
        scope.spawn(move || {
            // A program may stop reading at the end mark.
            let _ = stdin.write_all(input);
        });
        child.wait_with_output().unwrap()
    });
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {args:?}: {said}");
    assert_eq!(said, "", "{program} {args:?}");
    Some(output.stdout)
}

/// Runs a program in a folder; `false`, said so, when there is none.
pub fn run_in(folder: &Path, program: &str, args: &[&str]) -> bool {
    let output = Command::new(program)
        .args(args)
        .current_dir(folder)
        .output();
    let Ok(output) = output else {
        eprintln!("skipped: there is no {program} here");
        return false;
    };
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {args:?}: {said}");
    true
}

/// Whether the core in it is this one, and whole.
#[track_caller]
pub fn holds(opened: &Opened, core: &[u8]) {
    assert_eq!(opened.core.len(), core.len() as u64);
    assert!(all(&opened.core) == core, "other bytes");
    CoreFile::open(Arc::clone(&opened.core))
        .unwrap()
        .check_whole()
        .unwrap();
}

/// It has the beginning of the core and says that something is missing, or cannot be opened at all.
pub fn is_said_to_be_cut(opened: Result<Opened, OpenError>, core: &[u8]) {
    match opened {
        Ok(opened) => {
            assert!(core.starts_with(&all(&opened.core)));
            assert!(!opened.damage.is_empty());
        }
        Err(error) => assert!(
            matches!(
                error,
                OpenError::Damaged(_) | OpenError::Unknown(_) | OpenError::NoCore
            ),
            "{error}"
        ),
    }
}
