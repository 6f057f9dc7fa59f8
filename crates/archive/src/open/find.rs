//! The core among the files of an archive, and whose archive it is.

use std::io::Read;

use stillcore_corefile::Source;

use super::decode::{Format, HEAD};
use super::error::OpenError;
use super::opened::OpenedKind;
use super::path::printable;
use super::tree::{Files, Head, Node};

/// The path of a file in the top folder.
pub(super) fn below(top: &[u8], name: &[u8]) -> Vec<u8> {
    match top {
        [] => name.to_vec(),
        top => [top, b"/", name].concat(),
    }
}

/// Whether a source is a core by itself.
pub(super) fn is_core(source: &dyn Source) -> bool {
    matches!(
        Format::of_source(source),
        Ok(Format::Core | Format::KernelDump)
    )
}

/// The one core of an archive, or else the one thing in it that has a core or an archive in it.
pub(super) fn find_core(files: &Files) -> Result<Vec<u8>, OpenError> {
    let (mut cores, mut packed) = (Vec::new(), Vec::new());
    let mut trouble = None;
    for (path, node) in files.nodes() {
        // Less is no core, nor one that is compressed.
        let Node::File {
            head, size: 32.., ..
        } = node
        else {
            continue;
        };
        let head_bytes = match head(HEAD as u64) {
            Ok(bytes) => bytes,
            Err(error @ OpenError::Io(_)) => return Err(error),
            // Another file that cannot be read is no reason not to read the core.
            Err(error) => {
                trouble.get_or_insert(error);
                continue;
            }
        };
        match Format::of(&head_bytes) {
            Ok(Format::Core | Format::KernelDump) => cores.push(path),
            Ok(format) if holds_core(format, head) => packed.push(path),
            Ok(_) | Err(OpenError::Unknown(_) | OpenError::Unsupported(_)) => {}
            Err(error) => return Err(error),
        }
    }
    let found = match cores.is_empty() {
        true => packed,
        false => cores,
    };
    match found.as_slice() {
        [] => Err(trouble.unwrap_or(OpenError::NoCore)),
        [one] => Ok((*one).clone()),
        several => {
            let some = several.iter().take(10).map(|path| printable(path));
            Err(OpenError::SeveralCores(some.collect()))
        }
    }
}

/// Whether the beginning of what is packed is that of a core, or of an archive.
fn holds_core(format: Format, head: &Head) -> bool {
    /// The largest block of any of the formats, which may have to be whole before anything comes out of it: lz4's.
    const BLOCK: u64 = (4 << 20) + 1024;
    match format {
        Format::Tar | Format::Zip => true,
        Format::Core | Format::KernelDump => false,
        Format::Gzip | Format::Zstd | Format::Xz | Format::Lz4 => {
            let Ok(packed) = head(BLOCK) else {
                return false;
            };
            let Ok(Some(mut decoder)) = format.decoder(packed.as_slice()) else {
                return false;
            };
            let mut plain = Vec::with_capacity(HEAD);
            // What can be decoded before an error is enough to tell.
            let _ = (&mut decoder).take(HEAD as u64).read_to_end(&mut plain);
            matches!(
                Format::of(&plain),
                Ok(Format::Core | Format::KernelDump | Format::Tar)
            )
        }
    }
}

/// The first `n` bytes, or as many as there are.
pub(super) fn read_head(reader: impl Read, n: u64) -> Result<Vec<u8>, OpenError> {
    let mut head = Vec::new();
    reader
        .take(n)
        .read_to_end(&mut head)
        .map_err(OpenError::from)?;
    Ok(head)
}

/// Whose archive without a manifest it is.
pub(super) fn kind_of(files: &Files, core: &[u8], format: Format) -> OpenedKind {
    let top = files.top();
    if format == Format::Zip {
        let handler = files
            .nodes()
            .keys()
            .any(|path| path.ends_with(b"-dump-info.json"));
        return match handler {
            true => OpenedKind::CoreDumpHandler,
            false => OpenedKind::Zip,
        };
    }
    if top.starts_with(b"core_") && core == below(top, b"core") {
        OpenedKind::Gencore
    } else if top.starts_with(b"archive-") {
        OpenedKind::Savedump
    } else {
        OpenedKind::Tar
    }
}
