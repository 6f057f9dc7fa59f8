//! What was cut off: what is there of it is read, and that something is missing is said.

mod support;

use std::fs;

use stillcore_archive::{
    Compression, OpenError, Opened, OpenedKind, ProblemKind, UnpackOptions, open, unpack, verify,
};
use support::{Place, TOP, all, core_bytes, core_file, ours, run_in, run_with};

const SIZE: u64 = 24 << 20;

/// The core is the beginning of what it was, at least `least` bytes of it.
fn holds_the_beginning(opened: &Opened, core: &[u8], least: usize, what: &str) {
    let read = all(&opened.core);
    assert!(
        read.len() >= least && read.len() < core.len(),
        "{what}: {}",
        read.len()
    );
    assert!(core.starts_with(&read), "{what}");
    assert!(!opened.damage.is_empty(), "{what}");
}

fn is_said(place: &Place, name: &str) {
    let verified = verify(&place.path(name), &place.options).unwrap();
    let damaged = |problem: &stillcore_archive::Problem| problem.kind == ProblemKind::Damaged;
    assert!(
        verified.problems.iter().any(damaged),
        "{name}: {verified:?}"
    );
}

#[test]
fn compressed_cores() {
    let place = Place::new();
    let core = core_bytes(SIZE);
    for (program, options) in [
        ("gzip", &["-1", "-c"][..]),
        ("zstd", &["-q", "-c"]),
        ("xz", &["-0", "-c"]),
        ("lz4", &["-q", "-c", "-B4"]),
    ] {
        let Some(packed) = run_with(program, options, &core) else {
            continue;
        };
        let path = place.write(program, &packed[..packed.len() * 9 / 10]);
        for round in ["unpacked", "from the cache"] {
            let opened = open(&path, &place.options).unwrap();
            assert_eq!(opened.kind, OpenedKind::Core);
            holds_the_beginning(&opened, &core, 128 << 10, &format!("{program}, {round}"));
        }
        is_said(&place, program);
        // Nothing half is unpacked under the core's name.
        let into = place.path(&format!("{program}-out"));
        let unpacked = unpack(&path, &into, &UnpackOptions::default());
        assert!(
            matches!(unpacked, Err(OpenError::Damaged(_))),
            "{unpacked:?}"
        );
        assert!(!into.exists());
        // Whole again, it is another file.
        let path = place.write(program, &packed);
        let opened = open(&path, &place.options).unwrap();
        assert!(all(&opened.core) == core && opened.damage.is_empty());
        // Of nothing nothing can be read.
        let path = place.write(program, &packed[..7]);
        assert!(open(&path, &place.options).is_err());
    }
}

#[test]
fn archives_of_ours() {
    let place = Place::new();
    let core = core_bytes(SIZE);
    for (name, compression) in [
        ("gz", Compression::Gzip),
        ("zst", Compression::Zstd),
        ("tar", Compression::None),
    ] {
        let archive = ours(&core_file(SIZE), compression, TOP);
        // In the middle of the core; behind it, in the middle of the program.
        let path = place.write(name, &archive[..600_000]);
        let opened = open(&path, &place.options).unwrap();
        holds_the_beginning(&opened, &core, 500_000, name);
        is_said(&place, name);
        let path = place.write(name, &archive[..archive.len() - 3000]);
        let opened = open(&path, &place.options).unwrap();
        assert!(all(&opened.core) == core, "{name}");
        is_said(&place, name);
    }
}

#[test]
fn archives_of_others() {
    let place = Place::new();
    let core = core_bytes(SIZE);
    place.write("archive-core/core", &core);
    place.write("archive-core/z", &[7; 9000]);
    for (name, options) in [
        ("plain", &["--format=gnu", "-cf"][..]),
        ("sparse", &["--format=gnu", "-Scf"]),
        ("pax", &["--format=posix", "-Scf"]),
        ("packed", &["--format=gnu", "-czf"]),
    ] {
        // The files of a folder in the order in which they were made, as a rule: so both are named.
        let files = ["archive-core/core", "archive-core/z"];
        let arguments: Vec<&str> = options
            .iter()
            .chain(&[name])
            .chain(&files)
            .copied()
            .collect();
        if name != "plain" && name != "packed" {
            run_in(
                place.folder.path(),
                "fallocate",
                &["-d", "archive-core/core"],
            );
        }
        if !run_in(place.folder.path(), "tar", &arguments) {
            return;
        }
        let archive = fs::read(place.path(name)).unwrap();
        let path = place.write(name, &archive[..600_000]);
        let opened = open(&path, &place.options).unwrap();
        holds_the_beginning(&opened, &core, 500_000, name);
        is_said(&place, name);
    }
}

/// A zip archive as core-dump-handler's composer leaves it when it is killed: the header of the file that it was
/// writing has neither sizes nor a checksum yet, and 20 bytes for long ones.
#[test]
fn zips_of_core_dump_handler() {
    let place = Place::new();
    let core = core_bytes(SIZE);
    place.write("core", &core);
    let script = "import struct, zlib, json\n\
        core = open('core', 'rb').read()\n\
        def entry(name, content, method, told=True):\n\
        \x20   packed = content\n\
        \x20   if method == 8:\n\
        \x20       c = zlib.compressobj(1, zlib.DEFLATED, -15); packed = c.compress(content) + c.flush()\n\
        \x20   crc, stored, size = (zlib.crc32(content), len(packed), len(content)) if told else (0, 0, 0)\n\
        \x20   extra = struct.pack('<HHQQ', 1, 16, size, stored)\n\
        \x20   big = 0xffffffff if told else 0\n\
        \x20   return struct.pack('<4sHHHHHIIIHH', b'PK\\3\\4', 45, 0, method, 0, 0x21, crc, big, big, len(name), len(extra)) + name + extra + packed\n\
        info = entry(b'uuid-dump-info.json', json.dumps({'exe': 'node'}).encode(), 8)\n\
        log = entry(b'uuid-0.log', b'a log' * 4000, 8)\n\
        for method in (0, 8):\n\
        \x20   whole = entry(b'uuid.core', core, method)\n\
        \x20   open('behind%d.zip' % method, 'wb').write(info + whole + log[:-5])\n\
        \x20   half = entry(b'uuid.core', core, method, False)\n\
        \x20   open('half%d.zip' % method, 'wb').write(info + half[:len(half) * 9 // 10])\n";
    if !run_in(place.folder.path(), "python3", &["-c", script]) {
        return;
    }
    for method in [0, 8] {
        // The core is whole, the log is not.
        let name = format!("behind{method}.zip");
        let opened = open(&place.path(&name), &place.options).unwrap();
        assert_eq!(opened.kind, OpenedKind::CoreDumpHandler);
        assert!(all(&opened.core) == core, "{name}");
        assert!(
            opened.damage[0].contains("3 files were found, and uuid-0.log ends"),
            "{:?}",
            opened.damage
        );
        is_said(&place, &name);
        let into = place.path(&format!("{name}-out"));
        let unpacked = unpack(&place.path(&name), &into, &UnpackOptions::default()).unwrap();
        assert!(unpacked.damaged.is_some());
        assert!(fs::read(into.join("uuid.core")).unwrap() == core);
        assert!(into.join("uuid-dump-info.json").exists() && !into.join("uuid-0.log").exists());

        let name = format!("half{method}.zip");
        let opened = open(&place.path(&name), &place.options).unwrap();
        assert_eq!(opened.kind, OpenedKind::CoreDumpHandler);
        holds_the_beginning(&opened, &core, 500_000, &name);
        is_said(&place, &name);
    }
}

/// Written to a pipe: the sizes stand behind the content.
#[test]
fn zips_of_others() {
    let place = Place::new();
    let core = core_bytes(SIZE);
    place.write("core", &core);
    place.write("log", &[b'x'; 70_000]);
    if !run_in(
        place.folder.path(),
        "sh",
        &[
            "-c",
            "zip -q - log core | cat > whole.zip; zip -q file.zip log core",
        ],
    ) {
        return;
    }
    for name in ["whole.zip", "file.zip"] {
        let zip = fs::read(place.path(name)).unwrap();
        // Without the list at the end, or with a part of it; everything is there.
        for less in [22, 60] {
            let path = place.write("x.zip", &zip[..zip.len() - less]);
            let opened = open(&path, &place.options).unwrap();
            assert!(all(&opened.core) == core, "{name}");
            assert!(
                opened.damage[0].contains("2 files were found, whole"),
                "{:?}",
                opened.damage
            );
            is_said(&place, "x.zip");
        }
        let path = place.write("x.zip", &zip[..zip.len() * 9 / 10]);
        let opened = open(&path, &place.options).unwrap();
        holds_the_beginning(&opened, &core, 500_000, name);
        // A checksum that is wrong is no cut.
        let mut wrong = zip[..zip.len() - 22].to_vec();
        if name == "file.zip" {
            wrong[14] ^= 1;
            let path = place.write("x.zip", &wrong);
            let into = place.path("wrong");
            let unpacked = unpack(&path, &into, &UnpackOptions::default());
            assert!(
                matches!(unpacked, Err(OpenError::Damaged(_)))
                    || unpacked.unwrap().damaged.is_some()
            );
        }
    }
}

/// Cut anywhere and changed anywhere, a small zip is read, or refused; in any case in no time.
#[test]
fn damaged_zips_are_survived() {
    let place = Place::new();
    place.write("core", &support::tiny_core());
    place.write("log", &[b'x'; 700]);
    let script = "zip -q - log core | cat > a.zip; zip -q b.zip log core; zip -q0 c.zip log core";
    if !run_in(place.folder.path(), "sh", &["-c", script]) {
        return;
    }
    let options = stillcore_archive::OpenOptions {
        cache: stillcore_archive::CacheUse::Never,
        limits: stillcore_archive::Limits {
            unpacked: 1 << 20,
            ..Default::default()
        },
        progress: None,
    };
    let mut x = 77_u64;
    let mut random = |below: usize| {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        (x % below as u64) as usize
    };
    let began = std::time::Instant::now();
    for name in ["a.zip", "b.zip", "c.zip"] {
        let zip = fs::read(place.path(name)).unwrap();
        for round in 0..400 {
            let mut bytes = zip[..1 + random(zip.len())].to_vec();
            for _ in 0..round % 4 {
                let at = random(bytes.len().min(200));
                bytes[at] = [0, 1, 8, 0x7f, 0xff][random(5)];
            }
            let source: std::sync::Arc<dyn stillcore_corefile::Source> = std::sync::Arc::new(bytes);
            if let Ok(opened) = stillcore_archive::open_source(source.clone(), &options) {
                assert!(opened.core.len() <= 1 << 20);
            }
            let _ = stillcore_archive::verify_source(source, &options);
        }
    }
    assert!(began.elapsed().as_secs() < 60, "{:?}", began.elapsed());
}
