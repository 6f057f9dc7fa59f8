//! A symbol, and its name as people write it.

/// What a symbol names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SymbolKind {
    /// Code.
    Function,
    /// Data.
    Object,
    /// A thread-local variable: its address is an offset in the module's block of them.
    ThreadLocal,
    /// Not said, as by most assembly code.
    Untyped,
}

/// A symbol of a module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Symbol {
    /// Its name as it stands in the file: mangled.
    pub name: Vec<u8>,
    /// Its address in the process.
    pub address: u64,
    /// Bytes; 0 where the table does not say.
    pub size: u64,
    /// What it names.
    pub kind: SymbolKind,
}

impl Symbol {
    /// The name as it was written in the source, with the arguments' types in C++.
    pub fn demangled(&self) -> String {
        demangle(&self.name)
    }
}

/// A symbol's name as it was written in the source, in Rust or C++; other names are left as they are.
pub fn demangle(name: &[u8]) -> String {
    /// Longer ones are written by nobody.
    const MAX: usize = 1 << 16;
    let plain = String::from_utf8_lossy(name);
    if name.len() > MAX {
        return plain.into_owned();
    }
    // A version may follow the name: memcpy@@GLIBC_2.14.
    if let Ok(rust) = rustc_demangle::try_demangle(&plain) {
        return format!("{rust:#}");
    }
    if !name.starts_with(b"_Z") {
        return plain.into_owned();
    }
    cpp_demangle::Symbol::new(name)
        .ok()
        .and_then(|symbol| symbol.demangle().ok())
        .unwrap_or_else(|| plain.into_owned())
}
