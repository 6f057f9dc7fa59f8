//! Archives of small C programs: what is in them, and what gdb shows of them.

#[path = "support/programs.rs"]
mod programs;

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use programs::{
    BODY, HOST, LIBRARY, PROGRAM, THREADS, both_ways, can, check, gcc, gcore_core, in_gdb,
    kernel_core, kernel_core_with, pack, run,
};
use stillcore_archive::{ManifestHead, PackOptions, PackageError, PackageJob, Packaged, package};
use stillcore_corefile::{CoreFile, Process, Sysroot};

#[test]
fn programs_of_every_kind() {
    if !can(&["gcc"]) {
        return;
    }
    for flags in [&["-pie", "-fPIE"][..], &["-no-pie"], &["-static"]] {
        let folder = tempfile::tempdir().unwrap();
        let program = gcc(folder.path(), &format!("{BODY}{PROGRAM}"), "app", flags);
        both_ways(folder.path(), &program, |core| {
            let packaged = check(core, &Sysroot::host(), true);
            let path = program.to_str().unwrap();
            let entry = packaged
                .manifest
                .files
                .iter()
                .find(|file| file.path == path)
                .unwrap();
            assert!(entry.included && !entry.rebuilt);
            assert_eq!(entry.archive_path.as_deref(), path.strip_prefix('/'));
        });
    }
}

#[test]
fn sixty_four_threads() {
    if !can(&["gcc"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let source = format!("{BODY}{THREADS}");
    let program = gcc(folder.path(), &source, "app", &["-pthread"]);
    let Some(core) = kernel_core(folder.path(), &program) else {
        return;
    };
    check(&core, &Sysroot::host(), true);
    let archive = core.with_file_name("archive.tar.gz");
    if let Some(said) = in_gdb(&archive, &["thread apply all bt"]) {
        assert_eq!(said.matches("\nThread ").count(), 64, "{said}");
        let frames = |name: &str| {
            let is_it =
                |line: &&str| line.contains(&format!(" {name} (")) && line.contains("app.c:");
            said.lines().filter(is_it).count()
        };
        assert_eq!((frames("waiter"), frames("starter")), (63, 63), "{said}");
    }
}

#[test]
fn a_library_loaded_by_a_relative_path() {
    if !can(&["gcc"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let program = gcc(folder.path(), HOST, "app", &["-ldl"]);
    let source = format!("{BODY}{LIBRARY}");
    let name = "plugins/libplug.so.1.2";
    gcc(folder.path(), &source, name, &["-shared", "-fPIC"]);
    symlink("libplug.so.1.2", folder.path().join("plugins/libplug.so")).unwrap();
    both_ways(folder.path(), &program, |core| {
        check(core, &Sysroot::host(), true);
    });
}

#[test]
fn a_program_that_is_gone_is_rebuilt() {
    if !can(&["gcc", "gcore"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let program = gcc(
        folder.path(),
        &format!("{BODY}{PROGRAM}"),
        "app",
        &["-rdynamic"],
    );
    let core = gcore_core(folder.path(), &program, || {
        fs::remove_file(&program).unwrap()
    });
    let Some(core) = core else {
        return;
    };
    let packaged = check(&core, &Sysroot::host(), false);
    let path = program.to_str().unwrap();
    let entry = packaged
        .manifest
        .files
        .iter()
        .find(|file| file.path == path);
    assert!(entry.is_some_and(|entry| entry.rebuilt && entry.included));
    assert!(
        packaged
            .notes
            .iter()
            .any(|note| note.contains("rebuilt from the core"))
    );
}

#[test]
fn a_program_that_was_replaced_while_it_ran_is_rebuilt() {
    if !can(&["gcc", "gcore"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let source = format!("{BODY}{PROGRAM}");
    let flags = ["-rdynamic", "-Wl,--build-id"];
    let program = gcc(folder.path(), &source, "app", &flags);
    // As a package manager does it.
    let core = gcore_core(folder.path(), &program, || {
        let new = gcc(folder.path(), &format!("{source}int other;"), "new", &flags);
        fs::rename(new, &program).unwrap();
    });
    let Some(core) = core else {
        return;
    };
    let packaged = check(&core, &Sysroot::host(), false);
    let path = program.to_str().unwrap();
    let mut files = packaged.manifest.files.iter();
    let entry = files.find(|file| file.path == path).unwrap();
    assert!(entry.rebuilt && entry.included, "{entry:?}");
    let reason = entry.reason.as_deref().unwrap();
    assert!(reason.starts_with("another build lies at "), "{reason}");
    assert!(reason.contains(", and rebuilt from the core: "), "{reason}");
}

#[test]
fn another_build_is_left_out() {
    if !can(&["gcc"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let program = gcc(
        folder.path(),
        &format!("{BODY}{PROGRAM}"),
        "app",
        &["-Wl,--build-id"],
    );
    let Some(core) = kernel_core(folder.path(), &program) else {
        return;
    };
    fs::remove_file(&program).unwrap();
    gcc(
        folder.path(),
        &format!("{BODY}{PROGRAM}int other;"),
        "app",
        &["-Wl,--build-id"],
    );
    let packaged = pack(&core, &folder.path().join("out"), &Sysroot::host()).unwrap();
    let path = program.to_str().unwrap();
    let entry = |packaged: &Packaged| {
        let files = &packaged.manifest.files;
        files.iter().find(|file| file.path == path).unwrap().clone()
    };
    assert!(!entry(&packaged).included);
    assert!(entry(&packaged).reason.unwrap().contains("another build"));
    let forced = Sysroot {
        force: true,
        ..Sysroot::host()
    };
    let packaged = pack(&core, &folder.path().join("forced"), &forced).unwrap();
    assert!(entry(&packaged).included);
    assert!(entry(&packaged).reason.unwrap().contains("may not be"));
}

#[test]
fn nothing_is_left_of_an_archive_that_fails_or_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let core = folder.path().join("core");
    // A core of this very test would need gdb; a program of the system will do.
    let Some(made) = kernel_core_with(folder.path(), Path::new("sh"), &["-c", "kill -ABRT $$"])
    else {
        return;
    };
    fs::rename(made, &core).unwrap();
    let file = File::open(&core).unwrap();
    let process = Process::open(
        CoreFile::open(file.try_clone().unwrap()).unwrap(),
        &Sysroot::host(),
    )
    .unwrap();
    let output = folder.path().join("out.tar.gz");
    let result = package(
        &process,
        &PackageJob {
            name: "core",
            core_file: Some(&file),
            core_mtime: file.metadata().unwrap().modified().unwrap(),
            output: &output,
            manifest: ManifestHead::default(),
            options: PackOptions::default(),
            progress: &|_| false,
        },
    );
    assert!(matches!(result, Err(PackageError::Pack(_))));
    let left: Vec<_> = fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(left, ["core"]);
}

#[test]
fn opening_evidence_does_not_run_it() {
    if !can(&["gcc", "gdb", "tar"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let program = gcc(folder.path(), &format!("{BODY}{PROGRAM}"), "app", &[]);
    let Some(core) = kernel_core(folder.path(), &program) else {
        return;
    };
    let archive = folder.path().join("archive.tar.gz");
    pack(&core, &archive, &Sysroot::host()).unwrap();
    run(Command::new("tar")
        .arg("-xzf")
        .arg(&archive)
        .arg("-C")
        .arg(folder.path()));
    let name = core.file_name().unwrap().to_str().unwrap();
    let top = folder.path().join(format!("archive-{name}"));
    let beside = top.join(program.strip_prefix("/").unwrap());
    let ran = folder.path().join("ran");
    let shell = format!("shell touch {}\n", ran.display());
    let python = format!("open('{}', 'w')\n", ran.display());
    let beside = |end: &str| PathBuf::from(format!("{}{end}", beside.display()));
    for (path, text) in [
        (top.join(".gdbinit"), &shell),
        (folder.path().join(".gdbinit"), &shell),
        (beside("-gdb.gdb"), &shell),
        (beside("-gdb.py"), &python),
    ] {
        fs::write(path, text).unwrap();
    }
    for place in [top.as_path(), folder.path()] {
        let output = Command::new("sh")
            .arg(top.join("run-gdb.sh"))
            .args(["-batch", "-ex", "bt"])
            .current_dir(place)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(said.contains(" main ("), "{said}");
    }
    assert!(!ran.exists());
}
