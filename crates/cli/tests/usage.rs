//! What holds for every command: exit codes, help, closed pipes, what is escaped.

mod support;

use std::process::Stdio;

use support::{stillcore, text};

#[test]
fn help_names_every_command_and_the_exit_codes() {
    let output = stillcore().arg("--help").output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    let help = text(&output.stdout);
    for word in [
        "memory",
        "doctor",
        "Exit codes:",
        "STILLCORE_LOG",
        "Examples:",
    ] {
        assert!(help.contains(word), "no {word} in {help}");
    }
    assert!(output.stderr.is_empty());
}

#[test]
fn every_command_has_a_manual_with_a_session() {
    for command in [
        "info", "modules", "threads", "bt", "memory", "archive", "verify", "unpack", "cache",
        "doctor",
    ] {
        let output = stillcore().args([command, "--help"]).output().unwrap();
        assert_eq!(output.status.code(), Some(0));
        let manual = text(&output.stdout);
        assert!(
            manual.contains(&format!("$ stillcore {command}")),
            "{manual}"
        );
        // A short one too.
        let short = stillcore().args([command, "-h"]).output().unwrap();
        assert!(!text(&short.stdout).contains("$ stillcore"));
    }
}

#[test]
fn wrong_usage_is_2_and_said_on_stderr() {
    for arguments in [
        &[][..],
        &["memory"],
        &["no-such-command"],
        &["memory", "a", "b"],
        &["memory", "--no-such-option", "a"],
        &["doctor", "--pid", "x"],
        &["doctor", "--pid", "0"],
        &["doctor", "--pid", "1", "--directory", "relative"],
    ] {
        let output = stillcore().args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(output.stdout.is_empty(), "{arguments:?}");
        assert!(!output.stderr.is_empty(), "{arguments:?}");
    }
    let output = stillcore()
        .args(["doctor"])
        .env("STILLCORE_LOG", "a=b=c")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("STILLCORE_LOG"));
}

#[test]
fn what_cannot_be_read_is_3_and_named() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("missing\x1b[31m");
    let words = folder.path().join("words");
    std::fs::write(&words, "these are words").unwrap();
    let empty = folder.path().join("empty");
    std::fs::write(&empty, "").unwrap();
    for command in [
        "info", "modules", "threads", "bt", "memory", "archive", "verify", "unpack",
    ] {
        for file in [&missing, &words, &empty, &folder.path().to_path_buf()] {
            let output = stillcore().arg(command).arg(file).output().unwrap();
            let said = text(&output.stderr);
            assert_eq!(output.status.code(), Some(3), "{command} {file:?}: {said}");
            assert!(output.stdout.is_empty());
            let name = file.file_name().unwrap().to_str().unwrap();
            assert!(said.contains(name.split('\x1b').next().unwrap()), "{said}");
            assert!(!said.contains('\x1b'), "{said:?}");
            assert_eq!(said.lines().count(), 1, "{said}");
        }
    }
}

#[cfg(unix)]
#[test]
fn a_reader_that_goes_away_is_no_failure() {
    for arguments in [&["--help"][..], &["doctor"], &["completions", "bash"]] {
        let mut child = stillcore()
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        let said = text(&output.stderr);
        assert!(
            matches!(output.status.code(), Some(0 | 1)),
            "{arguments:?}: {:?} {said}",
            output.status
        );
        assert_eq!(said, "", "{arguments:?}");
    }
}

#[test]
fn completions_are_scripts_of_the_shell() {
    for (shell, word) in [
        ("bash", "_stillcore()"),
        ("zsh", "#compdef stillcore"),
        ("fish", "complete -c stillcore"),
    ] {
        let output = stillcore().args(["completions", shell]).output().unwrap();
        assert_eq!(output.status.code(), Some(0));
        assert!(text(&output.stdout).contains(word), "{shell}");
    }
}
