//! Opening cores, compressed cores and archives of ours.

mod support;

use std::fs::{self};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;

use stillcore_archive::{
    CacheUse, Compression, Format, Limits, OpenError, OpenOptions, Opened, OpenedKind, open,
    open_source, open_stream,
};
use stillcore_corefile::Source;
use support::{
    Place, TOP, a_program, all, core_bytes, core_file, holds, is_said_to_be_cut, noise, ours,
    run_in, run_with,
};

const SIZE: u64 = 5 << 20;

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
