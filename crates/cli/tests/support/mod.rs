//! What the tests of the commands share: the program, cores made on the spot, gdb.
#![allow(dead_code)] // each test uses a part of it

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

/// The program, with nothing of the environment that changes what it does.
pub fn stillcore() -> Command {
    let mut command = Command::new(assert_cmd::cargo::cargo_bin!("stillcore"));
    for name in [
        "STILLCORE_LOG",
        "STILLCORE_DIRECTORY",
        "STILLCORE_CACHE_SIZE",
        "DEBUGINFOD_URLS",
        "NO_COLOR",
        "CLICOLOR_FORCE",
    ] {
        command.env_remove(name);
    }
    // Nobody's own cache.
    command.env(
        "XDG_CACHE_HOME",
        std::env::temp_dir().join("stillcore-cli-tests"),
    );
    command
}

/// Runs it.
pub fn run<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Output {
    stillcore().args(arguments).output().unwrap()
}

/// Runs it with `--json`: the value, and the exit code.
pub fn json(command: &str, core: &Path, more: &[&str]) -> (Value, i32) {
    let output = stillcore()
        .args([command, "--json"])
        .args(more)
        .arg(core)
        .output()
        .unwrap();
    let value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
        panic!(
            "{command}: {error}: {}{}",
            text(&output.stdout),
            text(&output.stderr)
        )
    });
    (value, output.status.code().unwrap())
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("output is UTF-8")
}

/// Whether there is such a program here.
pub fn has(program: &str) -> bool {
    Command::new(program)
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok()
}

/// A program that ends, or stays, as its first argument says. Its other threads have names that do not show.
pub const PROGRAM: &str = r#"
#define _GNU_SOURCE
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void *sleeper(void *name) {
  pthread_setname_np(pthread_self(), name);
  for (;;) pause();
}
__attribute__((noinline)) int innermost(volatile int *where) { *where = 1; return 0; }
__attribute__((noinline)) int nested(int depth, volatile int *where) {
  if (depth) return nested(depth - 1, where) + 1;
  return innermost(where) + 1;
}
int main(int argc, char **argv) {
  pthread_t threads[2];
  pthread_create(&threads[0], 0, sleeper, "first");
  pthread_create(&threads[1], 0, sleeper, "second\x1b[31m");
  usleep(50000);
  if (!strcmp(argv[1], "abort")) abort();
  if (!strcmp(argv[1], "stay")) { write(1, "ready\n", 6); for (;;) pause(); }
  return nested(3, (int *)16);
}
"#;

/// A program that was built, in a folder that goes with it.
pub struct Program {
    pub folder: TempDir,
    pub path: PathBuf,
}

/// Builds [`PROGRAM`] under this name, or says why it cannot.
pub fn program(name: &OsStr) -> Result<Program, String> {
    if !has("cc") {
        return Err("there is no cc here".to_owned());
    }
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("program.c");
    fs::write(&source, PROGRAM).unwrap();
    let path = folder.path().join(name);
    let status = Command::new("cc")
        .args(["-g", "-O1", "-pthread", "-Wl,--build-id", "-o"])
        .arg(&path)
        .arg(&source)
        .stderr(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success());
    Ok(Program { folder, path })
}

impl Program {
    /// Lets it die in its folder, and gives the core that the kernel left, or says why there is none.
    pub fn die(&self, of: &str) -> Result<PathBuf, String> {
        let before = cores(self.folder.path());
        let status = Command::new("sh")
            .args(["-c", "ulimit -c unlimited && exec \"$0\" \"$1\""])
            .arg(&self.path)
            .arg(of)
            .current_dir(self.folder.path())
            .stderr(Stdio::null())
            .status()
            .unwrap();
        assert!(!status.success());
        let new = cores(self.folder.path());
        let Some(core) = new.into_iter().find(|core| !before.contains(core)) else {
            let pattern = fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap_or_default();
            return Err(format!(
                "the kernel left no core (core_pattern is '{}')",
                pattern.trim()
            ));
        };
        let kept = self.folder.path().join(format!("dead-of.{of}"));
        fs::rename(core, &kept).unwrap();
        Ok(kept)
    }

    /// Lets gcore take a core of it while it lives.
    pub fn gcore(&self) -> Result<PathBuf, String> {
        if !has("gcore") {
            return Err("there is no gcore here".to_owned());
        }
        let mut child = Command::new(&self.path)
            .arg("stay")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        std::io::Read::read(child.stdout.as_mut().unwrap(), &mut [0; 6]).unwrap();
        let prefix = self.folder.path().join("gcore");
        let output = Command::new("gcore")
            .arg("-o")
            .arg(&prefix)
            .arg(child.id().to_string())
            .output()
            .unwrap();
        let core = self.folder.path().join(format!("gcore.{}", child.id()));
        child.kill().unwrap();
        child.wait().unwrap();
        if core.exists() {
            Ok(core)
        } else {
            Err(format!("gcore cannot: {}", text(&output.stderr)))
        }
    }
}

fn cores(folder: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(folder)
        .unwrap()
        .map(|file| file.unwrap().path());
    files
        .filter(|path| {
            let name = path.file_name().unwrap().to_string_lossy();
            name == "core" || name.starts_with("core.")
        })
        .collect()
}

/// What gdb says to these commands about a core.
pub fn gdb(program: &Path, core: &Path, commands: &[&str]) -> Option<String> {
    if !has("gdb") {
        return None;
    }
    let mut gdb = Command::new("gdb");
    gdb.args(["-nx", "-batch", "-iex", "set debuginfod enabled off"]);
    for command in commands {
        gdb.args(["-ex", command]);
    }
    let output = gdb.arg(program).arg(core).output().unwrap();
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Gives the value, or says why a test is skipped, and ends it.
#[macro_export]
macro_rules! or_skip {
    ($what:expr) => {
        match $what {
            Ok(value) => value,
            Err(why) => {
                println!("skipped: {why}");
                return;
            }
        }
    };
}
