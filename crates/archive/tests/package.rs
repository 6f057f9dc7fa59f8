//! Archives of small C programs, opened by gdb where there is nothing but gdb.
//!
//! Each program dies in (or waits in) `inner`, called by `middle`, called by `main`. The archive is unpacked into a root
//! of its own, in which the files of this machine lie elsewhere: what gdb shows then comes from the archive.

use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use stillcore_archive::{ManifestHead, PackOptions, PackageError, PackageJob, Packaged, package};
use stillcore_corefile::{CoreFile, Process, Sysroot};

const BODY: &str = r#"
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

const PROGRAM: &str = r#"
int main(int count, char **words) { waits = count > 1 && !strcmp(words[1], "wait"); middle(1); return 0; }
"#;

/// 63 threads that wait, each in `waiter` called by `starter`; the first dies.
const THREADS: &str = r#"
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

const LIBRARY: &str = r#"
void entry(int wait) { waits = wait; middle(1); }
"#;

const HOST: &str = r#"
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
fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{command:?}: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

fn has(program: &str) -> bool {
    let found = Command::new("sh")
        .args(["-c", "command -v \"$0\"", program])
        .output();
    found.is_ok_and(|output| output.status.success())
}

/// Whether all that the test needs is here; says what is not.
fn can(programs: &[&str]) -> bool {
    for program in programs {
        if !has(program) {
            println!("skipped: {program} is not installed here");
            return false;
        }
    }
    true
}

fn gcc(folder: &Path, source: &str, out: &str, flags: &[&str]) -> PathBuf {
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
fn kernel_core(folder: &Path, program: &Path) -> Option<PathBuf> {
    let pattern = fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap();
    if !pattern.starts_with("core") {
        println!("skipped: cores go to {}", pattern.trim());
        return None;
    }
    let status = Command::new("sh")
        .args(["-c", "ulimit -c unlimited; exec \"$0\""])
        .arg(program)
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
fn gcore_core(folder: &Path, program: &Path, then: impl Fn()) -> Option<PathBuf> {
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

fn pack(core: &Path, output: &Path, files: &Sysroot) -> Result<Packaged, PackageError> {
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
fn in_gdb(archive: &Path, commands: &[&str]) -> Option<String> {
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

fn nix_is_root() -> bool {
    let id = Command::new("id").arg("-u").output().unwrap();
    id.stdout == b"0\n"
}

/// Packs the core, and looks at it elsewhere; `lines`: whether source lines are to be seen.
fn check(core: &Path, files: &Sysroot, lines: bool) -> Packaged {
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

fn both_ways(folder: &Path, program: &Path, check: impl Fn(&Path)) {
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
    let Some(made) = kernel_core_of_shell(folder.path()) else {
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

fn kernel_core_of_shell(folder: &Path) -> Option<PathBuf> {
    let pattern = fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap();
    if !pattern.starts_with("core") {
        println!("skipped: cores go to {}", pattern.trim());
        return None;
    }
    let status = Command::new("sh")
        .args(["-c", "ulimit -c unlimited; kill -ABRT $$"])
        .current_dir(folder)
        .status()
        .unwrap();
    assert!(!status.success());
    let until = Instant::now() + Duration::from_secs(5);
    while Instant::now() < until {
        if let Some(entry) = fs::read_dir(folder).unwrap().next() {
            return Some(entry.unwrap().path());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    println!("skipped: the kernel writes no core here");
    None
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
