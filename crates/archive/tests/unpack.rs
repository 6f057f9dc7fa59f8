//! Unpacking and verifying: what is good comes out whole, and nothing gets out of the folder.

mod support;

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use stillcore_archive::{
    Compression, Limits, OpenError, OpenOptions, ProblemKind, UnpackOptions, Unpacked, Verified,
    unpack, unpack_source, verify, verify_source,
};
use support::{Place, TOP, a_program, core_bytes, core_file, ours, run_in, run_with};
use tar::{EntryType, Header};

const SIZE: u64 = 5 << 20;

/// A tar archive with entries as nobody should write them.
#[derive(Default)]
struct Hostile(Vec<u8>);

impl Hostile {
    fn add(mut self, path: &str, kind: EntryType, link: &str, content: &[u8]) -> Hostile {
        let mut header = Header::new_gnu();
        header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
        header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_entry_type(kind);
        header.set_size(content.len() as u64);
        header.set_mode(0o4777);
        header.set_mtime(1_600_000_000);
        header.set_cksum();
        self.0.extend_from_slice(header.as_bytes());
        self.0.extend_from_slice(content);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    fn file(self, path: &str, content: &str) -> Hostile {
        self.add(path, EntryType::Regular, "", content.as_bytes())
    }

    fn link(self, path: &str, target: &str) -> Hostile {
        self.add(path, EntryType::Symlink, target, b"")
    }

    fn finish(mut self) -> Arc<Vec<u8>> {
        self.0.resize(self.0.len() + 1024, 0);
        Arc::new(self.0)
    }
}

/// Every path below a folder, with what it is.
fn tree(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut todo = vec![folder.to_owned()];
    while let Some(next) = todo.pop() {
        for entry in fs::read_dir(&next).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(folder).unwrap().display().to_string();
            let metadata = fs::symlink_metadata(&path).unwrap();
            if metadata.is_dir() {
                found.push(format!("{name}/"));
                todo.push(path);
            } else if metadata.is_symlink() {
                found.push(format!(
                    "{name} -> {}",
                    fs::read_link(&path).unwrap().display()
                ));
            } else {
                assert!(metadata.is_file(), "{name}");
                found.push(name);
            }
        }
    }
    found.sort();
    found
}

fn refused(unpacked: &Unpacked) -> Vec<String> {
    unpacked
        .refused
        .iter()
        .map(|one| format!("{}: {}", String::from_utf8_lossy(&one.path), one.reason))
        .collect()
}

#[test]
fn archives_of_ours_come_out_whole_private_and_with_their_holes() {
    let exe = a_program().path;
    for compression in [Compression::Gzip, Compression::Zstd, Compression::None] {
        let place = Place::new();
        let archive = place.write("a", &ours(&core_file(100 << 20), compression, TOP));
        let into = place.path("new/folder");
        let unpacked = unpack(&archive, &into, &UnpackOptions::default()).unwrap();
        assert_eq!(unpacked.refused, []);
        assert_eq!(unpacked.damaged, None);
        assert_eq!(unpacked.tops, [into.join(TOP)]);
        let core = into.join(TOP).join("core");
        let metadata = fs::metadata(&core).unwrap();
        assert_eq!(metadata.len(), 100 << 20);
        assert!(metadata.blocks() * 512 < 3 << 20, "holes");
        assert_eq!(metadata.mtime(), 1_700_000_000);
        let mut bytes = Vec::new();
        File::open(&core).unwrap().read_to_end(&mut bytes).unwrap();
        assert!(bytes == core_bytes(100 << 20));
        let library = into.join(TOP).join(exe.strip_prefix("/").unwrap());
        assert!(fs::read(&library).unwrap() == fs::read(&exe).unwrap());
        for (path, mode) in [
            (&core, 0o600),
            (&library, 0o700),
            (&into.join(TOP), 0o700),
            (&into, 0o700),
        ] {
            assert_eq!(
                fs::metadata(path).unwrap().permissions().mode() & 0o7777,
                mode,
                "{path:?}"
            );
        }
        // GNU tar's opinion.
        let gnu = place.path("gnu");
        fs::create_dir(&gnu).unwrap();
        if run_in(&gnu, "tar", &["-xf", archive.to_str().unwrap()]) {
            assert_eq!(tree(&gnu), tree(&into));
        }
        // A second time there is something in the way, and it stays as it is.
        fs::write(&core, b"mine").unwrap();
        let error = unpack(&archive, &into, &UnpackOptions::default()).unwrap_err();
        assert!(
            matches!(&error, OpenError::Write { path, .. } if *path == into.join(TOP)),
            "{error}"
        );
        assert_eq!(fs::read(&core).unwrap(), b"mine");
    }
}

#[test]
fn a_compressed_core_and_a_zip_are_unpacked_too() {
    let place = Place::new();
    let core = core_bytes(SIZE);
    let Some(packed) = run_with("zstd", &["-q", "-c"], &core) else {
        return;
    };
    let path = place.write("core.node.77.zst", &packed);
    unpack(&path, &place.path("x"), &UnpackOptions::default()).unwrap();
    assert!(fs::read(place.path("x/core.node.77")).unwrap() == core);
    place.write("z/uuid.core", &core);
    place.write("z/sub/info.json", b"{}");
    if run_in(&place.path("z"), "zip", &["-q", "-r", "../z.zip", "."]) {
        let unpacked = unpack(
            &place.path("z.zip"),
            &place.path("y"),
            &UnpackOptions::default(),
        );
        assert_eq!(unpacked.unwrap().refused, []);
        assert_eq!(
            tree(&place.path("y")),
            ["sub/", "sub/info.json", "uuid.core"]
        );
        assert!(fs::read(place.path("y/uuid.core")).unwrap() == core);
    }
}

#[test]
fn nothing_gets_out_of_the_folder() {
    let place = Place::new();
    let secret = place.write("secret", b"secret");
    let outside = place.path("outside");
    fs::create_dir(&outside).unwrap();
    let absolute = outside.join("absolute").display().to_string();
    let archive = Hostile::default()
        .file("t/good", "good")
        .file("../escaped", "bad")
        .file("t/../../escaped", "bad")
        .file(&absolute, "bad")
        .link("t/link-out", "../../outside")
        .file("t/link-out/through", "bad")
        .link("t/absolute", outside.to_str().unwrap())
        .file("t/absolute/through", "bad")
        .link("t/here", ".")
        .link("t/sly", "here/../../outside")
        .link("t/loop", "loop")
        .link("t/beside", "../other")
        .add("t/hard", EntryType::Link, "../secret", b"")
        .add(
            "t/hard-absolute",
            EntryType::Link,
            secret.to_str().unwrap(),
            b"",
        )
        .add("t/hard-link", EntryType::Link, "t/link-out", b"")
        .add("t/same", EntryType::Link, "t/good", b"")
        .link("t/inside", "sub/../good")
        .link("t/sub/up", "../good")
        .link("t/dangling", "nowhere/at/all")
        .add("t/fifo", EntryType::Fifo, "", b"")
        .add("t/null", EntryType::Char, "", b"")
        .add("t/disk", EntryType::Block, "", b"")
        .file("t/good", "again")
        .file("t/good/below", "bad")
        .add("t/good", EntryType::Directory, "", b"")
        .link("t", "outside")
        .file("..", "bad")
        .add("/", EntryType::Directory, "", b"")
        .file("t/last", "last")
        .finish();
    let into = place.path("into");
    let unpacked =
        unpack_source(archive.clone(), b"core", &into, &UnpackOptions::default()).unwrap();
    assert_eq!(
        tree(&into),
        [
            "t/",
            "t/dangling -> nowhere/at/all",
            "t/good",
            "t/here -> .",
            "t/inside -> sub/../good",
            "t/last",
            "t/same",
            "t/sub/",
            "t/sub/up -> ../good",
        ]
    );
    assert_eq!(unpacked.refused.len(), 22, "{:#?}", refused(&unpacked));
    assert_eq!(fs::read(into.join("t/good")).unwrap(), b"good");
    assert_eq!(fs::read(into.join("t/same")).unwrap(), b"good");
    assert_eq!(
        fs::metadata(into.join("t/good")).unwrap().mode() & 0o7777,
        0o700,
        "no setuid"
    );
    assert_eq!(tree(&outside), Vec::<String>::new());
    assert_eq!(fs::metadata(&secret).unwrap().nlink(), 1);
    assert!(!place.path("escaped").exists() && !place.path("other").exists());
    let why = refused(&unpacked).join("\n");
    for part in [
        "../escaped: its path has a .. in it",
        "its path is absolute",
        "t/fifo: it is a named pipe",
        "t/null: it is a character device",
        "t/link-out/through: t/link-out is a link, and nothing is unpacked through links",
        "t/sly: it is a link to here/../../outside, which leads out of the archive",
        "t/beside: it is a link to ../other, which is not in the archive",
    ] {
        assert!(why.contains(part), "{part} is not in\n{why}");
    }

    // What lies there already is not touched, not even through a link that was there before.
    let into = place.path("prepared");
    fs::create_dir(&into).unwrap();
    std::os::unix::fs::symlink(&outside, into.join("t")).unwrap();
    let error = unpack_source(archive, b"core", &into, &UnpackOptions::default()).unwrap_err();
    assert!(matches!(error, OpenError::Write { .. }), "{error}");
    assert_eq!(tree(&outside), Vec::<String>::new());
}

#[test]
fn bombs_are_not_unpacked() {
    let place = Place::new();
    let limited = |limits: Limits, archive: Arc<Vec<u8>>, into: &str| {
        let options = UnpackOptions {
            limits,
            ..UnpackOptions::default()
        };
        unpack_source(archive, b"core", &place.path(into), &options)
    };
    let is_limit = |result: Result<Unpacked, OpenError>, expected: &str| match result {
        Err(OpenError::Limit { name, .. }) => assert_eq!(name, expected),
        other => panic!("{other:?}"),
    };
    // A terabyte and a byte by its header alone.
    let mut header = Header::new_gnu();
    header.set_path("t/huge").unwrap();
    header.set_size((1 << 40) + 1);
    header.set_cksum();
    let huge = Arc::new(header.as_bytes().to_vec());
    is_limit(limited(Limits::default(), huge, "a"), "unpacked");
    // Many small ones.
    let many = (0..50).fold(Hostile::default(), |tar, n| {
        tar.file(&format!("t/{n}"), "0123456789")
    });
    let many = many.finish();
    let small = Limits {
        unpacked: 499,
        ..Limits::default()
    };
    is_limit(limited(small, many.clone(), "b"), "unpacked");
    let few = Limits {
        entries: 49,
        ..Limits::default()
    };
    is_limit(limited(few, many.clone(), "c"), "entries");
    assert_eq!(limited(Limits::default(), many, "d").unwrap().files, 50);
    let deep = Hostile::default()
        .file(&format!("{}x", "d/".repeat(40)), "deep")
        .finish();
    let shallow = Limits {
        folders: 39,
        ..Limits::default()
    };
    assert_eq!(
        limited(shallow, deep.clone(), "e").unwrap().refused.len(),
        1
    );
    assert_eq!(limited(Limits::default(), deep, "f").unwrap().files, 1);
    // A zip whose entries are all the same bytes.
    let script = "import struct, zlib\n\
        data = b'PK\\3\\4' + struct.pack('<HHHHHIIIHH', 20, 0, 0, 0, 0, zlib.crc32(b'x' * 99), 99, 99, 1, 0) + b'a' + b'x' * 99\n\
        name = lambda n: b'%c' % (97 + n)\n\
        entry = lambda n: b'PK\\1\\2' + struct.pack('<HHHHHHIIIHHHHHII', 20, 20, 0, 0, 0, 0, zlib.crc32(b'x' * 99), 99, 99, 1, 0, 0, 0, 0, 0, 0) + name(n)\n\
        listed = b''.join(entry(n) for n in range(20))\n\
        end = b'PK\\5\\6' + struct.pack('<HHHHIIH', 0, 0, 20, 20, len(listed), len(data), 0)\n\
        open('same.zip', 'wb').write(data + listed + end)\n";
    if run_in(place.folder.path(), "python3", &["-c", script]) {
        let error = unpack(
            &place.path("same.zip"),
            &place.path("h"),
            &UnpackOptions::default(),
        );
        assert!(
            matches!(&error, Err(OpenError::Damaged(why)) if why.contains("overlap")),
            "{error:?}"
        );
    }
    // A zip that says little and holds much.
    let script = "import zipfile\nz = zipfile.ZipFile('bomb.zip', 'w', zipfile.ZIP_DEFLATED)\n\
        z.writestr('core', b'\\0' * (8 << 20))\nz.close()\n\
        d = bytearray(open('bomb.zip', 'rb').read())\n\
        for at, sig in ((22, b'PK\\3\\4'), (24, b'PK\\1\\2')):\n\
        \x20   at += d.find(sig)\n\
        \x20   d[at:at + 4] = (1000).to_bytes(4, 'little')\n\
        open('bomb.zip', 'wb').write(d)\n";
    if run_in(place.folder.path(), "python3", &["-c", script]) {
        let error = unpack(
            &place.path("bomb.zip"),
            &place.path("g"),
            &UnpackOptions::default(),
        );
        let damaged = match error {
            Ok(unpacked) => unpacked.damaged.is_some(),
            Err(error) => matches!(error, OpenError::Damaged(_)),
        };
        assert!(damaged);
        assert!(!place.path("g/core").exists());
    }
}

#[test]
fn what_is_cut_off_leaves_no_half_of_a_file() {
    let place = Place::new();
    let archive = ours(&core_file(SIZE), Compression::Gzip, TOP);
    let path = place.write("a", &archive[..archive.len() / 8]);
    let unpacked = unpack(&path, &place.path("x"), &UnpackOptions::default()).unwrap();
    assert!(unpacked.damaged.is_some());
    assert_eq!(tree(&place.path("x")), [format!("{TOP}/")]);
    let error = unpack(
        &place.write("b", &archive[..14]),
        &place.path("y"),
        &UnpackOptions::default(),
    );
    assert!(matches!(error, Err(OpenError::Damaged(_))), "{error:?}");
}

#[test]
fn what_is_there_of_a_file_that_is_cut_off_can_be_kept_under_another_name() {
    let place = Place::new();
    let core = core_bytes(SIZE);
    let keep = UnpackOptions {
        keep_partial: true,
        ..UnpackOptions::default()
    };
    // In an archive; beside what came before it.
    let archive = ours(&core_file(SIZE), Compression::Gzip, TOP);
    let path = place.write("a", &archive[..archive.len() / 8]);
    let unpacked = unpack(&path, &place.path("x"), &keep).unwrap();
    assert!(unpacked.damaged.is_some());
    let partial = unpacked.partial.unwrap();
    let kept = place.path("x").join(TOP).join("core.partial");
    assert_eq!(
        (&partial.path, partial.kept, partial.size),
        (&kept, true, Some(SIZE))
    );
    let bytes = fs::read(&kept).unwrap();
    assert_eq!(bytes.len() as u64, partial.there);
    assert!(
        bytes.len() > 64 << 10 && core.starts_with(&bytes),
        "{}",
        bytes.len()
    );
    assert_eq!(kept.metadata().unwrap().mode() & 0o7777, 0o600);
    assert_eq!(
        tree(&place.path("x")).len(),
        2,
        "{:?}",
        tree(&place.path("x"))
    );
    // Without the option it is told how much that would be.
    let unpacked = unpack(&path, &place.path("y"), &UnpackOptions::default()).unwrap();
    let told = unpacked.partial.unwrap();
    assert_eq!((told.there, told.kept), (partial.there, false));
    assert!(!told.path.exists());

    // A compressed core, directly in the folder; damage in the middle is no other case.
    let Some(mut packed) = run_with("gzip", &["-1", "-c"], &core) else {
        return;
    };
    let middle = packed.len() / 2;
    packed[middle..middle + 64].fill(0x55);
    let path = place.write("core.gz", &packed);
    let into = place.path("z");
    assert!(matches!(
        unpack(&path, &into, &UnpackOptions::default()),
        Err(OpenError::Damaged(_))
    ));
    let unpacked = unpack(&path, &into, &keep).unwrap();
    let kept = into.join("core.partial");
    assert_eq!(unpacked.tops, std::slice::from_ref(&kept));
    assert_eq!(tree(&into).len(), 1);
    assert!(fs::read(&kept).unwrap().len() > 64 << 10);
    // Nothing is overwritten.
    assert!(matches!(
        unpack(&path, &into, &keep),
        Err(OpenError::Write { .. })
    ));
    assert_eq!(tree(&into).len(), 1);
}

/// The archive unpacked by GNU tar, something changed, and packed again.
fn repacked(place: &Place, archive: &[u8], change: impl Fn(&Path)) -> Option<PathBuf> {
    let folder = tempfile::tempdir_in(place.folder.path()).unwrap();
    run_with(
        "tar",
        &["-xzf", "-", "-C", folder.path().to_str().unwrap()],
        archive,
    )?;
    change(&folder.path().join(TOP));
    let out = place.path("changed.tar.gz");
    run_in(folder.path(), "tar", &["-czf", out.to_str().unwrap(), TOP]);
    Some(out)
}

fn problems(verified: &Verified) -> Vec<(ProblemKind, String)> {
    verified
        .problems
        .iter()
        .map(|problem| {
            let path = problem.path.as_deref().unwrap_or_default();
            let name = path.rsplit(|&byte| byte == b'/').next().unwrap();
            (problem.kind, String::from_utf8_lossy(name).into_owned())
        })
        .collect()
}

#[test]
fn verify_finds_what_is_wrong_and_nothing_else() {
    let place = Place::new();
    let exe = a_program().path;
    let name = exe.file_name().unwrap().to_str().unwrap().to_owned();
    for compression in [Compression::Gzip, Compression::Zstd, Compression::None] {
        let path = place.write("a", &ours(&core_file(SIZE), compression, TOP));
        let verified = verify(&path, &place.options).unwrap();
        assert_eq!(verified.problems, []);
        assert_eq!(verified.index, compression != Compression::None);
        assert!(
            verified.checksums >= 2 && verified.build_ids == 1,
            "{verified:?}"
        );
        assert!(
            !place.path("cache").exists(),
            "it was verified without being unpacked"
        );
    }
    let archive = ours(&core_file(SIZE), Compression::Gzip, TOP);
    let library = |top: &Path| top.join(exe.strip_prefix("/").unwrap());
    let check = |change: &dyn Fn(&Path), expected: &[(ProblemKind, &str)]| {
        let Some(path) = repacked(&place, &archive, change) else {
            return;
        };
        let verified = verify(&path, &place.options).unwrap();
        let expected: Vec<_> = expected
            .iter()
            .map(|(kind, name)| (*kind, (*name).to_owned()))
            .collect();
        assert_eq!(problems(&verified), expected, "{:#?}", verified.problems);
    };
    check(&|_| {}, &[]);
    check(
        &|top| {
            let mut bytes = fs::read(library(top)).unwrap();
            let last = bytes.len() - 1;
            bytes[last] ^= 1;
            fs::write(library(top), bytes).unwrap();
        },
        &[(ProblemKind::Wrong, &name)],
    );
    check(
        &|top| fs::remove_file(library(top)).unwrap(),
        &[(ProblemKind::Missing, &name)],
    );
    check(
        &|top| fs::write(top.join("extra.so"), b"\x7fELF and more").unwrap(),
        &[(ProblemKind::Unexpected, "extra.so")],
    );
    check(
        &|top| std::os::unix::fs::symlink("core", top.join("libc.so.6")).unwrap(),
        &[(ProblemKind::Unexpected, "libc.so.6")],
    );
    check(
        &|top| {
            let core = File::options().write(true).open(top.join("core")).unwrap();
            core.set_len(SIZE - 100_000).unwrap();
        },
        &[(ProblemKind::Wrong, "core"), (ProblemKind::Damaged, "core")],
    );
    check(
        &|top| {
            let path = top.join("manifest.json");
            let text = fs::read_to_string(&path).unwrap();
            let id = text.split("\"buildId\": \"").nth(1).unwrap();
            let id = &id[..id.find('"').unwrap()];
            fs::write(&path, text.replace(id, &"0".repeat(id.len()))).unwrap();
        },
        &[(ProblemKind::Wrong, &name)],
    );

    // A bit in the middle: the archive is damaged, not its files wrong.
    let mut damaged = archive.clone();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 4;
    let verified = verify_source(Arc::new(damaged), &OpenOptions::default()).unwrap();
    assert!(
        verified
            .problems
            .iter()
            .all(|problem| problem.kind == ProblemKind::Damaged),
        "{:?}",
        verified.problems
    );
    assert!(!verified.is_good());
}

#[test]
fn what_others_made_is_verified_as_far_as_it_goes() {
    let place = Place::new();
    let core = core_bytes(SIZE);
    place.write("archive-core.77/core.77", &core);
    place.write("archive-core.77/usr/lib/x.so", b"\x7fELF");
    if !run_in(
        place.folder.path(),
        "tar",
        &["-czf", "s.tar.gz", "archive-core.77"],
    ) {
        return;
    }
    let verified = verify(&place.path("s.tar.gz"), &place.options).unwrap();
    assert!(
        verified.is_good() && verified.notes.len() == 1 && verified.checksums == 0,
        "{verified:?}"
    );
    assert_eq!(verified.files, 2);
    let verified = verify(&place.write("core", &core), &place.options).unwrap();
    assert!(verified.is_good(), "{verified:?}");
    let verified = verify(
        &place.write("core", &core[..core.len() - 5000]),
        &place.options,
    )
    .unwrap();
    assert_eq!(problems(&verified), [(ProblemKind::Damaged, String::new())]);
    let error = verify(&place.write("text", b"no archive"), &place.options).unwrap_err();
    assert!(matches!(error, OpenError::Unknown(_)));
}
