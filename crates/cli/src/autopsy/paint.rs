//! Colours of the prompt's output: addresses, strings, headings. Text comes here after it was made safe for a terminal.

use std::borrow::Cow;

use anstyle::{AnsiColor, Style};

use crate::output::{BOLD, DIM, GREEN};

/// Addresses: what is pasted into the next command.
const ADDRESS: Style = AnsiColor::Cyan.on_default();

/// A line in colours.
pub fn paint(line: &str) -> Cow<'_, str> {
    if is_heading(line) {
        return Cow::Owned(format!("{BOLD}{line}{BOLD:#}"));
    }
    if line.trim_start().starts_with('(') && line.ends_with("internal frames)") {
        return Cow::Owned(format!("{DIM}{line}{DIM:#}"));
    }
    let mut out = String::new();
    let mut rest = line;
    let mut before = ' ';
    while !rest.is_empty() {
        let (style, len) = match token(rest, before) {
            Some((style, len)) => (Some(style), len),
            None => (None, rest.chars().next().map_or(1, char::len_utf8)),
        };
        let (piece, behind) = rest.split_at(len);
        match style {
            Some(style) => out.push_str(&format!("{style}{piece}{style:#}")),
            None => out.push_str(piece),
        }
        before = piece.chars().next_back().unwrap_or(' ');
        rest = behind;
    }
    Cow::Owned(out)
}

/// `thread 17 (main), isolate 0`, and rows of column names.
fn is_heading(line: &str) -> bool {
    let words = line.split_whitespace().count();
    line.starts_with("thread ")
        || words > 2
            && line.contains(|c: char| c.is_ascii_uppercase())
            && !line.contains(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
}

/// What begins here, if it has a colour, and how long it is.
fn token(text: &str, before: char) -> Option<(Style, usize)> {
    if before.is_alphanumeric() {
        return None;
    }
    if let Some(digits) = text.strip_prefix("0x") {
        let count = digits.bytes().take_while(u8::is_ascii_hexdigit).count();
        return (count > 4).then_some((ADDRESS, count + 2));
    }
    let inside = text.strip_prefix('\'')?;
    let mut escaped = false;
    for (index, c) in inside.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '\'' => return Some((GREEN, index + 2)),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_strings_have_colours_and_the_text_is_the_same() {
        let line = "0x1438073d9a79: { name: 'it\\'s', n: 0x12, x0x123456: 1 }";
        let painted = paint(line);
        assert!(
            painted.contains("\x1b[36m0x1438073d9a79\x1b[0m"),
            "{painted:?}"
        );
        assert!(painted.contains("\x1b[32m'it\\'s'\x1b[0m"), "{painted:?}");
        assert_eq!(painted.matches("\x1b[36m").count(), 1);
        let plain = anstream::adapter::strip_str(&painted).to_string();
        assert_eq!(plain, line);
        assert!(paint("          OBJECT  COUNT  CONSTRUCTOR: PROPERTIES").starts_with("\x1b[1m"));
        assert_eq!(paint("grün ' offen"), "grün ' offen");
    }
}
