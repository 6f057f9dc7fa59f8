//! From the kernel's core to the result: verify, and pack where an archive is wanted.

use std::fs::{self, File};
use std::path::PathBuf;

use stillcore_archive::{
    ManifestHead, PackError, PackJob, PackOptions, Tool, default_threads, mapped_files, pack,
};
use stillcore_capture::{Failure, RawCore, background_thread};
use stillcore_corefile::{CoreError, CoreFile};

/// What only JavaScript knows of this process.
pub struct About {
    pub node: String,
    pub v8: String,
    pub arch: String,
}

/// Verifies `core` and gives it, or an archive with it, its final name.
pub fn finish(core: RawCore<'_>, archive: bool, about: &About) -> Result<PathBuf, Failure> {
    let file =
        File::open(&core.path).map_err(|error| Failure::io(&error, "open", Some(&core.path)))?;
    verify(&core, &file)?;
    if !archive {
        return core.folder.publish();
    }
    let packed = core.folder.path().join("archive");
    write(&core, &file, &packed, about).inspect_err(|_| drop(fs::remove_file(&packed)))?;
    core.folder.publish_archive(&packed)
}

/// The kernel cuts a core short without a word when the disk fills, and one without V8's pages looks sound.
fn verify(core: &RawCore<'_>, file: &File) -> Result<(), Failure> {
    let size = file
        .metadata()
        .map_err(|error| Failure::io(&error, "fstat", Some(&core.path)))?
        .len();
    let read = file
        .try_clone()
        .map_err(CoreError::Io)
        .and_then(CoreFile::open);
    let parsed = read
        .and_then(|parsed| parsed.check_whole().map(|()| parsed))
        .map_err(|error| match error {
            CoreError::Truncated { expected, .. } => core.truncated(size, expected),
            CoreError::Io(error) => Failure::io(&error, "read", Some(&core.path)),
            // Not even the headers are sound: they were cut off as well.
            _ => core.truncated(size, size + 1),
        })?;
    match parsed.missing(&core.heap) {
        missing if missing.is_empty() => Ok(()),
        missing => Err(core.incomplete(&missing)),
    }
}

fn write(core: &RawCore<'_>, file: &File, packed: &PathBuf, about: &About) -> Result<(), Failure> {
    let out = private_file(packed).map_err(|error| Failure::io(&error, "open", Some(packed)))?;
    let folder = &core.folder;
    let job = PackJob {
        top: folder.name(),
        core: file,
        core_mtime: folder.time().into(),
        files: &mapped_files(&core.maps),
        manifest: ManifestHead {
            tool: Tool {
                name: "stillcore".into(),
                version: env!("CARGO_PKG_VERSION").into(),
            },
            time: folder.time().to_rfc3339(),
            pid: std::process::id(),
            node: about.node.clone(),
            v8: about.v8.clone(),
            arch: about.arch.clone(),
            platform: "linux".into(),
            method: "kernel".into(),
            command: command_line(),
            ..ManifestHead::default()
        },
        options: PackOptions {
            threads: default_threads(),
            thread_start: background_thread,
            ..PackOptions::default()
        },
        progress: &|bytes| core.monitor.advance(bytes),
    };
    pack(&out, &job).map_err(|error| match &error {
        PackError::Stopped => Failure::new("ABORT_ERR", "The operation was aborted"),
        PackError::Core(error) => Failure::io(error, "read", Some(&core.path)),
        PackError::Output(error) => Failure::io(error, "write", Some(packed)),
        PackError::Worker(died) => Failure::new("ERR_CORE_INTERNAL", died.to_string()),
    })?;
    out.sync_all()
        .map_err(|error| Failure::io(&error, "fsync", Some(packed)))
}

fn private_file(path: &PathBuf) -> std::io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
}

fn command_line() -> Vec<String> {
    let raw = fs::read("/proc/self/cmdline").unwrap_or_default();
    let words = raw
        .strip_suffix(b"\0")
        .unwrap_or(&raw)
        .split(|byte| *byte == 0);
    words
        .map(|word| String::from_utf8_lossy(word).into_owned())
        .collect()
}
