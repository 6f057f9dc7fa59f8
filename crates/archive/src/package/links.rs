//! The symbolic links on the way to a file: merged `/usr`, names without versions.

use std::collections::VecDeque;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// Most symbolic links that are followed for one path, as the kernel has it.
const MAX_LINKS: usize = 40;

/// Where a path leads to, within a folder that stands for `/`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Trace {
    /// The file itself: its path without any link in it, relative to the root.
    pub(crate) real: Vec<u8>,
    /// Each link on the way: its path relative to the root, and what to put into it so that it leads to the same place
    /// wherever the root lies.
    pub(crate) links: Vec<(Vec<u8>, Vec<u8>)>,
}

/// Follows `path` below `root`; no link leads out of it. `None` where there is nothing.
pub(crate) fn trace(root: &Path, path: &[u8]) -> Option<Trace> {
    let mut left: VecDeque<Vec<u8>> = parts(path).collect();
    let mut real: Vec<Vec<u8>> = Vec::new();
    let mut links = Vec::new();
    while let Some(part) = left.pop_front() {
        if part == b".." {
            real.pop();
            continue;
        }
        real.push(part);
        let here = real.join(&b'/');
        let place = root.join(path_of(&here));
        if !place.symlink_metadata().ok()?.file_type().is_symlink() {
            continue;
        }
        if links.len() == MAX_LINKS {
            return None;
        }
        let target = std::fs::read_link(&place).ok()?.into_os_string().into_vec();
        real.pop();
        let shown = match target.strip_prefix(b"/") {
            Some(_) => [
                b"../".repeat(real.len()),
                parts(&target).collect::<Vec<_>>().join(&b'/'),
            ]
            .concat(),
            None => target.clone(),
        };
        // A relative link that climbs above the root ends at it, as in the system it came from.
        if depth(real.len(), &shown) {
            links.push((here, shown));
        }
        if target.starts_with(b"/") {
            real.clear();
        }
        for part in parts(&target).collect::<Vec<_>>().into_iter().rev() {
            left.push_front(part);
        }
    }
    (!real.is_empty()).then(|| Trace {
        real: real.join(&b'/'),
        links,
    })
}

/// What to put into a link at `from` that is to lead to `to`, both relative to one folder.
pub(crate) fn relative(from: &[u8], to: &[u8]) -> Vec<u8> {
    let (from, to): (Vec<_>, Vec<_>) = (parts(from).collect(), parts(to).collect());
    let folder = &from[..from.len().saturating_sub(1)];
    let common = folder
        .iter()
        .zip(&to)
        .take_while(|(one, other)| one == other)
        .count();
    let mut path = vec![b"..".to_vec(); folder.len() - common];
    path.extend_from_slice(&to[common..]);
    path.join(&b'/')
}

/// Whether a link's target stays below the folder that lies `above` levels above the link.
fn depth(above: usize, target: &[u8]) -> bool {
    let mut level = above;
    for part in parts(target) {
        if part == b".." {
            let Some(up) = level.checked_sub(1) else {
                return false;
            };
            level = up;
        } else {
            level += 1;
        }
    }
    true
}

/// The names in a path; nothing for `.` and for what stands between two slashes.
pub(crate) fn parts(path: &[u8]) -> impl Iterator<Item = Vec<u8>> + '_ {
    path.split(|&byte| byte == b'/')
        .filter(|part| !part.is_empty() && *part != b".")
        .map(<[u8]>::to_vec)
}

/// The path without `.` and `..`, relative.
pub(crate) fn normal(path: &[u8]) -> Vec<u8> {
    let mut normal: Vec<Vec<u8>> = Vec::new();
    for part in parts(path) {
        if part == b".." {
            normal.pop();
        } else {
            normal.push(part);
        }
    }
    normal.join(&b'/')
}

/// Bytes as a path of this system.
pub(crate) fn path_of(bytes: &[u8]) -> PathBuf {
    std::ffi::OsStr::from_bytes(bytes).into()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn links_on_the_way_are_told_and_stay_inside() {
        let root = tempfile::tempdir().unwrap();
        let at = |path: &str| root.path().join(path);
        std::fs::create_dir_all(at("usr/lib/deep")).unwrap();
        std::fs::write(at("usr/lib/libx.so.1.2"), "").unwrap();
        symlink("usr/lib", at("lib")).unwrap();
        symlink("libx.so.1.2", at("usr/lib/libx.so.1")).unwrap();
        symlink("/lib/libx.so.1", at("usr/lib/deep/abs.so")).unwrap();
        symlink("../../../../lib/libx.so.1", at("usr/lib/deep/up.so")).unwrap();
        symlink("loop", at("loop")).unwrap();
        let trace = |path: &str| {
            let trace = trace(root.path(), path.as_bytes())?;
            let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
            let links: Vec<_> = trace
                .links
                .iter()
                .map(|(path, target)| format!("{} -> {}", text(path), text(target)))
                .collect();
            Some((text(&trace.real), links.join(", ")))
        };
        let file = || "usr/lib/libx.so.1.2".to_owned();
        for (path, links) in [
            ("/usr/lib/libx.so.1.2", ""),
            (
                "/lib/libx.so.1",
                "lib -> usr/lib, usr/lib/libx.so.1 -> libx.so.1.2",
            ),
            (
                "/usr/lib/deep/abs.so",
                "usr/lib/deep/abs.so -> ../../../lib/libx.so.1, lib -> usr/lib, usr/lib/libx.so.1 -> libx.so.1.2",
            ),
            // Beyond the root: followed here, and not put into an archive, where it would lead out.
            (
                "/usr/lib/deep/up.so",
                "lib -> usr/lib, usr/lib/libx.so.1 -> libx.so.1.2",
            ),
        ] {
            assert_eq!(trace(path), Some((file(), links.to_owned())), "{path}");
        }
        assert_eq!(trace("/loop"), None);
        assert_eq!(trace("/nowhere"), None);
    }

    #[test]
    fn a_link_from_here_to_there() {
        for (from, to, target) in [
            ("a/b/c", "a/d", "../d"),
            ("a", "b/c", "b/c"),
            ("a/b/c", "a/b/d", "d"),
            ("x/y/z", "a/b", "../../a/b"),
        ] {
            let target = target.as_bytes();
            assert_eq!(relative(from.as_bytes(), to.as_bytes()), target);
        }
    }
}
