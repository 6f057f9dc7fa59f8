//! Opening archives that other people's programs pack.

mod support;

use std::fs::{self, File};
use std::os::unix::fs::symlink;

use stillcore_archive::{Compression, Format, OpenError, OpenedKind, open};
use support::{
    Place, TOP, all, core_bytes, core_file, holds, is_said_to_be_cut, ours, run_in, run_with,
};

const SIZE: u64 = 5 << 20;

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
