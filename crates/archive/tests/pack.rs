//! Whole archives, read back by several programs.
#![allow(clippy::single_range_in_vec_init)] // a list of one range is meant

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use sha2::{Digest, Sha256};
use stillcore_archive::{
    Manifest, ManifestHead, MappedFile, PackError, PackJob, PackOptions, Packed, mapped_files, pack,
};

const TOP: &str = "core_20260102.030405.77.000";

fn job<'a>(core: &'a File, files: &'a [MappedFile]) -> PackJob<'a> {
    PackJob {
        top: TOP,
        core,
        core_mtime: SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000),
        files,
        executable: None,
        manifest: ManifestHead {
            pid: 77,
            method: "kernel".to_owned(),
            ..ManifestHead::default()
        },
        options: PackOptions {
            threads: 2,
            ..PackOptions::default()
        },
        progress: &|_| true,
    }
}

/// A core with data, small and large holes, data that is zeros, and a hole at its end.
fn core() -> File {
    let file = tempfile::tempfile().unwrap();
    let noise: Vec<u8> = (0..700_001_u32)
        .map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect();
    for at in [
        0,
        1 << 20,
        (1 << 20) + 800_000,
        5 << 20,
        (5 << 20) + 708_608,
        40 << 20,
    ] {
        file.write_all_at(&noise, at).unwrap();
    }
    file.write_all_at(&vec![0; 2 << 20], 8 << 20).unwrap();
    file.set_len((13 << 20) + 123).unwrap();
    file
}

fn packed(core: &File, files: &[MappedFile]) -> (Vec<u8>, Packed) {
    let mut out = Vec::new();
    let packed = pack(&mut out, &job(core, files)).unwrap();
    assert_eq!(packed.output_bytes, out.len() as u64);
    (out, packed)
}

/// The archive's entries by the tar crate: content, mode and time; folders have no content.
type Entries = BTreeMap<Vec<u8>, (Option<Vec<u8>>, u32, u64)>;

fn entries(archive: &[u8]) -> Entries {
    let mut tar = tar::Archive::new(flate2::bufread::GzDecoder::new(archive));
    let mut all = BTreeMap::new();
    for entry in tar.entries().unwrap() {
        let mut entry = entry.unwrap();
        let header = entry.header();
        let (mode, mtime) = (header.mode().unwrap(), header.mtime().unwrap());
        assert!(header.entry_type().is_file() || header.entry_type().is_dir());
        let folder = header.entry_type().is_dir();
        let path = entry.path_bytes().into_owned();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).unwrap();
        let content = (!folder).then_some(bytes);
        assert!(
            all.insert(path.clone(), (content, mode, mtime)).is_none(),
            "{path:?} twice"
        );
    }
    all
}

fn below(path: &str) -> Vec<u8> {
    format!("{TOP}/{path}").into_bytes()
}

fn elf(bytes: &str) -> Vec<u8> {
    [b"\x7fELF", bytes.as_bytes()].concat()
}

fn mapped(path: &Path) -> MappedFile {
    MappedFile {
        path: path.to_owned(),
        ranges: vec![0x1000..0x2000],
        first: Some(0x1000..0x2000),
        dev: (8, 1),
        inode: fs::symlink_metadata(path).map_or(1, |metadata| metadata.ino()),
        deleted: false,
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn an_archive_holds_the_core_the_elf_files_and_a_manifest_that_is_true() {
    let core = core();
    let mut maps = fs::read("/proc/self/maps").unwrap();
    maps.extend_from_slice(
        b"7f0000000000-7f0000001000 r--p 00000000 08:01 99 /no/such/library.so\n",
    );
    let (archive, packed) = packed(&core, &mapped_files(&maps));
    let entries = entries(&archive);

    let mut whole = vec![0; (13 << 20) + 123];
    core.read_exact_at(&mut whole, 0).unwrap();
    let (content, mode, mtime) = &entries[&below("core")];
    assert!(content.as_deref() == Some(&whole));
    assert_eq!((*mode, *mtime), (0o600, 1_700_000_000));

    let manifest: Manifest =
        serde_json::from_slice(entries[&below("manifest.json")].0.as_ref().unwrap()).unwrap();
    assert_eq!(manifest, packed.manifest);
    assert_eq!(
        (manifest.schema_version, manifest.pid, manifest.core.size),
        (1, 77, whole.len() as u64)
    );
    assert_eq!(manifest.core.sha256, hex(&Sha256::digest(&whole)));
    assert!(
        manifest.core.data_size < 8 << 20,
        "{}",
        manifest.core.data_size
    );

    let exe = std::env::current_exe().unwrap();
    let own = manifest
        .files
        .iter()
        .find(|file| Path::new(&file.path) == exe)
        .unwrap();
    let bytes = fs::read(&exe).unwrap();
    assert!(own.included && own.reason.is_none() && own.build_id.is_some());
    assert_eq!(
        own.archive_path.as_deref(),
        exe.to_str().map(|path| &path[1..])
    );
    assert_eq!(
        (own.size, own.sha256.clone()),
        (Some(bytes.len() as u64), Some(hex(&Sha256::digest(&bytes))))
    );
    assert!(
        entries[&below(own.archive_path.as_ref().unwrap())]
            .0
            .as_ref()
            == Some(&bytes)
    );

    let lost = manifest
        .files
        .iter()
        .find(|file| file.path == "/no/such/library.so")
        .unwrap();
    assert!(!lost.included && lost.archive_path.is_none() && lost.sha256.is_none());
    assert!(
        lost.reason.as_ref().unwrap().contains("No such file"),
        "{lost:?}"
    );

    // Everything is below the top folder, every folder comes before what is in it, and there is one core.
    for path in entries.keys() {
        assert!(path.starts_with(TOP.as_bytes()));
    }
    let cores = entries
        .keys()
        .filter(|path| path[TOP.len() + 1..].starts_with(b"core"));
    assert_eq!(cores.count(), 1);
}

#[test]
fn gnu_tar_bsdtar_and_python_in_stream_mode_open_it() {
    let folder = tempfile::tempdir().unwrap();
    let long = folder
        .path()
        .join("a".repeat(120))
        .join("b".repeat(200))
        .join("lib.so");
    let between = folder.path().join(format!("{}.so", "c".repeat(80)));
    fs::create_dir_all(long.parent().unwrap()).unwrap();
    fs::write(&long, elf("long")).unwrap();
    fs::write(&between, elf("between")).unwrap();
    let core = core();
    let (archive, _) = packed(&core, &[mapped(&long), mapped(&between)]);
    let wanted: Vec<String> = entries(&archive)
        .keys()
        .map(|path| {
            String::from_utf8(path.clone())
                .unwrap()
                .trim_end_matches('/')
                .to_owned()
        })
        .collect();
    assert!(wanted.iter().any(|path| path.len() > 255));

    let python = "import sys, tarfile\n\
                  for m in tarfile.open(fileobj=sys.stdin.buffer, mode='r|gz'): print(m.name)";
    for (program, args) in [
        ("tar", vec!["tzf", "-"]),
        ("bsdtar", vec!["tf", "-"]),
        ("python3", vec!["-c", python]),
    ] {
        let child = Command::new(program)
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn();
        let Ok(mut child) = child else {
            eprintln!("skipped: there is no {program} here");
            continue;
        };
        let mut input = child.stdin.take().unwrap();
        let output = std::thread::scope(|scope| {
            scope.spawn(|| {
                // A program may stop reading at the end mark; its exit status says whether all was well.
                let _ = input.write_all(&archive);
                drop(input);
            });
            child.wait_with_output().unwrap()
        });
        assert!(output.status.success(), "{program}");
        let mut names: Vec<_> = String::from_utf8(output.stdout)
            .unwrap()
            .lines()
            .map(|l| l.trim_end_matches('/').to_owned())
            .collect();
        names.sort();
        assert_eq!(names, wanted, "{program}");
    }
}

#[test]
fn only_regular_elf_files_are_packed_and_the_others_say_why_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::write(path("data.db"), b"not a program").unwrap();
    fs::write(path("empty"), b"").unwrap();
    fs::write(path("real.so"), elf("real")).unwrap();
    symlink(path("real.so"), path("link.so")).unwrap();
    fs::create_dir(path("folder")).unwrap();
    nix_mkfifo(&path("pipe"));
    let other = |path: &str, deleted| MappedFile {
        deleted,
        ..mapped(Path::new(path))
    };
    let files = [
        mapped(&path("data.db")),
        mapped(&path("empty")),
        mapped(&path("link.so")),
        mapped(&path("folder")),
        mapped(&path("pipe")),
        other("/memfd:v8", true),
        other("/SYSV00000000", true),
        other("/dev/zero", true),
        other("/dev/full", false),
        other("/gone/library.so", true),
        other("/", false),
        mapped(&path("real.so")),
    ];
    let (archive, packed) = packed(&core(), &files);
    let reasons: Vec<_> = packed
        .manifest
        .files
        .iter()
        .map(|file| file.reason.as_deref())
        .collect();
    for (reason, part) in reasons.iter().zip([
        "not an ELF",
        "not an ELF",
        "regular",
        "regular",
        "regular",
        "memfd",
        "System V",
        "/dev",
        "/dev",
        "(deleted)",
        "regular",
    ]) {
        assert!(
            reason.is_some_and(|reason| reason.contains(part)),
            "{reason:?} without {part}"
        );
    }
    assert_eq!(
        packed
            .manifest
            .files
            .iter()
            .filter(|file| file.included)
            .count(),
        1
    );
    assert_eq!(
        entries(&archive)
            .values()
            .filter(|entry| entry.0.is_some())
            .count(),
        7 // the core, the file, three scripts, the manifest, the index
    );
}

fn nix_mkfifo(path: &Path) {
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

#[test]
fn odd_names_stay_in_place_and_never_meet() {
    let folder = tempfile::tempdir().unwrap();
    let odd = folder
        .path()
        .join(std::ffi::OsStr::from_bytes(b"a \xff\n\\012.so"));
    fs::write(&odd, elf("odd")).unwrap();
    // The same path once more, as a deleted file and its successor have it; and one that climbs.
    let climbing = PathBuf::from(format!("{0}/../{1}/x.so", folder.path().display(), "up"));
    fs::create_dir(folder.path().join("up")).unwrap();
    fs::create_dir(folder.path().parent().unwrap().join("up")).ok();
    let climbed = folder.path().parent().unwrap().join("up/x.so");
    fs::write(&climbed, elf("climbed")).unwrap();
    let (archive, packed) = packed(&core(), &[mapped(&odd), mapped(&odd), mapped(&climbing)]);
    fs::remove_file(&climbed).unwrap();
    let entries = entries(&archive);
    let relative = &odd.as_os_str().as_bytes()[1..];
    let place = |prefix: &str| [below(prefix), relative.to_vec()].concat();
    assert_eq!(entries[&place("")].0, Some(elf("odd")));
    assert_eq!(entries[&place("rootfs-1/")].0, Some(elf("odd")));
    assert!(
        entries
            .keys()
            .all(|path| !path.windows(3).any(|part| part == b"../"))
    );
    assert!(
        packed.manifest.files[0].path.ends_with("a \\xff\n\\012.so"),
        "{:?}",
        packed.manifest.files[0].path
    );
}

#[test]
fn a_huge_hole_is_neither_read_nor_compressed() {
    // Its zeros are hashed, and an unoptimized SHA-256 takes minutes for 9 GB; more than 8 GB have a size that needs
    // tar's other way to write numbers.
    let end = if cfg!(debug_assertions) {
        100 << 20
    } else {
        9_u64 << 30
    };
    let core = tempfile::tempfile().unwrap();
    core.write_all_at(b"start", 0).unwrap();
    core.write_all_at(b"end", end).unwrap();
    let steps = Cell::new(0_u64);
    let mut out = Vec::new();
    let progress = |n| {
        steps.set(steps.get() + n);
        true
    };
    let packed = pack(
        &mut out,
        &PackJob {
            progress: &progress,
            ..job(&core, &[])
        },
    )
    .unwrap();
    let scripts: u64 = (packed.manifest.scripts.iter().map(|script| script.size)).sum();
    assert_eq!(steps.get(), end + 3 + scripts);
    assert_eq!(packed.input_bytes, end + 3);
    assert!(packed.manifest.core.data_size < 1 << 20);
    assert!((out.len() as u64) < end / 900, "{}", out.len());
    let mut tar = tar::Archive::new(flate2::bufread::GzDecoder::new(&out[..]));
    let entry = tar.entries().unwrap().nth(1).unwrap().unwrap();
    assert_eq!(
        (entry.path_bytes().into_owned(), entry.size()),
        (below("core"), end + 3)
    );
}

#[test]
fn a_file_that_shrinks_or_grows_leaves_the_archive_whole() {
    for grow in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lib.so");
        let mut bytes = elf("");
        bytes.resize(3 << 20, b'x');
        fs::write(&path, &bytes).unwrap();
        let core = core();
        let core_size = core.metadata().unwrap().len();
        let (seen, change) = (
            Cell::new(0),
            File::options().write(true).open(&path).unwrap(),
        );
        let progress = |n| {
            seen.set(seen.get() + n);
            // The first block of the file has been taken.
            if seen.get() > core_size {
                change
                    .set_len(if grow { 4 << 20 } else { 1 << 20 })
                    .unwrap();
            }
            true
        };
        let mut out = Vec::new();
        let files = [mapped(&path)];
        let packed = pack(
            &mut out,
            &PackJob {
                progress: &progress,
                ..job(&core, &files)
            },
        )
        .unwrap();
        if !grow {
            bytes[1 << 20..].fill(0);
        }
        let entries = entries(&out);
        let place = below(path.to_str().unwrap().trim_start_matches('/'));
        assert!(entries[&place].0.as_ref() == Some(&bytes));
        let entry = &packed.manifest.files[0];
        assert!(entry.included);
        assert_eq!(
            entry.sha256.as_deref(),
            Some(hex(&Sha256::digest(&bytes)).as_str())
        );
        let reason = entry.reason.as_deref().unwrap();
        assert!(
            reason.contains(if grow { "grew" } else { "cut" }),
            "{reason}"
        );
    }
}

#[test]
fn a_core_that_shrinks_is_an_error() {
    let core = core();
    let progress = |_| core.set_len(1 << 20).is_ok();
    let result = pack(
        io::sink(),
        &PackJob {
            progress: &progress,
            ..job(&core, &[])
        },
    );
    assert!(matches!(result, Err(PackError::Core(_))), "{result:?}");
}

#[test]
fn progress_can_stop_it_at_any_step() {
    let core = core();
    core.set_len(3 << 20).unwrap();
    // How often it only asks, while it waits for a checksum, is a matter of time.
    let total = Cell::new(0);
    let count = |n| {
        total.set(total.get() + u32::from(n > 0));
        true
    };
    pack(
        io::sink(),
        &PackJob {
            progress: &count,
            ..job(&core, &[])
        },
    )
    .unwrap();
    for stop in 1..=total.get() {
        let taken = Cell::new(0);
        let progress = |n| {
            taken.set(taken.get() + u32::from(n > 0));
            taken.get() < stop
        };
        let result = pack(
            io::sink(),
            &PackJob {
                progress: &progress,
                ..job(&core, &[])
            },
        );
        assert!(
            matches!(result, Err(PackError::Stopped)),
            "{stop}: {result:?}"
        );
    }
}

#[test]
fn a_full_disk_and_an_unreadable_core_keep_their_numbers() {
    let core = core();
    let full = File::options().write(true).open("/dev/full").unwrap();
    let error = pack(&full, &job(&core, &[])).unwrap_err();
    assert!(
        matches!(error, PackError::Output(_)) && error.errno() == Some(28),
        "{error:?}"
    );

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("core");
    fs::write(&path, b"core").unwrap();
    let unreadable = File::options().write(true).open(&path).unwrap();
    let error = pack(io::sink(), &job(&unreadable, &[])).unwrap_err();
    assert!(
        matches!(error, PackError::Core(_)) && error.errno() == Some(9),
        "{error:?}"
    );
}

#[test]
fn a_deleted_program_is_read_through_its_mapping_where_that_is_allowed() {
    const ORIGINAL: &str = "STILLCORE_TEST_ORIGINAL";
    let exe = std::env::current_exe().unwrap();
    let Some(original) = std::env::var_os(ORIGINAL) else {
        // This very test again, as a program that deletes itself.
        let folder = tempfile::tempdir().unwrap();
        let copy = folder.path().join("program");
        fs::copy(&exe, &copy).unwrap();
        let name = "a_deleted_program_is_read_through_its_mapping_where_that_is_allowed";
        let output = Command::new(&copy)
            .args(["--exact", name, "--nocapture"])
            .env(ORIGINAL, &exe)
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        return;
    };
    fs::remove_file(&exe).unwrap();
    // Its successor has its name, and is another file.
    fs::write(&exe, elf("successor")).unwrap();
    let files = mapped_files(&fs::read("/proc/self/maps").unwrap());
    let (archive, packed) = packed(&core(), &files);
    let entry = packed
        .manifest
        .files
        .iter()
        .find(|file| file.path == exe.to_str().unwrap())
        .unwrap();
    if entry.included {
        let content = &entries(&archive)[&below(entry.archive_path.as_ref().unwrap())].0;
        assert!(content.as_ref() == Some(&fs::read(original).unwrap()));
    } else {
        let reason = entry.reason.as_deref().unwrap();
        assert!(
            reason.starts_with("(deleted), and its mapping cannot be read: "),
            "{reason}"
        );
    }
}

#[test]
fn a_name_that_only_looks_deleted_is_an_ordinary_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lib.so (deleted)");
    fs::write(&path, elf("there")).unwrap();
    let inode = fs::metadata(&path).unwrap().ino();
    let maps = format!(
        "7f0000000000-7f0000001000 r-xp 00000000 08:01 {inode} {}\n",
        path.display()
    );
    let (_, packed) = packed(&core(), &mapped_files(maps.as_bytes()));
    assert!(packed.manifest.files[0].included);
    assert_eq!(packed.manifest.files[0].path, path.to_str().unwrap());
}
