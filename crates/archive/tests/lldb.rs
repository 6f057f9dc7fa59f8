//! The archive's script for lldb, on a machine where the files of the archive are nowhere else.

#[path = "support/programs.rs"]
mod programs;

use std::fs;
use std::path::Path;
use std::process::Command;

use programs::{BODY, HOST, LIBRARY, PROGRAM, THREADS, can, gcc, kernel_core, pack, run};
use stillcore_corefile::Sysroot;

/// What lldb, started by the archive's own script, says; the files are nowhere else any more. `None`, with the reason
/// printed, where there is no lldb.
fn in_lldb(archive: &Path, gone: &[&Path], commands: &[&str]) -> Option<String> {
    if !can(&["lldb", "tar"]) {
        return None;
    }
    let away = tempfile::tempdir().unwrap();
    run(Command::new("tar")
        .arg("-xzf")
        .arg(archive)
        .arg("-C")
        .arg(away.path()));
    for path in gone {
        fs::remove_file(path).unwrap();
    }
    let top = fs::read_dir(away.path()).unwrap().next().unwrap().unwrap();
    let output = Command::new("sh")
        .arg(top.path().join("run-lldb.sh"))
        .arg("--batch")
        .args(commands.iter().flat_map(|command| ["-o", command]))
        .current_dir("/")
        .env_remove("DEBUGINFOD_URLS")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    // From the archive and nowhere else.
    let top = top.path().display().to_string();
    let listed = said
        .lines()
        .filter(|line| line.starts_with("[") && line.contains(" /"));
    for line in listed.filter(|line| !line.contains("[vdso]")) {
        assert!(line.contains(&top), "{line} is not in {top}\n{said}");
    }
    Some(said)
}

#[test]
fn lldb_sees_the_same() {
    if !can(&["gcc", "lldb"]) {
        return;
    }
    let names = ["inner", "middle", "main"];
    let commands = ["thread backtrace", "image list"];
    let is_there = |said: &str, name: &str| {
        let frame = format!("`{name}");
        said.lines()
            .any(|line| line.contains(&frame) && line.contains(".c:"))
    };
    for flags in [&["-pie", "-fPIE"][..], &["-no-pie"], &["-static"]] {
        let folder = tempfile::tempdir().unwrap();
        let program = gcc(folder.path(), &format!("{BODY}{PROGRAM}"), "app", flags);
        let Some(core) = kernel_core(folder.path(), &program) else {
            return;
        };
        let archive = folder.path().join("archive.tar.gz");
        pack(&core, &archive, &Sysroot::host()).unwrap();
        let said = in_lldb(&archive, &[&core, &program], &commands).unwrap();
        for name in names {
            assert!(is_there(&said, name), "{flags:?}: no {name} in\n{said}");
        }
    }
    // In a library that was loaded by a relative path, and with 64 threads.
    let folder = tempfile::tempdir().unwrap();
    let program = gcc(folder.path(), HOST, "app", &["-ldl"]);
    let library = "plugins/libplug.so";
    let source = format!("{BODY}{LIBRARY}");
    let library = gcc(folder.path(), &source, library, &["-shared", "-fPIC"]);
    let Some(core) = kernel_core(folder.path(), &program) else {
        return;
    };
    let archive = folder.path().join("archive.tar.gz");
    pack(&core, &archive, &Sysroot::host()).unwrap();
    let said = in_lldb(&archive, &[&core, &program, &library], &commands).unwrap();
    for name in ["inner", "middle", "entry", "main"] {
        assert!(is_there(&said, name), "no {name} in\n{said}");
    }
    let folder = tempfile::tempdir().unwrap();
    let source = format!("{BODY}{THREADS}");
    let program = gcc(folder.path(), &source, "app", &["-pthread"]);
    let Some(core) = kernel_core(folder.path(), &program) else {
        return;
    };
    let archive = folder.path().join("archive.tar.gz");
    pack(&core, &archive, &Sysroot::host()).unwrap();
    let said = in_lldb(&archive, &[&core, &program], &["thread backtrace all"]).unwrap();
    assert_eq!(said.matches("`waiter").count(), 63, "{said}");
}
