//! What lies at an address of code: function, module, line.

use std::fmt;

use serde::Serialize;
use stillcore_corefile::{Location, Module, Process, Symbol};

use crate::address::Address;
use crate::escape::lossy;

/// What lies at an address.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Place {
    /// The function, demangled.
    pub function: Option<String>,
    /// How far in the function it is; null where the function was inlined.
    pub offset: Option<u64>,
    /// The module: the last part of its path.
    pub module: Option<String>,
    /// The same address in the module's file: what addr2line and objdump take.
    pub module_address: Option<Address>,
    /// The source file, as the compiler named it; null without debug information.
    pub file: Option<String>,
    /// The line in it.
    pub line: Option<u32>,
    /// Whether the function was inlined into that of the next place.
    pub inlined: bool,
}

impl Place {
    /// What lies at `address`, with the functions that were inlined there before the one that holds it. `pc` is what
    /// is told: behind a call it is one more than the address that is looked up.
    pub fn all(process: &Process, address: u64, pc: u64) -> Vec<Place> {
        let module = process.module_at(address);
        let symbol = process.symbol_at(address).map(|(_, symbol)| symbol);
        let outermost = Place {
            function: symbol.as_ref().map(name),
            offset: symbol.map(|symbol| pc.wrapping_sub(symbol.address)),
            module: module.map(module_name),
            module_address: module.map(|module| Address(pc.wrapping_sub(module.bias))),
            ..Place::default()
        };
        let locations = process.locations(address);
        if locations.is_empty() {
            return vec![outermost];
        }
        let place = |location: Location| Place {
            file: location.file,
            line: location.line,
            inlined: location.inlined,
            // The symbol says how far in; the debug information, what was inlined there.
            function: match outermost.function.is_some() && !location.inlined {
                true => outermost.function.clone(),
                false => location.function,
            },
            offset: outermost.offset.filter(|_| !location.inlined),
            ..outermost.clone()
        };
        locations.into_iter().map(place).collect()
    }

    /// The same of a place where a thread stands, in one: the innermost.
    pub fn of(process: &Process, address: u64) -> Place {
        Place::all(process, address, address).swap_remove(0)
    }
}

/// The name without the version that some tables put behind it: `memcpy@@GLIBC_2.14`.
fn name(symbol: &Symbol) -> String {
    let mut name = symbol.demangled();
    if let Some(at) = name.find('@').filter(|&at| at > 0) {
        name.truncate(at);
    }
    name
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let function = self.function.as_deref().map(without_arguments);
        match (function, self.offset) {
            (Some(function), Some(offset)) => write!(f, "{function}+{offset:#x}")?,
            (Some(function), None) => f.write_str(&function)?,
            (None, _) => {
                return match (&self.module, self.module_address) {
                    (Some(module), Some(address)) => write!(f, "{module}+{address}"),
                    _ => Ok(()),
                };
            }
        }
        if let Some(module) = &self.module {
            write!(f, " ({module})")?;
        }
        match (&self.file, self.line) {
            (Some(file), Some(line)) => write!(f, " {}:{line}", last_parts(file)),
            _ => Ok(()),
        }
    }
}

/// A C++ function without the types of its arguments, which fill a screen. JSON has them.
fn without_arguments(name: &str) -> String {
    let Some(end) = name.rfind(')') else {
        return name.to_owned();
    };
    let mut open = 0;
    let start = name[..=end]
        .rmatch_indices(['(', ')'])
        .find(|(_, bracket)| {
            open += if *bracket == ")" { 1 } else { -1 };
            open == 0
        });
    match (start, behind_arguments(&name[end + 1..])) {
        // `(anonymous namespace)::x` has no arguments, what begins with a bracket no name, and those of `operator()` are its
        // name: so the debug information calls it.
        (Some((start, _)), Some(behind))
            if start > 0
                && !name[start..].starts_with("(anonymous")
                && !name[..start].ends_with("operator") =>
        {
            format!("{}{behind}", &name[..start])
        }
        _ => name.to_owned(),
    }
}

/// What is shown of what follows a function's arguments. `None` where it does not follow any: Go's `main.(*T).method` and
/// Rust's `<Box<dyn FnOnce()> as FnOnce<()>>::call_once` have brackets too.
fn behind_arguments(text: &str) -> Option<&str> {
    let mut rest = text;
    while let Some(shorter) = [" const", " volatile", " &&", " &"]
        .iter()
        .find_map(|word| rest.strip_prefix(word))
    {
        rest = shorter;
    }
    (rest.is_empty() || rest.starts_with(" [clone ")).then_some(rest)
}

/// The file with the folder that it lies in: enough to know it, and short. JSON has all of it.
fn last_parts(file: &str) -> &str {
    match file.rmatch_indices('/').nth(1) {
        Some((at, _)) => &file[at + 1..],
        None => file,
    }
}

/// The name of a module in a frame or table: the last part of its path.
pub fn module_name(module: &Module) -> String {
    lossy(module.name())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_told_as_well_as_it_is_known() {
        let mut place = Place {
            module: Some("node".into()),
            module_address: Some(Address(0x1234)),
            ..Place::default()
        };
        assert_eq!(place.to_string(), "node+0x1234");
        place.function = Some("uv_run".into());
        place.offset = Some(0x10);
        assert_eq!(place.to_string(), "uv_run+0x10 (node)");
        place.file = Some("/build/deps/uv/src/unix/core.c".into());
        place.line = Some(12);
        assert_eq!(place.to_string(), "uv_run+0x10 (node) unix/core.c:12");
        place.offset = None;
        place.file = Some("core.c".into());
        assert_eq!(place.to_string(), "uv_run (node) core.c:12");
        assert_eq!(Place::default().to_string(), "");
    }

    #[test]
    fn arguments_go_and_names_stay() {
        for (name, short) in [
            ("uv_run", "uv_run"),
            ("node::Start(int, char**)", "node::Start"),
            (
                "v8::Module::Evaluate(v8::Local<v8::Context>) const",
                "v8::Module::Evaluate",
            ),
            (
                "a::(anonymous namespace)::b(void (*)(int), c)",
                "a::(anonymous namespace)::b",
            ),
            ("a::(anonymous namespace)::b", "a::(anonymous namespace)::b"),
            (
                "a::operator()(int) [clone .part.0]",
                "a::operator() [clone .part.0]",
            ),
            ("f(int) [clone .cold]", "f [clone .cold]"),
            (
                "core::ops::function::FnOnce::call_once",
                "core::ops::function::FnOnce::call_once",
            ),
            ("operator()", "operator()"),
            ("a::operator()", "a::operator()"),
            (
                "main::{lambda(int)#1}::operator()(int) const",
                "main::{lambda(int)#1}::operator()",
            ),
            ("main.(*T).rec", "main.(*T).rec"),
            (
                "net/http.(*conn).serve.func1",
                "net/http.(*conn).serve.func1",
            ),
            (
                "<alloc::boxed::Box<dyn core::ops::function::FnOnce<(), Output = ()> + core::marker::Send> as \
                 core::ops::function::FnOnce<()>>::call_once",
                "<alloc::boxed::Box<dyn core::ops::function::FnOnce<(), Output = ()> + core::marker::Send> as \
                 core::ops::function::FnOnce<()>>::call_once",
            ),
            (
                "core::ptr::drop_in_place::<dyn core::ops::FnOnce() + core::marker::Send>",
                "core::ptr::drop_in_place::<dyn core::ops::FnOnce() + core::marker::Send>",
            ),
            ("f(int)::{lambda(int)#1}", "f(int)::{lambda(int)#1}"),
            ("A::f(int) const && [clone .cold]", "A::f [clone .cold]"),
            (")(", ")("),
            ("(", "("),
            (")", ")"),
            ("()", "()"),
        ] {
            assert_eq!(without_arguments(name), short);
        }
    }
}
