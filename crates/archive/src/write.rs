//! Packs a core and the ELF files of its process into one tar archive, in one pass.

use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::SystemTime;

use crate::collect::{Elf, MappedFile, archive_path, open_elf, path_text};
use crate::error::PackError;
use crate::manifest::{CoreEntry, FileEntry, Manifest, ManifestHead, hex, lossy};
use crate::packer::{Loss, Packer};
use crate::script::ScriptPlan;
use crate::source::CoreSource;
use crate::stream::PackOptions;

/// Everything that [`pack`] needs.
pub struct PackJob<'a> {
    /// Name of the top folder: the archive's name without [`Compression::extension`](crate::Compression::extension).
    pub top: &'a str,
    /// The core: an open, verified file, or a [`LiveImage`](crate::LiveImage).
    pub core: &'a dyn CoreSource,
    /// When the core was written; the folders and the manifest get this time too.
    pub core_mtime: SystemTime,
    /// The files that the process had mapped, from [`mapped_files`](crate::mapped_files).
    pub files: &'a [MappedFile],
    /// Path of the executable (`/proc/PID/exe`), for the scripts. Only one of `files` counts.
    pub executable: Option<&'a Path>,
    /// What the caller knows about the capture.
    pub manifest: ManifestHead,
    /// Threads and compression; one more thread computes checksums.
    pub options: PackOptions,
    /// Told how many bytes of input were taken in since the last call (0 while waiting); `false` stops the packing.
    /// It is called in the thread that calls [`pack`], at least once for every block; not while a write to the output
    /// blocks.
    pub progress: &'a dyn Fn(u64) -> bool,
}

/// What [`pack`] has done.
#[derive(Debug, Clone, PartialEq)]
pub struct Packed {
    /// Bytes taken in, holes included.
    pub input_bytes: u64,
    /// Bytes written to the output.
    pub output_bytes: u64,
    /// Bytes of the core that could not be read and are zeros in the archive.
    pub unreadable: u64,
    /// The manifest as it is in the archive.
    pub manifest: Manifest,
}

/// Writes the archive: the top folder, the core, every mapped ELF file under its own path, the scripts that open it in
/// gdb and lldb, the manifest, and the index of the compressed blocks.
///
/// The archive holds plain files and folders. It is complete when this returns; to sync and to name the file is the
/// caller's.
///
/// `out` is written to by the calling thread alone, and may be slow: when a write blocks, everything waits, the reading
/// of the core too, and memory does not grow. A limit on how long is for `out` to set: an error that it gives ends the
/// packing. Wrapped in a [`SparseWriter`](crate::SparseWriter), an uncompressed archive has holes where the core has.
///
/// # Errors
/// [`PackError::Output`] and [`PackError::Core`]; [`PackError::Stopped`] when `progress` said so. A mapped file that
/// cannot be read is no error: the manifest says why it is missing.
pub fn pack(out: impl Write, job: &PackJob<'_>) -> Result<Packed, PackError> {
    let mut packing = Packing::start(out, job.top, job.core_mtime, &job.options, job.progress)?;
    packing.core(job.core)?;
    packing.files(job.files, job.executable)?;
    packing.finish(&job.manifest)
}

/// An archive as it is written, for whoever has its parts one after another: the mapped files while the kernel is
/// still at the core, for instance. The parts may come in any order; [`pack`] does all of it.
pub struct Packing<'a, W: Write> {
    packer: Packer<'a, W>,
    core: Option<CoreEntry>,
    files: Vec<FileEntry>,
    scripts: ScriptPlan,
    /// Whose checksums are awaited, in the order of the archive.
    hashed: Vec<Hashed>,
    unreadable: u64,
}

/// What a checksum is of.
#[derive(Clone, Copy)]
enum Hashed {
    Core,
    /// Which of the files.
    File(usize),
}

impl<'a, W: Write> Packing<'a, W> {
    /// Begins with the top folder. For the arguments see [`PackJob`].
    ///
    /// # Errors
    /// Those of [`pack`], here and in each of the following.
    pub fn start(
        out: W,
        top: &'a str,
        core_mtime: SystemTime,
        options: &PackOptions,
        progress: &'a dyn Fn(u64) -> bool,
    ) -> Result<Self, PackError> {
        Ok(Packing {
            packer: Packer::new(out, options, top, core_mtime, progress)?,
            core: None,
            files: Vec::new(),
            scripts: ScriptPlan::new(b"core"),
            hashed: Vec::new(),
            unreadable: 0,
        })
    }

    /// Packs the core: once.
    ///
    /// # Errors
    /// See [`Packing::start`].
    pub fn core(&mut self, core: &dyn CoreSource) -> Result<(), PackError> {
        self.core = Some(self.packer.core(b"core", core)?);
        self.hashed.push(Hashed::Core);
        self.unreadable = core.unreadable();
        Ok(())
    }

    /// Packs those of the files that are ELF files, and remembers why another is missing. `executable` is the path of
    /// that among them which the scripts name to the debugger as the program.
    ///
    /// # Errors
    /// See [`Packing::start`].
    pub fn files(
        &mut self,
        files: &[MappedFile],
        executable: Option<&Path>,
    ) -> Result<(), PackError> {
        for file in files {
            self.packer.step(0)?;
            let entry = pack_mapped(&mut self.packer, file, executable, &mut self.scripts)?;
            if entry.included {
                self.hashed.push(Hashed::File(self.files.len()));
            }
            self.files.push(entry);
        }
        Ok(())
    }

    /// Writes the scripts and the manifest and ends the archive.
    ///
    /// # Errors
    /// See [`Packing::start`]; without a core [`PackError::Core`].
    pub fn finish(mut self, head: &ManifestHead) -> Result<Packed, PackError> {
        let Some(mut core) = self.core else {
            return Err(PackError::Core(io::ErrorKind::NotFound.into()));
        };
        let input_bytes = self.packer.input_bytes();
        let mut scripts = Vec::new();
        for (name, text) in self.scripts.scripts() {
            scripts.push(self.packer.script(name, &text)?);
        }
        for hashed in self.hashed {
            let digest = self.packer.digest()?;
            match hashed {
                Hashed::Core => core.sha256 = digest,
                Hashed::File(at) => self.files[at].sha256 = Some(digest),
            }
        }
        for script in &mut scripts {
            script.sha256 = self.packer.digest()?;
        }
        let mut manifest = Manifest::new(head, core, self.files, scripts);
        if self.unreadable > 0 {
            manifest.notes.push(format!(
                "{} bytes of the core could not be read and are zeros in it.",
                self.unreadable
            ));
        }
        Ok(Packed {
            input_bytes,
            output_bytes: self.packer.finish(&manifest)?,
            unreadable: self.unreadable,
            manifest,
        })
    }
}

/// Packs a mapped file if it is an ELF file. Its checksum is filled in later.
fn pack_mapped<W: Write>(
    packer: &mut Packer<'_, W>,
    mapped: &MappedFile,
    executable: Option<&Path>,
    plan: &mut ScriptPlan,
) -> Result<FileEntry, PackError> {
    let mut entry = FileEntry {
        path: path_text(&mapped.path),
        ..FileEntry::default()
    };
    let elf = match open_elf(mapped) {
        Ok(elf) => elf,
        Err(reason) => {
            entry.reason = Some(reason);
            return Ok(entry);
        }
    };
    entry.path = path_text(&elf.path);
    let Some(own) = archive_path(&elf.path) else {
        entry.reason = Some("it has no path".to_owned());
        return Ok(entry);
    };
    let path = packer.names.free(own);
    // A build-id that cannot be read is no reason to leave the file out.
    entry.build_id = stillcore_corefile::build_id(&elf.file)
        .ok()
        .flatten()
        .map(|id| hex(&id));
    if Some(mapped.path.as_path()) == executable && plan.executable.is_none() {
        plan.executable = Some(path.clone());
    } else {
        tell_debuggers(plan, mapped, &elf, &path);
    }
    let size = elf.metadata.len();
    let mode = 0o644 | (elf.metadata.mode() & 0o111);
    let mtime = elf.metadata.modified().ok();
    let content = packer.file(&path, &elf.file, size, mode, mtime, Loss::Zeros)?;
    entry.archive_path = Some(lossy(&path));
    entry.size = Some(size);
    entry.included = true;
    entry.reason = content.wrong.map(|wrong| wrong.to_string());
    Ok(entry)
}

/// A debugger knows a library by the path that the dynamic linker was given, which may have been a link or relative.
fn tell_debuggers(plan: &mut ScriptPlan, mapped: &MappedFile, elf: &Elf, path: &[u8]) {
    let (folder, name) = match path.iter().rposition(|&byte| byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (&b""[..], path),
    };
    plan.search(folder);
    let elsewhere = mapped.path.as_os_str().as_bytes().strip_prefix(b"/") != Some(path);
    let asked_for = stillcore_corefile::soname(&elf.file).ok().flatten();
    if let Some(first) = &mapped.first
        && (elsewhere || asked_for.is_some_and(|soname| soname != name))
    {
        plan.place(path, first.start);
    }
}
