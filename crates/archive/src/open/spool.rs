//! A stream into a file that has no name yet.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use super::error::OpenError;
use super::limits::{Limits, Progress, Step, step};
use super::room::Room;
use crate::sparse::SparseWriter;

/// A temporary file without a name, and the folder it is in.
///
/// # Errors
/// [`OpenError::Write`].
pub(crate) fn temporary() -> Result<(File, PathBuf), OpenError> {
    // Cores are large, and /tmp is often in memory.
    let folder = match std::env::var_os("TMPDIR") {
        Some(folder) if !folder.is_empty() => PathBuf::from(folder),
        _ => PathBuf::from("/var/tmp"),
    };
    let folder = match folder.is_dir() {
        true => folder,
        false => std::env::temp_dir(),
    };
    let file = tempfile::tempfile_in(&folder).map_err(OpenError::write(&folder))?;
    Ok((file, folder))
}

/// Writes a stream to an empty file, with holes for its zeros, within the limits and what the disk has room for.
/// `done` says how far the reading has come, of `total`.
pub(crate) fn spool(
    reader: &mut dyn Read,
    file: &File,
    folder: &Path,
    limits: &Limits,
    progress: Option<&Progress>,
    done: &dyn Fn() -> Step,
) -> Result<(), OpenError> {
    let mut room = Room::new(folder);
    let mut writer = SparseWriter::new(file);
    let mut buffer = vec![0; 256 * 1024];
    loop {
        let n = match reader.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => {
                // What came before may be of use.
                let _ = writer.flush();
                return Err(error.into());
            }
        };
        limits.check_unpacked(writer.position().saturating_add(n as u64))?;
        room.check(writer.data_bytes() + n as u64)?;
        writer
            .write_all(&buffer[..n])
            .map_err(OpenError::write(folder))?;
        step(progress, done())?;
    }
    writer.flush().map_err(OpenError::write(folder))
}
