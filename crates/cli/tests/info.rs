//! `stillcore info`: cores of the kernel and of gcore, whole and cut off.
#![cfg(target_os = "linux")]

mod support;

use std::fs;

use support::{json, program, run, text};

#[test]
fn a_crash_is_told_with_its_signal_and_its_thread() {
    let program = or_skip!(program("crash".as_ref()));
    let core = or_skip!(program.die("segv"));
    let output = run(["info".as_ref(), core.as_os_str()]);
    let words = text(&output.stdout);
    assert_eq!(
        output.status.code(),
        Some(0),
        "{words}{}",
        text(&output.stderr)
    );
    assert!(
        words.starts_with(
            "died       of SIGSEGV (11), SEGV_MAPERR at 0x10: nothing is mapped there\n"
        ),
        "{words}"
    );
    let path = program.path.display();
    for line in [
        format!("\ncommand    {path} segv\n"),
        format!("\nexecutable {path}\n"),
        "\nmachine    x86_64\n".replace("x86_64", std::env::consts::ARCH),
        " crash died first\n".to_owned(),
        ", the files of all found\n".to_owned(),
    ] {
        assert!(words.contains(&line), "no {line:?} in\n{words}");
    }
    assert!(output.stderr.is_empty());

    let (value, code) = json("info", &core, &[]);
    assert_eq!(code, 0);
    assert_eq!(value["how"], "died");
    assert_eq!(value["signal"]["name"], "SIGSEGV");
    assert_eq!(value["signal"]["address"], "0x10");
    assert_eq!(value["threads"], 3);
    assert_eq!(value["firstThread"]["name"], "crash");
    assert_eq!(value["pid"], value["firstThread"]["tid"]);
    let size = fs::metadata(&core).unwrap().len();
    assert_eq!(value["core"]["size"], size);
    assert_eq!(value["core"]["truncated"], false);
}

#[test]
fn an_abort_was_sent_by_the_process_itself() {
    let program = or_skip!(program("crash".as_ref()));
    let core = or_skip!(program.die("abort"));
    let words = text(&run(["info".as_ref(), core.as_os_str()]).stdout);
    assert!(
        words.starts_with("died       of SIGABRT (6), SI_TKILL: "),
        "{words}"
    );
    assert!(
        words
            .lines()
            .next()
            .unwrap()
            .ends_with(", by the process itself"),
        "{words}"
    );
}

#[test]
fn what_gcore_took_did_not_die() {
    let program = or_skip!(program("stays".as_ref()));
    let core = or_skip!(program.gcore());
    let (value, code) = json("info", &core, &[]);
    assert_eq!(
        (value["how"].as_str(), code),
        (Some("dumped"), 0),
        "{value}"
    );
    assert_eq!(value["signal"], serde_json::Value::Null);
    assert_eq!(value["threads"], 3);
}

#[test]
fn a_core_that_is_cut_off_is_told_everything_of_that_is_left() {
    let program = or_skip!(program("crash".as_ref()));
    let core = or_skip!(program.die("segv"));
    let size = fs::metadata(&core).unwrap().len();
    for left in [size - 1, size / 2] {
        fs::OpenOptions::new()
            .write(true)
            .open(&core)
            .unwrap()
            .set_len(left)
            .unwrap();
        let output = run(["info".as_ref(), core.as_os_str()]);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("the core is cut off"), "{said}");
        assert!(
            text(&output.stdout).contains("missing    the last "),
            "{}",
            text(&output.stdout)
        );
        let (value, code) = json("info", &core, &[]);
        assert_eq!(code, 1);
        assert_eq!(value["core"]["truncated"], true);
        assert_eq!(value["core"]["size"], left);
        assert_eq!(value["core"]["expected"], size);
    }
    // Where not even the headers are left there is no answer.
    fs::OpenOptions::new()
        .write(true)
        .open(&core)
        .unwrap()
        .set_len(100)
        .unwrap();
    let output = run(["info".as_ref(), core.as_os_str()]);
    assert_eq!(output.status.code(), Some(3));
    assert!(output.stdout.is_empty());
}

#[test]
fn a_compressed_core_that_is_cut_off_is_read_as_far_as_it_goes() {
    use std::io::Write;
    let program = or_skip!(program("crash".as_ref()));
    let core = or_skip!(program.die("segv"));
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&fs::read(&core).unwrap()).unwrap();
    let packed = gzip.finish().unwrap();
    let path = program.folder.path().join("half");
    fs::write(&path, &packed[..packed.len() * 3 / 4]).unwrap();
    let output = run(["info".as_ref(), path.as_os_str()]);
    let (words, said) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(words.starts_with("died       of SIGSEGV (11)"), "{words}");
    assert!(said.contains("compressed by gzip is cut off"), "{said}");
    let (value, code) = json("bt", &path, &[]);
    assert_eq!((value["threads"].as_array().unwrap().len(), code), (3, 1));
    assert_eq!(
        run(["verify".as_ref(), path.as_os_str()]).status.code(),
        Some(1)
    );
}

/// ELF header, a note, nothing else: what tells a kernel's dump from a process's core.
#[test]
fn a_crash_dump_of_the_kernel_is_told_from_a_core() {
    let info = b"OSRELEASE=6.1.0-test\nPAGESIZE=4096\n";
    let mut dump = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    dump.extend([4, 0, 62, 0, 1, 0, 0, 0]);
    dump.extend([0_u64, 64, 0].map(u64::to_le_bytes).concat());
    dump.extend([0, 0, 0, 0, 64, 0, 56, 0, 1, 0, 64, 0, 0, 0, 0, 0]);
    dump.extend([4_u32, 0].map(u32::to_le_bytes).concat());
    let size = 24 + info.len().next_multiple_of(4) as u64;
    dump.extend(
        [120_u64, 0, 0, size, size, 4]
            .map(u64::to_le_bytes)
            .concat(),
    );
    dump.extend(
        [11_u32, info.len() as u32, 0]
            .map(u32::to_le_bytes)
            .concat(),
    );
    dump.extend(b"VMCOREINFO\0\0");
    dump.extend(info);
    dump.resize(8192, 0);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("vmcore");
    fs::write(&path, &dump).unwrap();
    for command in ["info", "bt", "modules", "threads", "memory", "jsstack"] {
        let output = run([command.as_ref(), path.as_os_str()]);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(3), "{command}: {said}");
        assert!(
            said.contains(
                "a crash dump of the kernel (Linux 6.1.0-test), not the core of a process"
            ),
            "{command}: {said}"
        );
        assert!(said.contains("stillcore archive"), "{said}");
    }
}

#[test]
fn no_cut_anywhere_is_more_than_a_bad_answer() {
    let program = or_skip!(program("crash".as_ref()));
    let core = or_skip!(program.die("segv"));
    let file = fs::OpenOptions::new().write(true).open(&core).unwrap();
    // Downwards through notes and headers.
    for left in [
        20_000, 8_000, 4_097, 4_096, 4_000, 3_000, 2_000, 1_500, 1_000, 500, 120, 64, 63, 16, 4, 1,
        0,
    ] {
        file.set_len(left).unwrap();
        for command in ["info", "modules", "threads", "bt", "memory"] {
            let output = run([command.as_ref(), core.as_os_str()]);
            let code = output.status.code();
            assert!(
                matches!(code, Some(1 | 3)),
                "{command} of {left} bytes: {code:?} {}",
                text(&output.stderr)
            );
        }
    }
}
