//! What a tar archive is read from: a source, or a stream.

use std::io::{self, Read};

use super::super::view::Cursor;

/// Bytes in order, some of which are passed over.
pub(crate) trait Input: Read {
    fn skip(&mut self, n: u64) -> io::Result<()>;
}

impl Input for Cursor {
    fn skip(&mut self, n: u64) -> io::Result<()> {
        Cursor::skip(self, n)
    }
}

/// A stream; what is passed over is read all the same.
pub(crate) struct Stream<R>(pub(crate) R);

impl<R: Read> Read for Stream<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.0.read(buf)
    }
}

impl<R: Read> Input for Stream<R> {
    fn skip(&mut self, n: u64) -> io::Result<()> {
        let skipped = io::copy(&mut (&mut self.0).take(n), &mut io::sink())?;
        if skipped == n {
            Ok(())
        } else {
            Err(io::ErrorKind::UnexpectedEof.into())
        }
    }
}
