//! Killed, without room, or two at once: nothing half has its final name, and what is left goes with the next run.
#![cfg(target_os = "linux")]

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use support::{has, run, stillcore, text};
use tempfile::TempDir;

/// A core with 96 MB that do not compress, or why there is none.
fn large_core() -> Result<(TempDir, PathBuf), String> {
    if !has("cc") {
        return Err("there is no cc here".to_owned());
    }
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("large.c");
    fs::write(
        &source,
        "#include <stdlib.h>\n\
         int main(void) {\n\
           unsigned long n = 96 << 20, x = 88172645463325252UL, *p = malloc(n);\n\
           for (unsigned long i = 0; i < n / 8; i++) { x ^= x << 13; x ^= x >> 7; x ^= x << 17; p[i] = x; }\n\
           abort();\n\
         }\n",
    )
    .unwrap();
    let made = Command::new("sh")
        .args([
            "-c",
            "cc -O1 -o large large.c && ulimit -c unlimited && ./large",
        ])
        .current_dir(folder.path())
        .stderr(Stdio::null())
        .status()
        .unwrap();
    assert!(!made.success());
    let core = names(folder.path())
        .into_iter()
        .find(|name| name.starts_with("core"));
    match core {
        Some(core) => {
            let path = folder.path().join(core);
            Ok((folder, path))
        }
        None => Err("the kernel left no core".to_owned()),
    }
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// Kills it when `half_way`; `false` when it was faster.
fn killed(command: &mut Command, half_way: impl Fn() -> bool) -> bool {
    let mut child = command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let until = Instant::now() + Duration::from_secs(60);
    while !half_way() && Instant::now() < until {
        if child.try_wait().unwrap().is_some() {
            return false;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    child.kill().unwrap();
    !child.wait().unwrap().success()
}

#[test]
fn killed_while_it_packs_and_while_it_unpacks() {
    let (folder, core) = or_skip!(large_core());
    let at = |name: &str| folder.path().join(name);
    fs::create_dir(at("out")).unwrap();
    let archive = at("out/core.tar.gz");
    let began = Instant::now();
    let mut packing = stillcore();
    packing.arg("archive").arg(&core).arg("-o").arg(&archive);
    let was_killed = killed(&mut packing, || {
        began.elapsed() > Duration::from_millis(250)
    });
    if was_killed {
        assert!(!archive.exists());
        // Where the file system cannot write files without a name, one with another name is left.
        assert!(
            names(&at("out"))
                .iter()
                .all(|name| name.starts_with(".stillcore-archive-"))
        );
    }
    // As on such a file system: the next one, whatever archive it packs, sweeps it.
    fs::write(at("out/.stillcore-archive-4194304.0"), "left").unwrap();
    let packed = run([
        "archive".as_ref(),
        core.as_os_str(),
        "-o".as_ref(),
        archive.as_os_str(),
    ]);
    if was_killed {
        assert!(packed.status.success(), "{}", text(&packed.stderr));
    }
    assert_eq!(names(&at("out")), ["core.tar.gz"]);

    let into = at("into");
    let half = || {
        let staged = fs::read_dir(&into).ok();
        staged.is_some_and(|mut entries| entries.next().is_some())
    };
    let was_killed = killed(stillcore().arg("unpack").arg(&archive).arg(&into), half);
    assert!(was_killed, "96 MB were unpacked within a millisecond");
    let left = names(&into);
    assert!(
        left.iter()
            .all(|name| name.starts_with(".stillcore-unpack-")),
        "{left:?}"
    );
    // The next one, of whatever archive, sweeps it.
    let unpacked = run(["unpack".as_ref(), archive.as_os_str(), into.as_os_str()]);
    assert!(unpacked.status.success(), "{}", text(&unpacked.stderr));
    let name = core.file_name().unwrap().to_str().unwrap();
    assert_eq!(names(&into), [format!("archive-{name}")]);
    let there = into.join(format!("archive-{name}")).join(name);
    assert_eq!(
        fs::metadata(there).unwrap().len(),
        fs::metadata(&core).unwrap().len()
    );
}

#[test]
fn two_at_once() {
    let (folder, core) = or_skip!(large_core());
    let at = |name: &str| folder.path().join(name);
    fs::create_dir(at("out")).unwrap();
    let archive = at("out/core.tar.gz");
    let both = |arguments: &[&std::ffi::OsStr]| {
        let start = || {
            stillcore()
                .args(arguments)
                .stdout(Stdio::null())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap()
        };
        let children = [start(), start()];
        children.map(|child| {
            let output = child.wait_with_output().unwrap();
            (output.status.code().unwrap(), text(&output.stderr))
        })
    };
    for (arguments, folder, there) in [
        (
            vec![
                "archive".as_ref(),
                core.as_os_str(),
                "-o".as_ref(),
                archive.as_os_str(),
            ],
            at("out"),
            "core.tar.gz".to_owned(),
        ),
        (
            vec![
                "unpack".as_ref(),
                archive.as_os_str(),
                at("into").as_os_str(),
            ],
            at("into"),
            format!("archive-{}", core.file_name().unwrap().to_str().unwrap()),
        ),
    ] {
        let [first, second] = both(&arguments);
        let mut codes = [first.0, second.0];
        codes.sort_unstable();
        assert_eq!(codes, [0, 3], "{first:?} {second:?}");
        let said = if first.0 == 3 { first.1 } else { second.1 };
        assert!(
            said.contains("there already") || said.contains("exists"),
            "{said}"
        );
        assert_eq!(names(&folder), [there]);
    }
    assert!(
        run(["verify".as_ref(), archive.as_os_str()])
            .status
            .success()
    );
}

#[test]
fn a_full_disk() {
    let (folder, core) = or_skip!(large_core());
    let archive = folder.path().join("core.tar.gz");
    let packed = run([
        "archive".as_ref(),
        core.as_os_str(),
        "-o".as_ref(),
        archive.as_os_str(),
    ]);
    assert!(packed.status.success(), "{}", text(&packed.stderr));
    fs::create_dir(folder.path().join("small")).unwrap();
    // A disk of 16 MB, which only the commands below see.
    let script = "mount -t tmpfs -o size=16m none small || exit 77\n\
        export XDG_CACHE_HOME=$PWD/small TMPDIR=$PWD/small\n\
        \"$0\" archive \"$1\" -o small/core.tar.gz; echo \"archive $?\" >&2; ls -A small\n\
        \"$0\" unpack core.tar.gz small/into; echo \"unpack $?\" >&2; ls -A small\n\
        gzip -1 -c \"$1\" > core.gz; \"$0\" info core.gz; echo \"info $?\" >&2; find small -type f\n";
    let output = Command::new("unshare")
        .args(["-m", "sh", "-c", script])
        .arg(stillcore().get_program())
        .arg(&core)
        .current_dir(folder.path())
        .output();
    let output = match output {
        Ok(output) if output.status.code() != Some(77) && output.status.code() != Some(1) => output,
        other => {
            println!("skipped: no disk can be mounted here: {other:?}");
            return;
        }
    };
    let said = text(&output.stderr);
    for line in ["archive 3", "unpack 3", "info 3"] {
        assert!(said.lines().any(|said| said == line), "{said}");
    }
    assert!(
        said.contains("No space left") && said.contains("room"),
        "{said}"
    );
    assert_eq!(text(&output.stdout), "", "{said}");
}

#[test]
fn where_it_cannot_be_written_is_said_once_and_with_its_name() {
    let (folder, core) = or_skip!(large_core());
    let pack = |output: &str| {
        let output = stillcore()
            .current_dir(folder.path())
            .arg("archive")
            .arg(&core)
            .args(["-o", output])
            .output()
            .unwrap();
        (output.status.code(), text(&output.stderr))
    };
    let (code, words) = pack("-");
    assert_eq!(code, Some(2), "{words}");
    assert!(!folder.path().join("-").exists());
    let long = "x".repeat(300);
    let (code, words) = pack(&long);
    assert_eq!(code, Some(3), "{words}");
    assert_eq!(words.matches("File name too long").count(), 1, "{words}");
    // A limit on the size of files, in place of a full disk.
    let output = Command::new("sh")
        .args([
            "-c",
            "trap '' XFSZ; ulimit -f 8; exec \"$0\" archive \"$1\" -o small.tar.gz",
        ])
        .arg(env!("CARGO_BIN_EXE_stillcore"))
        .arg(&core)
        .current_dir(folder.path())
        .output()
        .unwrap();
    let words = text(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{words}");
    assert!(
        words.contains("small.tar.gz: ") && words.contains("File too large"),
        "{words}"
    );
    assert!(!folder.path().join("small.tar.gz").exists());
}
