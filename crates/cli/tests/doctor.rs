//! `stillcore doctor`: the host, and a process.
#![cfg(target_os = "linux")]

mod support;

use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;
use support::{stillcore, text};

fn report(arguments: &[&str]) -> (Value, i32) {
    let output = stillcore()
        .args(["doctor", "--json"])
        .args(arguments)
        .output()
        .unwrap();
    let value: Value = serde_json::from_slice(&output.stdout).expect("one JSON value");
    (value, output.status.code().unwrap())
}

/// What is said of a process that lives under limits.
struct Limited {
    pid: String,
    json: Value,
    code: i32,
    words: String,
}

/// Has a process set limits for itself, as a shell does it, and asks for it in both forms.
fn limited(folder: &Path, ulimit: &str) -> Limited {
    let mut child = Command::new("sh")
        .args(["-c", &format!("{ulimit}; echo ready; exec sleep 60")])
        .current_dir(folder)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdout
        .as_mut()
        .unwrap()
        .read_exact(&mut [0; 6])
        .unwrap();
    let pid = child.id().to_string();
    let (json, code) = report(&["--pid", &pid]);
    let output = stillcore()
        .args(["doctor", "--pid", &pid])
        .output()
        .unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    let words = text(&output.stdout).to_owned();
    Limited {
        pid,
        json,
        code,
        words,
    }
}

#[test]
fn the_host_in_text_and_json() {
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path().to_str().unwrap();
    let (json, code) = report(&["--directory", directory]);
    assert_eq!(json["ok"], Value::Bool(code == 0));
    assert_eq!(json["directory"]["path"], directory);
    assert_eq!(json["directory"]["writable"], true);
    assert_eq!(json["pid"], Value::Null);
    assert_eq!(json["estimates"], Value::Null);
    let pattern = std::fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap();
    assert_eq!(json["corePattern"]["value"], pattern.trim_end());

    let output = stillcore()
        .args(["doctor", "--directory", directory])
        .output()
        .unwrap();
    let words = text(&output.stdout);
    assert!(
        words.starts_with("stillcore doctor: createCore "),
        "{words}"
    );
    assert!(words.contains(directory), "{words}");
    assert!(!words.contains('\x1b'), "no colours in a pipe");
    assert_eq!(output.status.code(), Some(code));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn what_is_in_the_way_is_said_with_what_to_change() {
    let (json, code) = report(&["--directory", "/proc"]);
    assert_eq!(code, 1);
    for way in ["kernel", "direct"] {
        assert_eq!(json["ways"][way]["works"], false);
        assert!(json["ways"][way]["why"].as_str().unwrap().contains("/proc"));
        assert!(
            json["ways"][way]["change"]
                .as_str()
                .unwrap()
                .contains("directory")
        );
    }
}

#[test]
fn a_process_has_its_own_limits_and_directory() {
    let folder = tempfile::tempdir().unwrap();
    let Limited {
        pid,
        json,
        code,
        words,
    } = limited(folder.path(), "ulimit -Hc 0; ulimit -c 0");

    assert_eq!(code, 0, "the direct way needs no core limit: {json}");
    assert_eq!(json["pid"].to_string(), pid);
    assert_eq!(json["limits"]["core"]["hard"], 0);
    assert_eq!(
        json["directory"]["path"],
        folder.path().canonicalize().unwrap().to_str().unwrap()
    );
    assert_eq!(json["ways"]["kernel"]["works"], false);
    assert!(
        json["ways"]["kernel"]["why"]
            .as_str()
            .unwrap()
            .contains("RLIMIT_CORE")
    );
    assert_eq!(json["threads"], 1);
    assert!(json["memory"]["rss"].as_u64().unwrap() > 0);
    assert!(words.contains(&format!("process {pid}")));

    let output = stillcore()
        .args(["doctor", "--pid", "4194304"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(3));
    assert!(text(&output.stderr).contains("4194304"));
}

#[test]
fn limits_on_memory_that_leave_too_little_for_a_capture_are_said() {
    let folder = tempfile::tempdir().unwrap();
    for (option, field, name) in [
        ("-v", "addressSpace", "RLIMIT_AS"),
        ("-d", "data", "RLIMIT_DATA"),
    ] {
        let ulimit = format!("ulimit {option} 50000");
        let Limited {
            json, code, words, ..
        } = limited(folder.path(), &ulimit);

        assert_eq!(code, 1, "{json}");
        assert_eq!(json["limits"][field]["soft"], 50000 << 10);
        for way in ["kernel", "direct"] {
            let why = json["ways"][way]["why"].as_str().unwrap();
            assert!(why.contains(name) && why.contains("MB of 48 MB"), "{why}");
            assert!(
                json["ways"][way]["change"]
                    .as_str()
                    .unwrap()
                    .starts_with("Raise it")
            );
        }
        assert!(
            words.contains("DOES NOT WORK here") && words.contains("soft 49 MB, hard 49 MB"),
            "{words}"
        );
    }
}
