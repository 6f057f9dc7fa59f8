//! What a node binary tells of its layout, beside what is known: the first step of supporting the next Node.
//!
//!     cargo run -p stillcore-v8 --example columns -- PATH/TO/node [20|22|24|26]
//!
//! For each row of `constants.rs`: the value that the binary tells by a `v8dbg_*` symbol, the value of the column (the newest
//! known one, or that of the Node named), and a mark:
//!
//!     same     told, and as in the column
//!     CHANGED  told, and otherwise: the column of the new Node has this value
//!     GONE     the row has names, and the binary has none of them: look the value up, and give it to the column
//!     no name  the row never had a name: compare V8's sources of both versions
//!
//! Then the instance types that `types.rs` and the binary do not share, and the other symbols that are needed. It ends with 1
//! when a value has changed or a symbol is lacking.

use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;

use goblin::elf::Elf;
use stillcore_v8::{COLUMNS, NO, ROWS, Types, Version};

/// A binary and its symbols, those of the program before those of the dynamic linker.
struct Binary {
    bytes: Vec<u8>,
    /// Addresses, and the places in the file.
    segments: Vec<(u64, u64, u64)>,
    symbols: BTreeMap<String, (u64, u64)>,
}

impl Binary {
    fn open(path: &str) -> Result<Binary, Box<dyn std::error::Error>> {
        let bytes = std::fs::read(path)?;
        let elf = Elf::parse(&bytes)?;
        let mut symbols = BTreeMap::new();
        for (table, names) in [(&elf.syms, &elf.strtab), (&elf.dynsyms, &elf.dynstrtab)] {
            for symbol in table.iter().filter(|symbol| symbol.st_shndx != 0) {
                if let Some(name) = names.get_at(symbol.st_name) {
                    symbols.insert(name.to_owned(), (symbol.st_value, symbol.st_size));
                }
            }
        }
        let load = elf
            .program_headers
            .iter()
            .filter(|header| header.p_type == 1);
        let segments = load
            .map(|header| (header.p_vaddr, header.p_filesz, header.p_offset))
            .collect();
        Ok(Binary {
            segments,
            symbols,
            bytes,
        })
    }

    fn read(&self, address: u64, len: u64) -> Option<&[u8]> {
        let (start, _, offset) = self
            .segments
            .iter()
            .find(|(start, size, _)| (*start..start + size).contains(&address))?;
        let at = (offset + address - start) as usize;
        self.bytes.get(at..at + len as usize)
    }

    /// The value of an `int`; those that are zero lie in .bss, which has no bytes in the file.
    fn int(&self, name: &str) -> Option<i64> {
        let (address, _) = self.symbols.get(name)?;
        let bytes = self
            .read(*address, 4)
            .and_then(|bytes| bytes.try_into().ok());
        Some(bytes.map_or(0, |bytes| i64::from(i32::from_le_bytes(bytes))))
    }

    fn text(&self, address: u64) -> Option<String> {
        let bytes = self.read(address, 1)?.as_ptr() as usize - self.bytes.as_ptr() as usize;
        let end = self.bytes[bytes..].iter().position(|byte| *byte == 0)?;
        String::from_utf8(self.bytes[bytes..bytes + end].to_vec()).ok()
    }

    fn roots(&self) -> Vec<String> {
        let Some((address, size)) = self
            .symbols
            .get("_ZN2v88internal10RootsTable11root_names_E")
        else {
            return Vec::new();
        };
        (0..size / 8)
            .filter_map(|index| {
                let word = self.read(address + 8 * index, 8)?.try_into().ok()?;
                self.text(u64::from_le_bytes(word))
            })
            .collect()
    }
}

fn main() -> Result<ExitCode, Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some(path) = arguments.first() else {
        eprintln!("columns PATH/TO/node [20|22|24|26]");
        return Ok(ExitCode::from(2));
    };
    let binary = Binary::open(path)?;
    let part = |name: &str| {
        let name = format!("_ZN2v88internal7Version{}{name}E", name.len());
        binary.int(&name).unwrap_or(0)
    };
    let text = ["major_", "minor_", "build_", "patch_"].map(|name| part(name).to_string());
    let text = text.join(".");
    let known = Version::parse(&text)
        .map_or_else(|| "no version told".to_owned(), |version| version.node());
    let column = match arguments.get(1) {
        None => COLUMNS.len() - 1,
        Some(node) => COLUMNS
            .iter()
            .position(|column| column.node.to_string() == *node)
            .ok_or("the columns are those of Node 20, 22, 24 and 26")?,
    };
    println!(
        "V8 {text} ({known}), beside the column of Node {}\n",
        COLUMNS[column].node
    );

    let shown = |value: i64| {
        if value == NO {
            "-".to_owned()
        } else {
            value.to_string()
        }
    };
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    let mut used = BTreeSet::new();
    for row in ROWS {
        let name = row.names.iter().find_map(|name| {
            let prefix = format!("v8dbg_{name}");
            let next = binary.symbols.range(prefix.clone()..).next();
            next.map(|(name, _)| name)
                .filter(|name| name.starts_with(&prefix))
        });
        let told = name.and_then(|name| binary.int(name));
        used.extend(name);
        let mark = match told {
            Some(value) if value == row.table[column] => "same",
            Some(_) => "CHANGED",
            None if row.names.is_empty() => "no name",
            // The column has no such thing either, or does without.
            None if row.table[column] == NO => "same",
            None => "GONE",
        };
        *counts.entry(mark).or_default() += 1;
        println!(
            "{:<24} {:>10} {:>10}  {mark:<8} {}",
            row.field,
            told.map_or("-".to_owned(), shown),
            shown(row.table[column]),
            name.map_or("", String::as_str)
        );
    }

    let roots = binary.roots();
    let types: BTreeMap<String, i64> = binary
        .symbols
        .keys()
        .filter_map(|name| {
            let (_, short) = name.strip_prefix("v8dbg_type_")?.rsplit_once("__")?;
            Some((short.strip_suffix("_TYPE")?.to_owned(), binary.int(name)?))
        })
        .collect();
    let maps: BTreeSet<String> = roots
        .iter()
        .filter_map(|name| Some(name.strip_suffix("_map")?.to_uppercase()))
        .collect();
    let known: BTreeSet<&str> = Types::known().into_iter().collect();
    let absent: Vec<_> = known
        .iter()
        .filter(|name| !types.contains_key(**name) && !maps.contains(**name))
        .collect();
    println!(
        "\ninstance types: {} told, {} root maps",
        types.len(),
        maps.len()
    );
    println!("in types.rs, and not in this binary (derived, or of other versions): {absent:?}");
    let new: Vec<_> = types
        .iter()
        .filter(|(name, number)| {
            **number >= 128
                && !["JS_", "TURBO", "WASM_"]
                    .iter()
                    .any(|prefix| name.starts_with(prefix))
                && !known.contains(name.as_str())
        })
        .map(|(name, _)| name)
        .collect();
    println!("not in types.rs: right where their objects have their size in the map: {new:?}");

    println!("\nother symbols:");
    let mut lacking = 0;
    for (name, what) in [
        (
            "_ZN2v88internal10RootsTable11root_names_E",
            "names of the roots",
        ),
        (
            "_ZN2v88internal18g_current_isolate_E",
            "the isolate of a thread",
        ),
        (
            "_ZN2v88internal11interpreter9Bytecodes14kBytecodeSizesE",
            "lengths of bytecodes",
        ),
        ("v8_Default_embedded_blob_code_", "builtins"),
        ("v8_Default_embedded_blob_code_size_", "their length"),
        (
            "nodedbg_const_ContextEmbedderIndex__kEnvironment__int",
            "Node's environment",
        ),
        (
            "nodedbg_offset_Environment__handle_wrap_queue",
            "its handles",
        ),
        ("nodedbg_offset_Environment__req_wrap_queue", "its requests"),
    ] {
        let next = binary.symbols.range(name.to_owned()..).next();
        let there = next.is_some_and(|(found, _)| found.starts_with(name));
        lacking += usize::from(!there);
        println!(
            "{:<8} {what}: {name}",
            if there { "there" } else { "LACKING" }
        );
    }
    println!(
        "\n{} names of roots, {} builtins",
        roots.len(),
        binary
            .symbols
            .range("Builtins_".to_owned()..)
            .take_while(|(name, _)| name.starts_with("Builtins_"))
            .count()
    );
    let summary: Vec<_> = counts
        .iter()
        .map(|(mark, count)| format!("{count} {mark}"))
        .collect();
    println!("rows: {}", summary.join(", "));
    let clean = !counts.contains_key("CHANGED") && lacking == 0;
    Ok(if clean {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
