//! The size of an object: in its map, or in its own first words, by the formula of its type (`types.rs`).

use crate::constants::NO;
use crate::error::Result;
use crate::tagged::Tagged;
use crate::types::Sizing;
use crate::v8::{MapInfo, V8};

const fn round8(size: u64) -> u64 {
    (size + 7) & !7
}

/// The size of an object whose words `word` gives by their offset; `None` when it makes no sense.
pub(crate) fn size_of(v8: &V8, map: &MapInfo, word: impl Fn(u64) -> Result<u64>) -> Option<u64> {
    if map.size != 0 {
        return Some(u64::from(map.size));
    }
    let smi = |offset: u64| -> Option<u64> {
        Tagged(word(offset).ok()?)
            .as_smi()
            .and_then(|value| u64::try_from(value).ok())
    };
    let low = |offset: u64| -> Option<u64> { Some(word(offset).ok()? & 0xffff_ffff) };
    let high = |offset: u64| -> Option<u64> { Some(word(offset).ok()? >> 32) };
    let size = match v8.types.sizing(map.instance_type) {
        Sizing::SeqOneByte => 16 + high(8)?,
        Sizing::SeqTwoByte => 16 + 2 * high(8)?,
        Sizing::Words(header) => u64::from(header) + 8 * smi(8)?,
        Sizing::Doubles => 16 + 8 * smi(8)?,
        Sizing::Bytes => 16 + smi(8)?,
        Sizing::Bytecode => v8.c.bytecode_data as u64 + smi(8)?,
        Sizing::PropertyArray => 16 + 8 * (smi(8)? & 0x3ff),
        Sizing::Descriptors => v8.c.descriptor_header as u64 + 24 * (word(8).ok()? & 0xffff),
        Sizing::FeedbackVector => {
            let short = v8.column >= 2 || v8.version.is_node_18();
            (if short { 48 } else { 56 }) + 8 * low(8)?
        }
        Sizing::FeedbackMetadata => {
            16 + 4 * low(8)?.div_ceil(6) + if v8.column < 2 { 0 } else { 2 * high(8)? }
        }
        Sizing::FreeSpace => v8.free_space_unit() * smi(8)?,
        Sizing::BigInt => 16 + 8 * ((low(8)? & 0x7fff_ffff) >> 1),
        Sizing::PreparseData => round8(16 + low(8)?) + 8 * high(8)?,
        Sizing::Coverage => 16 + 16 * low(8)?,
        Sizing::Swiss => {
            let capacity = high(8)?;
            24 + 16 * capacity + capacity + 16 + capacity
        }
        Sizing::DoubleStringCache => 16 + 16 * low(8)?,
        // Up to Node 22 it has the native type, its index and the instance before that; since then two numbers in one word.
        Sizing::WasmTypeInfo if v8.column < 2 => 40 + 8 * smi(32)?,
        Sizing::WasmTypeInfo => 24 + 8 * smi(16)?,
        // By its capacity: what is called, what with, and a signature; since Node 24 behind more about the table, since 26 in two words.
        Sizing::WasmDispatchTable => match v8.column {
            0 | 1 => 16 + 24 * high(8)?,
            2 => 40 + 24 * high(8)?,
            _ => 40 + 16 * high(8)?,
        },
        Sizing::WasmImportTable => 24 + 16 * low(8)?,
        Sizing::InstructionStream => {
            let size = if v8.c.stream_size == NO {
                // 20: the instructions' and the metadata's length are in the Code.
                let code = Tagged(word(v8.c.stream_code as u64).ok()?);
                if !code.is_pointer() {
                    return None;
                }
                let part = |field| {
                    v8.memory
                        .u32(v8.at(code.address(), field))
                        .ok()
                        .map(u64::from)
                };
                v8.c.stream_start as u64 + part(v8.c.code_size)? + part(v8.c.code_metadata_size)?
            } else {
                v8.c.stream_start as u64 + low(v8.c.stream_size as u64)?
            };
            size.next_multiple_of(v8.code_alignment)
        }
        Sizing::ScopeInfo => crate::scope::decode(&word, v8.column).ok()?.size,
        // Its payload, where it has one, is a filler of its own.
        Sizing::WasmNull => 8,
        // 26 has holes of 64 KiB whose payload is not mapped.
        Sizing::Hole => 8 + 65536,
        // Node 18: the instructions, and what belongs to them, lie in the Code itself.
        Sizing::Unknown if map.kind == crate::types::Kind::Code => {
            let at = v8.c.code_size as u64;
            (v8.c.code_start as u64 + low(at)? + high(at)?).next_multiple_of(v8.code_alignment)
        }
        Sizing::Map | Sizing::Unknown => return None,
    };
    (8..1 << 40).contains(&size).then_some(round8(size))
}
