//! Small C programs that die, archives of their cores, and what gdb says of them where there is nothing but gdb.
//!
//! Each program dies in (or waits in) `inner`, called by `middle`, called by `main`. The archive is unpacked into a root
//! of its own, in which the files of this machine lie elsewhere: what gdb shows then comes from the archive.
#![allow(dead_code)] // each test uses a part of it

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use stillcore_archive::{ManifestHead, PackOptions, PackageError, PackageJob, Packaged, package};
use stillcore_corefile::{CoreFile, Process, Sysroot};

pub const BODY: &str = r#"
#include <stdlib.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
static int waits;
__attribute__((noinline)) void inner(int depth) {
  if (!waits) abort();
  puts("ready"); fflush(stdout);
  for (;;) pause();
}
__attribute__((noinline)) void middle(int depth) { inner(depth + 1); puts(""); }
"#;

pub const PROGRAM: &str = r#"
int main(int count, char **words) { waits = count > 1 && !strcmp(words[1], "wait"); middle(1); return 0; }
"#;

/// 63 threads that wait, each in `waiter` called by `starter`; the first dies.
pub const THREADS: &str = r#"
#include <pthread.h>
static pthread_barrier_t all;
__attribute__((noinline)) void waiter(long n) { pthread_barrier_wait(&all); for (;;) pause(); }
static void *starter(void *n) { waiter((long)n); return n; }
int main(void) {
  pthread_barrier_init(&all, 0, 64);
  for (long n = 0; n < 63; n++) { pthread_t thread; pthread_create(&thread, 0, starter, (void *)n); }
  pthread_barrier_wait(&all);
  usleep(200000);
  middle(1);
  return 0;
}
"#;

pub const LIBRARY: &str = r#"
void entry(int wait) { waits = wait; middle(1); }
"#;

pub const HOST: &str = r#"
#include <dlfcn.h>
#include <string.h>
#include <stdio.h>
int main(int count, char **words) {
  void *library = dlopen("./plugins/libplug.so", RTLD_NOW);
  if (!library) { puts(dlerror()); return 1; }
  ((void (*)(int))dlsym(library, "entry"))(count > 1 && !strcmp(words[1], "wait"));
  return 0;
}
"#;

/// Runs a program that must succeed.
pub fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{command:?}: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

pub fn has(program: &str) -> bool {
    let found = Command::new("sh")
        .args(["-c", "command -v \"$0\"", program])
        .output();
    found.is_ok_and(|output| output.status.success())
}

/// Whether all that the test needs is here; says what is not.
pub fn can(programs: &[&str]) -> bool {
    for program in programs {
        if !has(program) {
            println!("skipped: {program} is not installed here");
            return false;
        }
    }
    true
}

pub fn gcc(folder: &Path, source: &str, out: &str, flags: &[&str]) -> PathBuf {
    let (from, to) = (folder.join(format!("{out}.c")), folder.join(out));
    fs::create_dir_all(to.parent().unwrap()).unwrap();
    fs::create_dir_all(from.parent().unwrap()).unwrap();
    fs::write(&from, source).unwrap();
    run(Command::new("gcc")
        .args(["-O0", "-g", "-o"])
        .arg(&to)
        .arg(&from)
        .args(flags));
    to
}

/// A core of `program`, run in `folder`, as the kernel writes it. `None`, with the reason printed, where it does not.
pub fn kernel_core(folder: &Path, program: &Path) -> Option<PathBuf> {
    kernel_core_with(folder, program, &[])
}

/// The same of a program that is given these arguments.
pub fn kernel_core_with(folder: &Path, program: &Path, args: &[&str]) -> Option<PathBuf> {
    let pattern = fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap();
    if !pattern.starts_with("core") {
        println!("skipped: cores go to {}", pattern.trim());
        return None;
    }
    let status = Command::new("sh")
        .args(["-c", "ulimit -c unlimited; exec \"$0\" \"$@\""])
        .arg(program)
        .args(args)
        .current_dir(folder)
        .stdout(Stdio::null())
        .status()
        .unwrap();
    assert!(!status.success());
    let core = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| {
            let name = path.file_name().unwrap().to_str().unwrap();
            name.starts_with("core") && path.is_file()
        });
    if core.is_none() {
        println!("skipped: the kernel writes no core here (ulimit -c)");
    }
    core
}

/// A core of the waiting `program` by gcore, taken after `then`.
pub fn gcore_core(folder: &Path, program: &Path, then: impl Fn()) -> Option<PathBuf> {
    use std::io::Read;
    let mut child = Command::new(program)
        .arg("wait")
        .current_dir(folder)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut ready = [0; 5];
    child
        .stdout
        .as_mut()
        .unwrap()
        .read_exact(&mut ready)
        .unwrap();
    then();
    let pid = child.id().to_string();
    let output = Command::new("gcore")
        .arg("-o")
        .arg(folder.join("core"))
        .arg(&pid)
        .output()
        .unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    if !output.status.success() {
        println!(
            "skipped: gcore may not attach here: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        return None;
    }
    Some(folder.join(format!("core.{pid}")))
}

pub fn pack(core: &Path, output: &Path, files: &Sysroot) -> Result<Packaged, PackageError> {
    let file = File::open(core).unwrap();
    let process = Process::open(CoreFile::open(file.try_clone().unwrap()).unwrap(), files).unwrap();
    package(
        &process,
        &PackageJob {
            name: core.file_name().unwrap().to_str().unwrap(),
            core_file: Some(&file),
            core_mtime: file.metadata().unwrap().modified().unwrap(),
            output,
            manifest: ManifestHead::default(),
            options: PackOptions::default(),
            progress: &|_| true,
        },
    )
}

/// What gdb, started by the archive's own script, says to `commands` in a root where there is nothing else. `None`, with the reason printed, where no such root can be had.
pub fn in_gdb(archive: &Path, commands: &[&str]) -> Option<String> {
    if !can(&["gdb", "tar", "unshare", "chroot", "gcc"]) {
        return None;
    }
    let loader = Path::new("/lib64/ld-linux-x86-64.so.2");
    if !nix_is_root() || !loader.exists() {
        println!("skipped: only root can have a root of its own, and only x86_64 is set up here");
        return None;
    }
    // Links of this machine lead elsewhere in there.
    let loader = fs::canonicalize(loader).unwrap();
    let root = tempfile::tempdir().unwrap();
    let at = |path: &str| root.path().join(path);
    for folder in ["host", "away", "proc", "tmp"] {
        fs::create_dir(at(folder)).unwrap();
    }
    run(Command::new("tar")
        .arg("-xzf")
        .arg(archive)
        .arg("-C")
        .arg(at("away")));
    // The machine's own gdb and shell, by its own loader, which is not where programs look for it.
    let start = |name: &str| {
        let found = Command::new("sh")
            .args(["-c", "command -v \"$0\"", name])
            .output()
            .unwrap();
        let found = String::from_utf8(found.stdout).unwrap();
        let program = fs::canonicalize(found.trim_end()).unwrap();
        let program = program.display();
        let source = format!(
            r#"
#include <unistd.h>
int main(int count, char **words) {{
  char *all[count + 8]; int n = 0;
  all[n++] = "ld"; all[n++] = "--library-path";
  all[n++] = "/host/lib/x86_64-linux-gnu:/host/usr/lib/x86_64-linux-gnu:/host/lib64";
  all[n++] = "/host{program}";
  for (int i = 1; i <= count; i++) all[n++] = words[i];
  execv("/host{}", all);
  return 127;
}}
"#,
            loader.display()
        );
        fs::write(at("start.c"), source).unwrap();
        run(Command::new("gcc")
            .args(["-static", "-o"])
            .arg(at(name))
            .arg(at("start.c")));
    };
    start("gdb");
    start("sh");
    let top = fs::read_dir(at("away"))
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .file_name();
    let script = format!("/away/{}/run-gdb.sh", top.to_str().unwrap());
    let output = Command::new("unshare")
        .args([
            "--mount",
            "sh",
            "-c",
            "mount --rbind / \"$0/host\" && mount -t proc none \"$0/proc\" && exec chroot \"$@\"",
        ])
        .arg(root.path())
        .arg(root.path())
        .args(["/sh", &script, "-batch"])
        .args(commands.iter().flat_map(|command| ["-ex", command]))
        .env("GDB", "/gdb")
        .env("PYTHONHOME", "/host/usr")
        .env_remove("DEBUGINFOD_URLS")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    if !said.contains("#0") {
        let why = String::from_utf8_lossy(&output.stderr);
        if why.contains("mount") || why.contains("unshare") {
            println!("skipped: {why}");
            return None;
        }
        panic!("{said}{why}");
    }
    Some(said)
}

pub fn nix_is_root() -> bool {
    let id = Command::new("id").arg("-u").output().unwrap();
    id.stdout == b"0\n"
}

/// Packs the core, and looks at it elsewhere; `lines`: whether source lines are to be seen.
pub fn check(core: &Path, files: &Sysroot, lines: bool) -> Packaged {
    let archive = core.with_file_name("archive.tar.gz");
    let packaged = pack(core, &archive, files).unwrap();
    assert_eq!(
        archive.metadata().unwrap().permissions().mode() & 0o777,
        0o600
    );
    assert_eq!(packaged.left_out, [""; 0]);
    if let Some(said) = in_gdb(&archive, &["bt", "info sharedlibrary"]) {
        for function in ["inner", "middle", "main"] {
            let line = said
                .lines()
                .find(|line| line.starts_with('#') && line.contains(&format!(" {function} (")));
            let line = line.unwrap_or_else(|| panic!("no {function} in\n{said}"));
            assert!(!lines || line.contains(".c:"), "no line in\n{said}");
        }
        // Loaded with symbols, and from the archive.
        for line in said.lines().filter(|line| line.starts_with("0x")) {
            assert!(line.contains("Yes") && line.contains("/away/"), "{said}");
        }
    }
    packaged
}

pub fn both_ways(folder: &Path, program: &Path, check: impl Fn(&Path)) {
    if let Some(core) = kernel_core(folder, program) {
        check(&core);
        fs::remove_file(core.with_file_name("archive.tar.gz")).unwrap();
        fs::remove_file(core).unwrap();
    }
    if can(&["gcore"])
        && let Some(core) = gcore_core(folder, program, || {})
    {
        check(&core);
    }
}
