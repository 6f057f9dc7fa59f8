//! The handles of native code, as an isolate has them: global ones with their states (`handles/global-handles.cc`), those of
//! scopes (`api/api.h`), eternal ones, and those of C++'s garbage-collected objects (`handles/traced-handles.h`).

use std::collections::HashSet;

use super::finder::{Finder, MOST};
use super::roots::{RootKind, Roots};

/// Nodes in a block of global handles, and the bytes of one (`GlobalHandles::kBlockSize`, `NodeBase`).
const GLOBAL_NODES: u64 = 256;
const GLOBAL_NODE: u64 = 32;
/// Bytes of a block of local handles (`kHandleBlockSize` words).
const HANDLE_BLOCK: u64 = 1022 * 8;
/// Handles in a block of eternal ones.
const ETERNAL_BLOCK: u64 = 256;
/// Nodes of a traced block whose numbers are looked at before the rest is read.
const FEW: u64 = 4;

impl Finder<'_> {
    /// `GlobalHandles`: the isolate, a space that points back, blocks of 256 nodes that each know their number.
    pub(super) fn global_handles(&self, at: u64, words: &[u64], roots: &mut Roots) -> bool {
        let space = words[1];
        if !self.native(space) || self.word(space) != at {
            return false;
        }
        let mut block = self.word(space + 8);
        let mut seen = HashSet::new();
        while block != 0 && seen.len() < MOST && seen.insert(block) {
            let nodes = self
                .v8
                .words_at(block, (GLOBAL_NODES * GLOBAL_NODE + 24) as usize);
            let per = (GLOBAL_NODE / 8) as usize;
            let end = per * GLOBAL_NODES as usize;
            if nodes.len() < end + 3
                || nodes[end + 1] != at
                || (0..GLOBAL_NODES as usize)
                    .any(|index| nodes[per * index + 1] >> 16 & 0xff != index as u64)
            {
                return false;
            }
            for index in 0..GLOBAL_NODES as usize {
                // The lowest bits of the flags: 0 free, 1 strong, 2 weak, 3 about to be freed.
                if nodes[per * index + 1] >> 24 & 3 == 1 {
                    let slot = block + GLOBAL_NODE * index as u64;
                    roots.add(RootKind::Global, slot, nodes[per * index]);
                }
            }
            block = nodes[end];
        }
        !seen.is_empty()
    }

    /// `HandleScopeImplementer`: the isolate, the blocks of handles, contexts that were entered, contexts that were saved.
    /// The last block is used up to `HandleScopeData::next`, a field of the isolate.
    pub(super) fn handle_scopes(&self, words: &[u64], roots: &mut Roots) -> bool {
        let vector = |from: usize| {
            let (data, capacity, size) = (words[from], words[from + 1], words[from + 2]);
            (size <= capacity && capacity < MOST as u64 && (size == 0 || self.native(data)))
                .then(|| self.v8.words_at(data, 8 * size as usize))
                .filter(|all| all.len() as u64 == size)
        };
        if words.len() < 11 {
            return false;
        }
        let (Some(blocks), Some(entered), Some(saved)) = (vector(1), vector(4), vector(7)) else {
            return false;
        };
        let contexts = entered.into_iter().chain(saved);
        let Some(&last) = blocks.last() else {
            // No scope has a handle now, as in a worker whose loop waits. The vectors have been in use all the same, and the
            // block that they no longer need is kept as the spare one.
            let known = [2, 5, 8].iter().all(|&capacity| words[capacity] > 0);
            if !known || !self.native(words[10]) {
                return false;
            }
            for word in contexts {
                roots.add(RootKind::Isolate, 0, word);
            }
            return true;
        };
        // `HandleScopeData`: next, limit, level and the level at which scopes are sealed. While the event loop waits they
        // are: then the limit is next, so that nobody makes a handle by mistake.
        let Some(next) = self.words.windows(3).find_map(|data| {
            let (next, limit) = (data[0], data[1]);
            let sealed = limit == next && data[2] as u32 == (data[2] >> 32) as u32;
            let end = last.wrapping_add(HANDLE_BLOCK);
            ((limit == end || sealed) && last <= next && next <= end).then_some(next)
        }) else {
            return false;
        };
        for &block in &blocks {
            let bytes = if block == last {
                next - last
            } else {
                HANDLE_BLOCK
            };
            for (index, word) in self
                .v8
                .words_at(block, bytes as usize)
                .into_iter()
                .enumerate()
            {
                roots.add(RootKind::Local, block + 8 * index as u64, word);
            }
        }
        for word in contexts {
            roots.add(RootKind::Isolate, 0, word);
        }
        true
    }

    /// `EternalHandles`: how many, and a vector of their blocks.
    pub(super) fn eternal_handles(&self, words: &[u64], roots: &mut Roots) -> bool {
        let (count, begin, end) = (words[0] & 0xffff_ffff, words[1], words[2]);
        if count == 0
            || count > 1 << 20
            || end.wrapping_sub(begin) != 8 * count.div_ceil(ETERNAL_BLOCK)
            || words[3] < end
            || !self.native(begin)
        {
            return false;
        }
        let blocks = self.v8.words_at(begin, (end - begin) as usize);
        let object = |word: u64| word & 3 == 1 && self.v8.pages.page_of(word & !3).is_some();
        if blocks.is_empty() || !blocks.iter().all(|&block| object(self.word(block))) {
            return false;
        }
        let mut left = count;
        for block in blocks {
            let here = left.min(ETERNAL_BLOCK);
            for (index, word) in self
                .v8
                .words_at(block, 8 * here as usize)
                .into_iter()
                .enumerate()
            {
                roots.add(RootKind::Eternal, block + 8 * index as u64, word);
            }
            left -= here;
        }
        true
    }

    /// `TracedNodeBlock`: the blocks before and behind, the handles it belongs to, how many nodes are used and how many
    /// there are; and behind that the nodes, which know their numbers. Which of them C++ can still reach is not asked.
    pub(super) fn traced_blocks(&self, first: u64, seen: &mut HashSet<u64>, roots: &mut Roots) {
        let end = self.isolate.address + 8 * self.words.len() as u64;
        let mut block = first;
        while block != 0 && self.native(block) && seen.len() < MOST {
            let words = self.v8.words_at(block, 88);
            if words.len() < 11 {
                return;
            }
            // Two lists that it is in before V8 14, three since.
            let (reference, nodes) = if self.v8.column < 3 { (4, 48) } else { (6, 72) };
            let owner = words[reference];
            let ours = (self.isolate.address..end).contains(&owner)
                || self.v8.column == 0 && self.native(owner);
            let capacity = words[reference + 1] >> 16 & 0xffff;
            let used = words[reference + 1] & 0xffff;
            if !ours || capacity < 2 || used > capacity {
                return;
            }
            let nodes_at = block + nodes;
            // Much of what is pointed to has got so far, and claims thousands of nodes.
            if self.traced_nodes(nodes_at, capacity.min(FEW)).is_none() {
                return;
            }
            let Some(nodes) = self.traced_nodes(nodes_at, capacity) else {
                return;
            };
            if !seen.insert(block) {
                return;
            }
            for index in 0..capacity as usize {
                if nodes[2 * index + 1] >> 32 & 1 == 1 {
                    roots.add(
                        RootKind::Traced,
                        nodes_at + 16 * index as u64,
                        nodes[2 * index],
                    );
                }
            }
            block = words[1];
        }
    }

    /// The words of the first `count` nodes of a traced block, if each of them knows its number.
    fn traced_nodes(&self, at: u64, count: u64) -> Option<Vec<u64>> {
        let nodes = self.v8.words_at(at, 16 * count as usize);
        let whole = nodes.len() as u64 == 2 * count;
        let known = (0_u64..)
            .zip(nodes.chunks_exact(2))
            .all(|(index, node)| node[1] >> 16 & 0xffff == index);
        (whole && known).then_some(nodes)
    }
}
