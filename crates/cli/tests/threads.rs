//! `stillcore threads`: the same threads and registers as gdb says.
#![cfg(target_os = "linux")]

mod support;

use serde_json::Value;
use support::{gdb, json, program, run, text};

#[test]
fn threads_and_registers_are_gdbs() {
    let program = or_skip!(program("crash".as_ref()));
    for core in [program.die("segv"), program.gcore()] {
        let core = or_skip!(core);
        let (value, code) = json("threads", &core, &["-r"]);
        assert_eq!(code, 0);
        let Some(theirs) = gdb(
            &program.path,
            &core,
            &["info threads", "thread apply all info registers"],
        ) else {
            println!("skipped: there is no gdb here");
            return;
        };
        let threads = value["threads"].as_array().unwrap();
        assert_eq!(threads.len(), 3);
        for thread in threads {
            let tid = thread["tid"].to_string();
            assert!(
                theirs.contains(&format!("LWP {tid})")),
                "{tid} is not in {theirs}"
            );
            let own = theirs
                .split("\nThread ")
                .find(|part| {
                    part.lines()
                        .next()
                        .is_some_and(|line| line.contains(&format!("LWP {tid})):")))
                })
                .expect("gdb has the thread");
            let registers = thread["registers"].as_object().unwrap();
            assert!(registers.len() > 20);
            let mut compared = 0;
            for line in own.lines() {
                let mut words = line.split_whitespace();
                let (Some(name), Some(theirs)) = (words.next(), words.next()) else {
                    continue;
                };
                // gdb names some that are none of the kernel's.
                if let Some(ours) = registers.get(name) {
                    assert_eq!(ours, theirs, "{name} of {tid}");
                    compared += 1;
                }
            }
            assert!(compared > 20, "{compared} registers of {own}");
        }
    }
}

#[test]
fn the_thread_that_died_has_a_star() {
    let program = or_skip!(program("crash".as_ref()));
    let core = or_skip!(program.die("segv"));
    let output = run(["threads".as_ref(), core.as_os_str()]);
    let words = text(&output.stdout);
    let lines: Vec<&str> = words.lines().collect();
    assert_eq!(lines.len(), 4, "{words}");
    assert!(lines[0].trim_start().starts_with("TID  NAME "), "{words}");
    assert!(lines[1].starts_with("*  "), "{words}");
    assert!(lines[1].contains(" crash  SIGSEGV  0x"), "{words}");
    assert!(
        !lines[2].contains('*') && !lines[2].contains("SIGSEGV"),
        "{words}"
    );
    let (value, _) = json("threads", &core, &[]);
    assert_eq!(value["threads"][0]["died"], true);
    assert_eq!(value["threads"][1]["died"], false);
    assert_eq!(value["threads"][0]["registers"], Value::Null);
}
