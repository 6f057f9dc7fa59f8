//! The address space of the dumped process: ranges, each with where its bytes come from.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};

use crate::source::{Source, read_up_to};
use crate::{CoreError, CoreFile};

mod ranges;
mod share;

pub use ranges::{Backing, MemoryRange};
pub use share::Share;

use ranges::{Ranges, without};

/// Bytes that are cached at once. All ranges of real cores begin and end at multiples of it.
const PAGE: u64 = 4096;

/// How many pages are cached; a power of two. 4 MiB in all.
const CACHED: usize = 1024;

/// Longest string that [`Memory::read_string`] gives.
const MAX_STRING: usize = 1 << 20;

/// A file that fills ranges.
#[derive(Clone)]
struct Filling {
    path: PathBuf,
    source: Arc<dyn Source>,
}

/// The memory of the dumped process. Nothing of it is loaded: every read goes to the core or a file, by way of a cache
/// of a few megabytes.
pub struct Memory {
    core: Arc<dyn Source>,
    files: Arc<Vec<Filling>>,
    ranges: Ranges,
    /// The same, for the binary search that every read begins with.
    sorted: Arc<Vec<MemoryRange>>,
    /// Where nothing is stored in the core's file, sorted; looked for when first asked.
    holes: Arc<OnceLock<Vec<Range<u64>>>>,
    cache: Vec<Mutex<Option<CachedPage>>>,
}

struct CachedPage {
    address: u64,
    bytes: Box<[u8]>,
}

impl Memory {
    /// The memory that the core itself holds; everything else that it lists is [`Backing::Missing`].
    pub fn new(core: &CoreFile) -> Memory {
        Memory::with_mappings(core, &[])
    }

    /// As [`Memory::new`], and these ranges are missing at least: mappings that only the list of mapped files tells of.
    pub(crate) fn with_mappings(core: &CoreFile, mapped: &[Range<u64>]) -> Memory {
        let mut memory = Memory {
            core: core.source().clone(),
            files: Arc::default(),
            ranges: Ranges::default(),
            sorted: Arc::default(),
            holes: Arc::default(),
            cache: (0..CACHED).map(|_| Mutex::new(None)).collect(),
        };
        for range in mapped {
            memory.ranges.splice(MemoryRange {
                start: range.start,
                end: range.end,
                flags: None,
                backing: Backing::Missing,
            });
        }
        for segment in core.segments() {
            let held = core.held(segment);
            let flags = Some(segment.flags);
            memory.ranges.splice(MemoryRange {
                start: held.end,
                end: segment.end,
                flags,
                backing: Backing::Missing,
            });
            memory.ranges.splice(MemoryRange {
                start: held.start,
                end: held.end,
                flags,
                backing: Backing::Core {
                    offset: segment.offset,
                },
            });
        }
        memory.settle();
        memory
    }

    /// Makes the table that reads use: what was filled in is seen from then on.
    pub(crate) fn settle(&mut self) {
        self.sorted = Arc::new(self.ranges.sorted());
    }

    /// What is missing of these is zero: who made the core knows that no page was ever there.
    pub(crate) fn zero(&mut self, untouched: &[Range<u64>]) {
        let mut sorted = untouched.to_vec();
        sorted.retain(|range| range.start < range.end);
        sorted.sort_by_key(|range| range.start);
        // A list that overlaps is none of ours.
        sorted.dedup_by(|next, before| next.start < before.end);
        for range in sorted {
            let missing = self.ranges.missing_in(&range);
            let parts: Vec<MemoryRange> = missing
                .filter(|known| known.flags.is_some())
                .map(|known| MemoryRange {
                    start: known.start.max(range.start),
                    end: known.end.min(range.end),
                    flags: known.flags,
                    backing: Backing::Zero,
                })
                .collect();
            for part in parts {
                self.ranges.splice(part);
            }
        }
    }

    /// Fills what is missing of `ranges` (addresses, and where they begin in the file) from a file. What the file has
    /// no bytes for up to the next page is zero, as in any mapping; pages behind its end stay missing, and so does what
    /// is `withheld` (each list sorted, without overlaps).
    pub(crate) fn fill(
        &mut self,
        path: &Path,
        source: &Arc<dyn Source>,
        ranges: &[(Range<u64>, u64)],
        withheld: [&[Range<u64>]; 2],
    ) {
        let index = self.files.len();
        let len = source.len();
        let mut new = Vec::new();
        for (range, offset) in ranges {
            let parts = self.ranges.missing_in(range).flat_map(|known| {
                let part = known.start.max(range.start)..known.end.min(range.end);
                without(part, withheld[0])
                    .flat_map(|part| without(part, withheld[1]))
                    .map(move |part| (known, part))
            });
            for (known, Range { start, end }) in parts {
                let Some(from) = offset.checked_add(start - range.start) else {
                    continue;
                };
                let bytes = len.saturating_sub(from).min(end - start);
                let padded = bytes
                    .checked_next_multiple_of(PAGE)
                    .map_or(end - start, |padded| padded.min(end - start));
                new.push(MemoryRange {
                    start,
                    end: start + bytes,
                    flags: known.flags,
                    backing: Backing::File {
                        index,
                        offset: from,
                    },
                });
                new.push(MemoryRange {
                    start: start + bytes,
                    end: start + padded,
                    flags: known.flags,
                    backing: Backing::Zero,
                });
            }
        }
        if new.is_empty() {
            return;
        }
        Arc::make_mut(&mut self.files).push(Filling {
            path: path.to_owned(),
            source: source.clone(),
        });
        for range in new {
            self.ranges.splice(range);
        }
    }

    /// All ranges, sorted; they do not overlap. What no range covers, the process had no memory at, as far as the core
    /// tells.
    pub fn ranges(&self) -> &[MemoryRange] {
        &self.sorted
    }

    /// The path of the file that a [`Backing::File`] names.
    pub fn file(&self, index: usize) -> Option<&Path> {
        self.files.get(index).map(|file| file.path.as_path())
    }

    /// The range that an address lies in.
    pub fn range_at(&self, address: u64) -> Option<&MemoryRange> {
        let upto = self.sorted.partition_point(|range| range.start <= address);
        let range = &self.sorted[upto.checked_sub(1)?];
        (address < range.end).then_some(range)
    }

    /// Reads all of `buf` at `address`.
    ///
    /// # Errors
    /// [`CoreError::Missing`] with the first address that cannot be had, [`CoreError::Io`].
    pub fn read(&self, address: u64, buf: &mut [u8]) -> Result<(), CoreError> {
        let got = self.read_some(address, buf)?;
        if got < buf.len() {
            return Err(CoreError::Missing {
                address: address.saturating_add(got as u64),
            });
        }
        Ok(())
    }

    /// Reads at `address` and gives how many bytes were read: fewer than `buf` has where memory ends or is missing,
    /// 0 where there is none at all.
    ///
    /// # Errors
    /// [`CoreError::Io`].
    pub fn read_some(&self, address: u64, buf: &mut [u8]) -> Result<usize, CoreError> {
        let mut got = 0;
        while got < buf.len() {
            let Some(at) = address.checked_add(got as u64) else {
                break;
            };
            let Some(range) = self.range_at(at) else {
                break;
            };
            let left = usize::try_from(range.end - at).unwrap_or(usize::MAX);
            let wanted = left.min(buf.len() - got);
            let read = self.read_range(range, at, &mut buf[got..got + wanted])?;
            got += read;
            if read < wanted {
                break;
            }
        }
        Ok(got)
    }

    /// Reads from one range; `buf` does not reach beyond it.
    fn read_range(&self, range: &MemoryRange, at: u64, buf: &mut [u8]) -> Result<usize, CoreError> {
        let page = at - at % PAGE;
        let small = at - page + buf.len() as u64 <= PAGE;
        let is_cached = small && page >= range.start && range.end - page >= PAGE;
        if !is_cached || self.cache.is_empty() {
            return self.read_backing(range, at, buf);
        }
        match range.backing {
            Backing::Missing => return Ok(0),
            Backing::Zero => {
                buf.fill(0);
                return Ok(buf.len());
            }
            Backing::Core { .. } | Backing::File { .. } => {}
        }
        let slot = &self.cache[(page / PAGE) as usize % CACHED];
        // A panic of another reader leaves nothing half done here: a page is put in whole.
        let mut slot = slot
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let cached = match slot.take() {
            Some(cached) if cached.address == page => cached,
            old => {
                let mut bytes = old.map_or_else(|| vec![0; PAGE as usize].into(), |old| old.bytes);
                if self.read_backing(range, page, &mut bytes)? < bytes.len() {
                    // The file became shorter than it was.
                    drop(slot);
                    return self.read_backing(range, at, buf);
                }
                CachedPage {
                    address: page,
                    bytes,
                }
            }
        };
        let from = (at - page) as usize;
        buf.copy_from_slice(&cached.bytes[from..from + buf.len()]);
        *slot = Some(cached);
        Ok(buf.len())
    }

    fn read_backing(
        &self,
        range: &MemoryRange,
        at: u64,
        buf: &mut [u8],
    ) -> Result<usize, CoreError> {
        match range.backing.advanced(at - range.start) {
            Backing::Core { offset } => read_up_to(&*self.core, buf, offset),
            Backing::File { index, offset } => match self.files.get(index) {
                Some(file) => read_up_to(&*file.source, buf, offset),
                None => Ok(0),
            },
            Backing::Zero => {
                buf.fill(0);
                Ok(buf.len())
            }
            Backing::Missing => Ok(0),
        }
    }

    /// `N` bytes.
    ///
    /// # Errors
    /// As [`Memory::read`].
    pub fn read_array<const N: usize>(&self, address: u64) -> Result<[u8; N], CoreError> {
        let mut bytes = [0; N];
        self.read(address, &mut bytes)?;
        Ok(bytes)
    }

    /// A byte.
    ///
    /// # Errors
    /// As [`Memory::read`].
    pub fn read_u8(&self, address: u64) -> Result<u8, CoreError> {
        self.read_array(address).map(u8::from_le_bytes)
    }

    /// A little-endian number of 16 bits, at any alignment.
    ///
    /// # Errors
    /// As [`Memory::read`].
    pub fn read_u16(&self, address: u64) -> Result<u16, CoreError> {
        self.read_array(address).map(u16::from_le_bytes)
    }

    /// A little-endian number of 32 bits, at any alignment.
    ///
    /// # Errors
    /// As [`Memory::read`].
    pub fn read_u32(&self, address: u64) -> Result<u32, CoreError> {
        self.read_array(address).map(u32::from_le_bytes)
    }

    /// A little-endian number of 64 bits, at any alignment.
    ///
    /// # Errors
    /// As [`Memory::read`].
    pub fn read_u64(&self, address: u64) -> Result<u64, CoreError> {
        self.read_array(address).map(u64::from_le_bytes)
    }

    /// The bytes up to a NUL, without it, and at most `limit` of them (never more than a megabyte).
    ///
    /// # Errors
    /// As [`Memory::read`], where memory ends before the NUL and before the limit.
    pub fn read_string(&self, address: u64, limit: usize) -> Result<Vec<u8>, CoreError> {
        let limit = limit.min(MAX_STRING);
        let mut text = Vec::new();
        while text.len() < limit {
            let at = address
                .checked_add(text.len() as u64)
                .ok_or(CoreError::Missing { address })?;
            let mut part = [0; 256];
            // Not beyond the page: the next one may be missing.
            let wanted = (limit - text.len())
                .min(part.len())
                .min((PAGE - at % PAGE) as usize);
            let got = self.read_some(at, &mut part[..wanted])?;
            if got == 0 {
                return Err(CoreError::Missing { address: at });
            }
            let part = &part[..got];
            match part.iter().position(|&byte| byte == 0) {
                Some(end) => {
                    text.extend_from_slice(&part[..end]);
                    break;
                }
                None => text.extend_from_slice(part),
            }
        }
        Ok(text)
    }

    /// The same memory as it is now, without a cache: for whoever reads large pieces of it later.
    pub(crate) fn shared(&self) -> Memory {
        Memory {
            core: self.core.clone(),
            files: self.files.clone(),
            ranges: Ranges::default(),
            sorted: self.sorted.clone(),
            holes: self.holes.clone(),
            cache: Vec::new(),
        }
    }
}

impl std::fmt::Debug for Memory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Memory")
            .field("ranges", &self.sorted.len())
            .field("files", &self.files.len())
            .finish_non_exhaustive()
    }
}
