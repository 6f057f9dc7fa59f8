//! From a core to the result: verify, and pack where an archive is wanted.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde_json::json;
use stillcore_archive::{
    Compression, EarlySync, LiveImage, ManifestHead, PackError, PackOptions, Packing, Part, Tool,
    default_threads, mapped_files, write_core,
};
use stillcore_capture::{
    ARCHIVE, Content, Failure, How, Live, Made, Method, Output, RawCore, Skipped,
    background_thread, is_undumpable,
};
use stillcore_corefile::{CoreError, CoreFile};

/// What the caller wants made of the core, and what only JavaScript knows of this process.
pub struct Wish {
    pub archive: bool,
    pub compression: Compression,
    pub level: u32,
    /// 0: as many as there are CPUs.
    pub compression_threads: usize,
    pub node: String,
    pub v8: String,
    pub arch: String,
}

/// Verifies `core`, and gives it, or an archive with it, its final name (or its reader).
pub fn finish(core: RawCore<'_>, wish: &Wish) -> Result<Made, Failure> {
    if wish.archive {
        archive(core, wish)
    } else {
        bare(core)
    }
}

/// What there is to say of a core; `unadded`: why the other threads are not in it.
fn made(core: &RawCore<'_>, unadded: Option<std::io::Error>) -> Made {
    let mut made = Made {
        notes: notes(core),
        skipped: match &core.content {
            Content::Live(live) => live.skipped().to_vec(),
            Content::Dump(_) => Vec::new(),
        },
        threads: match unadded {
            None => core.threads.count(),
            Some(_) => 1,
        },
        all_threads: core.threads.all(),
        ..Made::default()
    };
    if let Some(error) = unadded {
        made.notes.push(format!(
            "The registers of the other threads could not be appended to the kernel's core: {error}."
        ));
    }
    made.notes.extend(left_out(core));
    made
}

/// Waits for the kernel's core, and makes it whole: verified, and with every thread where that can be had.
fn dumped(core: &RawCore<'_>) -> Result<(PathBuf, Option<std::io::Error>), Failure> {
    let Content::Dump(dump) = &core.content else {
        unreachable!("only the kernel's way has a dump to wait for")
    };
    let path = dump.wait()?;
    verify(core, &path)?;
    let unadded = core.add_threads(&path).err();
    Ok((path, unadded))
}

/// What had to go for the size that was wanted.
fn left_out(core: &RawCore<'_>) -> Option<String> {
    let Content::Live(live) = &core.content else {
        return None;
    };
    let ranges = live.skipped().iter();
    let ranges = ranges.filter(|one| one.reason == "maxSize").count();
    (live.left_out() > 0).then(|| {
        format!(
            "maxSize: {} bytes of memory in {ranges} ranges are not in the core.",
            live.left_out()
        )
    })
}

/// What whoever reads the core should know of how it came to be.
fn notes(core: &RawCore<'_>) -> Vec<String> {
    let mut notes = Vec::new();
    if let Some(failure) = &core.passed_by {
        notes.push(format!(
            "The kernel's way was passed by: {} ({})",
            failure.message, failure.code
        ));
    }
    if is_undumpable() {
        notes.push(
            "The process is marked as not to be dumped (PR_SET_DUMPABLE 0), perhaps on purpose: that was passed by."
                .into(),
        );
    }
    match core.threads.how() {
        How::Ptrace => {
            let (known, all) = (core.threads.count(), core.threads.all());
            if known < all {
                notes.push(format!(
                    "{} of {all} threads did not stop in time (in uninterruptible sleep?): their registers are missing.",
                    all - known
                ));
            }
            if core.threads.partly() > 0 {
                notes.push(format!(
                    "{} of {all} threads did not stop in time (in uninterruptible sleep?), or their registers were \
                     refused (a seccomp filter?): of these the core has stack pointer and program counter only.",
                    core.threads.partly()
                ));
            }
        }
        How::Syscall => notes.push(
            "Other threads could not be stopped: of those that slept in a system call the core has stack pointer \
             and program counter, read just after the fork."
                .into(),
        ),
        How::None if core.threads.all() > 1 => {
            notes.push("The core has the registers of the calling thread only.".into());
        }
        How::None => {}
    }
    notes
}

/// The kernel cuts a core short without a word when the disk fills, and one without V8's pages looks sound.
fn verify(core: &RawCore<'_>, path: &Path) -> Result<(), Failure> {
    let file = File::open(path).map_err(|error| Failure::io(&error, "open", Some(path)))?;
    let size = file
        .metadata()
        .map_err(|error| Failure::io(&error, "fstat", Some(path)))?
        .len();
    let read = CoreFile::open(file);
    let parsed = read
        .and_then(|parsed| parsed.check_whole().map(|()| parsed))
        .map_err(|error| match error {
            CoreError::Truncated { expected, .. } => core.truncated(size, expected),
            CoreError::Io(error) => Failure::io(&error, "read", Some(path)),
            // Not even the headers are sound: they were cut off as well.
            _ => core.truncated(size, size + 1),
        })?;
    match parsed.missing(&core.heap) {
        missing if missing.is_empty() => Ok(()),
        missing => Err(core.incomplete(&missing)),
    }
}

fn bare(core: RawCore<'_>) -> Result<Made, Failure> {
    let Output::Folder(folder) = &core.output else {
        return Err(Failure::new(
            "ERR_CORE_INTERNAL",
            "a bare core cannot be streamed",
        ));
    };
    let path = folder.path().join("core");
    let unadded = match &core.content {
        Content::Dump(_) => dumped(&core)?.1,
        Content::Live(_) => None,
    };
    let mut made = made(&core, unadded);
    if let Content::Live(live) = &core.content {
        core.monitor.expect(live.size());
        let out = private_file(&path)?;
        let parts = parts(live);
        let (read, done) = (
            |at, buffer: &mut [u8]| live.read(at, buffer),
            || live.done(),
        );
        let source = LiveImage::new(&parts, &read, &done);
        let written = write_core(&out, &source, &|bytes| core.monitor.advance(bytes))
            .map_err(|error| failed(error, Some(&path)))?;
        note_unreadable(written.unreadable, &mut made.notes);
    }
    made.bytes = fs::metadata(&path).map_or(0, |metadata| metadata.len());
    let Output::Folder(folder) = core.output else {
        unreachable!("looked at above")
    };
    made.path = folder.publish()?;
    Ok(made)
}

fn archive(core: RawCore<'_>, wish: &Wish) -> Result<Made, Failure> {
    match &core.output {
        Output::Stream(stream) => write(&core, &mut stream.writer(core.monitor), wish, None),
        Output::Folder(folder) => {
            let path = folder.path().join(ARCHIVE);
            let mut out = EarlySync::new(private_file(&path)?, background_thread);
            let mut made = write(&core, &mut out, wish, Some(&path))?;
            out.finish()
                .map_err(|error| Failure::io(&error, "fsync", Some(&path)))?;
            let Output::Folder(folder) = core.output else {
                unreachable!("matched above")
            };
            made.path =
                folder.publish_archive(&path, &format!(".{}", wish.compression.extension()))?;
            Ok(made)
        }
    }
}

fn write(
    core: &RawCore<'_>,
    // Not generic: all that packs would be there twice, in the addon that has to be small.
    out: &mut dyn Write,
    wish: &Wish,
    path: Option<&Path>,
) -> Result<Made, Failure> {
    let monitor = core.monitor;
    let progress = |bytes| monitor.advance(bytes);
    let title = core.title.clone();
    let options = PackOptions {
        threads: if wish.compression_threads == 0 {
            default_threads()
        } else {
            wish.compression_threads
        },
        compression: wish.compression,
        level: Some(wish.level),
        thread_start: background_thread,
    };
    let failed = |error| failed(error, path);
    let mut packing =
        Packing::start(out, &title.name, title.time.into(), &options, &progress).map_err(failed)?;
    let files = mapped_files(&core.maps);
    let executable = executable();
    let unadded = match &core.content {
        // A copy takes memory as long as it lives: first it is read.
        Content::Live(live) => {
            monitor.expect(live.size());
            let parts = parts(live);
            let (read, done) = (
                |at, buffer: &mut [u8]| live.read(at, buffer),
                || live.done(),
            );
            let image = LiveImage::new(&parts, &read, &done);
            packing.core(&image).map_err(failed)?;
            packing
                .files(&files, executable.as_deref())
                .map_err(failed)?;
            None
        }
        // While the kernel writes there is time for the files.
        Content::Dump(_) => {
            packing
                .files(&files, executable.as_deref())
                .map_err(failed)?;
            let (core_path, unadded) = dumped(core)?;
            let file = File::open(&core_path)
                .map_err(|error| Failure::io(&error, "open", Some(&core_path)))?;
            monitor.expect(file.metadata().map_or(0, |metadata| metadata.len()));
            packing.core(&file).map_err(failed)?;
            unadded
        }
    };
    let mut made = made(core, unadded);
    let packed = packing
        .finish(&manifest_head(core, wish, &made))
        .map_err(failed)?;
    note_unreadable(packed.unreadable, &mut made.notes);
    made.bytes = packed.output_bytes;
    Ok(made)
}

fn manifest_head(core: &RawCore<'_>, wish: &Wish, made: &Made) -> ManifestHead {
    let how = match core.threads.how() {
        _ if made.threads == 1 => "calling thread only",
        How::Ptrace => "stopped",
        How::Syscall => "asleep",
        How::None => "calling thread only",
    };
    let method = match &core.content {
        Content::Dump(_) => Method::Kernel,
        Content::Live(_) => Method::Direct,
    };
    let mut extra = serde_json::Map::new();
    extra.insert(
        "threads".into(),
        json!({ "captured": made.threads, "total": made.all_threads, "how": how }),
    );
    extra.insert(
        "skipped".into(),
        made.skipped.iter().map(skipped_entry).collect(),
    );
    ManifestHead {
        tool: Tool {
            name: "stillcore".into(),
            version: env!("CARGO_PKG_VERSION").into(),
        },
        time: core.title.time.to_rfc3339(),
        pid: std::process::id(),
        node: wish.node.clone(),
        v8: wish.v8.clone(),
        arch: wish.arch.clone(),
        platform: "linux".into(),
        method: method_name(method).into(),
        command: command_line(),
        notes: made.notes.clone(),
        extra,
    }
}

fn failed(error: PackError, path: Option<&Path>) -> Failure {
    match error {
        PackError::Stopped => Failure::new("ABORT_ERR", "The operation was aborted"),
        PackError::Core(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => died(),
        PackError::Core(error) => Failure::io(&error, "read", None),
        PackError::Output(error) => Failure::io(&error, "write", path),
        PackError::Worker(died) => Failure::new("ERR_CORE_INTERNAL", died.to_string()),
    }
}

/// The memory of a dead process reads as an empty file.
fn died() -> Failure {
    Failure::new(
        "ERR_CORE_KILLED",
        "The copy of this process was killed from outside while it was read. Nothing is left on disk; the service \
         itself was not touched. Capture again, and look for whoever kills processes here if it happens again.",
    )
}

fn note_unreadable(bytes: u64, notes: &mut Vec<String>) {
    if bytes > 0 {
        notes.push(format!(
            "{bytes} bytes of the copy's memory could not be read and are zero in the core."
        ));
    }
}

pub fn method_name(method: Method) -> &'static str {
    match method {
        Method::Kernel => "kernel",
        Method::Direct => "direct",
    }
}

fn skipped_entry(skipped: &Skipped) -> serde_json::Value {
    let Skipped {
        range,
        name,
        reason,
    } = skipped;
    json!({
        "start": format!("{:#x}", range.start),
        "end": format!("{:#x}", range.end),
        "name": name,
        "reason": reason,
    })
}

fn parts(live: &Live) -> Vec<Part<'_>> {
    let convert = |part| match part {
        stillcore_capture::Part::Bytes(bytes) => Part::Bytes(bytes),
        stillcore_capture::Part::Zeros(length) => Part::Zeros(length),
        stillcore_capture::Part::Memory(range) => Part::Read {
            address: range.start,
            len: range.end - range.start,
        },
    };
    live.parts().map(convert).collect()
}

fn private_file(path: &Path) -> Result<File, Failure> {
    let opened = File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path);
    opened.map_err(|error| Failure::io(&error, "open", Some(path)))
}

/// The path of node itself, without the kernel's mark where it was deleted.
fn executable() -> Option<PathBuf> {
    let path = fs::read_link("/proc/self/exe").ok()?;
    let bytes = path.as_os_str().as_bytes();
    Some(match bytes.strip_suffix(b" (deleted)") {
        Some(plain) if !path.exists() => PathBuf::from(OsStr::from_bytes(plain)),
        _ => path,
    })
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
