//! The index: where each block of a compressed archive lies, so that any page of the core can be read without
//! unpacking what comes before it.
//!
//! It is the last entry of the tar archive, a plain file `<top>/stillcore.index`. Who unpacks the archive with another
//! program gets a small file that is of no use to them; nobody has to know about it. It is written in one pass, behind
//! everything else: a pipe is as good as a file. Only compressed archives have one: in a plain `.tar` every file lies
//! where its header says.
//!
//! # Where
//!
//! The entry and the two empty records that end the tar archive are not compressed, so that the end of the index can be
//! found from the end of the file:
//! - gzip: *stored* deflate blocks of the one member (RFC 1951, 3.2.4); behind them the empty last block, checksum and
//!   length (10 bytes).
//! - Zstandard: frames of one *raw* block each (RFC 8878, 3.1.1). The seek table of zstd's contrib folder would have
//!   served as well, but only there; and it says nothing of runs, nor has it a checksum of itself.
//!
//! The content of the entry is: the items, zeros up to where the footer ends on a record of 512 bytes, the footer.
//! 1024 zeros follow it. So the footer begins 64 + 1024 (+ 10) bytes before the end of the file.
//!
//! # The footer
//!
//! 64 bytes, all numbers little-endian:
//!
//! | at | size | what |
//! |---|---|---|
//! | 0 | 8 | `stillidx` |
//! | 8 | 4 | version: 1 |
//! | 12 | 4 | bytes in a full block |
//! | 16 | 8 | length of the items |
//! | 24 | 8 | where in the file the first stored block begins: there the last item ends |
//! | 32 | 8 | where in the tar archive the first header of the entry begins: there the last item ends too |
//! | 40 | 8 | how many items |
//! | 48 | 4 | length of the headers of the entry (512, or more when its name is long) |
//! | 52 | 4 | CRC-32 of the items |
//! | 56 | 4 | zero |
//! | 60 | 4 | CRC-32 of the 60 bytes before |
//!
//! # The items
//!
//! In the order of the file. Nothing lies between them: each begins where the one before ends, in the file as in the
//! tar archive; the first at 0 in the tar archive and, in the file, behind the gzip header (10 bytes) or at 0. Numbers
//! are LEB128. Each item begins with `packed << 2 | kind`, where `packed` is its length in the file:
//!
//! | kind | then | what |
//! |---|---|---|
//! | 0 | CRC-32 (4 bytes) | a full block |
//! | 1 | length, CRC-32 (4 bytes) | a block of that length |
//! | 2 | length, count | a run: so many pieces in a row, each so many zeros and `packed` bytes in the file |
//!
//! A block (or piece) can be decompressed on its own: a gzip one is deflate blocks that refer to nothing before them and
//! end with a sync flush, a Zstandard one is a frame. A gigabyte of data takes about 14 KB of index, one of zeros a few
//! bytes.
//!
//! # Why it can be believed
//!
//! It is not believed without need. The items must meet the index exactly at both its beginnings; for gzip, their
//! combined checksums must give the checksum and the length at the end of the file, which all other readers check. And
//! each block, when it is read, must be exactly as long as promised, compressed and not, and have its checksum. If
//! anything of that fails, the archive is unpacked as if it had no index.

use crate::Compression;
use crate::block::BLOCK_SIZE;

/// Name of the entry below the top folder.
pub(crate) const INDEX_NAME: &[u8] = b"stillcore.index";

pub(crate) const MAGIC: [u8; 8] = *b"stillidx";
pub(crate) const VERSION: u32 = 1;
pub(crate) const FOOTER: usize = 64;

/// A record of a tar archive.
pub(crate) const RECORD: usize = 512;

/// The two empty records that end a tar archive.
pub(crate) const END: usize = 2 * RECORD;

/// Kinds of items.
pub(crate) const FULL: u64 = 0;
pub(crate) const PART: u64 = 1;
pub(crate) const ZEROS: u64 = 2;

/// Most bytes in a stored block of deflate, and in a raw one of Zstandard.
const STORED: usize = 0xffff;
const RAW: usize = 128 * 1024;

/// Gathers the items while an archive is written.
#[derive(Debug, Default)]
pub(crate) struct IndexWriter {
    items: Vec<u8>,
    count: u64,
    /// A run that may go on.
    run: Option<Run>,
}

#[derive(Debug, Clone, Copy)]
struct Run {
    size: u64,
    packed: u64,
    count: u64,
}

impl IndexWriter {
    /// The next block: `size` bytes with this checksum, which became `packed` bytes.
    pub(crate) fn block(&mut self, size: usize, packed: usize, crc: u32) {
        self.close_run();
        let kind = if size == BLOCK_SIZE { FULL } else { PART };
        self.number((packed as u64) << 2 | kind);
        if kind == PART {
            self.number(size as u64);
        }
        self.items.extend_from_slice(&crc.to_le_bytes());
        self.count += 1;
    }

    /// The next `count` pieces: `size` zeros each, which became `packed` bytes.
    pub(crate) fn zeros(&mut self, size: u64, packed: usize, count: u64) {
        let packed = packed as u64;
        match &mut self.run {
            Some(run) if run.size == size && run.packed == packed => run.count += count,
            _ => {
                self.close_run();
                self.run = Some(Run {
                    size,
                    packed,
                    count,
                });
            }
        }
    }

    fn close_run(&mut self) {
        if let Some(run) = self.run.take() {
            self.number(run.packed << 2 | ZEROS);
            self.number(run.size);
            self.number(run.count);
            self.count += 1;
        }
    }

    fn number(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.items.push(number as u8 | 0x80);
            number >>= 7;
        }
        self.items.push(number as u8);
    }

    /// The last bytes of the tar archive: the entry and the end. `packed` and `plain` say where in the file and in the
    /// tar archive they begin; `head` makes the header of an entry of so many bytes.
    pub(crate) fn finish(
        mut self,
        packed: u64,
        plain: u64,
        head: impl FnOnce(u64) -> Vec<u8>,
    ) -> Vec<u8> {
        self.close_run();
        let size = (self.items.len() + FOOTER).next_multiple_of(RECORD);
        let mut bytes = head(size as u64);
        let head_len = bytes.len();
        bytes.extend_from_slice(&self.items);
        bytes.resize(head_len + size - FOOTER, 0);
        let mut footer = [0; FOOTER];
        footer[..8].copy_from_slice(&MAGIC);
        footer[8..12].copy_from_slice(&VERSION.to_le_bytes());
        footer[12..16].copy_from_slice(&(BLOCK_SIZE as u32).to_le_bytes());
        footer[16..24].copy_from_slice(&(self.items.len() as u64).to_le_bytes());
        footer[24..32].copy_from_slice(&packed.to_le_bytes());
        footer[32..40].copy_from_slice(&plain.to_le_bytes());
        footer[40..48].copy_from_slice(&self.count.to_le_bytes());
        footer[48..52].copy_from_slice(&(head_len as u32).to_le_bytes());
        footer[52..56].copy_from_slice(&crc32fast::hash(&self.items).to_le_bytes());
        let crc = crc32fast::hash(&footer[..60]);
        footer[60..].copy_from_slice(&crc.to_le_bytes());
        bytes.extend_from_slice(&footer);
        bytes.resize(bytes.len() + END, 0);
        bytes
    }
}

/// Cuts these bytes into pieces that are stored as they are, and gives each with what has to come before it.
/// The footer and what follows it are in the last one.
pub(crate) fn stored(
    compression: Compression,
    bytes: &[u8],
) -> impl Iterator<Item = (Vec<u8>, &[u8])> {
    let (body, last) = bytes.split_at(bytes.len().saturating_sub(RECORD + END));
    let most = match compression {
        Compression::Gzip => STORED,
        Compression::Zstd | Compression::None => RAW,
    };
    body.chunks(most)
        .chain(std::iter::once(last))
        .map(move |piece| (stored_head(compression, piece.len() as u32), piece))
}

fn stored_head(compression: Compression, len: u32) -> Vec<u8> {
    match compression {
        // Not the last block, kind 0; length and its complement.
        Compression::Gzip => {
            let len = (len as u16).to_le_bytes();
            vec![0, len[0], len[1], !len[0], !len[1]]
        }
        // Magic; one segment, its size in four bytes, no checksum; a last block, raw.
        Compression::Zstd => {
            let mut head = vec![0x28, 0xb5, 0x2f, 0xfd, 0xa0];
            head.extend_from_slice(&len.to_le_bytes());
            head.extend_from_slice(&(len << 3 | 1).to_le_bytes()[..3]);
            head
        }
        Compression::None => Vec::new(),
    }
}
