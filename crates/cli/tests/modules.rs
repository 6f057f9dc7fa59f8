//! `stillcore modules`: the same modules as gdb says, and only files that are the right ones.
#![cfg(target_os = "linux")]

mod support;

use std::fs;
use std::process::Command;

use support::{gdb, has, json, program, run, text};

fn build_id_by_readelf(path: &str) -> Option<String> {
    let output = Command::new("readelf").args(["-n", path]).output().ok()?;
    let words = text(&output.stdout);
    let id = words
        .split("Build ID: ")
        .nth(1)?
        .split_whitespace()
        .next()?;
    Some(id.to_owned())
}

#[test]
fn modules_are_gdbs_and_build_ids_readelfs() {
    let program = or_skip!(program("crash".as_ref()));
    let core = or_skip!(program.die("segv"));
    let (value, code) = json("modules", &core, &[]);
    assert_eq!(code, 0);
    let modules = value["modules"].as_array().unwrap();
    let executable = modules
        .iter()
        .find(|module| module["kind"] == "executable")
        .unwrap();
    assert_eq!(executable["path"], program.path.to_str().unwrap());
    for module in modules.iter().filter(|module| module["kind"] != "vdso") {
        assert_eq!(module["match"], "build-id", "{module}");
        assert_eq!(module["file"], module["path"], "{module}");
        if has("readelf") {
            let id = build_id_by_readelf(module["path"].as_str().unwrap());
            assert_eq!(module["buildId"].as_str(), id.as_deref(), "{module}");
        }
    }
    let Some(theirs) = gdb(&program.path, &core, &["info sharedlibrary"]) else {
        println!("skipped: there is no gdb here");
        return;
    };
    let libraries = theirs.lines().filter(|line| line.starts_with("0x"));
    let mut count = 0;
    for line in libraries {
        let path = line.split_whitespace().last().unwrap();
        let real = fs::canonicalize(path).unwrap();
        let ours = modules
            .iter()
            .find(|module| module["path"] == real.to_str().unwrap());
        assert!(ours.is_some(), "{path} is not in {modules:?}");
        count += 1;
    }
    // And no more: the executable and the vdso are not in gdb's list.
    assert_eq!(modules.len(), count + 2, "{theirs}");
}

#[test]
fn another_file_at_the_same_path_is_left_out_and_named() {
    let program = or_skip!(program("crash".as_ref()));
    let core = or_skip!(program.die("segv"));
    let right = program
        .folder
        .path()
        .join("root")
        .join(program.path.strip_prefix("/").unwrap());
    fs::create_dir_all(right.parent().unwrap()).unwrap();
    fs::rename(&program.path, &right).unwrap();
    // The same program, built otherwise.
    let status = Command::new("cc")
        .args(["-O0", "-pthread", "-Wl,--build-id", "-w", "-o"])
        .arg(&program.path)
        .arg(program.folder.path().join("program.c"))
        .status()
        .unwrap();
    assert!(status.success());

    let output = run(["modules".as_ref(), core.as_os_str()]);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains(program.path.to_str().unwrap()), "{said}");
    assert!(said.contains("build-id"), "{said}");
    assert!(
        text(&output.stdout).contains("  differs  "),
        "{}",
        text(&output.stdout)
    );
    let (value, code) = json("modules", &core, &[]);
    assert_eq!(code, 1);
    let executable = &value["modules"][0];
    assert_eq!(executable["match"], "differs");
    assert_eq!(executable["file"], serde_json::Value::Null);
    assert_eq!(
        executable["mismatches"][0]["path"],
        program.path.to_str().unwrap()
    );

    let (value, code) = json("modules", &core, &["--force"]);
    assert_eq!(
        (value["modules"][0]["match"].as_str(), code),
        (Some("forced"), 0)
    );

    let root = program.folder.path().join("root");
    let (value, code) = json("modules", &core, &["--sysroot", root.to_str().unwrap()]);
    assert_eq!(
        (value["modules"][0]["match"].as_str(), code),
        (Some("build-id"), 0),
        "{value}"
    );
    assert_eq!(value["modules"][0]["file"], right.to_str().unwrap());

    fs::remove_file(&program.path).unwrap();
    let (value, code) = json("modules", &core, &[]);
    assert_eq!(
        (value["modules"][0]["match"].as_str(), code),
        (Some("not found"), 0)
    );
}

#[test]
fn what_is_named_and_is_not_there_or_another_is_said() {
    let program = or_skip!(program("crash".as_ref()));
    let core = or_skip!(program.die("segv"));
    let said = |more: &[&str]| {
        let mut arguments = vec!["modules", core.to_str().unwrap()];
        arguments.extend(more);
        let output = run(arguments);
        (output.status.code(), text(&output.stderr))
    };
    // The right one lies in its place and is taken; that another was asked for is not passed over.
    let other = std::env::current_exe().unwrap();
    let other = other.to_str().unwrap();
    let (code, words) = said(&["--exe", other]);
    assert_eq!(code, Some(1), "{words}");
    assert!(
        words.contains(&format!("--exe {other} is not the executable")),
        "{words}"
    );
    let (value, _) = json("modules", &core, &["--exe", other]);
    assert_eq!(value["modules"][0]["file"], program.path.to_str().unwrap());
    let (code, words) = said(&["--exe", other, "--force"]);
    assert_eq!(code, Some(0), "{words}");
    assert!(words.contains("is believed for --force"), "{words}");

    let nothing = program.folder.path().join("nothing");
    let nothing = nothing.to_str().unwrap();
    for option in ["--exe", "--sysroot", "--debug-dir"] {
        let (code, words) = said(&[option, nothing]);
        assert_eq!((code, words.contains(nothing)), (Some(3), true), "{words}");
        assert_eq!(words.matches("No such file").count(), 1, "{words}");
    }
    assert_eq!(
        said(&["--sysroot", program.path.to_str().unwrap()]).0,
        Some(3)
    );
    assert_eq!(said(&["--exe", "/"]).0, Some(3));
}
