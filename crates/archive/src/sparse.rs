//! Files with holes in place of zeros.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;

use crate::block::BLOCK_SIZE;
use crate::compression::{ZERO_PAGE, is_zero};
use crate::error::PackError;
use crate::packer::read_some;
use crate::source::{CoreSource, Part};

/// Zeros are left out in pieces of this size, at multiples of it.
const PAGE: usize = ZERO_PAGE.len();

/// Writes to a new, empty file and leaves its pages of zeros out, so that they are holes. The file has its full length
/// after [`Write::flush`].
///
/// It writes by position: not for files opened for appending, nor for pipes.
#[derive(Debug)]
pub struct SparseWriter<'a> {
    file: &'a File,
    at: u64,
    data: u64,
}

impl<'a> SparseWriter<'a> {
    /// Begins at the start of the file.
    pub fn new(file: &'a File) -> SparseWriter<'a> {
        SparseWriter {
            file,
            at: 0,
            data: 0,
        }
    }

    /// Bytes so far, holes included.
    pub fn position(&self) -> u64 {
        self.at
    }

    /// Bytes so far that are not in holes.
    pub fn data_bytes(&self) -> u64 {
        self.data
    }

    /// Leaves `n` bytes out.
    pub fn skip(&mut self, n: u64) {
        self.at = self.at.saturating_add(n);
    }

    /// Bytes of `buf` up to the end of their page in the file.
    fn page(&self, from: usize, buf: &[u8]) -> usize {
        let over = ((self.at + from as u64) % PAGE as u64) as usize;
        (PAGE - over).min(buf.len() - from)
    }
}

impl Write for SparseWriter<'_> {
    /// Takes everything, or nothing in case of an error.
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let mut end = 0;
        while end < buf.len() {
            let start = end;
            let skipped = loop {
                let page = self.page(end, buf);
                if page == 0 || !is_zero(&buf[end..end + page]) {
                    break end;
                }
                end += page;
            };
            let data = loop {
                let page = self.page(end, buf);
                if page == 0 || is_zero(&buf[end..end + page]) {
                    break &buf[skipped..end];
                }
                end += page;
            };
            self.file.write_all_at(data, self.at + skipped as u64)?;
            self.data += data.len() as u64;
            debug_assert!(end > start);
        }
        self.at += buf.len() as u64;
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.set_len(self.at)
    }
}

/// What [`write_core`] has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    /// Length of the file, holes included.
    pub size: u64,
    /// How many of its bytes are not in holes.
    pub data_size: u64,
    /// Bytes that could not be read and are zeros.
    pub unreadable: u64,
}

/// Writes a core as it is to a new, empty file, with holes in place of its pages of zeros. To sync and to name the file
/// is the caller's. `progress` is that of [`PackJob`](crate::PackJob).
///
/// # Errors
/// [`PackError::Output`] and [`PackError::Core`]; [`PackError::Stopped`] when `progress` said so.
pub fn write_core(
    out: &File,
    source: &dyn CoreSource,
    progress: &dyn Fn(u64) -> bool,
) -> Result<Written, PackError> {
    let size = source.size().map_err(PackError::Core)?;
    let mut writer = SparseWriter::new(out);
    let mut buffer = vec![0; BLOCK_SIZE];
    let step = |n| match progress(n) {
        true => Ok(()),
        false => Err(PackError::Stopped),
    };
    for part in source.parts() {
        match part {
            Part::Zeros(n) => {
                writer.skip(n);
                step(n)?;
            }
            Part::Bytes(bytes) => {
                for bytes in bytes.chunks(BLOCK_SIZE) {
                    writer.write_all(bytes).map_err(PackError::Output)?;
                    step(bytes.len() as u64)?;
                }
            }
            Part::Read { address, len } => {
                let mut done = 0;
                while done < len {
                    let n = read_some(source, address + done, len - done, &mut buffer)
                        .map_err(PackError::Core)?;
                    if n == 0 {
                        return Err(PackError::Core(io::ErrorKind::UnexpectedEof.into()));
                    }
                    writer.write_all(&buffer[..n]).map_err(PackError::Output)?;
                    done += n as u64;
                    step(n as u64)?;
                }
            }
        }
    }
    let whole = writer.position() == size && source.size().is_ok_and(|now| now >= size);
    if !whole {
        return Err(PackError::Core(io::ErrorKind::UnexpectedEof.into()));
    }
    writer.flush().map_err(PackError::Output)?;
    Ok(Written {
        size,
        data_size: writer.data_bytes(),
        unreadable: source.unreadable(),
    })
}
