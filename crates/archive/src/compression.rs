//! The ways to compress, one block at a time. What each gives for a block stands alone, so that blocks can be
//! compressed in any thread and simply follow each other in the stream.

use std::io;
use std::ops::RangeInclusive;
use std::sync::OnceLock;

use flate2::{Compress, FlushCompress, Status};
use zstd_safe::{CCtx, CParameter};

/// How an archive is compressed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Compression {
    /// One gzip member: every program opens it.
    #[default]
    Gzip,
    /// Zstandard: faster and smaller. It is many frames, one after the other; GNU tar, bsdtar and zstd read them all,
    /// but the zlib module of Node 22 and 24 stops after the first.
    Zstd,
    /// A plain tar file.
    None,
}

impl Compression {
    /// What the name of such an archive ends with, without a dot before it.
    pub fn extension(self) -> &'static str {
        match self {
            Compression::Gzip => "tar.gz",
            Compression::Zstd => "tar.zst",
            Compression::None => "tar",
        }
    }

    /// The levels there are, from fast to small. The first is the one to take unless another is asked for.
    ///
    /// Zstandard ends at 4. The strategies of higher levels are left out of the build (`.cargo/config.toml`), for they
    /// would double what the addon has grown by: on the heap of a service, level 9 takes seven times as long as level 1
    /// for a twentieth less.
    pub fn levels(self) -> RangeInclusive<u32> {
        match self {
            Compression::Gzip => 1..=9,
            Compression::Zstd => 1..=4,
            Compression::None => 0..=0,
        }
    }

    fn clamp(self, level: Option<u32>) -> u32 {
        let levels = self.levels();
        level.map_or(*levels.start(), |level| {
            level.clamp(*levels.start(), *levels.end())
        })
    }

    /// What the stream begins with.
    pub(crate) fn header(self) -> &'static [u8] {
        match self {
            // Gzip header: deflate, no flags, no time, fastest compression, Unix.
            Compression::Gzip => &[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 4, 3],
            Compression::Zstd | Compression::None => &[],
        }
    }
}

/// Compresses blocks.
pub(crate) enum Encoder {
    Gzip(Deflater),
    Zstd(CCtx<'static>),
}

impl Encoder {
    /// `None` where nothing is compressed.
    pub(crate) fn new(compression: Compression, level: Option<u32>) -> Option<Encoder> {
        let level = compression.clamp(level);
        match compression {
            Compression::Gzip => Some(Encoder::Gzip(Deflater::new(level))),
            Compression::Zstd => {
                // Its tables are allocated when they are first needed, and an error then.
                let mut context = CCtx::create();
                let level = i32::try_from(level).unwrap_or(1);
                for parameter in [
                    CParameter::CompressionLevel(level),
                    CParameter::ChecksumFlag(true),
                ] {
                    context
                        .set_parameter(parameter)
                        .unwrap_or_else(|_| unreachable!("zstd knows levels and checksums"));
                }
                Some(Encoder::Zstd(context))
            }
            Compression::None => None,
        }
    }

    /// Replaces `out` by the compressed form of `input`.
    pub(crate) fn encode(&mut self, input: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
        out.clear();
        match self {
            Encoder::Gzip(deflater) => {
                deflater.deflate(input, out);
                Ok(())
            }
            Encoder::Zstd(context) => {
                out.reserve(zstd_safe::compress_bound(input.len()));
                context
                    .compress2(out, input)
                    .map(drop)
                    .map_err(|code| io::Error::other(zstd_safe::get_error_name(code)))
            }
        }
    }
}

/// Makes pieces of one raw deflate stream that do not refer to each other.
pub(crate) struct Deflater(Compress);

impl Deflater {
    fn new(level: u32) -> Deflater {
        Deflater(Compress::new(flate2::Compression::new(level), false))
    }

    /// Appends the compressed form of `input`, ended on a byte boundary, and open for more to follow.
    fn deflate(&mut self, input: &[u8], out: &mut Vec<u8>) {
        self.0.reset();
        out.reserve(input.len() / 4 + 1024);
        loop {
            let from = self.0.total_in() as usize;
            let room = out.capacity() - out.len();
            let status = self
                .0
                .compress_vec(&input[from..], out, FlushCompress::Sync);
            // Room left in the output means that the flush is complete; without it there may be more to come.
            let complete = out.len() < out.capacity() && self.0.total_in() as usize == input.len();
            match status {
                Ok(Status::Ok) if complete => return,
                // No progress although there was room: the flush was already complete.
                Ok(Status::BufError) if room > 0 && complete => return,
                Ok(_) => out.reserve(input.len() / 4 + 1024),
                // Deflate has no errors but misuse of its own interface.
                Err(_) => unreachable!("raw deflate reported an error"),
            }
        }
    }
}

/// A run of zeros, compressed once and for all.
#[derive(Debug)]
pub(crate) struct Zero {
    /// How many.
    pub(crate) size: u64,
    pub(crate) packed: Vec<u8>,
    pub(crate) crc: crc32fast::Hasher,
}

/// Prepared runs of zeros: 4 KiB (a page), 8, 16 ... 1 MiB.
pub(crate) struct ZeroBlocks(Vec<Zero>);

impl ZeroBlocks {
    const SMALLEST: u64 = 4096;
    const COUNT: u32 = 9;
    /// Zeros take next to nothing at the highest level, and are compressed only once.
    const GZIP_LEVEL: u32 = 9;
    const ZSTD_LEVEL: u32 = 3;

    /// Those of a way to compress; `None` where nothing is compressed.
    pub(crate) fn get(compression: Compression) -> Option<&'static ZeroBlocks> {
        static GZIP: OnceLock<Option<ZeroBlocks>> = OnceLock::new();
        static ZSTD: OnceLock<Option<ZeroBlocks>> = OnceLock::new();
        let (blocks, level) = match compression {
            Compression::Gzip => (&GZIP, Self::GZIP_LEVEL),
            Compression::Zstd => (&ZSTD, Self::ZSTD_LEVEL),
            Compression::None => return None,
        };
        blocks
            .get_or_init(|| Self::prepare(compression, level))
            .as_ref()
    }

    /// `None` as well when there is no memory for it: then zeros are compressed like other bytes.
    fn prepare(compression: Compression, level: u32) -> Option<ZeroBlocks> {
        let zeros = vec![0; (Self::SMALLEST << (Self::COUNT - 1)) as usize];
        let mut encoder = Encoder::new(compression, Some(level))?;
        let runs = (0..Self::COUNT).map(|power| {
            let run = &zeros[..(Self::SMALLEST << power) as usize];
            let mut packed = Vec::new();
            encoder.encode(run, &mut packed).ok()?;
            packed.shrink_to_fit();
            let mut crc = crc32fast::Hasher::new();
            crc.update(run);
            let size = run.len() as u64;
            Some(Zero { size, packed, crc })
        });
        runs.collect::<Option<_>>().map(ZeroBlocks)
    }

    /// The runs, the largest first.
    pub(crate) fn sizes(&'static self) -> impl Iterator<Item = &'static Zero> {
        self.0.iter().rev()
    }

    /// The run of exactly this size, if `bytes` are all zeros and there is one.
    pub(crate) fn matching(&'static self, bytes: &[u8]) -> Option<&'static Zero> {
        let zero = self.sizes().find(|zero| zero.size == bytes.len() as u64)?;
        is_zero(bytes).then_some(zero)
    }
}

/// A page of zeros.
pub(crate) static ZERO_PAGE: [u8; 4096] = [0; 4096];

/// Whether there is nothing but zeros.
pub(crate) fn is_zero(bytes: &[u8]) -> bool {
    // In chunks, because comparing them is done with wide instructions, and the first one mostly differs.
    bytes
        .chunks(ZERO_PAGE.len())
        .all(|chunk| *chunk == ZERO_PAGE[..chunk.len()])
}
