//! Which Node and V8 a process was, from its own memory.

use stillcore_corefile::{CoreError, Process};

/// `node::per_process::metadata`, whose first members are `std::string`s: Node's version, then V8's (`node_metadata.h`,
/// NODE_VERSIONS_KEYS). The executable exports it.
const METADATA: &str = "_ZN4node11per_process8metadataE";

/// Size of libstdc++'s `std::string`: pointer, length, 16 bytes of its own.
const STRING: u64 = 32;

/// Longer than any version.
const MAX: u64 = 64;

/// Node's and V8's version; `None` where this is no Node, or its memory does not say.
pub fn versions(process: &Process) -> Option<(String, String)> {
    let symbol = process.executable()?.symbol(METADATA)?;
    let node = version(process, symbol.address).ok()??;
    let v8 = version(process, symbol.address + STRING).ok()??;
    Some((node, v8))
}

fn version(process: &Process, string: u64) -> Result<Option<String>, CoreError> {
    let memory = &process.memory;
    let address = memory.read_u64(string)?;
    let length = memory.read_u64(string + 8)?;
    if length == 0 || length > MAX {
        return Ok(None);
    }
    let mut bytes = vec![0; length as usize];
    memory.read(address, &mut bytes)?;
    let looks_right = bytes[0].is_ascii_digit() && bytes.iter().all(|byte| byte.is_ascii_graphic());
    Ok(String::from_utf8(bytes).ok().filter(|_| looks_right))
}
