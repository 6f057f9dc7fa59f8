//! Cores of small programs, made here by the kernel and by gcore, with gdb as the referee.

mod support;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use stillcore_corefile::{End, FrameTrust, ModuleKind};
use support::{Bench, assert_as_gdb, gdb_libraries, has, open, skipped};

const ABORT: &str = r#"
#include <stdlib.h>
#include <stdio.h>
static void __attribute__((noinline)) inner(int x) { if (x) abort(); puts("x"); }
static inline __attribute__((always_inline)) void middle(int x) { inner(x); puts("z"); }
static void __attribute__((noinline)) outer(int x) { middle(x); puts("y"); }
int main(int argc, char **argv) { (void)argv; outer(argc); return 0; }
"#;

const FAULT: &str = r"
#include <stddef.h>
struct list { struct list *next; long value; };
static long __attribute__((noinline)) sum(struct list *volatile list) {
  volatile long total = 0;
  for (int i = 0; i < 10; i++) { total += ((volatile struct list *)list)->value; list = list->next; }
  return total;
}
static long __attribute__((noinline)) deeper(struct list *list, int depth) {
  volatile char room[64];
  room[depth % 64] = 1;
  return depth ? deeper(list, depth - 1) + room[depth % 64] : sum(list) + room[0];
}
int main(void) { struct list one = { NULL, 1 }; return (int)deeper(&one, 20); }
";

const BAD_CALL: &str = r"
static int (*volatile nothing)(int);
static int __attribute__((noinline)) calls(int x) { return nothing(x) + 1; }
int main(int argc, char **argv) { (void)argv; return calls(argc); }
";

const HANDLER: &str = r#"
#define _GNU_SOURCE
#include <signal.h>
#include <stdlib.h>
#include <string.h>
static void __attribute__((noinline)) cleanup(int signal) { if (signal) abort(); }
static void handler(int signal) { cleanup(signal); }
static int __attribute__((noinline)) faulty(volatile int *where) { return *where + 1; }
int main(int argc, char **argv) {
  (void)argv;
  struct sigaction action;
  memset(&action, 0, sizeof action);
  action.sa_handler = handler;
  if (argc > 1) {
    stack_t stack = { .ss_sp = malloc(1 << 16), .ss_size = 1 << 16 };
    sigaltstack(&stack, NULL);
    action.sa_flags = SA_ONSTACK;
  }
  sigaction(SIGSEGV, &action, NULL);
  return faulty((int *)8);
}
"#;

const THREADS: &str = r#"
#define _GNU_SOURCE
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>
static pthread_barrier_t barrier;
static void __attribute__((noinline)) sleeps(long number) { for (;;) { pause(); number++; } }
static void *work(void *number) { pthread_barrier_wait(&barrier); sleeps((long)number); return NULL; }
int main(void) {
  pthread_t thread;
  pthread_barrier_init(&barrier, NULL, 64);
  for (long i = 0; i < 63; i++) pthread_create(&thread, NULL, work, (void *)i);
  pthread_barrier_wait(&barrier);
  usleep(300000);
  abort();
}
"#;

/// The program's core by the kernel, compared with gdb frame for frame.
fn compare(source: &str, options: &[&str], arguments: &str) {
    let Some(bench) = Bench::new() else { return };
    let program = bench.compile("program", source, options);
    let Some(core) = bench.die(&format!("./program {arguments}")) else {
        return;
    };
    let process = open(&core);
    assert_as_gdb(&process, &program, &core, &[]);
    assert!(process.executable().is_some());
    assert_eq!(process.mismatches().count(), 0);
}

#[test]
fn abort() {
    for options in [
        &["-g", "-O1"][..],
        &["-O2"],
        &["-g", "-O2", "-no-pie"],
        &["-g", "-O0", "-fno-omit-frame-pointer"],
        &["-g", "-O1", "-static"],
        &["-g", "-O1", "-static-pie"],
    ] {
        println!("{options:?}");
        compare(ABORT, options, "");
    }
}

#[test]
fn a_bad_pointer() {
    for options in [
        &["-g", "-O1"][..],
        &["-O2", "-s"],
        &["-O0", "-no-pie"],
        // Only .debug_frame.
        &[
            "-g",
            "-O1",
            "-fno-asynchronous-unwind-tables",
            "-fno-exceptions",
        ],
        &["-O1", "-Wl,--no-eh-frame-hdr"],
    ] {
        println!("{options:?}");
        compare(FAULT, options, "");
    }
}

#[test]
fn a_call_through_a_null_pointer() {
    compare(BAD_CALL, &["-g", "-O1"], "");
    compare(BAD_CALL, &["-g", "-O0"], "");
}

#[test]
fn in_a_signal_handler() {
    compare(HANDLER, &["-g", "-O1"], "");
    compare(HANDLER, &["-g", "-O1"], "on-its-own-stack");
    compare(HANDLER, &["-g", "-O1", "-static"], "");
}

#[test]
fn sixty_four_threads() {
    compare(THREADS, &["-g", "-O1", "-pthread"], "");
}

#[test]
fn in_a_library_that_was_opened_by_a_relative_path() {
    let Some(bench) = Bench::new() else { return };
    bench.write(
        "plugin.c",
        "#include <stdlib.h>\nstatic void __attribute__((noinline)) fails(void) { abort(); }\n\
         void plugin(void) { fails(); abort(); }\n",
    );
    bench.run(
        "cc",
        &[
            "-g",
            "-O1",
            "-shared",
            "-fPIC",
            "-o",
            "plugin.so",
            "plugin.c",
        ],
    );
    let program = bench.compile(
        "program",
        "#include <dlfcn.h>\nint main(void) { void *library = dlopen(\"./plugin.so\", RTLD_NOW);\n\
         void (*plugin)(void) = (void (*)(void))dlsym(library, \"plugin\"); plugin(); return 0; }\n",
        &["-g", "-O1"],
    );
    let Some(core) = bench.die("./program") else {
        return;
    };
    let process = open(&core);
    assert_as_gdb(&process, &program, &core, &[]);
    let plugin = process
        .modules
        .iter()
        .find(|module| module.name() == b"plugin.so")
        .expect("the library");
    assert_eq!(plugin.link_name.as_deref(), Some(&b"./plugin.so"[..]));
    assert!(plugin.path.starts_with(b"/") && plugin.file.is_some());
}

#[test]
fn modules_are_those_of_gdb() {
    let Some(bench) = Bench::new() else { return };
    let program = bench.compile(
        "program",
        THREADS,
        &["-g", "-pthread", "-lm", "-Wl,--no-as-needed", "-ldl"],
    );
    let Some(core) = bench.die("./program") else {
        return;
    };
    let process = open(&core);
    let kinds: Vec<_> = process.modules.iter().map(|module| module.kind).collect();
    for kind in [
        ModuleKind::Executable,
        ModuleKind::Interpreter,
        ModuleKind::Vdso,
    ] {
        assert_eq!(
            kinds.iter().filter(|known| **known == kind).count(),
            1,
            "{kind:?}"
        );
    }
    if !has("gdb") {
        return skipped("there is no gdb to compare with");
    }
    let libraries = gdb_libraries(&program, &core);
    assert!(libraries.len() > 1);
    for (start, path) in &libraries {
        let module = process
            .module_at(*start)
            .unwrap_or_else(|| panic!("{path}"));
        let real = std::fs::canonicalize(path).unwrap();
        assert_eq!(module.path, real.to_string_lossy().as_bytes());
    }
    let ours = process
        .modules
        .iter()
        .filter(|module| matches!(module.kind, ModuleKind::Library | ModuleKind::Interpreter))
        .count();
    assert_eq!(ours, libraries.len());
}

/// A core of a program that waits, by gcore, and the process's id; `None`, with the reason printed, where that cannot be
/// had.
fn by_gcore(bench: &Bench, program: &Path) -> Option<(PathBuf, i32)> {
    // It comes with gdb, and knows no --version.
    if !has("gdb") {
        skipped("there is no gcore");
        return None;
    }
    let mut child = Command::new(program).stdout(Stdio::null()).spawn().unwrap();
    std::thread::sleep(std::time::Duration::from_millis(700));
    let pid = child.id();
    let made = Command::new("gcore")
        .args(["-o", "core", &pid.to_string()])
        .current_dir(bench.path())
        .output();
    child.kill().unwrap();
    child.wait().unwrap();
    let core = bench.path().join(format!("core.{pid}"));
    if !core.exists() {
        skipped(&format!("gcore made none: {made:?}"));
        return None;
    }
    Some((core, pid as i32))
}

#[test]
fn a_core_by_gcore() {
    let Some(bench) = Bench::new() else { return };
    let sleeps = THREADS.replace("abort();", "sleeps(7);");
    let program = bench.compile("program", &sleeps, &["-g", "-O1", "-pthread"]);
    let Some((core, pid)) = by_gcore(&bench, &program) else {
        return;
    };
    let process = open(&core);
    assert_eq!(process.threads.len(), 64);
    assert_eq!(process.about.pid, Some(pid));
    assert!(process.about.signal.is_none_or(|signal| signal.number != 6));
    assert_as_gdb(&process, &program, &core, &[]);
}

#[test]
fn a_panic_in_rust() {
    if !has("rustc") {
        return skipped("there is no rustc");
    }
    let Some(bench) = Bench::new() else { return };
    bench.write(
        "program.rs",
        "#[inline(never)] fn fails(n: &[u32]) -> u32 { n[n.len()] }\n\
         fn main() { let numbers: Vec<u32> = std::env::args().map(|_| 1).collect(); std::process::exit(fails(&numbers) as i32); }\n",
    );
    bench.run(
        "rustc",
        &["-g", "-C", "panic=abort", "-o", "program", "program.rs"],
    );
    let Some(core) = bench.die("./program") else {
        return;
    };
    let process = open(&core);
    let trace = process.backtrace(&process.threads[0]);
    assert_eq!(trace.end, End::Outermost);
    assert!(
        trace.frames[1..]
            .iter()
            .all(|frame| frame.trust == FrameTrust::Cfi)
    );
    let functions: Vec<String> = trace
        .frames
        .iter()
        .flat_map(|frame| process.locations(frame.lookup))
        .filter_map(|location| location.function)
        .collect();
    assert!(
        functions.iter().any(|name| name == "program::fails"),
        "{functions:?}"
    );
    assert!(functions.iter().any(|name| name == "program::main"));
    let main = process.main_frame(&trace).expect("main");
    assert!(main < trace.frames.len());
}

#[test]
fn who_died_and_of_what() {
    let Some(bench) = Bench::new() else { return };
    bench.compile("program", FAULT, &["-O1"]);
    let Some(core) = bench.die("./program one two") else {
        return;
    };
    let about = open(&core).about;
    assert_eq!(about.name, b"program");
    assert_eq!(about.arguments, b"./program one two");
    let signal = about.signal.expect("a signal");
    // SIGSEGV, SEGV_MAPERR; the second member of a null pointer's struct.
    assert_eq!(
        (signal.number, signal.code, signal.address),
        (11, 1, Some(8))
    );
    assert!(about.capture.is_none() && about.unreadable.is_empty());
}

#[test]
fn an_endless_recursion() {
    let Some(bench) = Bench::new() else { return };
    bench.compile(
        "program",
        "static volatile int one = 1;\n\
         static long __attribute__((noinline)) again(long n) { return one ? again(n + 1) + 1 : n; }\n\
         int main(void) { return (int)again(0); }\n",
        &["-g", "-O1", "-fno-optimize-sibling-calls"],
    );
    // 16 bytes a frame.
    bench.write("run", "ulimit -s 1024; exec ./program");
    let Some(core) = bench.die("sh ./run") else {
        return;
    };
    let process = open(&core);
    let trace = process.backtrace(&process.threads[0]);
    assert_eq!(trace.end, End::Outermost);
    assert!(trace.frames.len() > 20_000, "{}", trace.frames.len());
    let with = process.with_tail_calls(trace.clone());
    assert_eq!(with.frames.len(), trace.frames.len());
    assert!(process.main_frame(&trace).is_some());
}

/// As in musl's libc: no unwind tables, and the frame pointer is a register like any.
#[cfg(target_arch = "x86_64")]
#[test]
fn zeros_where_the_frame_pointer_points_end_no_stack_without_tables() {
    let Some(bench) = Bench::new() else { return };
    bench.compile(
        "program",
        r#"
__asm__(".text\n.type leaf,@function\nleaf: mov (%rdi),%eax\n ret\n.size leaf,.-leaf\n"
        ".globl middle\n.type middle,@function\nmiddle: push %rbp\n sub $160,%rsp\n lea 16(%rsp),%rbp\n"
        " movq $0,(%rbp)\n movq $0,8(%rbp)\n movq $0,(%rsp)\n movq $0,8(%rsp)\n call leaf\n"
        " add $160,%rsp\n pop %rbp\n ret\n.size middle,.-middle\n");
int middle(void *where);
int main(void) { return middle((void *)8) + 1; }
"#,
        &["-O1"],
    );
    let Some(core) = bench.die("./program") else {
        return;
    };
    let process = open(&core);
    let trace = process.backtrace(&process.threads[0]);
    let names: Vec<_> = trace.frames[..3]
        .iter()
        .map(|frame| process.symbol_at(frame.lookup).unwrap().1.demangled())
        .collect();
    assert_eq!(names, ["leaf", "middle", "main"]);
    assert_eq!(trace.end, End::Outermost);
}

/// Nothing is made up beyond the first function of a program whose code is not to be had.
#[test]
fn a_program_that_is_gone_ends_where_it_began() {
    let Some(bench) = Bench::new() else { return };
    bench.compile(
        "program",
        "#include <unistd.h>\n#include <stdlib.h>\n\
         int main(int argc, char **argv) { (void)argc; unlink(argv[0]); abort(); }\n",
        &["-O0"],
    );
    let Some(core) = bench.die("./program") else {
        return;
    };
    let process = open(&core);
    let trace = process.backtrace(&process.threads[0]);
    let last = trace.frames.last().unwrap();
    assert_eq!((trace.end, last.trust), (End::Outermost, FrameTrust::Cfi));
    assert_eq!(
        last.module,
        process.modules.iter().position(|module| module.deleted)
    );
}

/// The text of a file that is gone is in gcore's core: its unwind table is read there.
#[test]
fn a_program_that_is_gone_in_a_core_by_gcore() {
    let Some(bench) = Bench::new() else { return };
    let source = "#include <unistd.h>\nstatic void __attribute__((noinline)) sleeps(int n) { for (;;) { pause(); n++; } }\n\
        static void __attribute__((noinline)) outer(int n) { sleeps(n); pause(); }\n\
        int main(int argc, char **argv) { unlink(argv[0]); outer(argc); return 0; }\n";
    let program = bench.compile("program", source, &["-O2"]);
    let Some((core, _)) = by_gcore(&bench, &program) else {
        return;
    };
    let process = open(&core);
    let module = process.executable().unwrap();
    assert!(module.deleted && module.file.is_none());
    let share = process.memory.share(&module.range);
    if share.missing > 0 {
        return skipped("this gdb leaves the text of deleted files out");
    }
    let trace = process.backtrace(&process.threads[0]);
    assert_eq!(trace.end, End::Outermost);
    let trusts: Vec<_> = trace.frames.iter().map(|frame| frame.trust).collect();
    assert!(
        trusts[1..].iter().all(|trust| *trust == FrameTrust::Cfi),
        "{trusts:?}"
    );
}

/// As postject and patchelf do, which put something into a program: its program headers go to where there is room.
#[test]
fn a_program_whose_headers_were_moved() {
    const ROOM: &str = r#"
#include <stdlib.h>
const char room[8192] __attribute__((aligned(4096))) = "room for program headers";
int main(int argc, char **argv) { (void)argv; if (room[argc] == 'o') abort(); return 0; }
"#;
    for options in [&["-g", "-no-pie"][..], &["-g", "-pie", "-fPIE"]] {
        let Some(bench) = Bench::new() else { return };
        let program = bench.compile("program", ROOM, options);
        let mut bytes = std::fs::read(&program).unwrap();
        let long =
            |bytes: &[u8], at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
        let old = long(&bytes, 32) as usize;
        let count = usize::from(u16::from_le_bytes([bytes[56], bytes[57]]));
        let text = b"room for program headers";
        let room = bytes.windows(text.len()).position(|part| part == text);
        let new = room.expect("the array is in the file") + 4096;
        // Where the array is loaded, as far from its place in the file as the rest of its segment.
        let distance = (0..count).find_map(|index| {
            let at = old + 56 * index;
            let (offset, address, size) = (
                long(&bytes, at + 8),
                long(&bytes, at + 16),
                long(&bytes, at + 32),
            );
            (bytes[at] == 1 && (offset..offset + size).contains(&(new as u64)))
                .then(|| address - offset)
        });
        let address = distance.expect("a segment has the array") + new as u64;
        bytes[32..40].copy_from_slice(&(new as u64).to_le_bytes());
        let mut table = bytes[old..old + 56 * count].to_vec();
        let own = table.chunks_exact_mut(56).find(|header| header[0] == 6);
        let own = own.expect("a header of the headers");
        own[8..16].copy_from_slice(&(new as u64).to_le_bytes());
        own[16..24].copy_from_slice(&address.to_le_bytes());
        own[24..32].copy_from_slice(&address.to_le_bytes());
        bytes[new..new + table.len()].copy_from_slice(&table);
        bytes[old..old + table.len()].fill(0);
        std::fs::write(&program, bytes).unwrap();

        let Some(core) = bench.die("./program") else {
            return;
        };
        let process = open(&core);
        let executable = process.executable().expect("the program");
        assert!(executable.file.is_some(), "{:?}", executable.mismatches);
        let frames = support::frames(&process, &process.threads[0]);
        assert!(
            frames
                .iter()
                .any(|frame| frame.name.as_deref() == Some("main")),
            "{frames:?}"
        );
    }
}
