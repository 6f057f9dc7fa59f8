//! What a stripped binary still holds without names: V8's version, the names of its roots, its builtins, the lengths of its
//! bytecodes. Each is found by its text or its first values in the mapped binary, and by what must stand around it.
//!
//! Official binaries have symbols for all of this; distributions strip them. (The tables: `roots/roots.cc`,
//! `builtins/builtins.cc`, `interpreter/bytecodes.cc`.)

use memchr::memmem;

use crate::memory::Memory;
use crate::target::Symbol;

/// Bytes that are looked through at a time.
const CHUNK: usize = 1 << 20;
/// Longest binary that is looked through.
const MAX_BINARY: u64 = 1 << 30;
/// Most places at which one text is tried.
const MAX_PLACES: usize = 64;
/// Longest table of names.
const MAX_NAMES: u64 = 4096;
/// The builtin with the number 0, from Node 18 to 26.
const FIRST_BUILTIN: &str = "DeoptimizationEntry_Eager";
/// Bytes of one row of `builtin_metadata`: name, kind, and what depends on the kind.
const BUILTIN_ROW: u64 = 24;

/// Calls `look` with each stretch of the binary's memory, each overlapping the one before by `overlap` bytes, until it
/// says that it has enough.
fn each_chunk(
    memory: &Memory,
    overlap: usize,
    wanted: impl Fn(bool) -> bool,
    mut look: impl FnMut(u64, &[u8]) -> bool,
) {
    let mut left = MAX_BINARY;
    let mut buf = vec![0; CHUNK + overlap];
    for region in memory.target().binary() {
        if !wanted(region.executable) {
            continue;
        }
        let mut at = region.range.start;
        while at < region.range.end {
            let len = (region.range.end - at).min(buf.len() as u64).min(left) as usize;
            if len == 0 {
                return;
            }
            let chunk = &mut buf[..len];
            if memory.target().read(at, chunk).is_ok() && look(at, chunk) {
                return;
            }
            let step = CHUNK.min(len) as u64;
            left -= step.min(left);
            at += step;
        }
    }
}

/// Where a text stands, end and all.
fn places_of(memory: &Memory, text: &[u8]) -> Vec<u64> {
    let mut places = Vec::new();
    let finder = memmem::Finder::new(text);
    each_chunk(
        memory,
        text.len(),
        |_| true,
        |base, chunk| {
            for offset in finder.find_iter(chunk) {
                let place = base + offset as u64;
                if !places.contains(&place) {
                    places.push(place);
                }
                if places.len() >= MAX_PLACES {
                    return true;
                }
            }
            false
        },
    );
    places
}

/// Where words of eight bytes with one of these values stand, outside of code.
fn words_with(memory: &Memory, values: &[u64]) -> Vec<u64> {
    let mut places = Vec::new();
    if values.is_empty() {
        return places;
    }
    each_chunk(
        memory,
        0,
        |executable| !executable,
        |base, chunk| {
            for (index, word) in chunk.chunks_exact(8).enumerate() {
                let word = u64::from_le_bytes(word.try_into().unwrap_or_default());
                if values.contains(&word) {
                    places.push(base + 8 * index as u64);
                    if places.len() >= MAX_PLACES {
                        return true;
                    }
                }
            }
            false
        },
    );
    places
}

/// The name at which a word points: letters, digits and underscores.
fn name_at(memory: &Memory, word_at: u64) -> Option<String> {
    let name = memory.c_string(memory.u64(word_at).ok()?, 200).ok()?;
    (name.len() > 1
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_'))
    .then_some(name)
}

/// `13.6.233.17-node.37`: numbers of V8's shape before Node's mark.
pub(crate) fn version(memory: &Memory) -> Option<String> {
    let mut found = None;
    let finder = memmem::Finder::new(b"-node.");
    each_chunk(
        memory,
        64,
        |executable| !executable,
        |_, chunk| {
            for offset in finder.find_iter(chunk) {
                let is_part = |byte: &u8| byte.is_ascii_digit() || *byte == b'.';
                let before = chunk[..offset]
                    .iter()
                    .rev()
                    .take(24)
                    .take_while(|byte| is_part(byte))
                    .count();
                let after = chunk[offset + 6..]
                    .iter()
                    .take(8)
                    .take_while(|byte| byte.is_ascii_digit())
                    .count();
                let text = &chunk[offset - before..offset + 6 + after];
                let ends = chunk.get(offset + 6 + after) == Some(&0);
                let dots = text[..before].iter().filter(|byte| **byte == b'.').count();
                if ends && after > 0 && dots == 3 && before >= 7 {
                    found = Some(String::from_utf8_lossy(text).into_owned());
                    return true;
                }
            }
            false
        },
    );
    found
}

/// The first two names of the roots: up to Node 24, and of 26.
const FIRST_ROOTS: [(&[u8], &str); 2] = [
    (b"free_space_map\0", "one_pointer_filler_map"),
    (b"undefined_value\0", "the_hole_value"),
];

/// The names of all roots in their order: an array of pointers to them.
pub(crate) fn root_names(memory: &Memory) -> Vec<String> {
    for (first, second) in FIRST_ROOTS {
        let texts = places_of(memory, first);
        for place in words_with(memory, &texts) {
            if name_at(memory, place.wrapping_add(8)).as_deref() != Some(second) {
                continue;
            }
            let names: Vec<String> = (0..MAX_NAMES)
                .map_while(|index| name_at(memory, place.checked_add(8 * index)?))
                .collect();
            if names.iter().any(|name| name == "meta_map") {
                return names;
            }
        }
    }
    Vec::new()
}

/// The lengths of the first bytecodes at each of the three scales of operands: the prefixes, the breakpoints for each
/// length, then the loads of constants. They have been so since bytecodes of more than one scale came.
const FIRST_BYTECODES: [[u8; 14]; 3] = [
    [1, 1, 1, 1, 1, 2, 3, 4, 5, 5, 6, 2, 1, 2],
    [1, 1, 1, 1, 1, 3, 5, 7, 9, 7, 9, 3, 1, 3],
    [1, 1, 1, 1, 1, 5, 9, 13, 17, 11, 15, 5, 1, 5],
];

/// `Bytecodes::kBytecodeSizes`: three rows, as long as there are bytecodes.
pub(crate) fn bytecode_sizes(memory: &Memory) -> Vec<u8> {
    for place in places_of(memory, &FIRST_BYTECODES[0]) {
        let Ok(table) = memory.bytes(place, 3 * 256, 3 * 256) else {
            continue;
        };
        let second = memmem::find(&table, &FIRST_BYTECODES[1]);
        if let Some(count) = second.filter(|count| (100..=256).contains(count))
            && table[2 * count..].starts_with(&FIRST_BYTECODES[2])
        {
            return table[..3 * count].to_vec();
        }
    }
    Vec::new()
}

/// The names of all builtins in their order, from `builtin_metadata`.
pub(crate) fn builtin_names(memory: &Memory) -> Vec<String> {
    let texts = places_of(memory, b"InterpreterEntryTrampoline\0");
    let row = |at: u64| -> Option<String> {
        // The kind is a small number in the word behind the name.
        let kind = memory.u32(at.checked_add(8)?).ok()?;
        (kind < 16).then(|| name_at(memory, at)).flatten()
    };
    for place in words_with(memory, &texts) {
        let mut first = place;
        let mut steps = 0;
        while steps < MAX_NAMES
            && let Some(before) = first.checked_sub(BUILTIN_ROW)
            && row(before).is_some()
        {
            first = before;
            steps += 1;
        }
        let names: Vec<String> = (0..MAX_NAMES)
            .map_while(|index| row(first.checked_add(BUILTIN_ROW * index)?))
            .collect();
        // The row of another table may lie before, and look like one of these.
        let begin = names.iter().position(|name| name == FIRST_BUILTIN);
        let names = names.get(begin.unwrap_or(0)..).unwrap_or_default();
        if names.len() > 500 {
            return names.to_vec();
        }
    }
    Vec::new()
}

/// The builtins by address. `isolate` is where one begins: it has a table of their entries in the order of their names.
pub(crate) fn builtins(memory: &Memory, isolate: u64, names: &[String]) -> Vec<Symbol> {
    let code: Vec<_> = memory
        .target()
        .regions()
        .into_iter()
        .filter(|region| region.executable)
        .map(|region| region.range)
        .collect();
    let is_code = |word: u64| {
        let index = code.partition_point(|range| range.start <= word);
        index > 0 && code[index - 1].contains(&word)
    };
    if names.len() < 500 {
        return Vec::new();
    }
    // Entries are aligned, functions of C++ in the tables before them are not all. Behind it come tagged words.
    let mut run: Vec<u64> = Vec::new();
    let mut table = None;
    for offset in (0..0x20000_u64).step_by(8) {
        let word = memory.u64(isolate.wrapping_add(offset)).unwrap_or(0);
        if word & 31 == 0 && is_code(word) {
            run.push(word);
            continue;
        }
        if run.len() >= names.len() {
            table = Some(run.split_off(run.len() - names.len()));
            break;
        }
        run.clear();
    }
    let Some(table) = table else {
        return Vec::new();
    };
    let mut builtins: Vec<_> = names
        .iter()
        .zip(table)
        .map(|(name, address)| Symbol {
            name: format!("Builtins_{name}"),
            address: memory.target().original(address),
            size: 0,
        })
        .collect();
    builtins.sort_by_key(|symbol| symbol.address);
    builtins
}
