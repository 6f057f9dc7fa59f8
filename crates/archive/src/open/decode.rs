//! What something is, told by its first bytes, and the decoders.

use std::io::{self, BufRead, BufReader, Read};

use flate2::bufread::GzDecoder;
use lz4_flex::frame::FrameDecoder;
use lzma_rust2::XzReader;
use stillcore_corefile::Source;

use super::error::{MAX_MEMORY, OpenError};

/// Bytes by which anything is recognised: one record of a tar archive.
pub(crate) const HEAD: usize = 512;

const BUFFER: usize = 256 * 1024;

const LZ4_LEGACY: [u8; 4] = [0x02, 0x21, 0x4c, 0x18];

/// What something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    /// An ELF core.
    Core,
    /// A kernel dump in makedumpfile's format.
    KernelDump,
    /// Compressed by gzip.
    Gzip,
    /// Compressed by Zstandard.
    Zstd,
    /// Compressed by xz.
    Xz,
    /// Compressed by lz4, in frames.
    Lz4,
    /// A tar archive.
    Tar,
    /// A zip archive.
    Zip,
}

impl Format {
    /// Its name in messages: `gzip`, `tar` ...
    pub fn name(self) -> &'static str {
        match self {
            Format::Core => "ELF core",
            Format::KernelDump => "makedumpfile",
            Format::Gzip => "gzip",
            Format::Zstd => "zstd",
            Format::Xz => "xz",
            Format::Lz4 => "lz4",
            Format::Tar => "tar",
            Format::Zip => "zip",
        }
    }

    /// Recognises something by its first [`HEAD`] bytes; fewer where it has no more.
    ///
    /// # Errors
    /// [`OpenError::Unknown`], [`OpenError::Unsupported`].
    pub(crate) fn of(head: &[u8]) -> Result<Format, OpenError> {
        let is = |magic: &[u8]| head.starts_with(magic);
        if is(b"\x7fELF") {
            return elf(head);
        }
        let format = if is(&[0x1f, 0x8b]) {
            Format::Gzip
        } else if is(&[0x28, 0xb5, 0x2f, 0xfd]) || is_skippable(head) {
            Format::Zstd
        } else if is(b"\xfd7zXZ\0") {
            Format::Xz
        } else if is(&[0x04, 0x22, 0x4d, 0x18]) || is(&LZ4_LEGACY) {
            Format::Lz4
        } else if is(b"PK\x03\x04") || is(b"PK\x05\x06") {
            Format::Zip
        } else if is(b"KDUMP   ") || is(b"DISKDUMP") || is(b"makedumpfile\0") {
            Format::KernelDump
        } else if is_tar(head) {
            Format::Tar
        } else {
            return Err(unknown(head));
        };
        Ok(format)
    }

    /// As [`Format::of`], reading the first bytes.
    pub(crate) fn of_source(source: &dyn Source) -> Result<Format, OpenError> {
        let mut head = [0; HEAD];
        let n = source.read_at(0, &mut head).map_err(OpenError::from)?;
        Format::of(&head[..n])
    }

    /// Decompresses a stream; `None` where the format is not one of a single stream.
    pub(crate) fn decoder<'a>(
        self,
        input: impl Read + 'a,
    ) -> Result<Option<Box<dyn Read + 'a>>, OpenError> {
        let input = BufReader::with_capacity(BUFFER, input);
        Ok(Some(match self {
            Format::Gzip => Box::new(Members::<_, GzDecoder<BufReader<_>>>::new(input)),
            Format::Lz4 => Box::new(Members::<_, Lz4Frame<_>>::new(input)),
            Format::Zstd => {
                let decoder = zstd::Decoder::with_buffer(input).map_err(OpenError::from)?;
                Box::new(decoder)
            }
            Format::Xz => {
                let kib = (MAX_MEMORY >> 10) as u32;
                Box::new(XzReader::new_mem_limit(input, true, kib))
            }
            Format::Core | Format::KernelDump | Format::Tar | Format::Zip => return Ok(None),
        }))
    }
}

fn elf(head: &[u8]) -> Result<Format, OpenError> {
    let at = |index: usize| head.get(index).copied().unwrap_or(0);
    // EI_DATA is 2 where numbers begin with their highest byte.
    let e_type = match at(5) {
        2 => u16::from_be_bytes([at(16), at(17)]),
        _ => u16::from_le_bytes([at(16), at(17)]),
    };
    let what = match e_type {
        4 => return Ok(Format::Core),
        1 => "an object file",
        2 => "an executable",
        3 => "a shared library or an executable",
        _ => "an ELF file of another kind",
    };
    Err(OpenError::Unsupported(format!(
        "it is {what}, not a core (e_type is {e_type}, a core has 4)"
    )))
}

/// Zstandard's frames without content, with which some of its files begin.
fn is_skippable(head: &[u8]) -> bool {
    matches!(head, [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..])
}

/// A tar archive has no magic number in its first bytes, and old ones have none at all, but a checksum.
fn is_tar(head: &[u8]) -> bool {
    head.len() == HEAD && head[0] != 0 && super::tar::checksum_is_right(head)
}

fn unknown(head: &[u8]) -> OpenError {
    let what = match head {
        [] => "it is empty".to_owned(),
        [b'B', b'Z', b'h', ..] => "bzip2 is not supported; decompress it first".to_owned(),
        [b'7', b'z', 0xbc, 0xaf, ..] => "7z is not supported; unpack it first".to_owned(),
        _ if head.iter().all(|&byte| byte == 0) => "it begins with zeros".to_owned(),
        _ => {
            let bytes: Vec<_> = head
                .iter()
                .take(8)
                .map(|byte| format!("{byte:02x}"))
                .collect();
            format!("it begins with the bytes {}", bytes.join(" "))
        }
    };
    OpenError::Unknown(what)
}

/// A decoder of one member of a stream that may have several.
trait Member<R: BufRead>: Read {
    fn start(input: R) -> Self;
    /// After the member's end: checks that it was one, and gives the input back.
    fn finish(self) -> io::Result<R>;
}

/// Gzip members, or lz4 frames, one after the other. Zeros behind the last one are padding.
struct Members<R, M> {
    state: State<R, M>,
}

enum State<R, M> {
    Between(R),
    Inside(M),
    Done,
}

impl<R: BufRead, M: Member<R>> Members<R, M> {
    fn new(input: R) -> Members<R, M> {
        Members {
            state: State::Inside(M::start(input)),
        }
    }
}

impl<R: BufRead, M: Member<R>> Read for Members<R, M> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if buf.is_empty() {
            return Ok(0);
        }
        loop {
            // On an error the stream is over, and stays so.
            match std::mem::replace(&mut self.state, State::Done) {
                State::Inside(mut member) => match member.read(buf)? {
                    0 => self.state = State::Between(member.finish()?),
                    n => {
                        self.state = State::Inside(member);
                        return Ok(n);
                    }
                },
                State::Between(mut input) => {
                    let next = input.fill_buf()?;
                    if next.is_empty() {
                        return Ok(0);
                    }
                    if next[0] == 0 {
                        return only_zeros(input).map(|()| 0);
                    }
                    self.state = State::Inside(M::start(input));
                }
                State::Done => return Ok(0),
            }
        }
    }
}

fn only_zeros(mut input: impl BufRead) -> io::Result<()> {
    loop {
        let bytes = input.fill_buf()?;
        if bytes.is_empty() {
            return Ok(());
        }
        if bytes.iter().any(|&byte| byte != 0) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "something that does not belong to it lies behind its end",
            ));
        }
        let n = bytes.len();
        input.consume(n);
    }
}

impl<R: BufRead> Member<R> for GzDecoder<R> {
    fn start(input: R) -> Self {
        GzDecoder::new(input)
    }

    fn finish(self) -> io::Result<R> {
        Ok(self.into_inner())
    }
}

/// One lz4 frame. The library takes an input that ends between two blocks for the end of the frame.
struct Lz4Frame<R: BufRead> {
    decoder: FrameDecoder<NotedEnd<R>>,
}

/// Notes when a read found nothing more, and what the first bytes were.
struct NotedEnd<R> {
    input: R,
    ended: bool,
    magic: Vec<u8>,
}

impl<R: Read> Read for NotedEnd<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.input.read(buf)?;
        self.ended |= n == 0 && !buf.is_empty();
        let more = LZ4_LEGACY.len() - self.magic.len();
        self.magic.extend(buf[..n].iter().take(more));
        Ok(n)
    }
}

impl<R: BufRead> Read for Lz4Frame<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.decoder.read(buf)
    }
}

impl<R: BufRead> Member<R> for Lz4Frame<R> {
    fn start(input: R) -> Self {
        Lz4Frame {
            decoder: FrameDecoder::new(NotedEnd {
                input,
                ended: false,
                magic: Vec::new(),
            }),
        }
    }

    fn finish(self) -> io::Result<R> {
        let input = self.decoder.into_inner();
        // The legacy format has no mark at its end.
        if input.ended && input.magic != LZ4_LEGACY {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(input.input)
    }
}
