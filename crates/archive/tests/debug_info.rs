//! Archives have the debug information of their programs, however it was kept apart from them.

#[path = "support/programs.rs"]
mod programs;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use programs::{BODY, PROGRAM, both_ways, can, check, gcc, kernel_core, pack, run};
use stillcore_archive::PackageError;
use stillcore_corefile::Sysroot;

#[test]
fn separate_debug_information_in_each_way() {
    if !can(&["gcc", "objcopy"]) {
        return;
    }
    let stripped = |folder: &Path| {
        let program = gcc(
            folder,
            &format!("{BODY}{PROGRAM}"),
            "app",
            &["-Wl,--build-id"],
        );
        let debug = folder.join("app.debug");
        run(Command::new("objcopy")
            .arg("--only-keep-debug")
            .args([&program, &debug]));
        run(Command::new("objcopy").arg("--strip-all").arg(&program));
        (program, debug)
    };
    let link = |program: &Path, debug: &Path| {
        run(Command::new("objcopy")
            .arg(format!("--add-gnu-debuglink={}", debug.display()))
            .arg(program));
    };
    let moved = |debug: &Path, to: PathBuf| {
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::rename(debug, &to).unwrap();
    };

    // By build-id, in a folder that is named.
    let folder = tempfile::tempdir().unwrap();
    let (program, debug) = stripped(folder.path());
    let id = stillcore_corefile::build_id(&File::open(&program).unwrap())
        .unwrap()
        .unwrap();
    let hex: String = id.iter().map(|byte| format!("{byte:02x}")).collect();
    let by_id = format!(".build-id/{}/{}.debug", &hex[..2], &hex[2..]);
    moved(&debug, folder.path().join("debug").join(&by_id));
    let files = Sysroot {
        debug_dirs: vec![folder.path().join("debug")],
        ..Sysroot::host()
    };
    both_ways(folder.path(), &program, |core| {
        let packaged = check(core, &files, true);
        let place = format!("usr/lib/debug/{by_id}");
        let found =
            |file: &&stillcore_archive::FileEntry| file.archive_path.as_ref() == Some(&place);
        assert!(packaged.manifest.files.iter().any(|file| found(&file)));
    });

    // By link, beside the program and below `.debug`; a link to something else is left out.
    for place in ["app.debug", ".debug/app.debug"] {
        let folder = tempfile::tempdir().unwrap();
        let (program, debug) = stripped(folder.path());
        link(&program, &debug);
        moved(&debug, folder.path().join(place));
        both_ways(folder.path(), &program, |core| {
            check(core, &Sysroot::host(), true);
        });
        let Some(core) = kernel_core(folder.path(), &program) else {
            return;
        };
        let debug = folder.path().join(place);
        let mut bytes = fs::read(&debug).unwrap();
        bytes.push(0);
        fs::write(&debug, bytes).unwrap();
        let output = folder.path().join("off.tar.gz");
        let packaged = pack(&core, &output, &Sysroot::host()).unwrap();
        assert_eq!(packaged.left_out.len(), 1, "{:?}", packaged.left_out);
        assert!(packaged.left_out[0].contains(place));
        // Nothing is replaced.
        let again = pack(&core, &output, &Sysroot::host());
        assert!(matches!(again, Err(PackageError::Exists(path)) if path == output));
    }
}

#[test]
fn split_debug_information() {
    if !can(&["gcc"]) {
        return;
    }
    // Named as `make` does it, where the compiler records a plain name and its folder; and by absolute paths.
    for absolute in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let name = |name: &str| match absolute {
            true => folder.path().join(name),
            false => name.into(),
        };
        fs::write(folder.path().join("app.c"), format!("{BODY}{PROGRAM}")).unwrap();
        run(Command::new("gcc")
            .args(["-g", "-gsplit-dwarf", "-o"])
            .args([name("app"), name("app.c")])
            .current_dir(folder.path()));
        let program = folder.path().join("app");
        both_ways(folder.path(), &program, |core| {
            let packaged = check(core, &Sysroot::host(), true);
            for kind in ["dwo", "dwp"] {
                let kinds = packaged.manifest.files.iter();
                let kinds = kinds.filter(|file| file.kind.as_deref() == Some(kind));
                assert_eq!(kinds.filter(|file| file.included).count(), 1, "{kind}");
            }
            let said = packaged
                .notes
                .iter()
                .any(|note| note.contains("split DWARF"));
            assert!(!said, "{:?}", packaged.notes);
        });
    }
}

#[test]
fn debug_information_that_two_programs_share() {
    if !can(&["gcc", "objcopy", "dwz"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    for name in ["app", "other"] {
        let flags = ["-Wl,--build-id", "-gdwarf-4"];
        let program = gcc(folder.path(), &format!("{BODY}{PROGRAM}"), name, &flags);
        run(Command::new("objcopy")
            .arg("--only-keep-debug")
            .args([&program, &at(&format!("{name}.debug"))]));
    }
    run(Command::new("dwz")
        .args([
            "-m",
            "shared.dwz",
            "-M",
            "shared.dwz",
            "app.debug",
            "other.debug",
        ])
        .current_dir(folder.path()));
    let link = format!("--add-gnu-debuglink={}", at("app.debug").display());
    run(Command::new("objcopy")
        .args(["--strip-all", &link])
        .arg(at("app")));
    both_ways(folder.path(), &at("app"), |core| {
        let packaged = check(core, &Sysroot::host(), true);
        let files = &packaged.manifest.files;
        let shared = files
            .iter()
            .find(|file| file.kind.as_deref() == Some("debug-shared"));
        assert!(shared.is_some_and(|file| file.included), "{files:?}");
    });
}
