//! Paths of archives: bytes, whatever the system's own paths are.

/// A path taken apart: without empty parts and `.`. Why not, where it is no path that stays below its root.
pub(crate) fn parts(path: &[u8]) -> Result<Vec<&[u8]>, &'static str> {
    if path.contains(&0) {
        return Err("its name has a NUL in it");
    }
    let parts: Vec<_> = path
        .split(|&byte| byte == b'/')
        .filter(|part| !part.is_empty() && *part != b".")
        .collect();
    if parts.iter().any(|part| *part == b"..") {
        return Err("its path has a .. in it");
    }
    Ok(parts)
}

/// Follows a path from the root, through links.
///
/// `link` gives the target of a link, by its path. A target that begins with `/` begins at `top`, any other at the
/// folder of the link. `None` when it would lead out of the root, or in a circle.
pub(crate) fn follow<'a>(
    path: &[u8],
    top: &[u8],
    link: impl Fn(&[u8]) -> Option<&'a [u8]>,
) -> Option<Vec<u8>> {
    /// As many as Linux follows.
    const MOST: usize = 40;
    let mut followed = 0;
    let mut done: Vec<u8> = Vec::new();
    let mut todo: Vec<Vec<u8>> = reversed(path);
    while let Some(part) = todo.pop() {
        if part.is_empty() || part == b"." {
            continue;
        }
        if part == b".." {
            if done.is_empty() {
                return None;
            }
            let end = done.iter().rposition(|&byte| byte == b'/').unwrap_or(0);
            done.truncate(end);
            continue;
        }
        let before = done.len();
        if !done.is_empty() {
            done.push(b'/');
        }
        done.extend_from_slice(&part);
        let Some(target) = link(&done) else {
            continue;
        };
        followed += 1;
        // The second bound is for targets with very many parts.
        if followed > MOST || todo.len() > 100_000 {
            return None;
        }
        if target.starts_with(b"/") {
            done = top.to_vec();
        } else {
            done.truncate(before);
        }
        todo.extend(reversed(target));
    }
    Some(done)
}

fn reversed(path: &[u8]) -> Vec<Vec<u8>> {
    path.split(|&byte| byte == b'/')
        .rev()
        .map(<[u8]>::to_vec)
        .collect()
}

/// The folder of a path; empty for one at the root.
pub(crate) fn folder(path: &[u8]) -> &[u8] {
    match path.iter().rposition(|&byte| byte == b'/') {
        Some(end) => &path[..end],
        None => b"",
    }
}

/// The last part of a path.
pub(crate) fn name(path: &[u8]) -> &[u8] {
    match path.iter().rposition(|&byte| byte == b'/') {
        Some(end) => &path[end + 1..],
        None => path,
    }
}

/// A path for messages: without anything that would control a terminal.
pub fn printable(path: &[u8]) -> String {
    let mut text = String::new();
    for chunk in path.utf8_chunks() {
        for c in chunk.valid().chars() {
            if c.is_control() || is_confusing(c) {
                text.extend(c.escape_default());
            } else {
                text.push(c);
            }
        }
        for byte in chunk.invalid() {
            text.push_str(&format!("\\x{byte:02x}"));
        }
    }
    text
}

/// Marks that change the direction of writing, or break lines.
fn is_confusing(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_followed_inside_and_never_out() {
        let links: &[(&[u8], &[u8])] = &[
            (b"t/lib", b"usr/lib"),
            (b"t/usr/lib/x.so", b"x.so.1"),
            (b"t/abs", b"/usr/lib"),
            (b"t/out", b"../../etc"),
            (b"t/a", b"b"),
            (b"t/b", b"a"),
            (b"t/here", b"."),
        ];
        let link = |path: &[u8]| {
            links
                .iter()
                .find(|(name, _)| *name == path)
                .map(|(_, target)| *target)
        };
        let follow = |path: &str| {
            follow(path.as_bytes(), b"t", link).map(|path| String::from_utf8(path).unwrap())
        };
        assert_eq!(follow("t/lib/x.so").as_deref(), Some("t/usr/lib/x.so.1"));
        assert_eq!(follow("t/abs/x.so").as_deref(), Some("t/usr/lib/x.so.1"));
        assert_eq!(follow("t//./usr/../usr/lib/").as_deref(), Some("t/usr/lib"));
        assert_eq!(follow("t/here/here/no").as_deref(), Some("t/no"));
        for lost in ["t/out", "t/out/passwd", "t/a", "..", "t/here/../../x"] {
            assert_eq!(follow(lost), None, "{lost}");
        }
    }

    #[test]
    fn nothing_printable_controls_a_terminal() {
        assert_eq!(
            printable(b"a\x1b[2J\xff\xe2\x80\xaeb/\xc3\xa9"),
            "a\\u{1b}[2J\\xff\\u{202e}b/\u{e9}"
        );
    }
}
