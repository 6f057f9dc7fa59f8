//! The words of mdb_v8 and llnode that are not names of commands here: which command each means, or what to use instead.

/// What mdb and its memory allocator's module know, and this does not: the word, and what to do.
const INSTEAD: &[(&str, &str)] = &[
    (
        "stack",
        "native frames of all threads: jsstack -t all -a, or stillcore bt CORE",
    ),
    (
        "bt",
        "jsstack shows JavaScript and native frames in one trace; stillcore bt CORE the native ones alone",
    ),
    ("regs", "registers: stillcore threads --registers CORE"),
    (
        "status",
        "what died and why: stillcore info CORE; and nodeinfo here",
    ),
    (
        "threads",
        "threads: jsstack -t all, or stillcore threads CORE",
    ),
    ("mappings", "the memory map: stillcore memory CORE"),
    (
        "findleaks",
        "what leaks: findjsobjects (look at COUNT, BYTES and OUTSIDE), then jsfindrefs ADDR -r",
    ),
    ("ugrep", "who refers to an address: jsfindrefs ADDR"),
    ("umastat", "what the memory is made of: heap"),
    (
        "dump",
        "bytes: nodebuffer ADDR of a Buffer, v8internal ADDR of an object",
    ),
    (
        "dis",
        "this does not disassemble: v8code ADDR tells where code lies, for gdb",
    ),
    (
        "thread",
        "gdb's and lldb's thread: jsstack -t TID, or -t all",
    ),
    (
        "frame",
        "a frame: jsstack -v has receiver and arguments of each, jsframe FP those of one",
    ),
    (
        "process",
        "what died and why: stillcore info CORE; and nodeinfo here",
    ),
    (
        "info",
        "gdb's info: nodeinfo, isolates, layout; stillcore threads, memory, modules CORE",
    ),
    (
        "x",
        "words of memory: v8internal ADDR of an object; whatis ADDR tells what is there",
    ),
    ("print", "a value: jsprint ADDR"),
    (
        "v8field",
        "fields need not be told: layout lists all of them and where each came from",
    ),
];

/// What to use instead of a word that is no command.
pub fn instead(word: &str) -> Option<&'static str> {
    INSTEAD
        .iter()
        .find(|(known, _)| *known == word)
        .map(|(_, instead)| *instead)
}

/// Makes a command of ours of llnode's two words (`v8 bt`) and mdb's walkers and `$` commands.
pub fn translate(words: &mut Vec<String>) {
    llnode(words);
    let Some(first) = words.first().cloned() else {
        return;
    };
    match first.as_str() {
        // mdb's: $c and $C show the stack, $r registers, $q leaves.
        "$c" | "$C" => put(words, &["jsstack", "-a"]),
        "$r" => put(words, &["regs"]),
        "$q" => put(words, &["quit"]),
        // llnode's v8 alone lists what there is.
        "v8" if words.len() == 1 => put(words, &["help"]),
        "settings" => {
            words.remove(0);
            if words.is_empty() {
                words.push("set".to_owned());
            }
        }
        // ADDR::walk jsprop, and without mdb's form walk jsprop ADDR. Frames are walked without an address.
        "walk" if words.len() > 1 && words[1] != "jsframe" => {
            words.remove(0);
        }
        _ => {}
    }
}

/// Replaces the first word.
fn put(words: &mut Vec<String>, with: &[&str]) {
    words.splice(..1, with.iter().map(|word| (*word).to_owned()));
}

/// `v8 bt`, `v8 inspect`, `v8 source list`, `v8 findjsobjects`.
fn llnode(words: &mut Vec<String>) {
    if words.len() < 2 || words[0] != "v8" {
        return;
    }
    words.remove(0);
    match words[0].as_str() {
        "bt" => {
            let count = words.get(1).is_some_and(|word| word.parse::<u32>().is_ok());
            let command: &[&str] = if count {
                &["jsstack", "--frames"]
            } else {
                &["jsstack"]
            };
            put(words, command);
        }
        "print" => put(words, &["jsprint"]),
        "source" => {
            put(words, &["jssource"]);
            if words.get(1).is_some_and(|word| word == "list") {
                words.remove(1);
            }
        }
        "getactivehandles" => put(words, &["handles"]),
        "getactiverequests" => put(words, &["requests"]),
        _ => {}
    }
}
