//! An aarch64 core, made by QEMU's user mode: it has no list of files and lacks the first page of every file.

mod support;

use std::path::Path;
use std::process::Command;

use stillcore_corefile::{Arch, Check, End, FrameTrust, ModuleKind, Process, Sysroot};
use support::{Bench, has, open_with, skipped};

const COMPILER: &str = "aarch64-linux-gnu-gcc";
const LIBRARIES: &str = "/usr/aarch64-linux-gnu";

const SOURCE: &str = r"
#include <signal.h>
#include <stdlib.h>
static void __attribute__((noinline)) cleanup(int signal) { if (signal) abort(); }
static void handler(int signal) { cleanup(signal); }
static int __attribute__((noinline)) inner(volatile int *where) { return *where + 1; }
static int __attribute__((noinline)) outer(volatile int *where) { return inner(where) + 1; }
int main(int argc, char **argv) {
  (void)argv;
  if (argc > 1) signal(SIGSEGV, handler);
  return outer((int *)8);
}
";

/// Compiles and lets it die under QEMU.
fn dies(options: &[&str], argument: &str) -> Option<(Bench, Process)> {
    let Some(qemu) = ["qemu-aarch64", "qemu-aarch64-static"]
        .into_iter()
        .find(|qemu| has(qemu))
    else {
        skipped("there is no qemu-aarch64");
        return None;
    };
    if !has(COMPILER) {
        skipped("there is no compiler for aarch64");
        return None;
    }
    let bench = Bench::new()?;
    bench.write("program.c", SOURCE);
    let mut all = vec!["-g", "-O1", "-o", "program", "program.c"];
    all.extend_from_slice(options);
    bench.run(COMPILER, &all);
    // QEMU writes the guest's core itself, beside that of its own.
    let script = format!("ulimit -c unlimited && {qemu} -L {LIBRARIES} ./program {argument}");
    let output = Command::new("sh")
        .args(["-c", &script])
        .current_dir(bench.path())
        .output()
        .unwrap();
    let core = std::fs::read_dir(bench.path())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.extension().is_some_and(|end| end == "core"));
    let Some(core) = core else {
        skipped(&format!("QEMU left no core: {output:?}"));
        return None;
    };
    let files = Sysroot {
        exe: Some(bench.path().join("program")),
        roots: vec![LIBRARIES.into()],
        no_host: true,
        ..Sysroot::default()
    };
    let process = open_with(&core, &files);
    Some((bench, process))
}

fn functions(process: &Process) -> Vec<String> {
    let trace = process.backtrace(&process.threads[0]);
    assert_eq!(trace.end, End::Outermost);
    let frames = trace.frames.iter().filter_map(|frame| {
        assert_ne!(frame.trust, FrameTrust::Scan);
        if frame.is_signal {
            return Some("<signal>".to_owned());
        }
        let location = process.locations(frame.lookup).into_iter().next();
        location.and_then(|location| location.function)
    });
    frames.collect()
}

#[test]
fn a_static_program() {
    let Some((_bench, process)) = dies(&["-static"], "") else {
        return;
    };
    assert_eq!(process.arch, Arch::Aarch64);
    assert_eq!(process.about.signal.map(|signal| signal.number), Some(11));
    let program = process.executable().unwrap();
    assert_eq!(program.file.as_ref().unwrap().check, Check::Headers);
    let functions = functions(&process);
    assert_eq!(functions[..3], ["inner", "outer", "main"]);
    let registers = process.threads[0].registers;
    assert_eq!(registers.get("x0"), Some(8));
}

#[test]
fn in_a_signal_handler() {
    let Some((_bench, process)) = dies(&["-static"], "handled") else {
        return;
    };
    let functions = functions(&process);
    let from = functions.iter().position(|name| name == "cleanup").unwrap();
    assert_eq!(
        functions[from..from + 6],
        ["cleanup", "handler", "<signal>", "inner", "outer", "main"]
    );
}

#[test]
fn libraries_are_found_through_the_linkers_list() {
    if !Path::new(LIBRARIES).exists() {
        return skipped("there are no libraries for aarch64");
    }
    let Some((_bench, process)) = dies(&[], "") else {
        return;
    };
    assert_eq!(functions(&process)[..3], ["inner", "outer", "main"]);
    let library = process
        .modules
        .iter()
        .find(|module| module.name() == b"libc.so.6")
        .expect("the C library");
    assert_eq!(library.file.as_ref().unwrap().check, Check::Headers);
    let linker = process
        .modules
        .iter()
        .find(|module| module.kind == ModuleKind::Interpreter)
        .expect("the dynamic linker");
    assert!(linker.name().starts_with(b"ld-linux-aarch64"));
    assert!(linker.file.is_some());
}
