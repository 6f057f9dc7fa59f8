//! Opening, against what other people's programs pack.

mod support;

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::sync::Arc;

use stillcore_archive::{
    CacheUse, Compression, Format, Limits, OpenError, OpenOptions, Opened, OpenedKind, open,
    open_source, open_stream,
};
use stillcore_corefile::{CoreFile, Source};
use support::{Place, TOP, a_program, all, core_bytes, core_file, noise, ours, run_in, run_with};

const SIZE: u64 = 5 << 20;

#[track_caller]
fn holds(opened: &Opened, core: &[u8]) {
    assert_eq!(opened.core.len(), core.len() as u64);
    assert!(all(&opened.core) == core, "other bytes");
    CoreFile::open(Arc::clone(&opened.core))
        .unwrap()
        .check_whole()
        .unwrap();
}

#[test]
fn a_plain_core_is_read_where_it_lies() {
    let place = Place::new();
    let core = core_bytes(SIZE);
    let opened = open(&place.write("any name.zip", &core), &place.options).unwrap();
    holds(&opened, &core);
    assert_eq!(opened.kind, OpenedKind::Core);
    assert!(opened.layers.is_empty() && opened.cached.is_empty() && opened.files.is_empty());
}

#[test]
fn archives_of_ours_are_read_by_their_index_without_unpacking() {
    let place = Place::new();
    let file = core_file(SIZE);
    let core = core_bytes(SIZE);
    let exe = a_program().path;
    for (compression, format) in [
        (Compression::Gzip, Some(Format::Gzip)),
        (Compression::Zstd, Some(Format::Zstd)),
        (Compression::None, None),
    ] {
        let path = place.write("a", &ours(&file, compression, TOP));
        let opened = open(&path, &place.options).unwrap();
        holds(&opened, &core);
        assert_eq!(opened.kind, OpenedKind::Stillcore);
        assert_eq!(opened.indexed, format.is_some());
        assert_eq!(
            opened.layers,
            [format, Some(Format::Tar)]
                .into_iter()
                .flatten()
                .collect::<Vec<_>>()
        );
        assert_eq!(
            opened.core_path.as_deref(),
            Some(format!("{TOP}/core").as_bytes())
        );
        assert_eq!(opened.manifest.as_ref().unwrap().pid, 77);
        let library = exe.to_str().unwrap().as_bytes();
        let found = opened.files.find(library).unwrap().unwrap();
        assert!(all(&found) == fs::read(&exe).unwrap());
        assert!(opened.files.find(b"/no/such/file").unwrap().is_none());
        assert!(
            opened.cached.is_empty() && opened.notes.is_empty(),
            "{:?}",
            opened.notes
        );
    }
    assert!(!place.path("cache").exists(), "nothing was unpacked");
}

#[test]
fn compressed_cores_of_every_kind_are_unpacked_once() {
    let place = Place::new();
    let core = core_bytes(SIZE);
    let xz_blocks = ["-c", "-1", "--block-size=1MiB", "-T2"];
    let programs: [(&str, &[&str]); 12] = [
        ("gzip", &["-c"]),
        ("gzip", &["-c9"]),
        ("zstd", &["-c", "-q"]),
        ("zstd", &["-c", "-q", "-19", "-T2"]),
        ("xz", &["-c", "-0"]),
        ("xz", &xz_blocks),
        ("xz", &["-c", "-0", "--check=sha256"]),
        ("lz4", &["-c", "-q"]),
        ("lz4", &["-c", "-q", "-B4", "-BD", "--content-size"]),
        ("lz4", &["-c", "-q", "-BX", "-9"]),
        ("lz4", &["-c", "-q", "-l"]),
        ("pigz", &["-c"]),
    ];
    for (number, (program, args)) in programs.into_iter().enumerate() {
        let Some(packed) = run_with(program, args, &core) else {
            continue;
        };
        let path = place.write(&format!("core{number}"), &packed);
        let opened = open(&path, &place.options).unwrap();
        holds(&opened, &core);
        assert_eq!(
            (opened.kind, opened.layers.len()),
            (OpenedKind::Core, 1),
            "{program} {args:?}"
        );
        let [cached] = &opened.cached[..] else {
            panic!("{:?}", opened.cached)
        };
        let before = fs::metadata(cached).unwrap();
        assert_eq!(before.mode() & 0o777, 0o600);
        assert!(before.blocks() * 512 < SIZE / 2, "holes are kept");
        let again = open(&path, &place.options).unwrap();
        holds(&again, &core);
        assert_eq!(again.cached, opened.cached);
        assert_eq!(fs::metadata(cached).unwrap().ino(), before.ino());

        // Cut off anywhere, it is said to be.
        for cut in [
            packed.len() - 1,
            packed.len() - 5,
            packed.len() / 2,
            3000,
            40,
            20,
            9,
        ] {
            let path = place.write("cut", &packed[..cut]);
            // Its old format has no end, so a cut between its blocks cannot be seen there; none of these is one.
            is_said_to_be_cut(open(&path, &place.options), &core);
        }
    }
    let folder = fs::metadata(place.cache().folder()).unwrap();
    assert_eq!(folder.permissions().mode() & 0o777, 0o700);
}

/// It has the beginning of the core and says that something is missing, or cannot be opened at all.
fn is_said_to_be_cut(opened: Result<Opened, OpenError>, core: &[u8]) {
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

#[test]
fn several_members_and_padding_are_one_core() {
    let place = Place::new();
    let core = core_bytes(SIZE);
    let (first, second) = core.split_at(1_234_567);
    for (program, args) in [
        ("gzip", ["-c", "-1"]),
        ("zstd", ["-c", "-q"]),
        ("xz", ["-c", "-0"]),
        ("lz4", ["-c", "-q"]),
    ] {
        let packed = run_with(program, &args, first).zip(run_with(program, &args, second));
        let Some((one, two)) = packed else { continue };
        let joined = [one.clone(), two].concat();
        holds(
            &open(&place.write(program, &joined), &place.options).unwrap(),
            &core,
        );
        let mut half = joined.clone();
        half.truncate(one.len() + 30);
        is_said_to_be_cut(open(&place.write("half", &half), &place.options), &core);
        let garbage = [joined, b"garbage that is no member".to_vec()].concat();
        let error = open(&place.write("garbage", &garbage), &place.options).unwrap_err();
        assert!(matches!(error, OpenError::Damaged(_)), "{program}: {error}");
    }
    if let Some(mut packed) = run_with("gzip", &["-c"], &core) {
        packed.resize(packed.len() + 5000, 0);
        holds(
            &open(&place.write("padded", &packed), &place.options).unwrap(),
            &core,
        );
    }
}

/// A folder such as savedump's or gencore's, with a link or two.
fn folder_with_core(place: &Place, top: &str, core_name: &str) {
    let folder = place.path(top);
    fs::create_dir_all(folder.join("usr/lib")).unwrap();
    fs::write(folder.join("usr/lib/libx.so.1"), b"\x7fELF of libx").unwrap();
    symlink("libx.so.1", folder.join("usr/lib/libx.so")).unwrap();
    symlink("usr/lib", folder.join("lib")).unwrap();
    symlink("../../../../etc", folder.join("out")).unwrap();
    fs::hard_link(folder.join("usr/lib/libx.so.1"), folder.join("usr/same")).unwrap();
    let mut file = File::create(folder.join(core_name)).unwrap();
    std::io::copy(&mut &core_bytes(SIZE)[..], &mut file).unwrap();
}

#[test]
fn archives_of_others_are_told_by_their_content() {
    let place = Place::new();
    let core = core_bytes(SIZE);
    folder_with_core(&place, "archive-core.77", "core.77");
    folder_with_core(&place, "core_20200101.101010.77.001", "core");
    folder_with_core(&place, "whatever", "dump of node");
    // A sparse file, which the tars of GNU and BSD store as such.
    let sparse = File::create(place.path("archive-core.77/core.77")).unwrap();
    stillcore_archive::write_core(&sparse, &core_file(SIZE), &|_| true).unwrap();
    let cases = [
        ("archive-core.77", OpenedKind::Savedump),
        ("core_20200101.101010.77.001", OpenedKind::Gencore),
        ("whatever", OpenedKind::Tar),
    ];
    let tars: [(&str, &[&str]); 9] = [
        ("tar", &["-czf"]),
        ("tar", &["-cf"]),
        ("tar", &["--format=pax", "-cf"]),
        ("tar", &["--format=v7", "-cf"]),
        ("tar", &["-S", "--format=gnu", "-czf"]),
        (
            "tar",
            &["-S", "--format=pax", "--sparse-version=1.0", "-cf"],
        ),
        (
            "tar",
            &["-S", "--format=pax", "--sparse-version=0.1", "-cf"],
        ),
        (
            "tar",
            &[
                "-S",
                "--format=pax",
                "--sparse-version=0.0",
                "--zstd",
                "-cf",
            ],
        ),
        ("bsdtar", &["-cJf"]),
    ];
    for (top, kind) in cases {
        for (program, args) in tars {
            let args = [args, &["x", top]].concat();
            if !run_in(place.folder.path(), program, &args) {
                continue;
            }
            let opened = open(&place.path("x"), &place.options).unwrap();
            holds(&opened, &core);
            assert_eq!(opened.kind, kind, "{program} {args:?}");
            assert_eq!(opened.files.top(), top.as_bytes());
            for name in [
                "/lib/libx.so",
                "/usr/lib/libx.so",
                "usr/lib/libx.so.1",
                "/usr/same",
            ] {
                let found = opened.files.find(name.as_bytes()).unwrap();
                assert!(
                    found.is_some_and(|file| all(&file) == b"\x7fELF of libx"),
                    "{name}"
                );
            }
            for name in ["/out/passwd", "/../etc/passwd", "/usr", "/lib"] {
                assert!(
                    opened.files.find(name.as_bytes()).unwrap().is_none(),
                    "{name}"
                );
            }
            let plain = opened.layers == [Format::Tar];
            assert_eq!(opened.cached.is_empty(), plain);
        }
    }
}

#[test]
fn a_zip_of_core_dump_handler_and_other_zips() {
    let place = Place::new();
    let core = core_bytes(SIZE);
    let name = "uuid-dump-1700000000-host-node-77-6";
    place.write(&format!("z/{name}-dump-info.json"), b"{\"exe\": \"node\"}");
    place.write(&format!("z/{name}-0-proc/maps"), b"00400000-00500000 r-xp");
    place.write(&format!("z/{name}.core"), &core);
    let folder = place.path("z");
    for (args, unpacked) in [(["-q", "-r"], true), (["-q0", "-r"], false)] {
        let _ = fs::remove_file(place.path("x.zip"));
        if !run_in(&folder, "zip", &[args[0], args[1], "../x.zip", "."]) {
            return;
        }
        let opened = open(&place.path("x.zip"), &place.options).unwrap();
        holds(&opened, &core);
        assert_eq!(opened.kind, OpenedKind::CoreDumpHandler);
        assert_eq!(
            opened.core_path.as_deref(),
            Some(format!("{name}.core").as_bytes())
        );
        let info = opened
            .files
            .open(format!("{name}-dump-info.json").as_bytes())
            .unwrap();
        assert_eq!(all(&info.unwrap()), b"{\"exe\": \"node\"}");
        assert_eq!(!opened.cached.is_empty(), unpacked);
    }
    let zip = fs::read(place.path("x.zip")).unwrap();
    for cut in [zip.len() - 1, zip.len() - 30, zip.len() / 2, 100] {
        is_said_to_be_cut(
            open(&place.write("cut.zip", &zip[..cut]), &place.options),
            &core,
        );
    }

    // A zstd-compressed core in a zip, and an archive of ours in one.
    if let Some(packed) = run_with("zstd", &["-q", "-c"], &core) {
        place.write("n/core.zst", &packed);
        place.write(
            "n/notes.txt",
            b"nothing of interest, but longer than any header of a core would be",
        );
        run_in(&place.path("n"), "zip", &["-q", "-r", "../n.zip", "."]);
        let opened = open(&place.path("n.zip"), &place.options).unwrap();
        holds(&opened, &core);
        assert_eq!(
            (opened.kind, opened.layers),
            (OpenedKind::Zip, vec![Format::Zip, Format::Zstd])
        );
    }
    place.write(
        "m/a.tar.gz",
        &ours(&core_file(SIZE), Compression::Gzip, TOP),
    );
    run_in(&place.path("m"), "zip", &["-q0", "-r", "../m.zip", "."]);
    let opened = open(&place.path("m.zip"), &place.options).unwrap();
    holds(&opened, &core);
    assert_eq!(opened.kind, OpenedKind::Stillcore);
    assert!(opened.indexed && opened.cached.is_empty());
}

#[test]
fn python_s_zips_and_tars_are_opened_too() {
    let place = Place::new();
    let core = core_bytes(SIZE);
    place.write("d/the core", &core);
    let script = "import sys, tarfile, zipfile\n\
        zipfile.ZipFile('p.zip', 'w', zipfile.ZIP_DEFLATED).write('d/the core')\n\
        for form in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT, tarfile.USTAR_FORMAT):\n\
        \x20   with tarfile.open('p%d.tar.gz' % form, 'w:gz', format=form) as t: t.add('d', 'é' * 30 if form != tarfile.USTAR_FORMAT else 'd')\n";
    if !run_in(place.folder.path(), "python3", &["-c", script]) {
        return;
    }
    for name in ["p.zip", "p0.tar.gz", "p1.tar.gz", "p2.tar.gz"] {
        holds(&open(&place.path(name), &place.options).unwrap(), &core);
    }
}

#[test]
fn zips_of_other_methods_are_refused_by_name() {
    let place = Place::new();
    place.write("the core", &core_bytes(SIZE));
    let script = "import zipfile\n\
        for number in (12, 14): zipfile.ZipFile('%d.zip' % number, 'w', number).write('the core')\n";
    if !run_in(place.folder.path(), "python3", &["-c", script]) {
        return;
    }
    for (file, words) in [
        ("12.zip", "by bzip2 (method 12)"),
        ("14.zip", "by LZMA (method 14)"),
    ] {
        let error = open(&place.path(file), &place.options).unwrap_err();
        assert!(matches!(error, OpenError::Unsupported(_)), "{error:?}");
        assert!(error.to_string().contains(words), "{error}");
    }
}

#[test]
fn names_with_line_ends_do_not_end_the_attributes_of_a_tar_archive() {
    let place = Place::new();
    let core = core_bytes(SIZE);
    place.write("the core", &core);
    let name = "d/é\n12 path=x\ny";
    let script = format!(
        "import tarfile\n\
        with tarfile.open('p.tar', 'w', format=tarfile.PAX_FORMAT) as t: t.add('the core', {name:?})\n"
    );
    if !run_in(place.folder.path(), "python3", &["-c", &script]) {
        return;
    }
    let opened = open(&place.path("p.tar"), &place.options).unwrap();
    holds(&opened, &core);
    assert_eq!(opened.core_path.as_deref(), Some(name.as_bytes()));
}

#[test]
fn standard_input_is_spooled_and_not_kept() {
    let place = Place::new();
    let core = core_bytes(SIZE);
    let archive = ours(&core_file(SIZE), Compression::Gzip, TOP);
    let Some(packed) = run_with("gzip", &["-c"], &core) else {
        return;
    };
    for bytes in [&core, &archive, &packed] {
        let opened = open_stream(&bytes[..], &place.options).unwrap();
        holds(&opened, &core);
        assert!(opened.cached.is_empty());
    }
    assert!(!place.path("cache").exists());
    let never = OpenOptions {
        cache: CacheUse::Never,
        ..place.options.clone()
    };
    let opened = open(&place.write("core.gz", &packed), &never).unwrap();
    holds(&opened, &core);
    assert!(opened.cached.is_empty() && !place.path("cache").exists());
}

#[test]
fn what_is_no_core_is_told_from_what_is_damaged() {
    let place = Place::new();
    let say = |bytes: &[u8]| open(&place.write("x", bytes), &place.options).unwrap_err();
    assert!(matches!(say(b""), OpenError::Unknown(_)));
    assert!(matches!(say(b"BZh91AY"), OpenError::Unknown(_)));
    assert!(matches!(say(&[0; 9000]), OpenError::Unknown(_)));
    assert!(matches!(say(b"#!/bin/sh\n"), OpenError::Unknown(_)));
    let exe = fs::read(a_program().path).unwrap();
    let error = say(&exe);
    assert!(error.to_string().contains("not a core"), "{error}");
    assert!(matches!(
        open(place.folder.path(), &place.options),
        Err(OpenError::Unsupported(_))
    ));
    let error = open(&place.path("nowhere"), &place.options).unwrap_err();
    assert!(matches!(&error, OpenError::Io(io) if io.kind() == std::io::ErrorKind::NotFound));

    place.write(
        "t/a",
        b"text that is longer than the shortest thing that could be a core",
    );
    run_in(place.folder.path(), "tar", &["-czf", "none", "t"]);
    assert!(matches!(
        open(&place.path("none"), &place.options),
        Err(OpenError::NoCore)
    ));
    place.write("t/core.1", &core_bytes(SIZE));
    place.write("t/core.2", &core_bytes(SIZE));
    run_in(place.folder.path(), "tar", &["-czf", "two", "t"]);
    let error = open(&place.path("two"), &place.options).unwrap_err();
    assert_eq!(
        error.to_string(),
        "there is more than one core in it: t/core.1, t/core.2"
    );
}

#[test]
fn a_file_that_cannot_be_read_does_not_hide_the_core() {
    let place = Place::new();
    let core = core_bytes(SIZE);
    place.write("core", &core);
    let script = "import zipfile\n\
        z = zipfile.ZipFile('x.zip', 'w')\n\
        z.write('core', compress_type=zipfile.ZIP_DEFLATED)\n\
        z.writestr('a log', b'x' * 5000, zipfile.ZIP_LZMA)\n\
        z.close()\n\
        z = zipfile.ZipFile('y.zip', 'w')\n\
        z.write('core', compress_type=zipfile.ZIP_LZMA)\n\
        z.close()\n";
    if !run_in(place.folder.path(), "python3", &["-c", script]) {
        return;
    }
    holds(&open(&place.path("x.zip"), &place.options).unwrap(), &core);
    let error = open(&place.path("y.zip"), &place.options).unwrap_err();
    assert!(matches!(error, OpenError::Unsupported(_)), "{error}");
    // One that was written to a pipe says the sizes behind the content.
    if run_in(
        place.folder.path(),
        "sh",
        &["-c", "zip -q - core | cat > piped.zip"],
    ) {
        holds(
            &open(&place.path("piped.zip"), &place.options).unwrap(),
            &core,
        );
    }
}

/// Bytes that end a hundred times deeper than they look.
fn nested(mut bytes: Vec<u8>, times: usize) -> Vec<u8> {
    for _ in 0..times {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&bytes).unwrap();
        bytes = gzip.finish().unwrap();
    }
    bytes
}

#[test]
fn bombs_are_refused_by_absolute_limits_that_can_be_raised() {
    let place = Place::new();
    let core = core_bytes(SIZE);
    let limited = |limits: Limits, bytes: &[u8]| {
        let options = OpenOptions {
            limits,
            ..place.options.clone()
        };
        open(&place.write("x", bytes), &options)
    };
    let is_limit = |result: Result<Opened, OpenError>, expected: &str| match result {
        Err(OpenError::Limit { name, .. }) => assert_eq!(name, expected),
        other => panic!("{other:?}"),
    };
    let deep = nested(core.clone(), 7);
    is_limit(limited(Limits::default(), &deep), "layers");
    let opened = limited(
        Limits {
            layers: 7,
            ..Limits::default()
        },
        &deep,
    )
    .unwrap();
    holds(&opened, &core);

    let packed = nested(core.clone(), 1);
    let small = Limits {
        unpacked: SIZE - 1,
        ..Limits::default()
    };
    is_limit(limited(small.clone(), &packed), "unpacked");
    holds(
        &limited(
            Limits {
                unpacked: SIZE,
                ..Limits::default()
            },
            &packed,
        )
        .unwrap(),
        &core,
    );
    assert!(
        place
            .cache()
            .entries()
            .unwrap()
            .iter()
            .all(|entry| !entry.partial && entry.len <= SIZE)
    );

    // By the sizes in the headers, before anything is read.
    let plain = ours(&core_file(SIZE), Compression::None, TOP);
    is_limit(limited(small, &plain), "unpacked");
    is_limit(
        limited(
            Limits {
                entries: 3,
                ..Limits::default()
            },
            &plain,
        ),
        "entries",
    );
    is_limit(
        limited(
            Limits {
                name: 30,
                ..Limits::default()
            },
            &plain,
        ),
        "name",
    );

    // A name of a gigabyte, of zeros.
    let mut header = tar::Header::new_gnu();
    header.set_path("@LongLink").unwrap();
    header.set_entry_type(tar::EntryType::GNULongName);
    header.set_size(1 << 30);
    header.set_cksum();
    is_limit(limited(Limits::default(), header.as_bytes()), "name");
}

#[test]
fn ten_gigabytes_of_zeros_in_an_archive_of_ours_open_at_once_and_have_a_small_index() {
    for (compression, size) in [
        (Compression::Gzip, 10_u64 << 30),
        (Compression::Zstd, 3 << 30),
    ] {
        let file = core_file(size);
        let archive: Arc<Vec<u8>> = Arc::new(ours(&file, compression, TOP));
        let began = std::time::Instant::now();
        let opened = open_source(Arc::clone(&archive) as _, &OpenOptions::default()).unwrap();
        assert!(opened.indexed);
        let index = opened
            .files
            .open(format!("{TOP}/stillcore.index").as_bytes())
            .unwrap();
        assert!(index.is_none(), "it is not one of the process's files");
        assert_eq!(opened.core.len(), size);
        let mut end = vec![0; 70_000];
        opened.core.read_at(size - 70_000, &mut end).unwrap();
        assert!(end[..66_000] == noise(66_000, size - 70_000) && end[66_000..] == [0; 4000]);
        let mut middle = vec![1; 100_000];
        opened.core.read_at(1 << 30, &mut middle).unwrap();
        assert!(middle.iter().all(|&byte| byte == 0));
        assert!(began.elapsed().as_secs() < 5, "{:?}", began.elapsed());
        let footer = archive.as_slice().len()
            - 64
            - 1024
            - if compression == Compression::Gzip {
                10
            } else {
                0
            };
        let items = u64::from_le_bytes(archive[footer + 16..footer + 24].try_into().unwrap());
        assert!(items < 4000, "{items} bytes of index");
    }
}

#[test]
fn a_fifo_or_a_device_is_read_as_a_stream() {
    let place = Place::new();
    let fifo = place.path("fifo");
    assert!(run_in(place.folder.path(), "mkfifo", &["fifo"]));
    let core = core_bytes(SIZE);
    let writer = {
        let (fifo, core) = (fifo.clone(), core.clone());
        std::thread::spawn(move || fs::write(fifo, core))
    };
    holds(&open(&fifo, &place.options).unwrap(), &core);
    writer.join().unwrap().unwrap();
    assert!(open(Path::new("/dev/null"), &place.options).is_err());
}

/// The inputs of the fuzz target, opened like any other; see its README.
#[test]
fn kept_inputs_of_the_fuzz_target_are_opened_or_refused() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/open");
    if std::env::var_os("STILLCORE_WRITE_SEEDS").is_some() {
        write_seeds(&folder);
    }
    let mut opened = 0;
    for file in fs::read_dir(&folder).unwrap() {
        let bytes: Arc<dyn Source> = Arc::new(fs::read(file.unwrap().path()).unwrap());
        let options = OpenOptions {
            cache: CacheUse::Never,
            limits: Limits {
                unpacked: 16 << 20,
                ..Limits::default()
            },
            progress: None,
        };
        if let Ok(found) = open_source(Arc::clone(&bytes), &options) {
            opened += 1;
            assert!(found.core.len() > 0);
        }
        let _ = stillcore_archive::verify_source(bytes, &options);
    }
    assert!(opened >= 15, "{opened}");
}

fn write_seeds(folder: &Path) {
    let place = Place::new();
    let core = support::tiny_core();
    let add = |name: &str, bytes: Vec<u8>| {
        let path = folder.join(name);
        if !path.exists() {
            fs::write(path, bytes).unwrap();
        }
    };
    add("core", core.clone());
    let compressors: [(&str, &[&str]); 6] = [
        ("gzip", &["-c"]),
        ("zstd", &["-qc"]),
        ("xz", &["-c", "--block-size=2KiB"]),
        ("lz4", &["-qc"]),
        ("lz4", &["-qc", "-l"]),
        ("lz4", &["-qc", "-BD", "-B4"]),
    ];
    for (number, (program, args)) in compressors.into_iter().enumerate() {
        if let Some(packed) = run_with(program, args, &core) {
            add(&format!("core-{number}.{program}"), packed);
        }
    }
    let file = File::create(place.path("core")).unwrap();
    (&file).write_all(&core).unwrap();
    let file = File::open(place.path("core")).unwrap();
    for compression in [Compression::Gzip, Compression::Zstd, Compression::None] {
        let archive = support::ours_with(&file, compression, "core_x", &[]);
        add(&format!("ours.{}", compression.extension()), archive);
    }
    let t = place.path("t");
    fs::create_dir_all(t.join("sub")).unwrap();
    let sparse = File::create(t.join("core")).unwrap();
    (&sparse).write_all(&core).unwrap();
    sparse.set_len(1 << 20).unwrap();
    symlink("../core", t.join("sub/link")).unwrap();
    fs::hard_link(t.join("core"), t.join("same")).unwrap();
    fs::write(t.join("sub").join("n".repeat(120)), b"long name").unwrap();
    let tars: [(&str, &[&str]); 5] = [
        ("gnu", &["-S", "--format=gnu"]),
        ("pax10", &["-S", "--format=pax", "--sparse-version=1.0"]),
        ("pax01", &["-S", "--format=pax", "--sparse-version=0.1"]),
        ("pax00", &["-S", "--format=pax", "--sparse-version=0.0"]),
        ("gnu-gzip", &["-S", "-z"]),
    ];
    for (name, args) in tars {
        if run_in(
            place.folder.path(),
            "tar",
            &[args, &["-cf", "x.tar", "t"]].concat(),
        ) {
            add(
                &format!("{name}.tar"),
                fs::read(place.path("x.tar")).unwrap(),
            );
        }
    }
    fs::remove_file(t.join("same")).unwrap();
    sparse.set_len(core.len() as u64).unwrap();
    for args in ["-qry", "-qr0y"] {
        let _ = fs::remove_file(place.path("x.zip"));
        if run_in(place.folder.path(), "zip", &[args, "x.zip", "t"]) {
            let zip = fs::read(place.path("x.zip")).unwrap();
            add(&format!("x{args}-cut.zip"), zip[..zip.len() - 30].to_vec());
            add(&format!("x{args}-half.zip"), zip[..1500].to_vec());
            add(&format!("x{args}.zip"), zip);
        }
    }
}
