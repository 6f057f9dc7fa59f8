//! Memory that was written and is not in the core: missing, whatever the files say. And what was never touched: zero.

mod support;

use std::fs::{self, File, OpenOptions};
use std::path::Path;

use stillcore_corefile::{CoreError, CoreFile, End, Process, Sysroot};
use support::{Bench, open, skipped};

/// Its data are other than in its file when it dies; `shared` is memory that a filter for shared memory keeps.
const PROGRAM: &str = r#"
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
int value[2048] = {1};
__attribute__((used)) int *const volatile relocated[2] = {value, value + 1};
const int constant[4] = {7, 8, 9, 10};
int main(int argc, char **argv) {
  FILE *filter = fopen("/proc/self/coredump_filter", "w");
  fputs(argv[1], filter);
  fclose(filter);
  char *shared = mmap(0, 8192, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  strcpy(shared, "shared");
  char *untouched = mmap(0, 256 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  untouched[128 << 20] = 1;
  value[0] = 42;
  value[1] = constant[argc] + *relocated[1];
  abort();
}
"#;

fn number(process: &Process, name: &str) -> Result<u32, CoreError> {
    process
        .memory
        .read_u32(process.symbol(name).unwrap().address)
}

fn is_missing(result: Result<u32, CoreError>) -> bool {
    matches!(result, Err(CoreError::Missing { .. }))
}

#[test]
fn what_a_filter_left_out_is_missing_and_not_as_in_the_file() {
    let Some(bench) = Bench::new() else { return };
    for options in [
        &["-O1", "-pie", "-fPIE", "-Wl,-z,relro,-z,now"][..],
        &["-O1", "-no-pie"],
    ] {
        bench.compile("program", PROGRAM, options);
        for (filter, is_held) in [
            ("0x33", true),
            // What is left of the default without private memory, and with shared memory only.
            ("0x32", false),
            ("0x30", false),
            ("0x12", false),
            ("0x10", false),
            // Private file memory, with what was written to it.
            ("0x15", true),
        ] {
            let Some(core) = bench.die(&format!("./program {filter}")) else {
                return;
            };
            let process = open(&core);
            let value = number(&process, "value");
            let relocated = number(&process, "relocated");
            if is_held {
                assert_eq!(value.unwrap(), 42, "{filter}");
                let table = process.symbol("value").unwrap().address as u32;
                assert_eq!(relocated.unwrap(), table, "{filter}");
            } else {
                assert!(is_missing(value), "{filter} {options:?}");
                // Without relocations nothing had to be written there.
                assert!(
                    options.contains(&"-no-pie") || is_missing(relocated),
                    "{filter}"
                );
            }
            // What nobody can have written is in the file.
            assert_eq!(number(&process, "constant").unwrap(), 7, "{filter}");
        }
    }
}

/// Without the headers nothing tells whether a file is the right one: it is not said to be another.
#[test]
fn without_headers_no_file_is_believed_or_called_another() {
    let Some(bench) = Bench::new() else { return };
    bench.compile("program", PROGRAM, &["-O1"]);
    let Some(core) = bench.die("./program 0x23") else {
        return;
    };
    let process = open(&core);
    let files = || {
        process
            .modules
            .iter()
            .filter(|module| module.file.is_none())
    };
    assert!(files().count() > 2);
    assert!(
        files()
            .flat_map(|module| &module.mismatches)
            .all(|other| other.unchecked)
    );
    let forced = Sysroot {
        force: true,
        ..Sysroot::host()
    };
    let process = support::open_with(&core, &forced);
    assert_eq!(number(&process, "value").unwrap(), 42);
    assert!(process.backtrace(&process.threads[0]).frames.len() > 3);
}

#[test]
fn what_was_cut_off_is_missing_and_not_as_in_the_file() {
    let Some(bench) = Bench::new() else { return };
    bench.compile("program", PROGRAM, &["-O1", "-pie", "-fPIE"]);
    let Some(core) = bench.die("./program 0xff") else {
        return;
    };
    let whole = open(&core);
    assert_eq!(number(&whole, "value").unwrap(), 42);
    let address = whole.symbol("value").unwrap().address;
    let segment = whole.core.segments().iter();
    let offset = segment
        .filter(|segment| segment.start <= address)
        .map(|segment| segment.offset + (address - segment.start))
        .next_back()
        .unwrap();
    // Everything up to its page is there, then nothing.
    OpenOptions::new()
        .write(true)
        .open(&core)
        .unwrap()
        .set_len(offset / 4096 * 4096)
        .unwrap();
    let cut = open(&core);
    assert!(cut.core.size() < cut.core.expected_size());
    assert!(is_missing(number(&cut, "value")));
    assert_eq!(number(&cut, "constant").unwrap(), 7);
}

#[test]
fn holes_of_a_sparse_core_are_zero_and_not_in_the_core() {
    let Some(bench) = Bench::new() else { return };
    bench.compile("program", PROGRAM, &["-O1"]);
    let Some(core) = bench.die("./program 0x33") else {
        return;
    };
    let process = open(&core);
    let all = process.memory.share(&(0..u64::MAX));
    if blocks(&core) * 512 > 64 << 20 {
        return skipped("the kernel or this file system leaves no holes");
    }
    // A quarter of a gigabyte of which one page was touched.
    assert!(all.zero >= (256 << 20) - (1 << 20), "{all:?}");
    assert!(all.core < 16 << 20, "{all:?}");
    let untouched = process.core.segments().iter();
    let untouched = untouched
        .max_by_key(|segment| segment.end - segment.start)
        .unwrap();
    let page = untouched.start + (128 << 20);
    let middle = process.memory.share(&(page - 4096..page + 8192));
    assert!(
        middle.core >= 4096 && middle.zero + middle.core == 12288,
        "{middle:?}"
    );
    assert_eq!(process.memory.read_u8(untouched.start).unwrap(), 0);

    // The same bytes without holes are what they say.
    let full = bench.path().join("full");
    bench.run(
        "cp",
        &[
            "--sparse=never",
            core.to_str().unwrap(),
            full.to_str().unwrap(),
        ],
    );
    let share = open(&full).memory.share(&(0..u64::MAX));
    assert_eq!(share.core + share.zero, all.core + all.zero);
    assert!(share.core > 256 << 20);
}

fn blocks(path: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    fs::metadata(path).unwrap().blocks()
}

/// Everything is gone: program, library, debug files. The core has what the dynamic linker used.
#[test]
fn names_and_frames_come_from_the_core_where_all_files_are_gone() {
    let Some(bench) = Bench::new() else { return };
    for hash in ["gnu", "sysv"] {
        bench.write(
            "library.c",
            "#include <stdlib.h>\n\
             __attribute__((noinline)) int library_inner(int n) { if (n > 0) abort(); return n; }\n\
             __attribute__((noinline)) int library_outer(int n) { return library_inner(n) + 1; }\n",
        );
        let style = format!("-Wl,--hash-style={hash}");
        bench.run(
            "cc",
            &[
                "-O1",
                "-fPIC",
                "-shared",
                &style,
                "-o",
                "liblost.so",
                "library.c",
            ],
        );
        bench.compile(
            "program",
            "extern int library_outer(int);\n\
             __attribute__((noinline)) int program_calls(int n) { return library_outer(n) + 2; }\n\
             int main(int argc, char **argv) { return program_calls(argc); }\n",
            &[
                "-O1",
                "-rdynamic",
                &style,
                "-L.",
                "-llost",
                "-Wl,-rpath,$ORIGIN",
            ],
        );
        bench.write(
            "run",
            "echo 0xff > /proc/self/coredump_filter; exec ./program",
        );
        let Some(core) = bench.die("sh ./run") else {
            return;
        };
        for file in ["program", "liblost.so", "program.c", "library.c"] {
            fs::remove_file(bench.path().join(file)).unwrap();
        }
        // Nor anything else: not even the C library.
        let nothing = Sysroot {
            no_host: true,
            no_debug: true,
            ..Sysroot::default()
        };
        let opened = CoreFile::open(File::open(&core).unwrap()).unwrap();
        let process = Process::open(opened, &nothing).unwrap();
        assert!(process.modules.iter().all(|module| module.file.is_none()));
        let trace = process.backtrace(&process.threads[0]);
        assert_eq!(trace.end, End::Outermost);
        let names: Vec<String> = trace
            .frames
            .iter()
            .map(|frame| {
                let symbol = process.symbol_at(frame.lookup);
                symbol.map_or("??".to_owned(), |(_, symbol)| symbol.demangled())
            })
            .collect();
        let after_abort: Vec<&str> = names
            .iter()
            .skip_while(|name| !name.contains("abort"))
            .map(String::as_str)
            .take(5)
            .collect();
        assert_eq!(
            after_abort[1..],
            ["library_inner", "library_outer", "program_calls", "main"],
            "{hash}: {names:?}"
        );
        assert!(process.symbol("program_calls").is_some());
        damaged_tables_are_survived(&fs::read(&core).unwrap(), &process, &nothing);
    }
}

/// Bytes of the dynamic section, of the tables that it leads to and of what lies beside them are changed.
fn damaged_tables_are_survived(core: &[u8], sound: &Process, files: &Sysroot) {
    let program = sound.executable().unwrap();
    let segments = sound.core.segments().iter();
    let own: Vec<_> = segments
        .filter(|segment| segment.file_size > 0 && program.contains(segment.start))
        .map(|segment| segment.offset..segment.offset + segment.file_size)
        .collect();
    let mut x = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = |below: u64| {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        x % below
    };
    for _ in 0..150 {
        let mut bytes = core.to_vec();
        for _ in 0..40 {
            let range = &own[random(own.len() as u64) as usize];
            // Where headers, tables and the dynamic section are.
            let at = range.start + random((range.end - range.start).min(4096));
            bytes[at as usize] = [0, 1, 0x7f, 0xff][random(4) as usize];
        }
        let Ok(opened) = CoreFile::open(bytes) else {
            continue;
        };
        let Ok(process) = Process::open(opened, files) else {
            continue;
        };
        let _ = process.symbol("main");
        for frame in &process.backtrace(&process.threads[0]).frames {
            let _ = process.symbol_at(frame.lookup);
        }
    }
}
