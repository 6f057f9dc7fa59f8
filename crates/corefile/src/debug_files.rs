//! Where separate debug files are looked for.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::elf_file::ElfFile;
use crate::source::{Source, read_up_to};
use crate::sysroot::{
    Check, Found, Mismatch, Sysroot, hex, is_whole, open, path_of, resolve_inside,
};
use crate::{CoreError, build_id};

/// The folder of debug files in every system.
const SYSTEM: &str = "/usr/lib/debug";

/// A file that somebody may have, and where.
type Candidate = (PathBuf, Arc<dyn Source>);

impl Sysroot {
    /// The separate debug file of a module: by build-id, then by the link in its file. `file` is the module's own, where
    /// it was found.
    pub(crate) fn find_debug(
        &self,
        id: Option<&[u8]>,
        module_path: &[u8],
        file: Option<(&Found, &ElfFile)>,
        mismatches: &mut Vec<Mismatch>,
    ) -> Option<Found> {
        if self.no_debug {
            return None;
        }
        let id = id.or(file.and_then(|(found, _)| found.build_id.as_deref()));
        if let Some(id) = id
            && let Some(found) = self.debug_by_build_id(id, mismatches)
        {
            return Some(found);
        }
        let (found, elf) = file?;
        let (name, crc) = elf.debug_link()?;
        for (path, source) in self.debug_link_candidates(&name, module_path, &found.path) {
            if path == found.path {
                continue;
            }
            let its_id = build_id(&*source).unwrap_or(None);
            let differs = matches!((id, &its_id), (Some(id), Some(its)) if id != its.as_slice());
            let check = if !differs && crc32(&*source).is_ok_and(|its| its == crc) {
                Check::Crc
            } else if self.force {
                Check::Forced
            } else {
                mismatches.push(Mismatch {
                    unchecked: false,
                    path,
                    expected: id.map(<[u8]>::to_vec),
                    found: its_id,
                });
                continue;
            };
            return Some(Found {
                path,
                source,
                build_id: its_id,
                check,
            });
        }
        None
    }

    fn debug_by_build_id(&self, id: &[u8], mismatches: &mut Vec<Mismatch>) -> Option<Found> {
        if id.len() < 2 {
            return None;
        }
        let all = hex(id);
        let relative = format!(".build-id/{}/{}.debug", &all[..2], &all[2..]);
        let mut candidates: Vec<Candidate> = Vec::new();
        for provider in &self.providers {
            candidates.extend(provider.by_build_id(id, true));
            candidates.extend(provider.open(format!("{SYSTEM}/{relative}").as_bytes()));
        }
        for folder in &self.debug_dirs {
            candidates.extend(open(&folder.join(&relative)));
            candidates.extend(open(&folder.join("usr/lib/debug").join(&relative)));
            candidates.extend(open(&folder.join(&all).join("debuginfo")));
        }
        let system = format!("{SYSTEM}/{relative}");
        for root in &self.roots {
            candidates.extend(resolve_inside(root, system.as_bytes()).and_then(|path| open(&path)));
        }
        if !self.no_host {
            candidates.extend(open(Path::new(&system)));
        }
        for cache in &self.debuginfod {
            candidates.extend(open(&cache.join(&all).join("debuginfo")));
        }
        // The servers only when there is no other left: what they give is fetched first.
        let fetched = self
            .servers
            .iter()
            .filter_map(|server| server.by_build_id(id, true));
        let mut cut = None;
        for (path, source) in candidates.into_iter().chain(fetched) {
            let its_id = build_id(&*source).unwrap_or(None);
            let check = match &its_id {
                Some(its) if its == id => Check::BuildId,
                _ if self.force => Check::Forced,
                _ => {
                    mismatches.push(Mismatch {
                        unchecked: false,
                        path,
                        expected: Some(id.to_vec()),
                        found: its_id,
                    });
                    continue;
                }
            };
            let found = Found {
                path,
                source,
                build_id: its_id,
                check,
            };
            if is_whole(&*found.source) {
                return Some(found);
            }
            cut.get_or_insert(found);
        }
        cut
    }

    /// Where gdb looks for it: next to the file, in `.debug` there, and below each debug folder under the file's
    /// own folder.
    fn debug_link_candidates(
        &self,
        name: &[u8],
        module_path: &[u8],
        found: &Path,
    ) -> Vec<Candidate> {
        let mut candidates = Vec::new();
        // A name with a slash would lead anywhere.
        if name.contains(&b'/') {
            return candidates;
        }
        let folder_end = module_path
            .iter()
            .rposition(|&byte| byte == b'/')
            .unwrap_or(0);
        let folder = &module_path[..folder_end];
        let joined = |parts: &[&[u8]]| parts.join(&b'/');
        let inside = [
            joined(&[folder, name]),
            joined(&[folder, b".debug", name]),
            joined(&[SYSTEM.as_bytes(), &folder[folder.len().min(1)..], name]),
        ];
        for provider in &self.providers {
            for path in &inside {
                candidates.extend(provider.open(path));
            }
        }
        let plain = path_of(name);
        let relative = path_of(folder.strip_prefix(b"/").unwrap_or(folder));
        for folder in &self.debug_dirs {
            candidates.extend(open(&folder.join(&relative).join(&plain)));
            candidates.extend(open(&folder.join(&plain)));
        }
        if let Some(beside) = found.parent() {
            candidates.extend(open(&beside.join(&plain)));
            candidates.extend(open(&beside.join(".debug").join(&plain)));
        }
        for root in &self.roots {
            for path in &inside {
                candidates.extend(resolve_inside(root, path).and_then(|path| open(&path)));
            }
        }
        if !self.no_host {
            for path in &inside {
                candidates.extend(open(&path_of(path)));
            }
            // The file may have been found by another name than the one that it was mapped by.
            if let Some(beside) = found.parent() {
                let below = beside.strip_prefix("/").unwrap_or(beside);
                candidates.extend(open(&Path::new(SYSTEM).join(below).join(&plain)));
            }
        }
        candidates
    }

    /// The file with what several debug files share (dwz), for the debug file that lies at `from`.
    pub(crate) fn find_alternate(
        &self,
        from: &Path,
        link: &(Vec<u8>, Vec<u8>),
        mismatches: &mut Vec<Mismatch>,
    ) -> Option<Found> {
        let (name, id) = link;
        let mut candidates: Vec<Candidate> = Vec::new();
        let plain = path_of(name);
        // Relative to the file that the link is in; that one may be reached by a symbolic link.
        let real = std::fs::canonicalize(from).unwrap_or_else(|_| from.to_owned());
        for place in [from, &real] {
            if let Some(folder) = place.parent()
                && !plain.has_root()
            {
                candidates.extend(open(&folder.join(&plain)));
            }
        }
        let base = name.rsplit(|&byte| byte == b'/').next().unwrap_or(name);
        for provider in &self.providers {
            candidates.extend(provider.open(name));
            candidates.extend(provider.by_build_id(id, true));
        }
        for folder in &self.debug_dirs {
            candidates.extend(open(&folder.join(".dwz").join(path_of(base))));
            candidates.extend(open(&folder.join(path_of(base))));
        }
        for root in &self.roots {
            candidates.extend(resolve_inside(root, name).and_then(|path| open(&path)));
        }
        if !self.no_host && plain.has_root() {
            candidates.extend(open(&plain));
        }
        for (path, source) in candidates {
            let its_id = build_id(&*source).unwrap_or(None);
            if its_id.as_deref() == Some(id) || self.force {
                let check = if its_id.as_deref() == Some(id) {
                    Check::BuildId
                } else {
                    Check::Forced
                };
                return Some(Found {
                    path,
                    source,
                    build_id: its_id,
                    check,
                });
            }
            mismatches.push(Mismatch {
                unchecked: false,
                path,
                expected: Some(id.clone()),
                found: its_id,
            });
        }
        self.debug_by_build_id(id, mismatches)
    }

    /// A file of split DWARF by the path that the compiler recorded, and by its name beside the module.
    pub(crate) fn find_split(&self, recorded: &[u8], beside: &Path) -> Vec<Candidate> {
        let mut candidates: Vec<Candidate> = Vec::new();
        let base = recorded
            .rsplit(|&byte| byte == b'/')
            .next()
            .unwrap_or(recorded);
        for provider in &self.providers {
            candidates.extend(provider.open(recorded));
        }
        for root in &self.roots {
            candidates.extend(resolve_inside(root, recorded).and_then(|path| open(&path)));
        }
        if !self.no_host && recorded.starts_with(b"/") {
            candidates.extend(open(&path_of(recorded)));
        }
        for folder in &self.debug_dirs {
            candidates.extend(open(&folder.join(path_of(base))));
        }
        if let Some(folder) = beside.parent() {
            candidates.extend(open(&folder.join(path_of(base))));
        }
        candidates
    }
}

/// The CRC-32 of a whole file, as `.gnu_debuglink` has it.
fn crc32(source: &dyn Source) -> Result<u32, CoreError> {
    let mut hasher = crc32fast::Hasher::new();
    let mut buf = vec![0; 1 << 16];
    let mut at = 0;
    loop {
        let got = read_up_to(source, &mut buf, at)?;
        if got == 0 {
            return Ok(hasher.finalize());
        }
        hasher.update(&buf[..got]);
        at += got as u64;
    }
}
