//! makedumpfile's compressed format (`KDUMP`): headers, two bitmaps, a descriptor for each page, the pages.

use std::io::Read;
use std::sync::Arc;

use crate::CoreError;
use crate::source::{Source, read_up_to, read_vec};
use crate::words::{word32, word64};

/// Where the fields of `struct disk_dump_header` are on a machine of 64 bits.
const UTSNAME: usize = 12;
const UTSNAME_FIELD: usize = 65;
const STATUS_END: usize = 424;

/// Longest bitmap that is read: for 8 TB of pages of 4 KB.
const MAX_BITMAP: u64 = 256 << 20;

/// The bits of this many bytes of the bitmap are counted together.
const CHUNK: usize = 4096;

const ZLIB: u32 = 1;
const LZO: u32 = 2;
const SNAPPY: u32 = 4;
const ZSTD: u32 = 0x20;

/// A dump in the compressed format.
pub(super) struct Kdump {
    source: Arc<dyn Source>,
    release: String,
    machine: Option<u16>,
    block: u64,
    /// Place and length of `VMCOREINFO`.
    info: (u64, u64),
    /// Which pages are in the dump, one bit each.
    bitmap: Vec<u8>,
    /// How many pages are before each chunk of the bitmap.
    before: Vec<u64>,
    /// Where the descriptors begin.
    descriptors: u64,
}

impl Kdump {
    pub(super) fn open(source: Arc<dyn Source>) -> Result<Kdump, CoreError> {
        let damaged = || CoreError::Damaged("the header of the kernel dump makes no sense");
        let head = read_vec(&*source, 0, 512)?;
        let word = |at| word32(&head, at).ok_or_else(damaged);
        let version = word(8)?;
        let text = |index: usize| {
            let field = head
                .get(UTSNAME + UTSNAME_FIELD * index..)
                .unwrap_or_default();
            let field = &field[..field.len().min(UTSNAME_FIELD)];
            let end = field.iter().position(|&byte| byte == 0);
            String::from_utf8_lossy(&field[..end.unwrap_or(field.len())]).into_owned()
        };
        let block = u64::from(word(STATUS_END + 4)?);
        let sub = u64::from(word(STATUS_END + 8)?);
        let bitmap_blocks = u64::from(word(STATUS_END + 12)?);
        if !block.is_power_of_two() || !(512..=1 << 20).contains(&block) {
            return Err(CoreError::Unsupported(
                "a kernel dump of a machine that has not 64 bits, or a damaged one",
            ));
        }
        let second = read_vec(&*source, block, 104)?;
        let long = |at| word64(&second, at).ok_or_else(damaged);
        let info = if version >= 3 {
            (long(32)?, long(40)?)
        } else {
            (0, 0)
        };
        let bitmaps = (1 + sub).checked_mul(block).ok_or_else(damaged)?;
        let size = bitmap_blocks.checked_mul(block).ok_or_else(damaged)?;
        let half = size / 2;
        if half > MAX_BITMAP {
            return Err(CoreError::Unsupported("a kernel dump of so much memory"));
        }
        // The first bitmap says which pages there are, the second which of them are in the dump.
        let bitmap = read_vec(&*source, bitmaps + half, half)?;
        let mut count = 0;
        let before = bitmap
            .chunks(CHUNK)
            .map(|chunk| {
                let here = count;
                count += ones(chunk);
                here
            })
            .collect();
        let machine = match text(4).as_str() {
            "x86_64" => Some(62),
            "aarch64" => Some(183),
            _ => None,
        };
        Ok(Kdump {
            release: text(2),
            machine,
            block,
            info,
            bitmap,
            before,
            descriptors: bitmaps + size,
            source,
        })
    }

    pub(super) fn release(&self) -> &str {
        &self.release
    }

    pub(super) fn machine(&self) -> Option<u16> {
        self.machine
    }

    pub(super) fn vmcoreinfo(&self) -> Result<Vec<u8>, CoreError> {
        let (at, size) = self.info;
        if at == 0 || size == 0 {
            return Ok(Vec::new());
        }
        read_vec(&*self.source, at, size.min(super::MAX_INFO))
    }

    /// Reads physical memory.
    pub(super) fn read(&self, address: u64, buf: &mut [u8]) -> Result<(), CoreError> {
        let mut done = 0;
        while done < buf.len() {
            let at = address
                .checked_add(done as u64)
                .ok_or(CoreError::Missing { address })?;
            let page = self.page(at / self.block)?;
            let from = (at % self.block) as usize;
            let now = (page.len() - from).min(buf.len() - done);
            buf[done..done + now].copy_from_slice(&page[from..from + now]);
            done += now;
        }
        Ok(())
    }

    /// The page with this number.
    fn page(&self, number: u64) -> Result<Vec<u8>, CoreError> {
        let missing = CoreError::Missing {
            address: number.saturating_mul(self.block),
        };
        let Some(byte) = usize::try_from(number / 8)
            .ok()
            .filter(|&byte| byte < self.bitmap.len())
        else {
            return Err(missing);
        };
        let bit = number % 8;
        if self.bitmap[byte] >> bit & 1 == 0 {
            return Err(missing);
        }
        let chunk = byte / CHUNK;
        let below = u64::from((self.bitmap[byte] & ((1 << bit) - 1)).count_ones());
        let rank = self.before[chunk] + ones(&self.bitmap[chunk * CHUNK..byte]) + below;
        let mut descriptor = [0; 24];
        let at = self.descriptors.saturating_add(rank.saturating_mul(24));
        if read_up_to(&*self.source, &mut descriptor, at)? < descriptor.len() {
            return Err(missing);
        }
        let offset = word64(&descriptor, 0).unwrap_or(0);
        let size = word32(&descriptor, 8).unwrap_or(0);
        let flags = word32(&descriptor, 12).unwrap_or(0);
        if u64::from(size) > self.block {
            return Err(CoreError::Damaged("a page of the kernel dump is too long"));
        }
        let packed = read_vec(&*self.source, offset, u64::from(size))?;
        let mut page = Vec::new();
        let whole = match flags & (ZLIB | LZO | SNAPPY | ZSTD) {
            0 => {
                page = packed;
                Ok(page.len())
            }
            ZLIB => flate2::read::ZlibDecoder::new(packed.as_slice())
                .take(self.block)
                .read_to_end(&mut page),
            ZSTD => zstd::stream::read::Decoder::new(packed.as_slice())
                .and_then(|decoder| decoder.take(self.block).read_to_end(&mut page)),
            _ => {
                return Err(CoreError::Unsupported(
                    "pages compressed with lzo or snappy",
                ));
            }
        };
        match whole {
            Ok(whole) if whole as u64 == self.block => Ok(page),
            _ => Err(CoreError::Damaged(
                "a page of the kernel dump cannot be unpacked",
            )),
        }
    }
}

fn ones(bytes: &[u8]) -> u64 {
    bytes.iter().map(|byte| u64::from(byte.count_ones())).sum()
}
