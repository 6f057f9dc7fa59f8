//! makedumpfile's flattened format: pieces of a file, each with its place, in the order in which they were written.

use std::sync::Arc;

use crate::CoreError;
use crate::source::{Source, read_up_to};

/// Where the first piece begins.
const HEADER: u64 = 4096;

/// Most pieces; makedumpfile writes some megabytes at once.
const MAX_PIECES: usize = 1 << 22;

/// Longest file that the pieces may make.
const MAX_LENGTH: u64 = 1 << 46;

/// The file that the pieces make.
pub(super) struct FlatSource {
    inner: Arc<dyn Source>,
    /// Place in the file, length, place in the flattened form; by place in the file, and they do not overlap.
    pieces: Vec<(u64, u64, u64)>,
    len: u64,
}

impl FlatSource {
    pub(super) fn open(inner: Arc<dyn Source>) -> Result<FlatSource, CoreError> {
        let mut written: Vec<(u64, u64, u64)> = Vec::new();
        let mut at = HEADER;
        loop {
            let mut head = [0; 16];
            if read_up_to(&*inner, &mut head, at)? < head.len() {
                return Err(CoreError::Truncated {
                    expected: at.saturating_add(16),
                    actual: inner.len(),
                });
            }
            let word = |from: usize| i64::from_be_bytes(std::array::from_fn(|i| head[from + i]));
            let (offset, size) = (word(0), word(8));
            // The end.
            if offset == -1 {
                break;
            }
            let (Ok(offset), Ok(size)) = (u64::try_from(offset), u64::try_from(size)) else {
                return Err(CoreError::Damaged(
                    "a piece of the flattened dump is nowhere",
                ));
            };
            at += 16;
            let end = offset.checked_add(size).filter(|&end| end <= MAX_LENGTH);
            let next = at.checked_add(size).filter(|&next| next <= inner.len());
            let (Some(_), Some(next)) = (end, next) else {
                return Err(CoreError::Damaged(
                    "a piece of the flattened dump is too long",
                ));
            };
            if written.len() == MAX_PIECES {
                return Err(CoreError::Damaged("the flattened dump has too many pieces"));
            }
            if size > 0 {
                written.push((offset, size, at));
            }
            at = next;
        }
        let len = written
            .iter()
            .map(|(offset, size, _)| offset + size)
            .max()
            .unwrap_or(0);
        Ok(FlatSource {
            inner,
            pieces: settle(written),
            len,
        })
    }
}

/// What was written later counts where pieces overlap.
fn settle(written: Vec<(u64, u64, u64)>) -> Vec<(u64, u64, u64)> {
    let mut settled = std::collections::BTreeMap::<u64, (u64, u64)>::new();
    for (start, size, at) in written {
        let end = start + size;
        let overlapping: Vec<_> = settled
            .range(..end)
            .rev()
            .take_while(|(its, (size, _))| *its + size > start)
            .map(|(its, rest)| (*its, *rest))
            .collect();
        for (its, (size, from)) in overlapping {
            settled.remove(&its);
            if its < start {
                settled.insert(its, (start - its, from));
            }
            if its + size > end {
                settled.insert(end, (its + size - end, from + (end - its)));
            }
        }
        settled.insert(start, (size, at));
    }
    settled
        .into_iter()
        .map(|(start, (size, at))| (start, size, at))
        .collect()
}

impl Source for FlatSource {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> std::io::Result<usize> {
        let left = self.len.saturating_sub(offset);
        let wanted = usize::try_from(left).map_or(buf.len(), |left| left.min(buf.len()));
        if wanted == 0 {
            return Ok(0);
        }
        let upto = self.pieces.partition_point(|piece| piece.0 <= offset);
        let before = upto.checked_sub(1).map(|last| self.pieces[last]);
        if let Some((start, size, at)) = before
            && offset - start < size
        {
            let room = usize::try_from(size - (offset - start)).unwrap_or(usize::MAX);
            let wanted = wanted.min(room);
            return self
                .inner
                .read_at(at + (offset - start), &mut buf[..wanted]);
        }
        // Between the pieces makedumpfile left a hole.
        let room = self
            .pieces
            .get(upto)
            .map_or(wanted as u64, |next| next.0 - offset);
        let wanted = wanted.min(usize::try_from(room).unwrap_or(usize::MAX));
        buf[..wanted].fill(0);
        Ok(wanted)
    }
}
