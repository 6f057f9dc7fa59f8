//! `stillcore bt`: frame for frame what gdb says.
#![cfg(target_os = "linux")]

mod support;

use support::{gdb, json, program, run, text};

/// The functions of each thread, by its id, as gdb names them.
fn gdbs(said: &str) -> Vec<(i64, Vec<String>)> {
    let mut threads: Vec<(i64, Vec<String>)> = Vec::new();
    for line in said.lines() {
        if line.starts_with("Thread ")
            && let Some(tid) = line
                .split("LWP ")
                .nth(1)
                .and_then(|rest| rest.split(')').next())
        {
            threads.push((tid.parse().unwrap(), Vec::new()));
        } else if line.starts_with('#')
            && let Some((_, frames)) = threads.last_mut()
        {
            // #1  0x00005555 in nested (depth=0, where=0x10) at program.c:20
            let rest = line.split_once(' ').unwrap().1.trim_start();
            let rest = rest
                .split_once(" in ")
                .filter(|(address, _)| address.starts_with("0x"))
                .map_or(rest, |(_, rest)| rest);
            let name = rest.split([' ', '(']).next().unwrap();
            frames.push(name.to_owned());
        }
    }
    threads
}

#[test]
fn every_thread_frame_for_frame_as_gdb_has_it() {
    let program = or_skip!(program("crash".as_ref()));
    for core in [program.die("segv"), program.die("abort"), program.gcore()] {
        let core = or_skip!(core);
        let (value, code) = json("bt", &core, &[]);
        assert_eq!(code, 0);
        let Some(said) = gdb(&program.path, &core, &["thread apply all bt"]) else {
            println!("skipped: there is no gdb here");
            return;
        };
        let theirs = gdbs(&said);
        assert_eq!(theirs.len(), 3, "{said}");
        for (tid, frames) in theirs {
            let threads = value["threads"].as_array().unwrap();
            let thread = threads.iter().find(|thread| thread["tid"] == tid).unwrap();
            let ours: Vec<&str> = thread["frames"]
                .as_array()
                .unwrap()
                .iter()
                .map(|frame| frame["function"].as_str().unwrap_or("??"))
                .collect();
            assert_eq!(thread["end"], "outermost");
            // Each of gdb's is the next of ours, but for tail calls, which gdb makes up from the debug information.
            let plain = |name: &str| {
                name.trim_start_matches("__GI_")
                    .trim_start_matches('_')
                    .to_owned()
            };
            let mut left = ours.iter().map(|name| plain(name)).peekable();
            let mut made_up = 0;
            for name in &frames {
                let name = plain(name);
                let same = |ours: &String| {
                    ours.contains(&name) || name.contains(ours) || name.starts_with("libc_")
                };
                if left.next_if(same).is_none() {
                    made_up += 1;
                }
            }
            assert!(made_up <= 1, "{tid}: {ours:?} and {frames:?} of {said}");
            assert!(ours.len() + 1 >= frames.len(), "{ours:?} {frames:?}");
        }
    }
}

#[test]
fn lines_threads_and_frames_can_be_chosen() {
    let program = or_skip!(program("crash".as_ref()));
    let core = or_skip!(program.die("segv"));
    let (all, _) = json("bt", &core, &[]);
    let first = &all["threads"][0];
    let names: Vec<&str> = first["frames"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|frame| frame["function"].as_str())
        .collect();
    assert_eq!(
        names[..6],
        ["innermost", "nested", "nested", "nested", "nested", "main"],
        "{names:?}"
    );
    assert_eq!(first["frames"][0]["how"], "registers");
    assert_eq!(first["frames"][1]["how"], "cfi");
    assert!(
        first["frames"][0]["file"]
            .as_str()
            .unwrap()
            .ends_with("program.c")
    );
    // As the source above has it.
    let line = support::PROGRAM
        .lines()
        .position(|line| line.contains("int innermost"))
        .unwrap()
        + 1;
    assert_eq!(first["frames"][0]["line"], line);

    let tid = all["threads"][1]["tid"].to_string();
    let (one, _) = json("bt", &core, &["--thread", &tid, "-n", "1"]);
    assert_eq!(one["threads"].as_array().unwrap().len(), 1);
    assert_eq!(one["threads"][0]["frames"].as_array().unwrap().len(), 1);
    assert_eq!(one["threads"][0]["end"], "limit");
    let output = run([
        "bt".as_ref(),
        core.as_os_str(),
        "--thread".as_ref(),
        "1".as_ref(),
    ]);
    assert_eq!(output.status.code(), Some(2), "{}", text(&output.stderr));

    let words = text(&run(["bt".as_ref(), core.as_os_str()]).stdout);
    assert!(
        words
            .lines()
            .next()
            .unwrap()
            .ends_with(" crash, died of SIGSEGV"),
        "{words}"
    );
    assert!(words.contains("  cfi        nested+0x"), "{words}");
    assert!(words.contains("/program.c:"), "{words}");
}
