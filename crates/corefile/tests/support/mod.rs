//! Programs that are compiled and die here, and what gdb says of their cores.
#![allow(dead_code)] // every test takes what it needs

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use stillcore_corefile::{CoreFile, FrameTrust, Process, Sysroot, Thread};

/// A folder for one test, with what is needed to make cores in it.
pub struct Bench {
    folder: tempfile::TempDir,
}

/// Prints for what reason a test does not run.
pub fn skipped(why: &str) {
    println!("skipped: {why}");
}

/// Whether a command can be run.
pub fn has(command: &str) -> bool {
    Command::new(command)
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

impl Bench {
    /// `None`, with the reason printed, where no core can be made here.
    pub fn new() -> Option<Bench> {
        if !cfg!(target_os = "linux") {
            skipped("cores are made by Linux");
            return None;
        }
        if !has("cc") {
            skipped("there is no C compiler");
            return None;
        }
        Some(Bench {
            folder: tempfile::tempdir().unwrap(),
        })
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Writes a file into the folder.
    pub fn write(&self, name: &str, content: &str) -> PathBuf {
        let path = self.path().join(name);
        fs::write(&path, content).unwrap();
        path
    }

    /// Runs a command in the folder; it must succeed.
    pub fn run(&self, command: &str, arguments: &[&str]) -> Output {
        let output = Command::new(command)
            .args(arguments)
            .current_dir(self.path())
            .output()
            .unwrap_or_else(|error| panic!("{command}: {error}"));
        assert!(
            output.status.success(),
            "{command} {arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        output
    }

    /// Compiles C. The name of the source without its ending becomes that of the program.
    pub fn compile(&self, name: &str, source: &str, options: &[&str]) -> PathBuf {
        self.write(&format!("{name}.c"), source);
        let file = format!("{name}.c");
        let mut arguments = vec!["-o", name, file.as_str()];
        arguments.extend_from_slice(options);
        self.run("cc", &arguments);
        self.path().join(name)
    }

    /// Lets a program die in the folder and gives the kernel's core; `None`, with the reason printed, where the kernel
    /// leaves no core in the working folder.
    pub fn die(&self, command: &str) -> Option<PathBuf> {
        let pattern = fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap_or_default();
        if pattern.starts_with('|') || pattern.contains('/') {
            skipped(&format!("core_pattern is {}", pattern.trim()));
            return None;
        }
        let is_core = |path: &Path| {
            path.file_name()
                .is_some_and(|name| name.to_string_lossy().starts_with("core"))
        };
        let cores = || {
            fs::read_dir(self.path())
                .unwrap()
                .map(|entry| entry.unwrap().path())
                .filter(|path| is_core(path))
                .collect::<Vec<_>>()
        };
        for old in cores() {
            fs::remove_file(old).unwrap();
        }
        let script = format!("ulimit -c unlimited && ulimit -t 20 && exec {command}");
        let output = Command::new("sh")
            .args(["-c", &script])
            .current_dir(self.path())
            .output()
            .unwrap();
        let found = cores();
        if found.len() != 1 {
            // A hard limit, or no room.
            skipped(&format!(
                "{command} left {} cores: {:?} {}",
                found.len(),
                output.status,
                String::from_utf8_lossy(&output.stderr)
            ));
            return None;
        }
        found.into_iter().next()
    }
}

/// Opens a core with the files of this machine.
pub fn open(core: &Path) -> Process {
    open_with(core, &Sysroot::host())
}

/// Opens a core.
pub fn open_with(core: &Path, files: &Sysroot) -> Process {
    let core = CoreFile::open(File::open(core).unwrap()).unwrap();
    Process::open(core, files).unwrap()
}

/// A frame as gdb shows it: program counter, function, and whether it was inlined, a tail call or a signal's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GdbFrame {
    pub pc: u64,
    pub name: Option<String>,
    pub kind: String,
}

/// Every thread's frames as gdb has them, by thread id.
pub fn gdb_frames(program: &Path, core: &Path, more: &[&str]) -> BTreeMap<i64, Vec<GdbFrame>> {
    const SCRIPT: &str = r"
import gdb
kinds = {gdb.NORMAL_FRAME: 'normal', gdb.INLINE_FRAME: 'inline', gdb.TAILCALL_FRAME: 'tail', gdb.SIGTRAMP_FRAME: 'signal'}
for thread in gdb.selected_inferior().threads():
    thread.switch()
    print('THREAD', thread.ptid[1])
    frame = gdb.newest_frame()
    while frame is not None:
        print('FRAME', frame.pc(), kinds.get(frame.type(), 'other'), frame.name() or '')
        try:
            frame = frame.older()
        except gdb.error:
            break
";
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("frames.py");
    fs::write(&script, SCRIPT).unwrap();
    let mut command = Command::new("gdb");
    command.args(["-batch", "-nx", "-iex", "set debuginfod enabled off"]);
    command.args(["-ex", "set backtrace past-main on"]);
    for line in more {
        command.args(["-iex", line]);
    }
    let output = command
        .args(["-ex".into(), format!("source {}", script.display())])
        .arg(program)
        .arg(core)
        // Where libraries with relative paths are found.
        .current_dir(core.parent().unwrap())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let mut threads: BTreeMap<i64, Vec<GdbFrame>> = BTreeMap::new();
    let mut now = 0;
    for line in text.lines() {
        let words: Vec<&str> = line.splitn(4, ' ').collect();
        match words[..] {
            ["THREAD", id] => {
                now = id.parse().unwrap();
                threads.entry(now).or_default();
            }
            ["FRAME", pc, kind, name] => threads.entry(now).or_default().push(GdbFrame {
                pc: pc.parse().unwrap(),
                name: (!name.is_empty()).then(|| name.to_owned()),
                kind: kind.to_owned(),
            }),
            _ => {}
        }
    }
    assert!(
        !threads.is_empty(),
        "gdb: {text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    threads
}

/// Our frames in the same form: an inlined function is a frame of its own.
pub fn frames(process: &Process, thread: &Thread) -> Vec<GdbFrame> {
    let mut all = Vec::new();
    let trace = process.with_tail_calls(process.backtrace(thread));
    for frame in &trace.frames {
        let mut push = |name: Option<String>, kind: &str| {
            all.push(GdbFrame {
                pc: frame.pc,
                name,
                kind: kind.to_owned(),
            });
        };
        if frame.is_signal {
            let symbol = process.symbol_at(frame.lookup);
            push(symbol.map(|(_, symbol)| symbol.demangled()), "signal");
            continue;
        }
        let locations = process.locations(frame.lookup);
        if locations.iter().all(|location| location.function.is_none()) {
            let symbol = process.symbol_at(frame.lookup);
            push(symbol.map(|(_, symbol)| symbol.demangled()), "normal");
            continue;
        }
        if frame.trust == FrameTrust::TailCall {
            // gdb shows what was inlined into such a frame instead of its function.
            push(locations[0].function.clone(), "tail");
            continue;
        }
        for location in locations {
            push(
                location.function.clone(),
                if location.inlined { "inline" } else { "normal" },
            );
        }
    }
    all
}

/// Asserts that all threads have the frames that gdb shows, one for one, by program counter and name.
pub fn assert_as_gdb(process: &Process, program: &Path, core: &Path, more: &[&str]) {
    if !has("gdb") {
        skipped("there is no gdb to compare with");
        return;
    }
    let theirs = gdb_frames(program, core, more);
    let ids: Vec<i64> = process
        .threads
        .iter()
        .map(|thread| i64::from(thread.tid))
        .collect();
    let mut sorted = ids.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, theirs.keys().copied().collect::<Vec<_>>());
    for thread in &process.threads {
        let ours = frames(process, thread);
        let theirs = &theirs[&i64::from(thread.tid)];
        let same = ours.len() == theirs.len()
            && ours.iter().zip(theirs).all(|(ours, theirs)| {
                ours.pc == theirs.pc
                    && ours.kind == theirs.kind
                    // gdb names no function that a signal's trampoline would be in.
                    && (ours.kind == "signal" || is_same_name(process, ours, theirs))
            });
        assert!(
            same,
            "thread {}\nours {ours:#x?}\ngdb  {theirs:#x?}",
            thread.tid
        );
    }
}

/// Whether the names are equal, or both names of one address: which of several gdb shows depends on how it happened to
/// sort them.
fn is_same_name(process: &Process, ours: &GdbFrame, theirs: &GdbFrame) -> bool {
    if ours.name == theirs.name {
        return true;
    }
    let (Some(module), Some(ours), Some(theirs)) =
        (process.module_at(ours.pc), &ours.name, &theirs.name)
    else {
        return false;
    };
    let theirs = theirs.replace("[cold]", ".cold");
    let places = |name: &str| module.symbols(|known| known == name.as_bytes());
    *ours == theirs
        || places(ours).iter().any(|ours| {
            let there = places(&theirs);
            there.iter().any(|theirs| theirs.address == ours.address)
        })
}

/// The shared libraries that gdb sees: the address where the text begins, and the path.
pub fn gdb_libraries(program: &Path, core: &Path) -> Vec<(u64, String)> {
    let output = Command::new("gdb")
        .args(["-batch", "-nx", "-ex", "info sharedlibrary"])
        .arg(program)
        .arg(core)
        .output()
        .unwrap();
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| {
            let start = line.split_whitespace().next()?.strip_prefix("0x")?;
            let path = &line[line.find('/').or_else(|| line.find("./"))?..];
            Some((u64::from_str_radix(start, 16).ok()?, path.to_owned()))
        })
        .collect()
}
