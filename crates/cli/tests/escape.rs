//! Names in a core may hold anything; nothing of it reaches a terminal that does more than show.
#![cfg(target_os = "linux")]

mod support;

use support::{json, program, run, text};

/// The terminal's title, red, and text turned around; what a kernel lets into a file's name.
const NAME: &str = "a\x1b]0;title\x07\x1b[31m\u{202e}\u{9b}b\nc";

#[test]
fn nothing_from_a_core_reaches_the_terminal_raw() {
    let program = or_skip!(program(NAME.as_ref()));
    let core = or_skip!(program.die("segv"));
    for command in ["info", "modules", "threads", "bt", "memory"] {
        for json in [&[][..], &["--json"]] {
            let mut arguments = vec![command.as_ref(), core.as_os_str()];
            arguments.extend(
                json.iter()
                    .map(|word| AsRef::<std::ffi::OsStr>::as_ref(*word)),
            );
            let output = run(arguments);
            assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
            let words = text(&output.stdout);
            let raw = words
                .chars()
                .find(|c| (c.is_control() && *c != '\n') || *c == '\u{202e}');
            assert_eq!(raw, None, "{command}: {words:?}");
        }
    }
    // It is escaped, not lost.
    let words = text(&run(["info".as_ref(), core.as_os_str()]).stdout);
    assert!(
        words.contains("a\\u{1b}]0;title\\u{7}\\u{1b}[31m\\u{202e}\\u{9b}b\\nc"),
        "{words}"
    );
    let (value, _) = json("info", &core, &[]);
    assert_eq!(value["executable"], program.path.to_str().unwrap());
}
