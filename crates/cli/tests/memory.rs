//! `stillcore memory`: every mapping, and all of its bytes somewhere.
#![cfg(target_os = "linux")]

mod support;

use std::fs;
use std::io::Read;
use std::process::Stdio;

use support::{json, program, run, stillcore, text};

fn number(value: &serde_json::Value) -> u64 {
    value.as_u64().unwrap()
}

#[test]
fn every_byte_of_every_mapping_is_somewhere() {
    let program = or_skip!(program("crash".as_ref()));
    let core = or_skip!(program.die("segv"));
    let (value, code) = json("memory", &core, &[]);
    assert_eq!(code, 0);
    let mappings = value["mappings"].as_array().unwrap();
    let mut total = 0;
    let (mut in_core, mut zero) = (0, 0);
    for mapping in mappings {
        let place = |name: &str| number(&mapping[name]);
        let sum = place("core") + place("file") + place("zero") + place("missing");
        assert_eq!(place("size"), sum, "{mapping}");
        total += sum;
        in_core += place("core");
        zero += place("zero");
    }
    assert_eq!(number(&value["total"]["size"]), total);
    // The program headers say the same: PT_LOAD is 1, p_filesz at 32, of 56 bytes each from byte 64 on.
    let bytes = fs::read(&core).unwrap();
    let word = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
    let headers = u16::from_le_bytes([bytes[56], bytes[57]]) as usize;
    let loads = (0..headers)
        .map(|index| 64 + 56 * index)
        .filter(|&at| bytes[at] == 1);
    let (count, held) = loads.fold((0, 0), |(count, held), at| {
        (count + 1, held + word(at + 32))
    });
    assert_eq!(mappings.len(), count);
    // What the core has holes for was never touched.
    assert!(in_core <= held && held <= in_core + zero);
    use std::os::unix::fs::MetadataExt;
    let stored = fs::metadata(&core).unwrap().blocks() * 512;
    assert!(in_core <= stored, "{in_core} of {stored}");
    let paths: Vec<&str> = mappings
        .iter()
        .filter_map(|mapping| mapping["path"].as_str())
        .collect();
    assert!(paths.contains(&program.path.to_str().unwrap()));
    for name in ["[stack]", "[vdso]"] {
        assert_eq!(
            paths.iter().filter(|path| **path == name).count(),
            1,
            "{name} in {paths:?}"
        );
    }
    assert_eq!(
        paths
            .iter()
            .filter(|path| path.starts_with("[stack of "))
            .count(),
        2,
        "{paths:?}"
    );

    let words = text(&run(["memory".as_ref(), core.as_os_str()]).stdout);
    assert_eq!(words.lines().count(), count + 2, "{words}");
    assert!(
        words
            .lines()
            .last()
            .unwrap()
            .ends_with(&format!("{count} mappings")),
        "{words}"
    );
}

#[test]
fn where_no_file_is_found_its_bytes_are_missing_and_never_zero() {
    let program = or_skip!(program("crash".as_ref()));
    let core = or_skip!(program.die("segv"));
    let (with, _) = json("memory", &core, &[]);
    let elsewhere = program.folder.path().join("moved");
    fs::rename(&program.path, &elsewhere).unwrap();
    let (without, code) = json("memory", &core, &[]);
    assert_eq!(code, 0, "a file that is not there is no bad answer");
    let more = number(&without["total"]["missing"]) - number(&with["total"]["missing"]);
    let less = number(&with["total"]["file"]) - number(&without["total"]["file"]);
    assert!(more > 0);
    assert_eq!(more, less);
    assert_eq!(with["total"]["zero"], without["total"]["zero"]);
    // Named, it is found again.
    let (named, _) = json("memory", &core, &["--exe", elsewhere.to_str().unwrap()]);
    assert_eq!(named["total"], with["total"]);
}

#[test]
fn a_reader_that_closes_early_is_no_failure() {
    let program = or_skip!(program("crash".as_ref()));
    let core = or_skip!(program.die("segv"));
    for arguments in [
        &["memory"][..],
        &["memory", "--json"],
        &["threads", "-r"],
        &["bt"],
        &["info"],
    ] {
        let mut child = stillcore()
            .args(arguments)
            .arg(&core)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // Nothing at all is read: the first write meets a closed pipe.
        drop(child.stdout.take());
        let mut said = String::new();
        child
            .stderr
            .take()
            .unwrap()
            .read_to_string(&mut said)
            .unwrap();
        let status = child.wait().unwrap();
        assert_eq!(
            (status.code(), said.as_str()),
            (Some(0), ""),
            "{arguments:?}"
        );
    }
}
