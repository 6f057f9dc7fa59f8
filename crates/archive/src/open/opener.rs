//! The layers around a core, gone through from the outside until there is one.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};

use stillcore_corefile::Source;

use super::blocks::Blocks;
use super::decode::Format;
use super::entry::Kind as EntryKind;
use super::error::OpenError;
use super::find::{below, find_core, is_core, kind_of, read_head};
use super::key::Key;
use super::opened::{Opened, OpenedKind};
use super::options::OpenOptions;
use super::path::{parts, printable};
use super::tar::Walk;
use super::tree::{Files, Node};
use super::unpacker::Unpacker;
use super::view::{Cursor, Holed, Stretch, read_exact_at};
use super::zip::Zip;
use crate::{Compression, Manifest};

/// Longest manifest that is read.
const MAX_MANIFEST: u64 = 64 << 20;

/// Goes through the layers, from the outside.
pub(super) struct Opener<'a> {
    options: &'a OpenOptions,
    unpacker: Unpacker,
    layers: Vec<Format>,
    indexed: bool,
    notes: Vec<String>,
    damage: Vec<String>,
}

/// The last archive that was gone through.
struct Archive {
    files: Files,
    manifest: Option<Manifest>,
    kind: OpenedKind,
    core_path: Vec<u8>,
}

impl<'a> Opener<'a> {
    pub(super) fn new(options: &'a OpenOptions) -> Opener<'a> {
        Opener {
            options,
            unpacker: Unpacker {
                options: options.clone(),
                cached: Arc::default(),
                cut_off: Arc::default(),
            },
            layers: Vec::new(),
            indexed: false,
            notes: Vec::new(),
            damage: Vec::new(),
        }
    }

    pub(super) fn open(
        mut self,
        source: Arc<dyn Source>,
        key: Option<Key>,
    ) -> Result<Opened, OpenError> {
        let (mut source, mut key) = (source, key);
        let mut archive: Option<Archive> = None;
        loop {
            let format = Format::of_source(&*source)?;
            let kind = match format {
                Format::Core => Some(OpenedKind::Core),
                Format::KernelDump => Some(OpenedKind::KernelDump),
                _ => None,
            };
            if let Some(kind) = kind {
                return Ok(self.finish(source, kind, archive));
            }
            self.layers.push(format);
            self.options.limits.check_layers(self.layers.len() as u64)?;
            match format {
                Format::Tar => {
                    let files = self.tar(&source)?;
                    let (found, inside) = self.choose(files, format)?;
                    key = key.map(|key| key.inside(&found.core_path));
                    archive = Some(found);
                    source = inside;
                }
                Format::Zip => {
                    let files = self.zip(&source, key.as_ref())?;
                    let (found, inside) = self.choose(files, format)?;
                    key = key.map(|key| key.inside(&found.core_path));
                    archive = Some(found);
                    source = inside;
                }
                _ => {
                    source = self.decompressed(&source, format, key.as_ref())?;
                    key = key.map(|key| key.inside(format.name().as_bytes()));
                }
            }
        }
    }

    fn finish(self, core: Arc<dyn Source>, kind: OpenedKind, archive: Option<Archive>) -> Opened {
        let cached = self.unpacker.cached.lock();
        let cached = cached.unwrap_or_else(PoisonError::into_inner).clone();
        let cut_off = self.unpacker.cut_off.lock();
        let mut damage = cut_off.unwrap_or_else(PoisonError::into_inner).clone();
        damage.extend(self.damage);
        let mut opened = Opened {
            core,
            kind,
            layers: self.layers,
            core_path: None,
            files: Files::default(),
            manifest: None,
            cached,
            indexed: self.indexed,
            notes: self.notes,
            damage,
        };
        if let Some(archive) = archive {
            opened.kind = archive.kind;
            opened.core_path = Some(archive.core_path);
            opened.files = archive.files;
            opened.manifest = archive.manifest;
        }
        opened
    }

    /// What is in a compressed stream: by its index, where it has one.
    fn decompressed(
        &mut self,
        source: &Arc<dyn Source>,
        format: Format,
        key: Option<&Key>,
    ) -> Result<Arc<dyn Source>, OpenError> {
        let compression = match format {
            Format::Gzip => Some(Compression::Gzip),
            Format::Zstd => Some(Compression::Zstd),
            _ => None,
        };
        if let Some(compression) = compression {
            let (unpacker, whole, key) = (self.unpacker.clone(), Arc::clone(source), key.cloned());
            let fallback = move || unpacker.stream(&whole, format, key.as_ref());
            if let Some(blocks) = Blocks::open(source, compression, Box::new(fallback))? {
                self.indexed = true;
                return Ok(Arc::new(blocks));
            }
        }
        self.unpacker.stream(source, format, key)
    }

    /// The files of a tar archive, found by leaping from header to header.
    fn tar(&mut self, source: &Arc<dyn Source>) -> Result<Files, OpenError> {
        let mut walk = Walk::new(Cursor::new(Arc::clone(source)), &self.options.limits);
        let mut nodes = BTreeMap::new();
        let mut is_cut = false;
        loop {
            let entry = match walk.next() {
                Ok(Some(entry)) => entry,
                Ok(None) => break,
                // What came before is there.
                Err(error) if error.is_cut_off() && !nodes.is_empty() => {
                    is_cut = true;
                    break;
                }
                Err(error) => return Err(error),
            };
            let Some(path) = self.path_of(&entry.path) else {
                continue;
            };
            let node = match entry.kind {
                EntryKind::Folder => Node::Folder,
                EntryKind::Symlink(target) => Node::Symlink(target),
                EntryKind::HardLink(target) => Node::HardLink(target),
                EntryKind::Other(_) => continue,
                EntryKind::File => {
                    let stored = Stretch::up_to(Arc::clone(source), entry.start, entry.stored);
                    if stored.len() < entry.stored {
                        let path = printable(&path);
                        self.damage.push(format!(
                            "the tar archive is cut off in the middle of {path}; what came behind is missing"
                        ));
                    }
                    let (size, there) = (entry.size, stored.len() == entry.stored);
                    let content: Arc<dyn Source> = match entry.extents {
                        Some(extents) => Arc::new(Holed::new(stored, extents, entry.size)),
                        None => Arc::new(stored),
                    };
                    let same = Arc::clone(&content);
                    Node::File {
                        size: if there { size } else { content.len() },
                        content: Arc::new(move || Ok(Arc::clone(&content))),
                        head: Arc::new(move |n| read_head(Cursor::new(Arc::clone(&same)), n)),
                    }
                }
            };
            nodes.insert(path, node);
        }
        if is_cut && self.damage.is_empty() {
            self.damage
                .push("the tar archive is cut off; what came behind is missing".to_owned());
        } else if !is_cut && !walk.ended() {
            self.notes.push(
                "The tar archive does not end as it should: perhaps its last files are missing."
                    .to_owned(),
            );
        }
        Ok(Files::new(nodes))
    }

    fn zip(&mut self, source: &Arc<dyn Source>, key: Option<&Key>) -> Result<Files, OpenError> {
        let limits = &self.options.limits;
        let mut zip = Zip::open(Arc::clone(source), limits)?;
        self.damage.extend(zip.cut_off());
        let mut nodes = BTreeMap::new();
        for number in 0..zip.len() {
            let entry = zip.entry(number, limits)?;
            let Some(path) = self.path_of(&entry.path) else {
                continue;
            };
            let node = match entry.kind {
                EntryKind::Folder => Node::Folder,
                EntryKind::Symlink(target) => Node::Symlink(target),
                EntryKind::HardLink(_) => continue,
                EntryKind::Other(what) => {
                    self.passed_over(&path, what);
                    continue;
                }
                EntryKind::File => {
                    let (unpacker, zip) = (self.unpacker.clone(), zip.clone());
                    let same = zip.clone();
                    let key = key.map(|key| key.inside(&path));
                    let size = entry.size;
                    Node::File {
                        size,
                        content: Arc::new(move || {
                            unpacker.zipped(&zip, number, size, key.as_ref())
                        }),
                        head: Arc::new(move |n| read_head(same.clone().read(number)?, n)),
                    }
                }
            };
            nodes.insert(path, node);
        }
        Ok(Files::new(nodes))
    }

    /// An entry's path below the root; nothing for the root itself, and for one that leads out, which is noted.
    fn path_of(&mut self, path: &[u8]) -> Option<Vec<u8>> {
        match parts(path) {
            Ok(parts) => (!parts.is_empty()).then(|| parts.join(&b'/')),
            Err(why) => {
                self.passed_over(path, why);
                None
            }
        }
    }

    /// Notes an entry that will not be there; only the first few.
    fn passed_over(&mut self, path: &[u8], why: &str) {
        if self.notes.len() < 10 {
            self.notes.push(format!(
                "An entry of the archive is passed over, {}: {why}.",
                printable(path)
            ));
        }
    }

    /// The core among the files, or what it is packed in.
    fn choose(
        &mut self,
        mut files: Files,
        format: Format,
    ) -> Result<(Archive, Arc<dyn Source>), OpenError> {
        let (manifest, named) = self.manifest(&files)?;
        if let Some(manifest) = &manifest {
            files.record(manifest);
        }
        let core_path = match named {
            Some(path) => path,
            None => find_core(&files)?,
        };
        let content = files.open(&core_path)?.ok_or(OpenError::NoCore)?;
        let archive = Archive {
            kind: match manifest.is_some() {
                true => OpenedKind::Stillcore,
                false => kind_of(&files, &core_path, format),
            },
            files,
            manifest,
            core_path,
        };
        Ok((archive, content))
    }

    /// The manifest of an archive of ours, and the path of the core that it names.
    fn manifest(
        &mut self,
        files: &Files,
    ) -> Result<(Option<Manifest>, Option<Vec<u8>>), OpenError> {
        let path = below(files.top(), b"manifest.json");
        let Some((size, content)) = files.file(&path).filter(|(size, _)| *size <= MAX_MANIFEST)
        else {
            return Ok((None, None));
        };
        let mut text = vec![0; size as usize];
        read_exact_at(&*content()?, 0, &mut text).map_err(OpenError::from)?;
        let manifest: Manifest = match serde_json::from_slice(&text) {
            Ok(manifest) => manifest,
            Err(error) => {
                self.notes
                    .push(format!("The manifest cannot be read: {error}."));
                return Ok((None, None));
            }
        };
        let core = below(files.top(), manifest.core.path.as_bytes());
        let named = match files.open(&core)? {
            Some(content) if is_core(&*content) => Some(core),
            _ => None,
        };
        Ok((Some(manifest), named))
    }
}
