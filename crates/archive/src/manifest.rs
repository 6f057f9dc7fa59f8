//! `manifest.json`: what an archive holds, and what it lacks and why.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Version of the manifest's layout. It changes when a reader of the older one would misunderstand.
pub const SCHEMA_VERSION: u32 = 1;

/// The program that made the archive.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Tool {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
}

/// What the caller knows about the capture.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ManifestHead {
    /// The program that makes the archive.
    pub tool: Tool,
    /// When the core was taken (RFC 3339).
    pub time: String,
    /// Process id of the process in the core, in its own pid namespace.
    pub pid: u32,
    /// Node's version, as `process.versions.node` has it.
    pub node: String,
    /// V8's version, as `process.versions.v8` has it.
    pub v8: String,
    /// `process.arch`.
    pub arch: String,
    /// `process.platform`.
    pub platform: String,
    /// How the core was taken: `kernel` when the kernel wrote it.
    pub method: String,
    /// The command line, an argument each.
    pub command: Vec<String>,
    /// Things a reader should know, as sentences; the packer adds its own.
    #[serde(default)]
    pub notes: Vec<String>,
    /// Further fields, for later versions. A name that the manifest already has is left out.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// The core in the archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CoreEntry {
    /// Its path below the top folder.
    pub path: String,
    /// Its length in bytes, holes included.
    pub size: u64,
    /// How many of them are not in holes, in bytes.
    pub data_size: u64,
    /// SHA-256 of all its bytes (holes are zeros), in hexadecimal.
    pub sha256: String,
}

/// A file that the process had mapped, or one with debug information.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FileEntry {
    /// Its path as the process had it. Bytes that are not UTF-8 are written as `\xNN`.
    pub path: String,
    /// Its path below the top folder, when it is in the archive. Bytes that are not UTF-8 are written as `\xNN`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub archive_path: Option<String>,
    /// Its length in bytes in the archive; null when it is not in it.
    pub size: Option<u64>,
    /// SHA-256 of its bytes in the archive, in hexadecimal; null when it is not in it.
    pub sha256: Option<String>,
    /// Its GNU build-id in hexadecimal; null when it has none or could not be read.
    pub build_id: Option<String>,
    /// Whether it is in the archive.
    pub included: bool,
    /// Why it is not in the archive, or what is wrong with it there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What it is: `executable`, `interpreter`, `library`, `debug` (separate debug information), `debug-shared` (what
    /// several debug files share), `dwo`, `dwp`, `vmlinux`, `module`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Whether it was put together from the core's memory.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub rebuilt: bool,
}

/// A symbolic link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkEntry {
    /// Its path below the top folder.
    pub path: String,
    /// Where it leads, relative to its own folder.
    pub target: String,
}

/// A script in the top folder that opens the core in a debugger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ScriptEntry {
    /// Its path below the top folder.
    pub path: String,
    /// Its length in bytes.
    pub size: u64,
    /// SHA-256 of its bytes, in hexadecimal.
    pub sha256: String,
}

/// The whole of `manifest.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// The program that made the archive.
    pub tool: Tool,
    /// When the core was taken (RFC 3339).
    pub time: String,
    /// Process id of the process in the core.
    pub pid: u32,
    /// Node's version.
    pub node: String,
    /// V8's version.
    pub v8: String,
    /// Node's name of the architecture.
    pub arch: String,
    /// Node's name of the operating system.
    pub platform: String,
    /// How the core was taken.
    pub method: String,
    /// The command line, an argument each.
    pub command: Vec<String>,
    /// The core.
    pub core: CoreEntry,
    /// Every file that the process had mapped, in the order of their addresses.
    pub files: Vec<FileEntry>,
    /// The scripts.
    #[serde(default)]
    pub scripts: Vec<ScriptEntry>,
    /// The symbolic links. Archives of `collectCore` have none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub links: Vec<LinkEntry>,
    /// Things a reader should know, as sentences.
    pub notes: Vec<String>,
    /// Further fields that the caller gave.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl Manifest {
    /// Puts together what the caller knows and what the packer found.
    pub(crate) fn new(
        head: &ManifestHead,
        core: CoreEntry,
        files: Vec<FileEntry>,
        scripts: Vec<ScriptEntry>,
    ) -> Manifest {
        let head = head.clone();
        let mut extra = head.extra;
        // JSON must not have the same name twice.
        const TAKEN: [&str; 15] = [
            "schemaVersion",
            "tool",
            "time",
            "pid",
            "node",
            "v8",
            "arch",
            "platform",
            "method",
            "command",
            "core",
            "files",
            "scripts",
            "links",
            "notes",
        ];
        for name in TAKEN {
            extra.remove(name);
        }
        Manifest {
            schema_version: SCHEMA_VERSION,
            tool: head.tool,
            time: head.time,
            pid: head.pid,
            node: head.node,
            v8: head.v8,
            arch: head.arch,
            platform: head.platform,
            method: head.method,
            command: head.command,
            core,
            files,
            scripts,
            links: Vec::new(),
            notes: head.notes,
            extra,
        }
    }
}

/// Bytes as hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Text for bytes that mostly are UTF-8; the others become `\xNN`.
pub(crate) fn lossy(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        for byte in chunk.invalid() {
            text.push_str(&format!("\\x{byte:02x}"));
        }
    }
    text
}
