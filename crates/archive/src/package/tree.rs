//! The entries of an archive as they are written: where each goes, what the manifest says of it, and the links.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use stillcore_corefile::{Found, Module, Sysroot};

use crate::error::PackError;
use crate::manifest::{CoreEntry, FileEntry, LinkEntry, Manifest, ManifestHead, lossy};
use crate::packer::{Loss, Packer};
use crate::source::CoreSource;
use crate::stream::PackOptions;

use super::WholeSource;
use super::links::{normal, parts, path_of, relative, trace};

/// Most links that are followed for a path in the archive.
const MAX_LINKS: usize = 40;

/// An archive that is being written.
pub(super) struct Tree<'a> {
    packer: Packer<'a, &'a File>,
    core: Option<CoreEntry>,
    unreadable: u64,
    files: Vec<FileEntry>,
    /// Which entries' checksums are awaited, in the order of the archive; `None` is the core.
    hashed: Vec<Option<usize>>,
    /// Links by their paths, with their targets as written.
    links: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Those that are written last.
    late: Vec<(Vec<u8>, Vec<u8>)>,
    /// What lies where already, by the file that it came from.
    placed: HashMap<PathBuf, Vec<u8>>,
    left_out: Vec<String>,
    notes: Vec<String>,
}

/// Folders that `name` may be relative to when it leads to `place`, with the name below them. An absolute name is
/// relative to none.
fn bases(place: &[u8], name: &[u8]) -> impl Iterator<Item = (Vec<u8>, Vec<u8>)> {
    let mut folder = Some(super::folder(place));
    let name = name.to_vec();
    std::iter::from_fn(move || {
        let base = folder?;
        if name.starts_with(b"/") {
            folder = None;
            return Some((Vec::new(), name.clone()));
        }
        folder = (!base.is_empty()).then(|| super::folder(base));
        Some((base.to_vec(), [base, b"/", &name].concat()))
    })
}

/// The bytes of a file, and how it lies in the archive.
pub(super) struct Content<'a> {
    pub(super) size: u64,
    pub(super) source: &'a dyn CoreSource,
    pub(super) mode: u32,
    pub(super) mtime: Option<SystemTime>,
    /// The file that it comes from, to be packed once.
    pub(super) key: Option<PathBuf>,
}

/// A file that was found, with the mode that it gets.
pub(super) struct FoundContent {
    source: WholeSource,
    mode: u32,
    path: PathBuf,
}

impl Content<'_> {
    pub(super) fn found(found: &Found, mode: u32) -> FoundContent {
        FoundContent {
            source: WholeSource(found.source.clone()),
            mode,
            path: found.path.clone(),
        }
    }
}

/// What can be packed.
pub(super) trait Packable {
    fn content(&self) -> Content<'_>;
}

impl Packable for FoundContent {
    fn content(&self) -> Content<'_> {
        let metadata = std::fs::metadata(&self.path).ok();
        Content {
            size: self.source.0.len(),
            source: &self.source,
            mode: self.mode,
            mtime: metadata.and_then(|metadata| metadata.modified().ok()),
            key: Some(self.path.clone()),
        }
    }
}

impl Packable for Content<'_> {
    fn content(&self) -> Content<'_> {
        Content {
            key: self.key.clone(),
            ..*self
        }
    }
}

impl<'a> Tree<'a> {
    pub(super) fn start(
        out: &'a File,
        top: &'a str,
        mtime: SystemTime,
        options: &PackOptions,
        progress: &'a dyn Fn(u64) -> bool,
    ) -> Result<Tree<'a>, PackError> {
        let mut packer = Packer::new(out, options, top, mtime, progress)?;
        for name in [
            "manifest.json",
            "run-gdb.sh",
            "run-lldb.sh",
            "run-autopsy.sh",
        ] {
            packer.names.free(name.into());
        }
        packer.names.free(crate::index::INDEX_NAME.to_vec());
        Ok(Tree {
            packer,
            core: None,
            unreadable: 0,
            files: Vec::new(),
            hashed: Vec::new(),
            links: BTreeMap::new(),
            late: Vec::new(),
            placed: HashMap::new(),
            left_out: Vec::new(),
            notes: Vec::new(),
        })
    }

    /// Keeps a name in the top folder.
    pub(super) fn reserve(&mut self, name: &[u8]) {
        self.packer.names.free(name.to_vec());
    }

    /// Finds the links on the way to a module's file by each of its names.
    pub(super) fn plan_links(&mut self, module: &Module, sysroot: &Sysroot) {
        let Some(found) = &module.file else {
            return;
        };
        // The root that the file was found below.
        let host = Path::new("/");
        let root = sysroot
            .roots
            .iter()
            .map(PathBuf::as_path)
            .find(|root| found.path.starts_with(root))
            .unwrap_or(host);
        let real = trace(root, &module.path).filter(|trace| {
            let place = root.join(path_of(&trace.real));
            place == found.path
                || (std::fs::canonicalize(&found.path).is_ok_and(|canonical| canonical == place))
        });
        let Some(real) = real else {
            return;
        };
        let by_name = module.link_name.as_deref().and_then(|name| {
            let mut names = bases(&real.real, name);
            names.find_map(|(_, name)| trace(root, &name).filter(|other| other.real == real.real))
        });
        for trace in std::iter::once(real).chain(by_name) {
            for (path, target) in trace.links {
                self.links.entry(path).or_insert(target);
            }
        }
    }

    /// Writes the links that are known so far: before any file, so that none lies behind a link.
    pub(super) fn write_links(&mut self) -> Result<(), PackError> {
        let links = std::mem::take(&mut self.links);
        for (path, target) in links {
            // A link behind a link is written where it really is.
            if self.resolve_parent(&path) == path && self.packer.names.take(&path) {
                self.packer.link(&path, &target)?;
                self.links.insert(path, target);
            }
        }
        Ok(())
    }

    /// Where a path leads in the archive, by its links.
    pub(super) fn resolve(&self, path: &[u8]) -> Vec<u8> {
        let mut path = normal(path);
        for _ in 0..MAX_LINKS {
            let Some((prefix, target)) = self.first_link(&path) else {
                break;
            };
            let above = super::folder(&path[..prefix]);
            path = normal(&[above, b"/", target, &path[prefix..]].concat());
        }
        path
    }

    fn resolve_parent(&self, path: &[u8]) -> Vec<u8> {
        match path.iter().rposition(|&byte| byte == b'/') {
            Some(slash) => [&self.resolve(&path[..slash]), &path[slash..]].concat(),
            None => path.to_vec(),
        }
    }

    fn first_link(&self, path: &[u8]) -> Option<(usize, &[u8])> {
        let ends = (0..=path.len()).filter(|&at| at == path.len() || path[at] == b'/');
        ends.into_iter()
            .find_map(|end| Some((end, self.links.get(&path[..end])?.as_slice())))
    }

    /// Lets `from` lead to `to`, a place in the archive, unless something else is there.
    pub(super) fn link(&mut self, from: &[u8], to: &[u8]) -> bool {
        let from = self.resolve_parent(&normal(from));
        if parts(&from).next().is_none() || !self.packer.names.take(&from) {
            return false;
        }
        let target = relative(&from, to);
        self.links.insert(from.clone(), target.clone());
        self.late.push((from, target));
        true
    }

    /// The folder of the archive from which a relative name leads to `place`: the one that the process was in, as far as
    /// the paths tell.
    pub(super) fn base(&self, name: &[u8], place: &[u8]) -> Option<Vec<u8>> {
        let (base, _) = bases(place, name).find(|(_, whole)| self.resolve(whole) == place)?;
        Some(base)
    }

    pub(super) fn core(&mut self, name: &[u8], core: &dyn CoreSource) -> Result<(), PackError> {
        self.core = Some(self.packer.core(name, core)?);
        self.unreadable = core.unreadable();
        self.hashed.push(None);
        Ok(())
    }

    /// Packs a file at `path`, or as near to it as can be, and gives its place in the archive. A file that is there
    /// already is not packed again.
    pub(super) fn file(
        &mut self,
        path: &[u8],
        content: impl Packable,
        mut entry: FileEntry,
    ) -> Result<Vec<u8>, PackError> {
        let content = content.content();
        if let Some(place) = content.key.as_ref().and_then(|key| self.placed.get(key)) {
            let place = place.clone();
            self.link(path, &place);
            return Ok(place);
        }
        let wanted = self.resolve(path);
        let wanted = if wanted.is_empty() {
            b"unnamed".to_vec()
        } else {
            wanted
        };
        let place = self.packer.names.free(wanted);
        let packed = self.packer.file(
            &place,
            content.source,
            content.size,
            content.mode,
            content.mtime,
            Loss::Zeros,
        )?;
        entry.archive_path = Some(lossy(&place));
        entry.size = Some(content.size);
        entry.included = true;
        if let Some(wrong) = packed.wrong {
            entry.reason = Some(wrong.to_string());
        }
        self.hashed.push(Some(self.files.len()));
        self.files.push(entry);
        if let Some(key) = content.key {
            self.placed.insert(key, place.clone());
        }
        Ok(place)
    }

    /// Lists a file that is not in the archive.
    pub(super) fn list(&mut self, entry: FileEntry) {
        self.files.push(entry);
    }

    /// A sentence for the manifest and the user.
    pub(super) fn note(&mut self, note: String) {
        self.notes.push(note);
    }

    /// A file was left out because it belongs to another build.
    pub(super) fn leave_out(&mut self, what: String) {
        self.left_out.push(what);
    }

    /// Writes what comes last. Gives the length of the archive, its manifest, what was left out, and the notes.
    pub(super) fn finish(
        mut self,
        head: &ManifestHead,
        scripts: &[(&'static str, Vec<u8>)],
    ) -> Result<(u64, Manifest, Vec<String>, Vec<String>), PackError> {
        for (path, target) in std::mem::take(&mut self.late) {
            self.packer.link(&path, &target)?;
        }
        let mut entries = Vec::new();
        for (name, text) in scripts {
            entries.push(self.packer.script(name, text)?);
        }
        let mut core = self
            .core
            .ok_or_else(|| PackError::Core(std::io::ErrorKind::NotFound.into()))?;
        for hashed in self.hashed {
            let digest = self.packer.digest()?;
            match hashed {
                None => core.sha256 = digest,
                Some(at) => self.files[at].sha256 = Some(digest),
            }
        }
        for script in &mut entries {
            script.sha256 = self.packer.digest()?;
        }
        let mut manifest = Manifest::new(head, core, self.files, entries);
        manifest.links = self
            .links
            .iter()
            .map(|(path, target)| LinkEntry {
                path: lossy(path),
                target: lossy(target),
            })
            .collect();
        manifest.notes.extend(self.left_out.iter().cloned());
        manifest.notes.extend(self.notes.iter().cloned());
        let bytes = self.packer.finish(&manifest)?;
        Ok((bytes, manifest, self.left_out, self.notes))
    }
}
