//! V8's own machine code: the builtins of the binary, by address and by number.

use crate::v8::{Isolate, V8};

/// Longest range of code that is searched for a copy.
const MAX_CODE_RANGE: u64 = 512 << 20;

impl V8 {
    /// Whether an address is in machine code that V8 made, or in its builtins.
    pub fn is_v8_code(&self, pc: u64) -> bool {
        self.builtin_at(pc).is_some() || self.pages.page_of(pc).is_some()
    }

    /// The builtin at an address, of the binary or of a copy that an isolate has made near its code.
    pub fn builtin_at(&self, pc: u64) -> Option<String> {
        let (start, size) = self.blob()?;
        let inside = |pc: u64| pc.wrapping_sub(start) < size;
        let at = if inside(pc) {
            pc
        } else if let original = self.memory.target().original(pc)
            && inside(original)
        {
            original
        } else {
            pc.wrapping_sub(self.blob_copy(pc)?).wrapping_add(start)
        };
        if at.wrapping_sub(start) >= size {
            return None;
        }
        let builtins = self.builtins();
        let index = builtins
            .partition_point(|symbol| symbol.address <= at)
            .checked_sub(1);
        Some(index.map_or_else(String::new, |index| {
            builtins[index]
                .name
                .trim_start_matches("Builtins_")
                .to_owned()
        }))
    }

    /// The start of a copy of the builtins that holds an address. (`CodeRange::RemapEmbeddedBuiltins`.)
    fn blob_copy(&self, pc: u64) -> Option<u64> {
        let (start, size) = self.blob()?;
        if let Ok(copies) = self.copies.read()
            && let Some(copy) = copies.iter().find(|copy| pc.wrapping_sub(**copy) < size)
        {
            return Some(*copy);
        }
        let region = self.region_at(pc)?;
        if !region.executable
            || region.range.contains(&start)
            || (start..start + size).contains(&region.range.start)
        {
            return None;
        }
        // Mapped from the binary once more: a core need not hold that, and it is as long as the builtins in pages.
        let length = region.range.end - region.range.start;
        if region.held == 0 && length == size.checked_next_multiple_of(0x1000)? {
            self.copies.write().ok()?.push(region.range.start);
            return (pc - region.range.start < size).then_some(region.range.start);
        }
        if let Ok(misses) = self.copy_misses.read()
            && misses.contains(&region.range.start)
        {
            return None;
        }
        // Code of the heap. (Not asked for certain: deep inside a copy that takes the list of all pages.)
        if self.pages.near(pc).is_some() {
            return None;
        }
        let mut want = [0_u8; 64];
        self.memory.read(start, &mut want).ok()?;
        // The whole of it: another address may have asked that lies before the copy.
        let end = region
            .range
            .end
            .min(region.range.start.saturating_add(MAX_CODE_RANGE));
        let mut at = region.range.start;
        while at < end {
            let mut have = [0_u8; 64];
            // Not by way of the blocks that are kept: these few bytes of every page would push all others out.
            if self.memory.target().read(at, &mut have).is_ok() && have == want {
                self.copies.write().ok()?.push(at);
                return (pc.wrapping_sub(at) < size).then_some(at);
            }
            at += 0x1000;
        }
        self.copy_misses.write().ok()?.push(region.range.start);
        None
    }

    /// The name of a builtin by its number: `Builtins_*` symbols have the order of the numbers.
    pub fn builtin_name(&self, number: i32) -> Option<String> {
        let names = self.builtin_names.get_or_init(|| {
            // `Builtins::name` is not in the binary as data; the order of addresses is the order of embedding, which is
            // that of the numbers only where the two tables agree. The isolate's table of entries tells.
            let isolate = self.main_isolate();
            isolate.map_or(Vec::new(), |isolate| self.builtin_order(isolate))
        });
        names
            .get(usize::try_from(number).ok()?)
            .cloned()
            .filter(|name| !name.is_empty())
    }

    /// The builtins by number, from the isolate's table of their entry points: the longest run of pointers to starts of
    /// builtins in it.
    fn builtin_order(&self, isolate: &Isolate) -> Vec<String> {
        let words: Vec<u64> = (0..0x10000_u64)
            .step_by(8)
            .map(|offset| {
                self.memory
                    .u64(isolate.address.wrapping_add(offset))
                    .unwrap_or(0)
            })
            .collect();
        let builtins = self.builtins();
        let (start, size) = self.blob().unwrap_or((0, 0));
        let name_of = |address: u64| -> Option<String> {
            let inside = |address: u64| address.wrapping_sub(start) < size;
            let original = self.memory.target().original(address);
            let at = if inside(address) {
                address
            } else if inside(original) {
                original
            } else {
                address
                    .wrapping_sub(self.blob_copy(address)?)
                    .wrapping_add(start)
            };
            let index = builtins
                .binary_search_by_key(&at, |symbol| symbol.address)
                .ok()?;
            Some(
                builtins[index]
                    .name
                    .trim_start_matches("Builtins_")
                    .to_owned(),
            )
        };
        let mut best = Vec::new();
        let mut run = Vec::new();
        for word in words {
            match (word > 0x1000).then(|| name_of(word)).flatten() {
                Some(name) => run.push(name),
                None => {
                    if run.len() > best.len() {
                        best = std::mem::take(&mut run);
                    }
                    run.clear();
                }
            }
        }
        if run.len() > best.len() { run } else { best }
    }
}
