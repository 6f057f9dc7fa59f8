//! Stripped programs whose debug information lies elsewhere, in every way that it may.

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use stillcore_corefile::{Check, Process, Sysroot};
use support::{Bench, assert_as_gdb, has, open_with, skipped};

const SOURCE: &str = r#"
#include <stdlib.h>
#include <stdio.h>
#include <unistd.h>
static void __attribute__((noinline)) secret(volatile int *where) { *where = 1; puts("x"); }
static void __attribute__((noinline)) hidden(volatile int *where) { secret(where); puts("y"); }
int main(int argc, char **argv) { if (argc > 1) unlink(argv[0]); hidden((int *)16L); return 0; }
"#;

fn function_names(process: &Process) -> Vec<String> {
    let frames = process.backtrace(&process.threads[0]).frames;
    frames
        .iter()
        .take(3)
        .map(|frame| {
            let symbol = process.symbol_at(frame.lookup);
            symbol.map_or_else(String::new, |(_, symbol)| symbol.demangled())
        })
        .collect()
}

fn innermost_line(process: &Process) -> Option<u32> {
    let frame = &process.backtrace(&process.threads[0]).frames[0];
    process.locations(frame.lookup).first()?.line
}

/// A program, its core, and its debug information in a file of its own.
fn split(bench: &Bench, options: &[&str]) -> Option<(PathBuf, PathBuf)> {
    let mut all = vec!["-g", "-O1", "-Wl,--build-id"];
    all.extend_from_slice(options);
    let program = bench.compile("program", SOURCE, &all);
    bench.run("objcopy", &["--only-keep-debug", "program", "apart.debug"]);
    bench.run("strip", &["-o", "stripped", "program"]);
    fs::rename(bench.path().join("stripped"), &program).unwrap();
    Some((program.clone(), bench.die("./program")?))
}

fn assert_found(process: &Process, debug: &Path, check: Check) {
    let module = process.executable().unwrap();
    let found = module.debug_file().expect("a debug file");
    assert_eq!(
        fs::canonicalize(&found.path).unwrap(),
        fs::canonicalize(debug).unwrap()
    );
    assert_eq!(found.check, check);
    assert_eq!(function_names(process), ["secret", "hidden", "main"]);
    assert_eq!(innermost_line(process), Some(5));
}

fn put(from: &Path, to: &Path) -> PathBuf {
    fs::create_dir_all(to.parent().unwrap()).unwrap();
    fs::copy(from, to).unwrap();
    to.to_owned()
}

fn hex(process: &Process) -> String {
    let id = process.executable().unwrap().build_id.as_ref().unwrap();
    id.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn by_build_id() {
    let Some(bench) = Bench::new() else { return };
    let Some((program, core)) = split(&bench, &[]) else {
        return;
    };
    let apart = bench.path().join("apart.debug");
    let nothing = open_with(&core, &Sysroot::host());
    assert!(nothing.executable().unwrap().debug_file().is_none());
    assert_eq!(function_names(&nothing)[..2], ["", ""]);
    let id = hex(&nothing);
    let relative = format!(".build-id/{}/{}.debug", &id[..2], &id[2..]);

    let folder = bench.path().join("debug");
    let debug = put(&apart, &folder.join(&relative));
    let files = Sysroot {
        debug_dirs: vec![folder.clone()],
        ..Sysroot::host()
    };
    let process = open_with(&core, &files);
    assert_found(&process, &debug, Check::BuildId);
    let more = format!(
        "set debug-file-directory {}:/usr/lib/debug",
        folder.display()
    );
    assert_as_gdb(&process, &program, &core, &[&more]);
    let without = Sysroot {
        no_debug: true,
        ..files.clone()
    };
    assert!(
        open_with(&core, &without)
            .executable()
            .unwrap()
            .debug_file()
            .is_none()
    );

    let root = bench.path().join("root");
    let debug = put(&apart, &root.join("usr/lib/debug").join(&relative));
    let files = Sysroot {
        roots: vec![root],
        ..Sysroot::host()
    };
    assert_found(&open_with(&core, &files), &debug, Check::BuildId);

    let cache = bench.path().join("cache");
    let debug = put(&apart, &cache.join(&id).join("debuginfo"));
    let files = Sysroot {
        debuginfod: vec![cache],
        ..Sysroot::host()
    };
    assert_found(&open_with(&core, &files), &debug, Check::BuildId);

    // Another program's debug file in that place is told and left alone.
    bench.compile("other", SOURCE, &["-g", "-O2", "-Wl,--build-id"]);
    put(&bench.path().join("other"), &folder.join(&relative));
    let files = Sysroot {
        debug_dirs: vec![folder],
        ..Sysroot::host()
    };
    let process = open_with(&core, &files);
    let module = process.executable().unwrap();
    assert!(module.debug_file().is_none());
    assert_eq!(module.debug_mismatches().len(), 1);
    assert_eq!(module.debug_mismatches()[0].expected, module.build_id);
}

#[test]
fn what_is_cut_off_is_taken_only_where_nothing_is_whole() {
    let Some(bench) = Bench::new() else { return };
    let Some((program, core)) = split(&bench, &[]) else {
        return;
    };
    let id = hex(&open_with(&core, &Sysroot::host()));
    let relative = format!("usr/lib/debug/.build-id/{}/{}.debug", &id[..2], &id[2..]);
    let apart = bench.path().join("apart.debug");
    let inside = |root: &str, path: &Path| {
        let root = bench.path().join(root);
        (
            root.clone(),
            root.join(path.strip_prefix("/").unwrap_or(path)),
        )
    };
    let cut = |path: &Path| {
        let file = fs::OpenOptions::new().write(true).open(path).unwrap();
        file.set_len(file.metadata().unwrap().len() - 100).unwrap();
    };
    let place = fs::canonicalize(&program).unwrap();
    let (whole, whole_program) = inside("whole", &place);
    put(&program, &whole_program);
    let whole_debug = put(&apart, &whole.join(&relative));
    let (half, half_program) = inside("half", &place);
    cut(&put(&program, &half_program));
    cut(&put(&apart, &half.join(&relative)));
    let only = |roots: &[&PathBuf]| Sysroot {
        roots: roots.iter().map(|root| (*root).clone()).collect(),
        no_host: true,
        ..Sysroot::host()
    };
    let found = |process: &Process| process.executable().unwrap().file.clone().unwrap().path;

    let process = open_with(&core, &only(&[&half, &whole]));
    assert_eq!(found(&process), fs::canonicalize(&whole_program).unwrap());
    assert_found(&process, &whole_debug, Check::BuildId);
    // Half a program is better than none.
    let process = open_with(&core, &only(&[&half]));
    assert_eq!(found(&process), fs::canonicalize(&half_program).unwrap());
}

#[test]
fn by_link_with_its_checksum() {
    for id in ["-Wl,--build-id", "-Wl,--build-id=none"] {
        let Some(bench) = Bench::new() else { return };
        bench.compile("program", SOURCE, &["-g", "-O1", id]);
        bench.run("objcopy", &["--only-keep-debug", "program", "apart.debug"]);
        bench.run("strip", &["program"]);
        bench.run("objcopy", &["--add-gnu-debuglink=apart.debug", "program"]);
        let Some(core) = bench.die("./program") else {
            return;
        };
        let program = bench.path().join("program");
        let apart = bench.path().join("apart.debug");
        let process = open_with(&core, &Sysroot::host());
        assert_found(&process, &apart, Check::Crc);
        assert_as_gdb(&process, &program, &core, &[]);

        let hidden = put(&apart, &bench.path().join(".debug/apart.debug"));
        fs::remove_file(&apart).unwrap();
        assert_found(&open_with(&core, &Sysroot::host()), &hidden, Check::Crc);

        let folder = bench.path().join("elsewhere");
        let real = fs::canonicalize(bench.path()).unwrap();
        let below = folder.join(real.strip_prefix("/").unwrap());
        let debug = put(&hidden, &below.join("apart.debug"));
        fs::remove_file(&hidden).unwrap();
        let files = Sysroot {
            debug_dirs: vec![folder],
            ..Sysroot::host()
        };
        assert_found(&open_with(&core, &files), &debug, Check::Crc);

        // One byte differs.
        let mut bytes = fs::read(&debug).unwrap();
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        fs::write(&debug, bytes).unwrap();
        let process = open_with(&core, &files);
        let module = process.executable().unwrap();
        assert!(module.debug_file().is_none());
        assert_eq!(module.debug_mismatches()[0].path, debug);
        let forced = Sysroot {
            force: true,
            ..files
        };
        let process = open_with(&core, &forced);
        let found = process.executable().unwrap().debug_file().unwrap();
        assert_eq!(found.check, Check::Forced);
    }
}

#[test]
fn in_the_file_itself() {
    if !has("xz") {
        return skipped("there is no xz");
    }
    let Some(bench) = Bench::new() else { return };
    bench.compile("program", SOURCE, &["-O1"]);
    // As Fedora does: what the dynamic table lacks, packed.
    bench.run(
        "objcopy",
        &[
            "-S",
            "--remove-section=.comment",
            "--keep-symbol=secret",
            "--keep-symbol=hidden",
            "--keep-symbol=main",
            "program",
            "mini",
        ],
    );
    bench.run("xz", &["mini"]);
    bench.run("strip", &["program"]);
    bench.run(
        "objcopy",
        &["--add-section", ".gnu_debugdata=mini.xz", "program"],
    );
    let Some(core) = bench.die("./program") else {
        return;
    };
    let process = open_with(&core, &Sysroot::host());
    assert_eq!(function_names(&process), ["secret", "hidden", "main"]);
}

#[test]
fn shared_by_several() {
    if !has("dwz") {
        return skipped("there is no dwz");
    }
    let Some(bench) = Bench::new() else { return };
    bench.compile("program", SOURCE, &["-g", "-gdwarf-4", "-O1"]);
    bench.compile("second", SOURCE, &["-g", "-gdwarf-4", "-O1"]);
    bench.run("dwz", &["-m", "shared.debug", "program", "second"]);
    let Some(core) = bench.die("./program") else {
        return;
    };
    let process = open_with(&core, &Sysroot::host());
    let alternate = process.executable().unwrap().alternate_file();
    assert_eq!(
        alternate
            .expect("the shared file")
            .path
            .file_name()
            .unwrap(),
        "shared.debug"
    );
    assert_eq!(function_names(&process), ["secret", "hidden", "main"]);
    assert_eq!(innermost_line(&process), Some(5));
    assert_as_gdb(&process, &bench.path().join("program"), &core, &[]);
}

#[test]
fn split_by_the_compiler() {
    for version in ["-gdwarf-4", "-gdwarf-5"] {
        let Some(bench) = Bench::new() else { return };
        bench.write("program.c", SOURCE);
        bench.run(
            "cc",
            &["-c", "-g", version, "-gsplit-dwarf", "-O1", "program.c"],
        );
        bench.run("cc", &["-o", "program", "program.o"]);
        let Some(core) = bench.die("./program") else {
            return;
        };
        let program = bench.path().join("program");
        let process = open_with(&core, &Sysroot::host());
        assert_eq!(innermost_line(&process), Some(5));
        assert_as_gdb(&process, &program, &core, &[]);
        let function = |process: &Process| {
            let frame = &process.backtrace(&process.threads[0]).frames[0];
            process.locations(frame.lookup)[0].function.clone()
        };
        assert_eq!(function(&process).as_deref(), Some("secret"));
        // That of binutils cannot read version 5.
        if version == "-gdwarf-5" || !has("dwp") {
            continue;
        }
        bench.run("dwp", &["-e", "program", "-o", "program.dwp"]);
        fs::remove_file(bench.path().join("program.dwo")).unwrap();
        let process = open_with(&core, &Sysroot::host());
        let package = process.executable().unwrap().package_file();
        assert_eq!(
            package.unwrap().path,
            fs::canonicalize(&program).unwrap().with_extension("dwp")
        );
        assert_eq!(function(&process).as_deref(), Some("secret"));
    }
}

#[test]
fn of_a_program_that_is_gone() {
    let Some(bench) = Bench::new() else { return };
    let program = bench.compile("program", SOURCE, &["-g", "-O1", "-Wl,--build-id"]);
    fs::copy(&program, bench.path().join("kept")).unwrap();
    let Some(core) = bench.die("./program gone") else {
        return;
    };
    assert!(!program.exists());
    let process = open_with(&core, &Sysroot::host());
    let module = process.executable().unwrap();
    assert!(module.deleted && module.file.is_none());
    assert!(module.path.ends_with(b"/program"));
    // Without any table the frames are found by scanning, and say so.
    assert!(process.backtrace(&process.threads[0]).frames.len() > 1);

    // By name, wherever it lies.
    let exe = Sysroot {
        exe: Some(bench.path().join("kept")),
        ..Sysroot::host()
    };
    let process = open_with(&core, &exe);
    assert_eq!(function_names(&process), ["secret", "hidden", "main"]);
    assert_eq!(
        process.executable().unwrap().file.as_ref().unwrap().check,
        Check::BuildId
    );

    // Another program under the old name.
    bench.compile("program", SOURCE, &["-g", "-O2", "-Wl,--build-id"]);
    let process = open_with(&core, &Sysroot::host());
    let module = process.executable().unwrap();
    assert!(module.file.is_none());
    assert_eq!(module.mismatches.len(), 1);
    assert_eq!(module.mismatches[0].expected, module.build_id);
    assert_ne!(module.mismatches[0].found, module.build_id);
    let forced = Sysroot {
        force: true,
        ..Sysroot::host()
    };
    let process = open_with(&core, &forced);
    assert_eq!(
        process.executable().unwrap().file.as_ref().unwrap().check,
        Check::Forced
    );
}
