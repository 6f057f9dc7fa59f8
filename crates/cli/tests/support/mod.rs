//! What the tests of the commands share.
#![allow(dead_code)]

use std::process::Command;

/// The program, with nothing of the environment that changes what it does.
pub fn stillcore() -> Command {
    let mut command = Command::new(assert_cmd::cargo::cargo_bin!("stillcore"));
    for name in [
        "STILLCORE_LOG",
        "STILLCORE_DIRECTORY",
        "DEBUGINFOD_URLS",
        "NO_COLOR",
        "CLICOLOR_FORCE",
    ] {
        command.env_remove(name);
    }
    command
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("output is UTF-8")
}
