//! Crash dumps of the kernel: packed with its `vmlinux` and the modules that were loaded.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use stillcore_corefile::{
    Check, FileSource, Found, KernelDump, LoadedModule, Source, Sysroot, build_id, file_section,
    file_symbol,
};

use crate::manifest::{FileEntry, hex, lossy};
use crate::script::{here, quoted};
use crate::source::CoreSource;

use super::links::normal;
use super::tree::{Content, Tree};
use super::{PackageError, PackageJob, Packaged, WholeSource, create, failed, folder};

/// Folders of modules below a root; those with debug information first.
const MODULE_FOLDERS: [&str; 4] = [
    "usr/lib/debug/lib/modules",
    "usr/lib/debug/usr/lib/modules",
    "usr/lib/modules",
    "lib/modules",
];

/// Most folders that are walked through, and most modules of a release.
const MAX_FOLDERS: usize = 1 << 14;
const MAX_MODULES: usize = 1 << 16;

/// Packs a crash dump of the kernel, whose bytes are `source`, with the `vmlinux` that it is of and the modules that were
/// loaded, and `run-drgn.sh`, `run-sdb.sh` and `run-crash.sh`. `files` says where `vmlinux` and modules are looked for.
///
/// # Errors
/// [`PackageError::NoKernel`] where there is no `vmlinux` for it; see [`PackageError`] for the others.
pub fn package_kernel(
    dump: &KernelDump,
    source: &Arc<dyn Source>,
    files: &Sysroot,
    job: &PackageJob<'_>,
) -> Result<Packaged, PackageError> {
    let release = dump.release().ok_or_else(|| PackageError::NoKernel {
        what: "the dump does not tell the kernel's release (OSRELEASE in VMCOREINFO)".to_owned(),
        advice: String::new(),
    })?;
    let vmlinux = find_vmlinux(dump, release, files)?;
    let output = create(job.output)?;
    let top = format!("archive-{}", job.name);
    let mut tree = Tree::start(
        output.file(),
        &top,
        job.core_mtime,
        &job.options,
        job.progress,
    )?;
    for script in ["run-drgn.sh", "run-sdb.sh", "run-crash.sh"] {
        tree.reserve(script.as_bytes());
    }
    let name = super::usable_name(job.name, |_| false);
    tree.reserve(name.as_bytes());
    let whole = WholeSource(source.clone());
    let core: &dyn CoreSource = match job.core_file {
        Some(file) => file,
        None => &whole,
    };
    tree.core(name.as_bytes(), core)?;
    if vmlinux.check == Check::Forced {
        tree.note(format!(
            "{} could not be checked: it is taken for the kernel of the dump by its name or for --force",
            vmlinux.path.display()
        ));
    }
    if dump.is_flattened() {
        tree.note(
            "the dump is flattened: drgn needs it rearranged first (makedumpfile -R); crash reads it as it is"
                .to_owned(),
        );
    }
    let place = add(&mut tree, &vmlinux, "vmlinux", files)?;
    let modules = choose(&mut tree, dump, files, release, &vmlinux);
    let mut module_places = Vec::new();
    for module in &modules {
        module_places.push(add(&mut tree, module, "module", files)?);
    }
    let mut head = job.manifest.clone();
    head.extra.insert(
        "kernel".into(),
        serde_json::json!({
            "release": release,
            "buildId": dump.build_id().as_deref().map(hex),
            "format": match dump.format() {
                stillcore_corefile::DumpFormat::Elf => "elf",
                stillcore_corefile::DumpFormat::Compressed => "makedumpfile",
            },
            "flattened": dump.is_flattened(),
        }),
    );
    let scripts = scripts(name.as_bytes(), &place, &module_places);
    let (output_bytes, manifest, left_out, notes) = tree.finish(&head, &scripts)?;
    output
        .publish()
        .map_err(|source| failed(job.output, source))?;
    Ok(Packaged {
        output_bytes,
        manifest,
        left_out,
        notes,
    })
}

/// Packs a file below its path in the root that it was found in.
fn add(
    tree: &mut Tree<'_>,
    found: &Found,
    kind: &str,
    files: &Sysroot,
) -> Result<Vec<u8>, crate::PackError> {
    let path = below_roots(&found.path, files);
    let entry = FileEntry {
        path: lossy(found.path.as_os_str().as_bytes()),
        build_id: found.build_id.as_deref().map(hex),
        kind: Some(kind.to_owned()),
        ..FileEntry::default()
    };
    tree.file(&path, Content::found(found, 0o644), entry)
}

fn below_roots(path: &Path, files: &Sysroot) -> Vec<u8> {
    let real = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let below = |root: &PathBuf| {
        let root = std::fs::canonicalize(root).ok()?;
        Some(real.strip_prefix(root).ok()?.to_owned())
    };
    if let Some(path) = files.roots.iter().find_map(below) {
        return normal(path.as_os_str().as_bytes());
    }
    // A folder of debug files has them as they lie below `usr/lib/debug`, if not as in a root.
    if let Some(path) = files.debug_dirs.iter().find_map(below) {
        let path = normal(path.as_os_str().as_bytes());
        if path.starts_with(b"usr/") || path.starts_with(b"lib/") {
            return path;
        }
        return [b"usr/lib/debug/", path.as_slice()].concat();
    }
    normal(real.as_os_str().as_bytes())
}

/// Looks for the `vmlinux` of the dump.
fn find_vmlinux(dump: &KernelDump, release: &str, files: &Sysroot) -> Result<Found, PackageError> {
    let id = dump.build_id();
    let mut candidates: Vec<PathBuf> = files.exe.iter().cloned().collect();
    let by_id = id
        .as_deref()
        .map(hex)
        .filter(|id| id.len() > 2)
        .map(|id| format!("usr/lib/debug/.build-id/{}/{}.debug", &id[..2], &id[2..]));
    let mut names = vec![
        format!("usr/lib/debug/boot/vmlinux-{release}"),
        format!("boot/vmlinux-{release}"),
    ];
    for folder in MODULE_FOLDERS {
        names.push(format!("{folder}/{release}/vmlinux"));
        names.push(format!("{folder}/{release}/build/vmlinux"));
    }
    names.extend(by_id);
    for folder in &files.debug_dirs {
        for name in [
            format!("boot/vmlinux-{release}"),
            format!("vmlinux-{release}"),
            format!("lib/modules/{release}/vmlinux"),
            "vmlinux".to_owned(),
        ] {
            candidates.push(folder.join(name));
        }
        candidates.extend(names.iter().map(|name| folder.join(name)));
    }
    for root in roots(files) {
        candidates.extend(names.iter().map(|name| root.join(name)));
    }
    let mut others: Vec<String> = Vec::new();
    for path in candidates {
        let Some(source) = open_plain(&path) else {
            continue;
        };
        let its = build_id(&*source).ok().flatten();
        let named = path.to_string_lossy().contains(release);
        let check = match (&id, &its) {
            (Some(id), Some(its)) if id == its => Check::BuildId,
            // Old kernels do not tell: the name has to do.
            (None, _) if named || files.force => Check::Forced,
            _ if files.force => Check::Forced,
            _ => {
                others.push(format!(
                    "{} is another kernel (build-id {})",
                    path.display(),
                    its.as_deref().map_or_else(|| "none".to_owned(), hex)
                ));
                continue;
            }
        };
        return Ok(Found {
            path,
            source,
            build_id: its,
            check,
        });
    }
    let fetched = files
        .servers
        .iter()
        .find_map(|server| server.by_build_id(id.as_deref()?, true));
    if let Some((path, source)) = fetched {
        let its = build_id(&*source).ok().flatten();
        if its.is_some() && its == id {
            return Ok(Found {
                path,
                source,
                build_id: its,
                check: Check::BuildId,
            });
        }
    }
    let id = id
        .as_deref()
        .map_or_else(String::new, |id| format!(" with build-id {}", hex(id)));
    let mut what = format!("no vmlinux of Linux {release}{id} was found");
    for other in others {
        what.push_str("; ");
        what.push_str(&other);
    }
    Err(PackageError::NoKernel {
        what,
        advice: format!(
            "Install its debug symbols (Debian: linux-image-{release}-dbg; Ubuntu: linux-image-{release}-dbgsym; Fedora \
             and RHEL: kernel-debuginfo-{release}), or name the folder that has usr/lib/debug/boot/vmlinux-{release} \
             with --sysroot, or a folder with vmlinux-{release} with --debug-dir."
        ),
    })
}

fn roots(files: &Sysroot) -> Vec<PathBuf> {
    let mut roots = files.roots.clone();
    if !files.no_host {
        roots.push(PathBuf::from("/"));
    }
    roots
}

/// The modules to pack.
fn choose(
    tree: &mut Tree<'_>,
    dump: &KernelDump,
    files: &Sysroot,
    release: &str,
    vmlinux: &Found,
) -> Vec<Found> {
    let available = available(release, files);
    if available.is_empty() {
        tree.note(format!(
            "no modules of Linux {release} were found (lib/modules/{release})"
        ));
        return Vec::new();
    }
    let loaded = file_symbol(&vmlinux.source, "modules")
        .ok_or_else(|| "vmlinux has no symbol `modules`".to_owned())
        .and_then(|list| {
            let loaded = dump.loaded_modules(list);
            loaded.map_err(|error| error.to_string())
        });
    let loaded = match loaded {
        Ok(loaded)
            if loaded.is_empty()
                || loaded
                    .iter()
                    .any(|module| available.contains_key(&module.name)) =>
        {
            loaded
        }
        other => {
            let why = match other {
                Ok(_) => "no name in its list is that of a module".to_owned(),
                Err(why) => why,
            };
            tree.note(format!(
                "which modules were loaded cannot be told ({why}): all {} of the release are packed",
                available.len()
            ));
            return available
                .into_values()
                .flat_map(|mut all| all.drain(..1).collect::<Vec<_>>())
                .collect();
        }
    };
    let mut chosen = Vec::new();
    let mut unchecked = 0;
    for module in &loaded {
        let Some(candidates) = available.get(&module.name) else {
            tree.note(format!("the module {} was not found", module.name));
            tree.list(FileEntry {
                path: module.name.clone(),
                kind: Some("module".to_owned()),
                reason: Some("not found".to_owned()),
                ..FileEntry::default()
            });
            continue;
        };
        let best = candidates.iter().map(|file| (compare(module, file), file));
        match best.min_by_key(|(same, _)| *same) {
            Some((Same::Yes, file)) => chosen.push(file.clone()),
            Some((Same::Unknown, file)) => {
                unchecked += 1;
                chosen.push(file.clone());
            }
            _ if files.force => chosen.push(candidates[0].clone()),
            _ => {
                let path = candidates[0].path.display();
                tree.leave_out(format!(
                    "{path} is not the module {} that was loaded, and is left out: neither build-id nor srcversion is the \
                     same",
                    module.name
                ));
                tree.list(FileEntry {
                    path: lossy(candidates[0].path.as_os_str().as_bytes()),
                    build_id: candidates[0].build_id.as_deref().map(hex),
                    kind: Some("module".to_owned()),
                    reason: Some(
                        "another build: neither build-id nor srcversion is the same".to_owned(),
                    ),
                    ..FileEntry::default()
                });
            }
        }
    }
    if unchecked > 0 {
        tree.note(format!(
            "{unchecked} modules are told by their names alone: neither build-id nor srcversion can be compared"
        ));
    }
    chosen
}

/// Whether a file is the module that was loaded.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Same {
    Yes,
    /// Neither build-id nor `srcversion` is in both.
    Unknown,
    No,
}

/// Compares build-ids, and `srcversion`. A packed file (`.ko.xz`) tells neither.
fn compare(module: &LoadedModule, file: &Found) -> Same {
    let id = file.build_id.as_deref();
    if id.is_some_and(|id| module.has_build_id(id)) {
        return Same::Yes;
    }
    let info = file_section(&file.source, ".modinfo");
    let version = info.as_deref().and_then(|info| {
        info.split(|&byte| byte == 0)
            .find_map(|line| line.strip_prefix(b"srcversion="))
    });
    match version {
        Some(version) if module.has_source_version(version) => Same::Yes,
        Some(_) => Same::No,
        None if id.is_some() && module.tells_build_id() => Same::No,
        None => Same::Unknown,
    }
}

/// The modules of the release by name, each with the files that may be it: those with debug information first.
fn available(release: &str, files: &Sysroot) -> BTreeMap<String, Vec<Found>> {
    let mut folders = Vec::new();
    for folder in &files.debug_dirs {
        folders.push(folder.join("lib/modules").join(release));
    }
    for root in files.debug_dirs.iter().cloned().chain(roots(files)) {
        folders.extend(MODULE_FOLDERS.map(|name| root.join(name).join(release)));
    }
    let mut found: BTreeMap<String, Vec<Found>> = BTreeMap::new();
    let mut left = MAX_MODULES;
    let mut walked = MAX_FOLDERS;
    let mut seen = std::collections::HashSet::new();
    for folder in folders {
        let mut stack = vec![folder];
        while let Some(folder) = stack.pop() {
            let Some(rest) = walked.checked_sub(1) else {
                return found;
            };
            walked = rest;
            let Ok(real) = std::fs::canonicalize(&folder) else {
                continue;
            };
            if !seen.insert(real) {
                continue;
            }
            let Ok(entries) = std::fs::read_dir(&folder) else {
                continue;
            };
            let mut entries: Vec<_> = entries.flatten().collect();
            entries.sort_by_key(std::fs::DirEntry::file_name);
            for entry in entries {
                let path = entry.path();
                match entry.file_type() {
                    // Not into links: `build` and `source` lead to whole kernels.
                    Ok(kind) if kind.is_dir() => stack.push(path),
                    Ok(kind) if kind.is_file() => {
                        let Some(name) = module_name(&entry.file_name()) else {
                            continue;
                        };
                        let (Some(source), Some(rest)) = (open_plain(&path), left.checked_sub(1))
                        else {
                            continue;
                        };
                        left = rest;
                        let build_id = build_id(&*source).ok().flatten();
                        found.entry(name).or_default().push(Found {
                            path,
                            source,
                            build_id,
                            check: Check::BuildId,
                        });
                    }
                    _ => {}
                }
            }
        }
    }
    found
}

/// The name of the module in a file with this name: `snd-pcm.ko.xz` has `snd_pcm`.
fn module_name(file: &OsStr) -> Option<String> {
    let name = file.to_str()?;
    let end = name.find(".ko")?;
    let known = matches!(
        &name[end..],
        ".ko" | ".ko.debug" | ".ko.xz" | ".ko.gz" | ".ko.zst"
    );
    (known && end > 0).then(|| name[..end].replace('-', "_"))
}

fn open_plain(path: &Path) -> Option<Arc<dyn Source>> {
    if !std::fs::metadata(path).ok()?.is_file() {
        return None;
    }
    let source = FileSource::new(File::open(path).ok()?).ok()?;
    Some(Arc::new(source))
}

/// How drgn, sdb and crash are told to take everything from the archive.
fn scripts(dump: &[u8], vmlinux: &[u8], modules: &[Vec<u8>]) -> Vec<(&'static str, Vec<u8>)> {
    let file = |path: &[u8]| [b"\"$here/\"", quoted(path).as_slice()].concat();
    let mut folders: Vec<&[u8]> = modules.iter().map(|module| module_folder(module)).collect();
    folders.dedup();
    let script = |tool: &str, example: &str, command: &[&[u8]]| {
        let mut text = here(&format!(
            "Opens this dump in {tool} with the kernel and the modules beside it. Arguments are passed on: sh run-{tool}.sh \
             {example}\n# Nothing that came with the archive is run."
        ));
        text.extend_from_slice(&command.concat());
        text.extend_from_slice(b" \"$@\"\n");
        text
    };
    let mut drgn: Vec<Vec<u8>> = vec![
        b"exec \"${DRGN:-drgn}\" -c ".to_vec(),
        file(dump),
        b" -s ".to_vec(),
        file(vmlinux),
    ];
    for module in modules {
        drgn.push(b" \\\n  -s ".to_vec());
        drgn.push(file(module));
    }
    let drgn: Vec<&[u8]> = drgn.iter().map(Vec::as_slice).collect();
    let searched: Vec<u8> = folders
        .iter()
        .flat_map(|folder| [b" -s ", file(folder).as_slice()].concat())
        .collect();
    let by_crash: Vec<u8> = folders
        .first()
        .map(|folder| [b" --mod ", file(folder).as_slice()].concat())
        .unwrap_or_default();
    let (dump, vmlinux) = (file(dump), file(vmlinux));
    vec![
        (
            "run-drgn.sh",
            script("drgn", "-e 'print(prog[\"init_uts_ns\"])'", &drgn),
        ),
        (
            "run-sdb.sh",
            script(
                "sdb",
                "-e spa",
                &[
                    b"exec \"${SDB:-sdb}\"",
                    &searched,
                    b" ",
                    &vmlinux,
                    b" ",
                    &dump,
                ],
            ),
        ),
        (
            "run-crash.sh",
            script(
                "crash",
                "-s",
                &[
                    b"exec \"${CRASH:-crash}\" --no_crashrc",
                    &by_crash,
                    b" ",
                    &vmlinux,
                    b" ",
                    &dump,
                ],
            ),
        ),
    ]
}

/// The folder of all modules of the release that a module lies in: what comes before `kernel`, `updates` or `extra`.
fn module_folder(path: &[u8]) -> &[u8] {
    let needle = b"/modules/";
    let at = path
        .windows(needle.len())
        .position(|window| window == needle);
    let release = at.and_then(|at| {
        let start = at + needle.len();
        let end = path[start..].iter().position(|&byte| byte == b'/')?;
        Some(&path[..start + end])
    });
    release.unwrap_or_else(|| folder(path))
}
