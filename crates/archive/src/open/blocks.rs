//! A compressed archive of ours, read block by block by its index (see `index.rs` for the format).

use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use flate2::{Decompress, FlushDecompress, Status};
use stillcore_corefile::Source;

use super::error::OpenError;
use super::view::{read_exact_at, within};
use crate::Compression;
use crate::index::{END, FOOTER, FULL, MAGIC, PART, RECORD, VERSION, ZEROS};

/// Largest block or piece, and largest compressed one: ours are at most 1 MiB.
const MAX_BLOCK: u64 = 8 << 20;

/// Longest tar archive whose index is believed.
const MAX_PLAIN: u64 = 1 << 60;

/// Longest list of items that is read; a terabyte of data has 14 MB.
const MAX_ITEMS: u64 = 256 << 20;

/// Most bytes of decompressed blocks that are kept.
const KEPT: usize = 24 << 20;

/// What is behind the footer of a gzip archive besides the end of the tar archive: the empty last block, checksum and
/// length.
const GZIP_END: u64 = 10;

const GZIP_HEADER: u64 = 10;

/// An item of the index, with where it begins.
#[derive(Debug, Clone, Copy)]
struct Item {
    plain: u64,
    packed: u64,
    count: u64,
    /// Bytes in each.
    size: u32,
    packed_size: u32,
    /// `None` for zeros.
    crc: Option<u32>,
}

impl Item {
    /// Where the next one begins.
    fn end(&self) -> u64 {
        self.plain + u64::from(self.size) * self.count
    }
}

/// What to do when a block is not as the index says.
type Fallback = Box<dyn Fn() -> Result<Arc<dyn Source>, OpenError> + Send + Sync>;

/// The tar archive in a compressed file, without its last entry, the index.
pub(crate) struct Blocks {
    source: Arc<dyn Source>,
    compression: Compression,
    items: Vec<Item>,
    /// Bytes of the tar archive before the index.
    plain: u64,
    kept: Mutex<Kept>,
    fallback: Fallback,
    /// What is read instead since a block was not as the index says.
    instead: Mutex<Option<Arc<dyn Source>>>,
}

impl Blocks {
    /// Reads the index; `None` when there is none, or none that can be believed. `fallback` unpacks the archive; it is
    /// called if a block turns out not to be what the index says.
    ///
    /// # Errors
    /// Only those of the operating system.
    pub(crate) fn open(
        source: &Arc<dyn Source>,
        compression: Compression,
        fallback: Fallback,
    ) -> Result<Option<Blocks>, OpenError> {
        match read_index(&**source, compression) {
            Ok(Some((items, plain))) => Ok(Some(Blocks {
                source: Arc::clone(source),
                compression,
                items,
                plain,
                kept: Mutex::default(),
                fallback,
                instead: Mutex::default(),
            })),
            Ok(None) => Ok(None),
            Err(error) if error.raw_os_error().is_some() => Err(OpenError::Io(error)),
            Err(_) => Ok(None),
        }
    }

    /// Reads every block; says which is not as the index promises.
    pub(crate) fn check(
        &self,
        mut step: impl FnMut(u64) -> Result<(), OpenError>,
    ) -> Result<(), OpenError> {
        for item in &self.items {
            let mut last = Vec::new();
            for number in 0..item.count {
                let packed = self.packed(item, number)?;
                // Pieces of a run are mostly the same bytes.
                if packed != last {
                    self.unpack(item, &packed).ok_or_else(|| {
                        let at = item.plain + number * u64::from(item.size);
                        OpenError::damaged(format!(
                            "the block of its index at {at} is not as promised"
                        ))
                    })?;
                    last = packed;
                }
                step(item.packed + (number + 1) * u64::from(item.packed_size))?;
            }
        }
        Ok(())
    }

    fn packed(&self, item: &Item, number: u64) -> io::Result<Vec<u8>> {
        let mut packed = vec![0; item.packed_size as usize];
        let at = item.packed + number * u64::from(item.packed_size);
        read_exact_at(&*self.source, at, &mut packed)?;
        Ok(packed)
    }

    /// `None` when it is not what the item says.
    fn unpack(&self, item: &Item, packed: &[u8]) -> Option<Vec<u8>> {
        let size = item.size as usize;
        let plain = match self.compression {
            Compression::Gzip => inflate(packed, size)?,
            Compression::Zstd => zstd::bulk::decompress(packed, size)
                .ok()
                .filter(|plain| plain.len() == size)?,
            Compression::None => return None,
        };
        let right = match item.crc {
            Some(crc) => crc32fast::hash(&plain) == crc,
            None => crate::compression::is_zero(&plain),
        };
        right.then_some(plain)
    }

    /// The block that holds this byte of the tar archive, with where it begins; `None` when it is not as promised.
    fn block(&self, at: u64) -> io::Result<Option<(u64, Arc<Vec<u8>>)>> {
        let after = self.items.partition_point(|item| item.plain <= at);
        let Some(item) = after.checked_sub(1).and_then(|index| self.items.get(index)) else {
            return Ok(None);
        };
        let number = (at - item.plain) / u64::from(item.size);
        let start = item.plain + number * u64::from(item.size);
        let lock = || self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(block) = lock().get(start) {
            return Ok(Some((start, block)));
        }
        let packed = self.packed(item, number)?;
        let Some(plain) = self.unpack(item, &packed) else {
            return Ok(None);
        };
        let block = Arc::new(plain);
        lock().put(start, &block);
        Ok(Some((start, block)))
    }

    fn instead(&self) -> Option<Arc<dyn Source>> {
        self.instead
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Unpacks the archive, once.
    fn give_up(&self) -> io::Result<Arc<dyn Source>> {
        let mut instead = self.instead.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(source) = &*instead {
            return Ok(Arc::clone(source));
        }
        let source = (self.fallback)().map_err(OpenError::into_io)?;
        Ok(Arc::clone(instead.insert(source)))
    }
}

impl Source for Blocks {
    /// The empty records at the end are there too.
    fn len(&self) -> u64 {
        self.plain + END as u64
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let wanted = within(self.len(), offset, buf.len());
        let mut got = 0;
        while got < wanted {
            let at = offset + got as u64;
            let rest = &mut buf[got..wanted];
            if at >= self.plain {
                rest.fill(0);
                break;
            }
            let before_end = within(self.plain, at, rest.len());
            if let Some(instead) = self.instead() {
                read_exact_at(&*instead, at, &mut rest[..before_end])?;
                got += before_end;
                continue;
            }
            let Some((start, block)) = self.block(at)? else {
                self.give_up()?;
                continue;
            };
            let from = &block[(at - start) as usize..];
            let n = from.len().min(before_end);
            rest[..n].copy_from_slice(&from[..n]);
            got += n;
        }
        Ok(wanted)
    }

    /// Pieces of zeros are holes: that is what they were packed from. The bytes behind the blocks are those of the tar
    /// archive's end.
    fn data_at(&self, offset: u64) -> Option<Range<u64>> {
        let first = self.items.partition_point(|item| item.end() <= offset);
        let mut items = self.items[first..].iter();
        let start = items.find(|item| item.crc.is_some())?.plain.max(offset);
        let end = items.find(|item| item.crc.is_none());
        Some(start..end.map_or(self.plain, |item| item.plain))
    }
}

/// The blocks used last.
#[derive(Debug, Default)]
struct Kept {
    /// The one used last at the end.
    blocks: Vec<(u64, Arc<Vec<u8>>)>,
    bytes: usize,
}

impl Kept {
    fn get(&mut self, start: u64) -> Option<Arc<Vec<u8>>> {
        let index = self.blocks.iter().rposition(|(at, _)| *at == start)?;
        let found = self.blocks.remove(index);
        let block = Arc::clone(&found.1);
        self.blocks.push(found);
        Some(block)
    }

    fn put(&mut self, start: u64, block: &Arc<Vec<u8>>) {
        if self.blocks.iter().any(|(at, _)| *at == start) {
            return;
        }
        self.bytes += block.as_slice().len();
        self.blocks.push((start, Arc::clone(block)));
        while self.bytes > KEPT && self.blocks.len() > 1 {
            let (_, oldest) = self.blocks.remove(0);
            self.bytes -= oldest.as_slice().len();
        }
    }
}

/// Inflates a block that ends with a sync flush, and has exactly `size` bytes.
fn inflate(packed: &[u8], size: usize) -> Option<Vec<u8>> {
    if !packed.ends_with(&[0, 0, 0xff, 0xff]) {
        return None;
    }
    let mut inflater = Decompress::new(false);
    // Room for one more, to see that there is none.
    let mut plain = vec![0; size + 1];
    loop {
        let (from, into) = (inflater.total_in() as usize, inflater.total_out() as usize);
        let status = inflater.decompress(
            packed.get(from..)?,
            plain.get_mut(into..)?,
            FlushDecompress::Sync,
        );
        let moved = inflater.total_in() as usize > from || inflater.total_out() as usize > into;
        match status {
            // The end of the stream is not in a block.
            Ok(Status::StreamEnd) | Err(_) => return None,
            Ok(_) if moved => {}
            Ok(_) => break,
        }
    }
    let whole =
        inflater.total_in() as usize == packed.len() && inflater.total_out() as usize == size;
    plain.truncate(size);
    whole.then_some(plain)
}

/// The items and where the index begins in the tar archive; `None` or an error when it cannot be believed.
fn read_index(
    source: &dyn Source,
    compression: Compression,
) -> io::Result<Option<(Vec<Item>, u64)>> {
    let (first, end) = match compression {
        Compression::Gzip => (GZIP_HEADER, GZIP_END),
        Compression::Zstd => (0, 0),
        Compression::None => return Ok(None),
    };
    let behind = end + END as u64;
    let Some(at) = source.len().checked_sub(behind + FOOTER as u64) else {
        return Ok(None);
    };
    let mut footer = [0; FOOTER];
    read_exact_at(source, at, &mut footer)?;
    let Some(footer) = Footer::parse(&footer) else {
        return Ok(None);
    };
    if footer.plain > MAX_PLAIN
        || footer.items_len > MAX_ITEMS
        || footer.packed < first
        || footer.packed >= at
    {
        return Ok(None);
    }
    // The header of the member: another one, with a name in it for instance, is not ours.
    if compression == Compression::Gzip {
        let mut head = [0; GZIP_HEADER as usize];
        read_exact_at(source, 0, &mut head)?;
        if head[..4] != [0x1f, 0x8b, 8, 0] {
            return Ok(None);
        }
    }
    let Some(tail) = read_stored(source, compression, footer.packed, source.len() - end)? else {
        return Ok(None);
    };
    let Some(items) = tail
        .get(footer.head_len..)
        .and_then(|content| content.get(..footer.items_len as usize))
    else {
        return Ok(None);
    };
    if crc32fast::hash(items) != footer.items_crc {
        return Ok(None);
    }
    let Some(items) = parse_items(items, &footer, first) else {
        return Ok(None);
    };
    if compression == Compression::Gzip {
        let mut crc = combined_crc(&items);
        crc.update(&tail);
        let mut promised = [0; 8];
        read_exact_at(source, source.len() - 8, &mut promised)?;
        let len = footer.plain.wrapping_add(tail.len() as u64) as u32;
        if promised[..4] != crc.finalize().to_le_bytes() || promised[4..] != len.to_le_bytes() {
            return Ok(None);
        }
    }
    Ok(Some((items, footer.plain)))
}

struct Footer {
    block_size: u64,
    items_len: u64,
    packed: u64,
    plain: u64,
    count: u64,
    head_len: usize,
    items_crc: u32,
}

impl Footer {
    fn parse(bytes: &[u8; FOOTER]) -> Option<Footer> {
        let u32_at = |at: usize| {
            let field = bytes.get(at..at + 4)?.try_into().ok()?;
            Some(u32::from_le_bytes(field))
        };
        let u64_at = |at: usize| {
            let field = bytes.get(at..at + 8)?.try_into().ok()?;
            Some(u64::from_le_bytes(field))
        };
        let sound = bytes.starts_with(&MAGIC)
            && u32_at(60)? == crc32fast::hash(&bytes[..60])
            && u32_at(8)? == VERSION;
        if !sound {
            return None;
        }
        Some(Footer {
            block_size: u64::from(u32_at(12)?),
            items_len: u64_at(16)?,
            packed: u64_at(24)?,
            plain: u64_at(32)?,
            count: u64_at(40)?,
            head_len: u32_at(48)? as usize,
            items_crc: u32_at(52)?,
        })
    }
}

/// What is stored in the file from `start` to `end`, in blocks or frames that are not compressed.
fn read_stored(
    source: &dyn Source,
    compression: Compression,
    start: u64,
    end: u64,
) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    let mut at = start;
    while at < end {
        let (head, len) = match compression {
            Compression::Gzip => {
                let mut head = [0; 5];
                read_exact_at(source, at, &mut head)?;
                let [kind, a, b, not_a, not_b] = head;
                if kind != 0 || not_a != !a || not_b != !b {
                    return Ok(None);
                }
                (head.len(), usize::from(u16::from_le_bytes([a, b])))
            }
            Compression::Zstd | Compression::None => {
                let mut head = [0; 12];
                read_exact_at(source, at, &mut head)?;
                let [0x28, 0xb5, 0x2f, 0xfd, 0xa0, a, b, c, d, e, f, g] = head else {
                    return Ok(None);
                };
                let len = u32::from_le_bytes([a, b, c, d]);
                let block = u32::from_le_bytes([e, f, g, 0]);
                if block & 7 != 1 || block >> 3 != len {
                    return Ok(None);
                }
                (head.len(), len as usize)
            }
        };
        at += head as u64;
        if len == 0 || at + len as u64 > end {
            return Ok(None);
        }
        let from = bytes.len();
        bytes.resize(from + len, 0);
        read_exact_at(source, at, &mut bytes[from..])?;
        at += len as u64;
    }
    let whole = bytes.len() >= RECORD + FOOTER + END;
    Ok(whole.then_some(bytes))
}

fn parse_items(mut bytes: &[u8], footer: &Footer, first: u64) -> Option<Vec<Item>> {
    // No item has fewer than two bytes.
    let count = usize::try_from(footer.count).ok()?;
    if count > bytes.len() / 2 {
        return None;
    }
    let mut items = Vec::with_capacity(count);
    let (mut plain, mut packed) = (0_u64, first);
    while !bytes.is_empty() {
        let head = number(&mut bytes)?;
        let packed_size = head >> 2;
        let (size, count, crc) = match head & 3 {
            FULL => (footer.block_size, 1, Some(four(&mut bytes)?)),
            PART => (number(&mut bytes)?, 1, Some(four(&mut bytes)?)),
            ZEROS => (number(&mut bytes)?, number(&mut bytes)?, None),
            _ => return None,
        };
        let sizes = 1..=MAX_BLOCK;
        if !sizes.contains(&size) || !sizes.contains(&packed_size) || count == 0 {
            return None;
        }
        items.push(Item {
            plain,
            packed,
            count,
            size: size as u32,
            packed_size: packed_size as u32,
            crc,
        });
        plain = plain.checked_add(size.checked_mul(count)?)?;
        packed = packed.checked_add(packed_size.checked_mul(count)?)?;
    }
    let exact = plain == footer.plain && packed == footer.packed && items.len() == count;
    exact.then_some(items)
}

fn number(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..63).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

fn four(bytes: &mut &[u8]) -> Option<u32> {
    let (field, rest) = bytes.split_first_chunk::<4>()?;
    *bytes = rest;
    Some(u32::from_le_bytes(*field))
}

/// The checksum of all blocks in a row.
fn combined_crc(items: &[Item]) -> crc32fast::Hasher {
    let mut all = crc32fast::Hasher::new();
    for item in items {
        let size = u64::from(item.size);
        match item.crc {
            Some(crc) => all.combine(&crc32fast::Hasher::new_with_initial_len(crc, size)),
            None => all.combine(&zeros_crc(size * item.count)),
        }
    }
    all
}

/// The checksum of `n` zeros, in as many steps as `n` has bits.
fn zeros_crc(n: u64) -> crc32fast::Hasher {
    // [k] is that of 2^k zeros.
    static POWERS: OnceLock<Vec<crc32fast::Hasher>> = OnceLock::new();
    let powers = POWERS.get_or_init(|| {
        let mut power = crc32fast::Hasher::new();
        power.update(&[0]);
        (0..=60)
            .map(|_| {
                let this = power.clone();
                power.combine(&this);
                this
            })
            .collect()
    });
    let mut all = crc32fast::Hasher::new();
    for (bit, power) in powers.iter().enumerate() {
        if n >> bit & 1 == 1 {
            all.combine(power);
        }
    }
    all
}
