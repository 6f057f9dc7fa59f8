//! What a core pattern means.

use std::path::Path;

use crate::plan;

/// Whether the kernel leaves a core with this pattern where a capture looks for it.
pub fn leaves_core_in_folder(pattern: &str, with_pid: bool) -> bool {
    plan::diversion(pattern, with_pid).is_none()
}

/// In words: where the kernel takes a core.
pub fn meaning(pattern: &str, with_pid: bool) -> String {
    match plan::diversion(pattern, with_pid) {
        None if pattern.is_empty() => "a file .<pid> in the working folder".into(),
        None => "a file in the working folder".into(),
        Some(what) => match handler(pattern) {
            Some(name) => format!("{what}: {name}"),
            None => what.into(),
        },
    }
}

/// Who it is that a pattern gives cores to.
fn handler(pattern: &str) -> Option<String> {
    if let Some(socket) = pattern.strip_prefix('@') {
        return Some(socket.trim_start_matches('@').to_owned());
    }
    let program = pattern.strip_prefix('|')?.split_ascii_whitespace().next()?;
    let name = Path::new(program).file_name()?.to_str()?;
    Some(
        match name {
            "systemd-coredump" => "systemd-coredump (list them with coredumpctl)",
            "apport" => "apport, Ubuntu's crash reporter",
            "abrt-hook-ccpp" => "abrt, Red Hat's crash reporter",
            "false" | "true" => "which throws them away",
            _ => return Some(program.to_owned()),
        }
        .to_owned(),
    )
}
