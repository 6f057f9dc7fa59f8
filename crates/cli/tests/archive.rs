//! `stillcore archive`, and what the other commands say of it: the same as of the core.
#![cfg(target_os = "linux")]

mod support;

use std::fs;

use serde_json::Value;
use support::{json, program, run, stillcore, text};

/// Takes out what says where a file was found, and how zeros are stored: a page of them that the kernel wrote out is
/// none of the core's any more in an archive.
fn without_places(mut value: Value) -> Value {
    let zeros_are_core = |share: &mut Value| {
        if let (Some(core), Some(zero)) = (share["core"].as_u64(), share["zero"].as_u64()) {
            share["core"] = (core + zero).into();
            share["zero"] = 0.into();
        }
    };
    value["mappings"]
        .as_array_mut()
        .into_iter()
        .flatten()
        .for_each(zeros_are_core);
    zeros_are_core(&mut value["total"]);
    for module in value["modules"].as_array_mut().into_iter().flatten() {
        module["file"] = Value::Bool(module["file"].is_string());
        module["debugFile"] = Value::Bool(module["debugFile"].is_string());
    }
    value
}

#[test]
fn an_archive_says_what_the_core_said_with_none_of_the_files_there() {
    let program = or_skip!(program("crash".as_ref()));
    let core = or_skip!(program.die("segv"));
    let folder = program.folder.path();
    let commands = ["modules", "threads", "bt", "memory"];
    let expected = commands.map(|command| json(command, &core, &[]).0);
    let output = stillcore()
        .arg("archive")
        .arg(&core)
        .current_dir(folder)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let archive = folder.join("archive-dead-of.segv.tar.gz");
    assert!(text(&output.stdout).starts_with("archive-dead-of.segv.tar.gz: "));
    fs::remove_file(&core).unwrap();
    fs::remove_file(&program.path).unwrap();

    for (command, expected) in commands.iter().zip(expected) {
        let (value, code) = json(command, &archive, &[]);
        assert_eq!(code, 0);
        assert_eq!(without_places(value), without_places(expected), "{command}");
    }
    let (info, code) = json("info", &archive, &[]);
    assert_eq!((info["how"].as_str(), code), (Some("died"), 0));
    assert_eq!(info["kind"], "stillcore");
    assert_eq!(info["arguments"][1], "segv");
    let (verdict, code) = json("verify", &archive, &[]);
    assert_eq!(
        (&verdict["good"], code),
        (&Value::Bool(true), 0),
        "{verdict}"
    );

    // Nothing is replaced.
    let output = stillcore()
        .arg("archive")
        .arg(&archive)
        .arg("-o")
        .arg(&archive)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(3));
    assert!(text(&output.stderr).contains("is there already"));
}

#[test]
fn an_archive_lacks_what_is_another_build_and_says_so() {
    let program = or_skip!(program("crash".as_ref()));
    let core = or_skip!(program.die("segv"));
    let mut bytes = fs::read(&program.path).unwrap();
    // Wherever a note of GNU's is, the build-id's among them.
    let ids: Vec<usize> = (0..bytes.len() - 12)
        .filter(|&at| &bytes[at..at + 4] == b"GNU\0")
        .collect();
    assert!(!ids.is_empty());
    for at in ids {
        bytes[at + 4] ^= 1;
        bytes[at + 10] ^= 1;
    }
    fs::remove_file(&program.path).unwrap();
    fs::write(&program.path, bytes).unwrap();
    let archive = program.folder.path().join("out.tar.zst");
    let output = run([
        "archive".as_ref(),
        core.as_os_str(),
        "-o".as_ref(),
        archive.as_os_str(),
    ]);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains(program.path.to_str().unwrap()), "{said}");
    assert_eq!(
        fs::read(&archive).unwrap()[..4],
        [0x28, 0xb5, 0x2f, 0xfd],
        "zstd by the name of -o"
    );
}

#[test]
fn a_level_that_there_is_not_is_wrong_usage() {
    for wrong in [
        &["--level", "0"][..],
        &["--level", "10"],
        &["--format", "tar.zst", "--level", "9"],
        &["--format", "zip"],
    ] {
        let output = stillcore()
            .arg("archive")
            .args(wrong)
            .arg("core")
            .output()
            .unwrap();
        assert_eq!(
            output.status.code(),
            Some(2),
            "{wrong:?}: {}",
            text(&output.stderr)
        );
    }
}
