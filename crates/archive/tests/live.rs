//! Cores that are no files: random images, memory that cannot be read, the memory of a real process.

use std::cell::{Cell, RefCell};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::process::{Command, Stdio};
use std::time::SystemTime;

use stillcore_archive::{
    BLOCK_SIZE, Compression, CoreSource, LiveImage, ManifestHead, PackError, PackJob, PackOptions,
    Packed, Part, SparseWriter, pack, write_core,
};

const ALL: [Compression; 3] = [Compression::Gzip, Compression::Zstd, Compression::None];
const EIO: i32 = 5;
const EFAULT: i32 = 14;
const PAGE: usize = 4096;

/// A small generator (xorshift), so that every run sees the same numbers.
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }
}

/// Made-up memory that begins at `BASE`: some of its pages are zeros, and some cannot be read.
struct Memory {
    bytes: Vec<u8>,
    bad: Vec<usize>,
    reads: RefCell<Vec<(u64, u64)>>,
}

const BASE: u64 = 0x7f00_0000_0000;

impl Memory {
    fn new(random: &mut Random, pages: usize) -> Memory {
        let mut bytes = vec![0; pages * PAGE];
        let mut page = 0;
        while page < pages {
            let run = (1 + random.below(100) as usize).min(pages - page);
            let kind = random.below(3);
            for byte in &mut bytes[page * PAGE..(page + run) * PAGE] {
                *byte = match kind {
                    0 => 0,
                    1 => random.below(4) as u8 + b'a',
                    _ => random.below(256) as u8,
                };
            }
            page += run;
        }
        let bad = (0..random.below(4)).map(|_| random.below(pages as u64) as usize);
        let bad = bad.collect();
        Memory {
            bytes,
            bad,
            reads: RefCell::default(),
        }
    }

    /// As the kernel does it: up to the first bad page, and an error when that is the first.
    fn read(&self, address: u64, buf: &mut [u8]) -> io::Result<usize> {
        let start = (address - BASE) as usize;
        let end = (start + buf.len()).min(self.bytes.len());
        let stop = (start / PAGE..end.div_ceil(PAGE)).find(|page| self.bad.contains(page));
        let end = stop.map_or(end, |page| end.min(page * PAGE));
        if end <= start && !buf.is_empty() {
            let errno = if start.is_multiple_of(2) { EIO } else { EFAULT };
            return Err(io::Error::from_raw_os_error(errno));
        }
        buf[..end - start].copy_from_slice(&self.bytes[start..end]);
        self.reads
            .borrow_mut()
            .push((address, (end - start) as u64));
        Ok(end - start)
    }

    /// What a reader should get of a range, and how much of it is lost.
    fn expected(&self, address: u64, len: u64) -> (Vec<u8>, u64) {
        let start = (address - BASE) as usize;
        let mut bytes = self.bytes[start..start + len as usize].to_vec();
        let mut lost = 0;
        for (i, byte) in bytes.iter_mut().enumerate() {
            if self.bad.contains(&((start + i) / PAGE)) {
                *byte = 0;
                lost += 1;
            }
        }
        (bytes, lost)
    }
}

fn job(core: &dyn CoreSource, compression: Compression) -> PackJob<'_> {
    PackJob {
        top: "core_1",
        core,
        core_mtime: SystemTime::UNIX_EPOCH,
        files: &[],
        executable: None,
        manifest: ManifestHead {
            method: "direct".to_owned(),
            ..ManifestHead::default()
        },
        options: PackOptions {
            compression,
            threads: 2,
            ..PackOptions::default()
        },
        progress: &|_| true,
    }
}

fn unpack(compression: Compression, archive: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    match compression {
        Compression::Gzip => flate2::bufread::GzDecoder::new(archive)
            .read_to_end(&mut bytes)
            .map(drop),
        Compression::Zstd => zstd::stream::copy_decode(archive, &mut bytes),
        Compression::None => bytes.write_all(archive),
    }
    .unwrap();
    bytes
}

/// The core in a tar file.
fn core_of(tar: &[u8]) -> Vec<u8> {
    let mut tar = tar::Archive::new(tar);
    let mut entry = tar
        .entries()
        .unwrap()
        .map(Result::unwrap)
        .find(|entry| entry.path_bytes().as_ref() == b"core_1/core")
        .unwrap();
    let mut bytes = Vec::new();
    entry.read_to_end(&mut bytes).unwrap();
    bytes
}

fn sha256(bytes: &[u8]) -> String {
    use sha2::Digest;
    sha2::Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

#[test]
fn any_list_of_parts_comes_back_from_every_kind_of_output() {
    for seed in 1..=12 {
        let mut random = Random(seed * 7919);
        let memory = Memory::new(&mut random, 800);
        let header: Vec<u8> = (0..random.below(3 * BLOCK_SIZE as u64))
            .map(|_| random.below(256) as u8)
            .collect();
        let (mut parts, mut whole) = (vec![Part::Bytes(&header)], header.clone());
        let (mut lost, mut to_read, mut wanted) = (0, 0, Vec::new());
        for _ in 0..random.below(40) {
            let page = random.below(700);
            let part = match random.below(5) {
                0 => Part::Zeros(random.below(300_000)),
                1 => Part::Zeros(random.below(20) * PAGE as u64),
                2 => Part::Bytes(&header[header.len() / 2..]),
                3 => Part::Read {
                    address: BASE + page * PAGE as u64,
                    len: (1 + random.below(100)) * PAGE as u64,
                },
                // No page boundaries at all.
                _ => Part::Read {
                    address: BASE + page * PAGE as u64 + random.below(PAGE as u64),
                    len: random.below(100_000),
                },
            };
            match part {
                Part::Bytes(bytes) => whole.extend_from_slice(bytes),
                Part::Zeros(n) => whole.resize(whole.len() + n as usize, 0),
                Part::Read { address, len } => {
                    let (bytes, bad) = memory.expected(address, len);
                    whole.extend_from_slice(&bytes);
                    lost += bad;
                    to_read += len;
                    wanted.push((address, len));
                }
            }
            parts.push(part);
        }
        let read = |address, buf: &mut [u8]| memory.read(address, buf);
        let done = Cell::new(0);
        let read_done = || done.set(done.get() + 1);

        for compression in ALL {
            let (image, mut out) = (LiveImage::new(&parts, &read, &read_done), Vec::new());
            done.set(0);
            memory.reads.borrow_mut().clear();
            let packed = pack(&mut out, &job(&image, compression)).unwrap();
            assert_eq!(done.get(), 1, "seed {seed}");
            assert_eq!(packed.unreadable, lost, "seed {seed}");
            let reads: u64 = memory.reads.borrow().iter().map(|(_, len)| len).sum();
            assert_eq!(reads + lost, to_read, "each byte is read once");
            let noted = packed.manifest.notes.iter().any(|note| {
                note.starts_with(&format!("{lost} bytes of the core could not be read"))
            });
            assert_eq!(noted, lost > 0);
            assert_eq!(packed.manifest.core.size, whole.len() as u64);
            assert_eq!(packed.manifest.core.sha256, sha256(&whole));
            assert!(
                core_of(&unpack(compression, &out)) == whole,
                "seed {seed}, {compression:?}"
            );
        }

        // Plain, with holes.
        let (image, file) = (
            LiveImage::new(&parts, &read, &read_done),
            tempfile::tempfile().unwrap(),
        );
        let packed = pack(SparseWriter::new(&file), &job(&image, Compression::None)).unwrap();
        let mut tar = Vec::new();
        (&file).read_to_end(&mut tar).unwrap();
        assert_eq!(tar.len() as u64, packed.output_bytes);
        assert!(core_of(&tar) == whole, "seed {seed}");

        // And the bare core.
        let (image, file) = (
            LiveImage::new(&parts, &read, &read_done),
            tempfile::tempfile().unwrap(),
        );
        done.set(0);
        let steps = Cell::new(0);
        let progress = |n| {
            steps.set(steps.get() + n);
            true
        };
        let written = write_core(&file, &image, &progress).unwrap();
        assert_eq!((written.unreadable, done.get()), (lost, 1));
        assert_eq!(
            (written.size, steps.get()),
            (whole.len() as u64, written.size)
        );
        let mut core = Vec::new();
        (&file).read_to_end(&mut core).unwrap();
        assert!(core == whole, "seed {seed}");
        let data = whole
            .chunks(PAGE)
            .filter(|page| page.iter().any(|&byte| byte != 0));
        let data: u64 = data.map(|page| page.len() as u64).sum();
        assert!(written.data_size <= data);
        let on_disk = file.metadata().unwrap().blocks() * 512;
        assert!(on_disk <= data + (64 << 10), "{on_disk} for {data}");
    }
}

#[test]
fn the_copy_may_go_before_anything_else_is_packed() {
    let folder = tempfile::tempdir().unwrap();
    let library = folder.path().join("lib.so");
    let mut elf = b"\x7fELF".to_vec();
    elf.resize(4 << 20, 7);
    std::fs::write(&library, &elf).unwrap();
    let maps = format!(
        "7f0000000000-7f0000001000 r--p 00000000 08:01 1 {}\n",
        library.display()
    );
    let files = stillcore_archive::mapped_files(maps.as_bytes());

    let (taken, done_at) = (Cell::new(0), Cell::new(None));
    let read = |_, buf: &mut [u8]| {
        buf.fill(7);
        Ok(buf.len())
    };
    let read_done = || assert!(done_at.replace(Some(taken.get())).is_none());
    let len = 3 * BLOCK_SIZE as u64;
    let parts = [
        Part::Bytes(b"head"),
        Part::Read { address: 0, len },
        Part::Zeros(1 << 20),
        Part::Bytes(b"tail"),
    ];
    let image = LiveImage::new(&parts, &read, &read_done);
    let progress = |n| {
        taken.set(taken.get() + n);
        true
    };
    let with_files = PackJob {
        files: &files,
        executable: None,
        progress: &progress,
        ..job(&image, Compression::Zstd)
    };
    pack(io::sink(), &with_files).unwrap();
    // The last block had been read, and not even compressed.
    assert_eq!(done_at.get(), Some(len));
    assert!(taken.get() > len + (5 << 20));

    // A core without memory needs no copy at all.
    done_at.set(None);
    let parts = [Part::Bytes(b"head")];
    let image = LiveImage::new(&parts, &read, &read_done);
    pack(io::sink(), &job(&image, Compression::None)).unwrap();
    assert!(done_at.get().is_some());
}

#[test]
fn a_process_that_ended_is_an_error_and_no_zeros() {
    let parts = [Part::Read {
        address: BASE,
        len: 10 << 20,
    }];
    let done = || panic!("not all was read");
    let ended = |address, buf: &mut [u8]| {
        let left = (BASE + (3 << 20) - address) as usize;
        let n = buf.len().min(left);
        buf[..n].fill(1);
        Ok(n)
    };
    let refused = |_, _: &mut [u8]| Err(io::Error::from_raw_os_error(1));
    for compression in ALL {
        let image = LiveImage::new(&parts, &ended, &done);
        let error = pack(io::sink(), &job(&image, compression)).unwrap_err();
        assert!(matches!(error, PackError::Core(_)), "{error:?}");
        let image = LiveImage::new(&parts, &refused, &done);
        let error = pack(io::sink(), &job(&image, compression)).unwrap_err();
        assert_eq!(error.errno(), Some(1));
    }
    let file = tempfile::tempfile().unwrap();
    let image = LiveImage::new(&parts, &ended, &done);
    assert!(matches!(
        write_core(&file, &image, &|_| true),
        Err(PackError::Core(_))
    ));
    let image = LiveImage::new(&parts, &refused, &done);
    assert_eq!(
        write_core(&file, &image, &|_| true).unwrap_err().errno(),
        Some(1)
    );
    let image = LiveImage::new(&parts, &ended, &done);
    assert!(matches!(
        write_core(&file, &image, &|_| false),
        Err(PackError::Stopped)
    ));
}

#[test]
fn parts_that_do_not_add_up_are_an_error() {
    struct Liar;
    impl CoreSource for Liar {
        fn size(&self) -> io::Result<u64> {
            Ok(10)
        }
        fn parts(&self) -> Box<dyn Iterator<Item = Part<'_>> + '_> {
            Box::new([Part::Bytes(b"12345")].into_iter())
        }
        fn read(&self, _: u64, _: &mut [u8]) -> io::Result<usize> {
            Ok(0)
        }
    }
    let error = pack(io::sink(), &job(&Liar, Compression::Gzip)).unwrap_err();
    assert!(matches!(error, PackError::Core(_)), "{error:?}");
    let file = tempfile::tempfile().unwrap();
    assert!(write_core(&file, &Liar, &|_| true).is_err());
}

#[test]
fn the_memory_of_a_process_is_read_and_its_gaps_are_zeros() {
    // Own memory stands for that of a copy.
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let ranges = maps.lines().map(|line| {
        let mut ends = line.split([' ', '-']);
        let mut address = || u64::from_str_radix(ends.next().unwrap(), 16).unwrap();
        address()..address()
    });
    // What lies close together at the start, and a little of what is behind it: the heap may begin megabytes later.
    let whole = ranges.reduce(|all, next| match next.start {
        start if start == all.end => all.start..next.end,
        _ => all,
    });
    let whole = whole.unwrap();
    let (address, len) = (whole.start, whole.end + 10 * PAGE as u64 - whole.start);
    let memory = File::open("/proc/self/mem").unwrap();
    let read = |address, buf: &mut [u8]| memory.read_at(buf, address);
    let parts = [Part::Read { address, len }];
    let image = LiveImage::new(&parts, &read, &|| {});
    let mut out = Vec::new();
    let packed = pack(&mut out, &job(&image, Compression::Zstd)).unwrap();
    let core = core_of(&unpack(Compression::Zstd, &out));
    assert_eq!(core.len() as u64, len);
    assert_eq!(&core[..4], b"\x7fELF");
    assert!(packed.unreadable >= PAGE as u64, "{}", packed.unreadable);
    assert!(packed.unreadable.is_multiple_of(PAGE as u64));
    assert!(packed.unreadable < len / 2);
}

#[test]
fn other_programs_open_every_kind() {
    let noise: Vec<u8> = (0..(2 * BLOCK_SIZE + 99) as u32)
        .map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect();
    let parts = [
        Part::Bytes(&noise),
        Part::Zeros(5 << 20),
        Part::Bytes(&noise),
    ];
    let whole = [&noise[..], &vec![0; 5 << 20], &noise].concat();
    let folder = tempfile::tempdir().unwrap();
    for compression in ALL {
        let path = folder.path().join(format!("a.{}", compression.extension()));
        let image = LiveImage::new(&parts, &|_, _| Ok(0), &|| {});
        let mut out = Vec::new();
        let _: Packed = pack(&mut out, &job(&image, compression)).unwrap();
        std::fs::write(&path, out).unwrap();
        let readers: [&[&str]; 3] = [
            &["tar", "-xO"],
            &["bsdtar", "-xO"],
            // Node has Zstandard since 22.15, and reads all frames since 26.
            &["node", "-e", NODE],
        ];
        for reader in readers {
            let mut command = Command::new(reader[0]);
            command.args(&reader[1..]);
            match reader[0] {
                "node" => command.arg(&path),
                _ => command.arg("-f").arg(&path).arg("core_1/core"),
            };
            let output = match command.stderr(Stdio::piped()).output() {
                Ok(output) => output,
                Err(_) => {
                    eprintln!("skipped: there is no {} here", reader[0]);
                    continue;
                }
            };
            let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
            if reader[0] == "tar" && complaint.contains("zstd: Cannot exec") {
                eprintln!("skipped: GNU tar needs the program zstd");
                continue;
            }
            if output.status.code() == Some(3) {
                eprintln!("skipped: this node cannot read a file of several Zstandard frames");
                continue;
            }
            assert!(output.status.success(), "{reader:?}: {complaint}");
            let core = match reader[0] {
                "node" => core_of(&output.stdout),
                _ => output.stdout,
            };
            assert!(core == whole, "{reader:?}, {compression:?}");
        }
    }
}

/// Writes a decompressed archive; exits with 3 where this Node cannot.
const NODE: &str = "
const fs = require('fs'), zlib = require('zlib'), path = process.argv[1];
const make = path.endsWith('gz') ? zlib.createGunzip : path.endsWith('zst') ? zlib.createZstdDecompress : null;
if (path.endsWith('zst') && !(parseInt(process.versions.node) >= 26)) process.exit(3);
const file = fs.createReadStream(path);
(make ? file.pipe(make()) : file).pipe(process.stdout);
";
