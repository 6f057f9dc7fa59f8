//! The debug information of a module that does not lie in its file, put where debuggers look for it.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use stillcore_corefile::{Check, Found, Module, ModuleKind};

use crate::error::PackError;
use crate::manifest::{FileEntry, hex, lossy};
use crate::script::ScriptPlan;
use crate::source::BytesSource;

use super::tree::{Content, Tree};
use super::{difference, dwp, folder};

/// The folder of debug files.
const DEBUG: &[u8] = b"usr/lib/debug";

/// Adds the separate debug file of a module, what it shares with others, and split DWARF. `place` is that of the module's
/// own file, where there is one.
pub(super) fn add(
    tree: &mut Tree<'_>,
    plan: &mut ScriptPlan,
    module: &Module,
    place: Option<&[u8]>,
) -> Result<(), PackError> {
    match module.debug_file() {
        Some(found) => add_separate(tree, module, found, place)?,
        None => {
            let mut told: Vec<&Path> = Vec::new();
            for other in module.debug_mismatches() {
                if told.contains(&other.path.as_path()) {
                    continue;
                }
                told.push(&other.path);
                tree.leave_out(format!(
                    "{} is not the debug file of {}, and is left out: {}",
                    other.path.display(),
                    lossy(&module.path),
                    if other.expected == other.found {
                        "its checksum is not the one in .gnu_debuglink".to_owned()
                    } else {
                        difference(other.expected.as_deref(), other.found.as_deref())
                    }
                ));
                tree.list(FileEntry {
                    path: lossy(other.path.as_os_str().as_bytes()),
                    build_id: other.found.as_deref().map(hex),
                    kind: Some("debug".to_owned()),
                    reason: Some("it belongs to another build".to_owned()),
                    ..FileEntry::default()
                });
            }
            if !module.has_debug_info() {
                tree.note(format!(
                    "{}: no debug information found",
                    lossy(&module.path)
                ));
            }
        }
    }
    if let Some(found) = module.alternate_file() {
        let own = found.path.as_os_str().as_bytes().to_vec();
        let place = put(tree, &own, found, "debug-shared")?;
        link_by_id(tree, found.build_id.as_deref(), &place);
    }
    if let Some(place) = place {
        add_split(tree, plan, module, place)?;
    }
    Ok(())
}

fn add_separate(
    tree: &mut Tree<'_>,
    module: &Module,
    found: &Found,
    module_place: Option<&[u8]>,
) -> Result<(), PackError> {
    let id = module.build_id.as_deref().or(found.build_id.as_deref());
    let by_id = id.and_then(id_path);
    let place = match (&by_id, found.check) {
        // Found by its build-id: that is its place, wherever it came from.
        (Some(path), Check::BuildId) => put(tree, path, found, "debug")?,
        // Found by name: it keeps it, in one of the places that debuggers try.
        _ => {
            let name = found.path.file_name().unwrap_or_default().as_bytes();
            let beside = folder(module_place.unwrap_or(&module.path));
            let beside = beside.strip_prefix(b"/").unwrap_or(beside);
            let hidden = Path::new(".debug")
                == Path::new(
                    found
                        .path
                        .parent()
                        .and_then(Path::file_name)
                        .unwrap_or_default(),
                );
            let own = found.path.as_os_str().as_bytes();
            let global = [DEBUG, b"/", beside, b"/", name].concat();
            let path = if own.strip_prefix(b"/") == Some(global.as_slice()) {
                global
            } else if hidden {
                [beside, b"/.debug/", name].concat()
            } else {
                [beside, b"/", name].concat()
            };
            put(tree, &path, found, "debug")?
        }
    };
    if found.check == Check::Forced {
        tree.note(format!(
            "{} may not be the debug file of {}",
            found.path.display(),
            lossy(&module.path)
        ));
    }
    // Debuggers that know the build-id need no name.
    if let Some(path) = by_id
        && tree.resolve(&path) != place
    {
        tree.link(&path, &place);
    }
    Ok(())
}

fn add_split(
    tree: &mut Tree<'_>,
    plan: &mut ScriptPlan,
    module: &Module,
    place: &[u8],
) -> Result<(), PackError> {
    if let Some(found) = module.package_file() {
        put(tree, &[place, b".dwp"].concat(), found, "dwp")?;
        return Ok(());
    }
    let mut lost = 0;
    let mut together: Vec<Found> = Vec::new();
    let mut absolute: Vec<Vec<u8>> = Vec::new();
    for unit in module.split_units() {
        if unit.name.contains(&b'/') {
            absolute.push(unit.name.clone());
        }
        let Some(found) = &unit.found else {
            lost += 1;
            tree.list(FileEntry {
                path: lossy(&unit.path),
                kind: Some("dwo".to_owned()),
                reason: Some("not found".to_owned()),
                ..FileEntry::default()
            });
            continue;
        };
        let dwo = put(tree, &unit.path, found, "dwo")?;
        // gdb looks for a plain name in the folders for debug files.
        plan.search_debug(folder(&dwo));
        if !together.iter().any(|known| known.path == found.path) {
            together.push(found.clone());
        }
    }
    if !together.is_empty() {
        add_package(tree, plan, module, place, &together)?;
    }
    if !absolute.is_empty() {
        let plain = match (module.kind, &module.file) {
            (ModuleKind::Executable, Some(found)) => plain_names(found, &absolute),
            _ => None,
        };
        match plain {
            Some(bytes) => add_plain(tree, plan, module, place, &bytes)?,
            None => tree.note(format!(
                "{}: {} files of split DWARF were recorded with their folders: lldb finds them in the archive, gdb looks for \
                 them at their own paths only",
                lossy(&module.path),
                absolute.len()
            )),
        }
    }
    if lost > 0 {
        tree.note(format!(
            "{}: {lost} files of split DWARF (.dwo) not found",
            lossy(&module.path)
        ));
    }
    Ok(())
}

/// Where the compiler recorded absolute paths, lldb finds the files only as a package. It does not lie beside the program:
/// there gdb would take it, and gdb 13 crashes on packages of DWARF 5. gdb finds files with plain names by their folder.
fn add_package(
    tree: &mut Tree<'_>,
    plan: &mut ScriptPlan,
    module: &Module,
    place: &[u8],
    files: &[Found],
) -> Result<(), PackError> {
    let bytes = match dwp::build(files) {
        Ok(bytes) => bytes,
        Err(why) => {
            tree.note(format!(
                "{}: its .dwo files could not be put together ({why}); debuggers may not find them",
                lossy(&module.path)
            ));
            return Ok(());
        }
    };
    let source = BytesSource(&bytes);
    let path = [b"usr/lib/debug/.dwp/", place, b".dwp"].concat();
    let entry = FileEntry {
        path: lossy(&path),
        kind: Some("dwp".to_owned()),
        reason: Some("put together from the .dwo files".to_owned()),
        ..FileEntry::default()
    };
    let content = Content {
        size: bytes.len() as u64,
        source: &source,
        mode: 0o644,
        mtime: None,
        key: None,
    };
    let packed = tree.file(&path, content, entry)?;
    plan.search_packages(folder(&packed));
    Ok(())
}

/// The file with the names of its `.dwo` files without their folders, for gdb, which finds them then. `None` where the
/// names are not to be seen, as in compressed sections, or the file is too long.
fn plain_names(found: &Found, names: &[Vec<u8>]) -> Option<Vec<u8>> {
    const MAX_SIZE: u64 = 1 << 30;
    let len = found.source.len();
    if len > MAX_SIZE {
        return None;
    }
    let mut bytes = vec![0; usize::try_from(len).ok()?];
    let mut done = 0;
    while done < bytes.len() {
        match found.source.read_at(done as u64, &mut bytes[done..]) {
            Ok(got) if got > 0 => done += got,
            _ => return None,
        }
    }
    let mut all = true;
    for name in names {
        // The first string of a section has any byte before it.
        let whole = [name.as_slice(), b"\0"].concat();
        let plain = name.rsplit(|&byte| byte == b'/').next().unwrap_or_default();
        let mut from = 0;
        let mut seen = false;
        while let Some(at) = find(&bytes[from..], &whole) {
            let start = from + at;
            bytes[start..start + name.len()].fill(0);
            bytes[start..start + plain.len()].copy_from_slice(plain);
            from = start + name.len();
            seen = true;
        }
        all &= seen;
    }
    all.then_some(bytes)
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    let first = *wanted.first()?;
    let mut from = 0;
    loop {
        let at = from + bytes.get(from..)?.iter().position(|&byte| byte == first)?;
        if bytes[at..].starts_with(wanted) {
            return Some(at);
        }
        from = at + 1;
    }
}

fn add_plain(
    tree: &mut Tree<'_>,
    plan: &mut ScriptPlan,
    module: &Module,
    place: &[u8],
    bytes: &[u8],
) -> Result<(), PackError> {
    let source = BytesSource(bytes);
    let path = [b"usr/lib/debug/.gdb/", place].concat();
    let entry = FileEntry {
        path: lossy(&path),
        build_id: module.build_id.as_deref().map(hex),
        kind: Some("debug".to_owned()),
        reason: Some(format!(
            "{} with the names of its .dwo files without their folders: so gdb finds them",
            lossy(&module.path)
        )),
        ..FileEntry::default()
    };
    let content = Content {
        size: bytes.len() as u64,
        source: &source,
        mode: 0o644,
        mtime: None,
        key: None,
    };
    plan.gdb_executable = Some(tree.file(&path, content, entry)?);
    Ok(())
}

fn put(tree: &mut Tree<'_>, path: &[u8], found: &Found, kind: &str) -> Result<Vec<u8>, PackError> {
    let entry = FileEntry {
        path: lossy(found.path.as_os_str().as_bytes()),
        build_id: found.build_id.as_deref().map(hex),
        kind: Some(kind.to_owned()),
        ..FileEntry::default()
    };
    tree.file(path, Content::found(found, 0o644), entry)
}

fn link_by_id(tree: &mut Tree<'_>, id: Option<&[u8]>, place: &[u8]) {
    if let Some(path) = id.and_then(id_path)
        && tree.resolve(&path) != place
    {
        tree.link(&path, place);
    }
}

/// Where the debug file with a build-id lies.
fn id_path(id: &[u8]) -> Option<Vec<u8>> {
    let (first, rest) = id.split_first()?;
    if rest.is_empty() {
        return None;
    }
    let path = format!(
        "usr/lib/debug/.build-id/{}/{}.debug",
        hex(&[*first]),
        hex(rest)
    );
    Some(path.into_bytes())
}
