//! Looks at everything in an archive again: checksums, build-ids, the index, and whether it is whole.

use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use sha2::{Digest, Sha256};
use stillcore_corefile::{CoreFile, FileSource, Source, build_id};

use super::blocks::Blocks;
use super::decode::Format;
use super::entry::{Entry, Kind, Sink};
use super::error::OpenError;
use super::find::below;
use super::key::Key;
use super::limits::{Step, step};
use super::opened::{Opened, OpenedKind};
use super::opener::Opener;
use super::options::OpenOptions;
use super::path::{parts, printable};
use super::walk::{Content, Visitor, walk};
use crate::Compression;
use crate::Manifest;
use crate::index::INDEX_NAME;
use crate::manifest::hex;

/// What kind of thing is off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ProblemKind {
    /// The archive itself is broken: cut off, or a checksum of its format fails.
    Damaged,
    /// A file is there and whole, but not the one that the manifest describes.
    Wrong,
    /// A file is not there.
    Missing,
    /// A file is there that should not be.
    Unexpected,
}

/// Something that is off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// What kind of thing.
    pub kind: ProblemKind,
    /// The path in the archive, where it is about one file.
    pub path: Option<Vec<u8>>,
    /// What, in words.
    pub text: String,
}

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verified {
    /// Whose archive it is; `None` when it is too damaged to tell.
    pub kind: Option<OpenedKind>,
    /// What lies around the core, from the outside.
    pub layers: Vec<Format>,
    /// Plain files that were read.
    pub files: u64,
    /// Files whose SHA-256 is the one in the manifest.
    pub checksums: u64,
    /// Files whose build-id is the one in the manifest.
    pub build_ids: u64,
    /// Whether there is an index and every block is what it says.
    pub index: bool,
    /// Everything that is off.
    pub problems: Vec<Problem>,
    /// What could not be checked, and why, as sentences.
    pub notes: Vec<String>,
}

impl Verified {
    /// Whether nothing is off.
    pub fn is_good(&self) -> bool {
        self.problems.is_empty()
    }

    fn problem(&mut self, kind: ProblemKind, path: Option<&[u8]>, text: impl Into<String>) {
        self.problems.push(Problem {
            kind,
            path: path.map(<[u8]>::to_vec),
            text: text.into(),
        });
    }
}

/// Verifies what is at `path`: an archive, or a core, compressed or not.
///
/// Everything is read once from the beginning to the end, as other programs would, and what has an index a second time by
/// the index.
///
/// # Errors
/// [`OpenError::Io`], [`OpenError::Unknown`], [`OpenError::Unsupported`], [`OpenError::Limit`], [`OpenError::Stopped`]:
/// where nothing can be said. Damage is no error, but a [`Problem`].
pub fn verify(path: &Path, options: &OpenOptions) -> Result<Verified, OpenError> {
    let file = File::open(path).map_err(OpenError::Io)?;
    let metadata = file.metadata().map_err(OpenError::Io)?;
    let source = FileSource::new(file).map_err(OpenError::Io)?;
    let key = Key::of(path, &metadata, &source).map_err(OpenError::Io)?;
    verify_keyed(Arc::new(source), Some(key), options)
}

/// As [`verify`].
///
/// # Errors
/// As [`verify`].
pub fn verify_source(
    source: Arc<dyn Source>,
    options: &OpenOptions,
) -> Result<Verified, OpenError> {
    verify_keyed(source, None, options)
}

fn verify_keyed(
    source: Arc<dyn Source>,
    key: Option<Key>,
    options: &OpenOptions,
) -> Result<Verified, OpenError> {
    let mut verified = Verified::default();
    let mut hashes = Hashes::default();
    let limits = &options.limits;
    let walked = walk(
        &source,
        b"core",
        limits,
        options.progress.as_ref(),
        &mut hashes,
    );
    let damaged = match walked {
        Ok(walked) => {
            if !walked.ended {
                let text =
                    "the tar archive does not end as it should: its last files may be missing";
                verified.problem(ProblemKind::Damaged, None, text);
            }
            verified.layers = walked.layers;
            !walked.ended
        }
        Err(OpenError::Damaged(text)) => {
            let path = hashes.unfinished.clone();
            verified.problem(ProblemKind::Damaged, path.as_deref(), text);
            true
        }
        Err(error) => return Err(error),
    };
    verified.files = hashes.files.len() as u64;
    for path in &hashes.twice {
        let text = "two entries have this path";
        verified.problem(ProblemKind::Unexpected, Some(path), text);
    }
    let opened = match Opener::new(options).open(Arc::clone(&source), key) {
        Ok(opened) => opened,
        // That is said already.
        Err(OpenError::Damaged(_) | OpenError::NoCore) if damaged => return Ok(verified),
        Err(OpenError::Damaged(text)) => {
            verified.problem(ProblemKind::Damaged, None, text);
            return Ok(verified);
        }
        Err(OpenError::NoCore) => {
            verified.problem(ProblemKind::Missing, None, "there is no core in it");
            return Ok(verified);
        }
        Err(OpenError::SeveralCores(cores)) => {
            let text = format!("there is more than one core in it: {}", cores.join(", "));
            verified.problem(ProblemKind::Unexpected, None, text);
            return Ok(verified);
        }
        Err(error) => return Err(error),
    };
    verified.kind = Some(opened.kind);
    verified.layers.clone_from(&opened.layers);
    verified.notes.extend(opened.notes.iter().cloned());
    for what in &opened.damage {
        verified.problem(ProblemKind::Damaged, None, what.as_str());
    }
    let damaged = damaged || !opened.damage.is_empty();
    match &opened.manifest {
        Some(manifest) => {
            compare(&opened, manifest, &hashes, damaged, &mut verified)?;
            check_index(&source, &opened, options, &mut verified)?;
        }
        None => verified.notes.push(
            "It has no manifest: what could be checked are the checksums of its format and that the core is whole, \
             not whether the files are the right ones."
                .to_owned(),
        ),
    }
    check_core(&opened, &mut verified);
    Ok(verified)
}

/// That the core is as long as its own headers promise. One that was packed cut off already is nothing that the archive
/// is to blame for.
fn check_core(opened: &Opened, verified: &mut Verified) {
    let path = opened.core_path.as_deref();
    if opened.layers.is_empty() && opened.kind == OpenedKind::KernelDump {
        return;
    }
    let head = Format::of_source(&*opened.core);
    if matches!(head, Ok(Format::KernelDump)) {
        return;
    }
    let whole = CoreFile::open(Arc::clone(&opened.core)).and_then(|core| core.check_whole());
    let blamed = |path: &[u8]| {
        let mut problems = verified.problems.iter();
        problems.any(|problem| problem.path.as_deref() == Some(path))
    };
    let Err(error) = whole else { return };
    match path {
        Some(path) if opened.manifest.is_some() && !blamed(path) && verified.checksums > 0 => {
            let text = "It is the core that was packed, but that was not whole:";
            verified.notes.push(format!("{text} {error}."));
        }
        _ => verified.problem(ProblemKind::Damaged, path, format!("the core: {error}")),
    }
}

/// Compares what was read with what the manifest says.
fn compare(
    opened: &Opened,
    manifest: &Manifest,
    hashes: &Hashes,
    damaged: bool,
    verified: &mut Verified,
) -> Result<(), OpenError> {
    let top = opened.files.top();
    let mut known: HashSet<Vec<u8>> = HashSet::new();
    known.insert(below(top, b"manifest.json"));
    known.insert(below(top, INDEX_NAME));
    let core = &manifest.core;
    let mut expected = vec![Expected {
        path: below(top, core.path.as_bytes()),
        size: Some(core.size),
        sha256: Some(&core.sha256),
        build_id: None,
    }];
    for file in manifest.files.iter().filter(|file| file.included) {
        let Some(place) = &file.archive_path else {
            let text = format!(
                "the manifest does not say where {} is",
                printable(file.path.as_bytes())
            );
            verified.problem(ProblemKind::Wrong, None, text);
            continue;
        };
        expected.push(Expected {
            path: below(top, &super::tree::unescaped(place.as_bytes())),
            size: file.size,
            sha256: file.sha256.as_ref(),
            build_id: file.build_id.as_ref(),
        });
    }
    expected.extend(manifest.scripts.iter().map(|script| Expected {
        path: below(top, script.path.as_bytes()),
        size: Some(script.size),
        sha256: Some(&script.sha256),
        build_id: None,
    }));
    // Where the archive is damaged, other bytes are no sign of another file.
    let wrong = match damaged {
        true => ProblemKind::Damaged,
        false => ProblemKind::Wrong,
    };
    for expected in expected {
        let path = expected.path.as_slice();
        known.insert(path.to_vec());
        let Some(found) = hashes.files.get(path) else {
            if !damaged {
                verified.problem(ProblemKind::Missing, Some(path), "it is not in the archive");
            }
            continue;
        };
        if expected.size.is_some_and(|size| size != found.size) {
            let text = format!(
                "it has {} bytes, the manifest says {}",
                found.size,
                expected.size.unwrap_or(0)
            );
            verified.problem(wrong, Some(path), text);
            continue;
        }
        match expected.sha256 {
            Some(sha256) if *sha256 == found.sha256 => verified.checksums += 1,
            Some(sha256) => {
                let text = format!(
                    "its SHA-256 is {}, the manifest says {sha256}",
                    found.sha256
                );
                verified.problem(wrong, Some(path), text);
                continue;
            }
            None => {
                let text = "the manifest has no checksum of it";
                verified.problem(wrong, Some(path), text);
            }
        }
        let Some(wanted) = expected.build_id else {
            continue;
        };
        let file = opened.files.open(path)?;
        let id = file.and_then(|file| build_id(&*file).ok().flatten());
        match id.map(|id| hex(&id)) {
            Some(id) if id == *wanted => verified.build_ids += 1,
            Some(id) => {
                let text = format!("its build-id is {id}, the manifest says {wanted}");
                verified.problem(ProblemKind::Wrong, Some(path), text);
            }
            None => {
                let text = format!("it has no build-id, the manifest says {wanted}");
                verified.problem(ProblemKind::Wrong, Some(path), text);
            }
        }
    }
    compare_links(manifest, top, hashes, damaged, verified);
    // Notes may have been added; programs may not.
    for path in hashes.files.keys().filter(|path| !known.contains(*path)) {
        let content = opened.files.open(path)?;
        let is_elf = content.is_some_and(|content| {
            let mut magic = [0; 4];
            content.read_at(0, &mut magic).is_ok_and(|n| n == 4) && magic == *b"\x7fELF"
        });
        match is_elf {
            true => verified.problem(
                ProblemKind::Unexpected,
                Some(path),
                "the manifest does not know this program or library",
            ),
            false => verified.notes.push(format!(
                "The manifest has no checksum of {}.",
                printable(path)
            )),
        }
    }
    Ok(())
}

/// A link that leads to another library is as bad as another library.
fn compare_links(
    manifest: &Manifest,
    top: &[u8],
    hashes: &Hashes,
    damaged: bool,
    verified: &mut Verified,
) {
    let mut known = HashSet::new();
    for link in &manifest.links {
        let path = below(top, &super::tree::unescaped(link.path.as_bytes()));
        let target = super::tree::unescaped(link.target.as_bytes());
        match hashes.links.get(&path) {
            Some(found) if *found == target => {}
            Some(found) => {
                let text = format!(
                    "it leads to {}, the manifest says {}",
                    printable(found),
                    printable(&target)
                );
                verified.problem(ProblemKind::Wrong, Some(&path), text);
            }
            None if !damaged => {
                let text = "this link is not in the archive";
                verified.problem(ProblemKind::Missing, Some(&path), text);
            }
            None => {}
        }
        known.insert(path);
    }
    for path in hashes.links.keys().filter(|path| !known.contains(*path)) {
        let text = "the manifest does not know this link";
        verified.problem(ProblemKind::Unexpected, Some(path), text);
    }
}

struct Expected<'a> {
    path: Vec<u8>,
    size: Option<u64>,
    sha256: Option<&'a String>,
    build_id: Option<&'a String>,
}

/// That each block is what the index says.
fn check_index(
    source: &Arc<dyn Source>,
    opened: &Opened,
    options: &OpenOptions,
    verified: &mut Verified,
) -> Result<(), OpenError> {
    let compression = match opened.layers.as_slice() {
        [Format::Gzip, Format::Tar] => Compression::Gzip,
        [Format::Zstd, Format::Tar] => Compression::Zstd,
        _ => return Ok(()),
    };
    let never = || Err(OpenError::Stopped);
    let Some(blocks) = Blocks::open(source, compression, Box::new(never))? else {
        verified
            .notes
            .push("It has no index that can be used: it will be unpacked to be read.".to_owned());
        return Ok(());
    };
    let total = Some(source.len());
    let checked = blocks.check(|done| step(options.progress.as_ref(), Step { done, total }));
    match checked {
        Ok(()) => verified.index = true,
        Err(OpenError::Damaged(text)) => {
            let path = below(opened.files.top(), INDEX_NAME);
            verified.problem(ProblemKind::Damaged, Some(&path), text);
        }
        Err(error) => return Err(error),
    }
    Ok(())
}

/// Length and checksum of every plain file.
#[derive(Default)]
struct Hashes {
    files: BTreeMap<Vec<u8>, Hash>,
    /// The targets of symbolic links.
    links: BTreeMap<Vec<u8>, Vec<u8>>,
    twice: Vec<Vec<u8>>,
    /// The file in which the reading ended.
    unfinished: Option<Vec<u8>>,
}

struct Hash {
    size: u64,
    sha256: String,
}

impl Visitor for Hashes {
    fn entry(&mut self, entry: &Entry, content: &mut Content<'_>) -> Result<(), OpenError> {
        let Ok(parts) = parts(&entry.path) else {
            return Ok(());
        };
        let path = parts.join(&b'/');
        match &entry.kind {
            Kind::File => {}
            Kind::Symlink(target) => {
                self.links.insert(path, target.clone());
                return Ok(());
            }
            Kind::Folder | Kind::HardLink(_) | Kind::Other(_) => return Ok(()),
        }
        let mut sink = HashSink {
            sha: Sha256::new(),
            size: 0,
        };
        self.unfinished = Some(path.clone());
        content(&mut sink)?;
        self.unfinished = None;
        let hash = Hash {
            size: sink.size,
            sha256: hex(&sink.sha.finalize()),
        };
        if self.files.insert(path.clone(), hash).is_some() {
            self.twice.push(path);
        }
        Ok(())
    }
}

struct HashSink {
    sha: Sha256,
    size: u64,
}

impl Sink for HashSink {
    fn bytes(&mut self, bytes: &[u8]) -> Result<(), OpenError> {
        self.sha.update(bytes);
        self.size += bytes.len() as u64;
        Ok(())
    }

    fn zeros(&mut self, n: u64) -> Result<(), OpenError> {
        let zeros = [0; 16384];
        let mut left = n;
        while left > 0 {
            let now = left.min(zeros.len() as u64);
            self.sha.update(&zeros[..now as usize]);
            left -= now;
        }
        self.size += n;
        Ok(())
    }
}
