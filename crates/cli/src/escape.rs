//! Text from a core on its way to a terminal: nothing in it may move the cursor, change colours or turn text around.

use std::borrow::Cow;
use std::io;

use serde_json::ser::{Formatter, PrettyFormatter};

/// Whether a character may be shown as it is: no control characters (C0, DEL, C1), no line or paragraph separators, no
/// format characters (those that turn the direction of text around, zero-width ones, tags), nothing unassigned.
fn shows(c: char) -> bool {
    // Behind a letter the standard library escapes by this rule alone: a combining mark at the start would be
    // escaped too, and in a name it belongs to the letter before.
    c.is_ascii_graphic()
        || c == ' '
        || (!c.is_ascii() && {
            let mut behind_a_letter = ['a'; 2];
            behind_a_letter[1] = c;
            let text: String = behind_a_letter.iter().collect();
            text.escape_debug().count() == 2
        })
}

/// The text with everything that does not show written as Rust writes it: `\u{1b}`, `\n`, `\u{202e}`.
pub fn printable(text: &str) -> Cow<'_, str> {
    if text.chars().all(shows) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if shows(c) {
            escaped.push(c);
        } else {
            escaped.extend(c.escape_debug());
        }
    }
    Cow::Owned(escaped)
}

/// The same for several lines that this program put together: line breaks stay.
pub fn printable_lines(text: &str) -> String {
    let lines: Vec<_> = text.split('\n').map(printable).collect();
    lines.join("\n")
}

/// Bytes of a path or name as text, for text and JSON alike: what is not UTF-8 becomes `\xNN`, as in `manifest.json`.
pub fn lossy(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        for byte in chunk.invalid() {
            text.push_str(&format!("\\x{byte:02x}"));
        }
    }
    text
}

/// A JSON value in one line, in which the same characters are `\\uXXXX` as in [`VisibleJson`].
pub fn visible_json(value: &serde_json::Value) -> String {
    let mut out = String::new();
    for c in value.to_string().chars() {
        if shows(c) {
            out.push(c);
        } else {
            // Such a character stands in a string.
            for unit in c.encode_utf16(&mut [0; 2]) {
                out.push_str(&format!("\\u{unit:04x}"));
            }
        }
    }
    out
}

/// JSON in which every string is the same, but characters that do not show are `\uXXXX`: JSON is read on terminals too.
pub struct VisibleJson(PrettyFormatter<'static>);

impl VisibleJson {
    pub fn new() -> VisibleJson {
        VisibleJson(PrettyFormatter::new())
    }
}

impl Default for VisibleJson {
    fn default() -> VisibleJson {
        VisibleJson::new()
    }
}

impl Formatter for VisibleJson {
    fn write_string_fragment<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        let mut plain = 0;
        for (at, c) in fragment.char_indices() {
            if shows(c) {
                continue;
            }
            writer.write_all(&fragment.as_bytes()[plain..at])?;
            for unit in c.encode_utf16(&mut [0; 2]) {
                write!(writer, "\\u{unit:04x}")?;
            }
            plain = at + c.len_utf8();
        }
        writer.write_all(&fragment.as_bytes()[plain..])
    }

    fn begin_array<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.begin_array(writer)
    }

    fn end_array<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_array(writer)
    }

    fn begin_array_value<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> io::Result<()> {
        self.0.begin_array_value(writer, first)
    }

    fn end_array_value<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_array_value(writer)
    }

    fn begin_object<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.begin_object(writer)
    }

    fn end_object<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_object(writer)
    }

    fn begin_object_key<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> io::Result<()> {
        self.0.begin_object_key(writer, first)
    }

    fn begin_object_value<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.begin_object_value(writer)
    }

    fn end_object_value<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_object_value(writer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_reaches_a_terminal_that_does_more_than_show() {
        for (text, shown) in [
            ("/usr/bin/node", "/usr/bin/node"),
            ("it's \"C:\\dir\"", "it's \"C:\\dir\""),
            ("grün 東京 e\u{301} 🦀", "grün 東京 e\u{301} 🦀"),
            ("\x1b[31mred\x07", "\\u{1b}[31mred\\u{7}"),
            ("\u{9b}31m\x7f", "\\u{9b}31m\\u{7f}"),
            ("a\nb\tc\r\0", "a\\nb\\tc\\r\\0"),
            (
                "exe\u{202e}gpj\u{2066}\u{200f}\u{61c}",
                "exe\\u{202e}gpj\\u{2066}\\u{200f}\\u{61c}",
            ),
            (
                "zero\u{200b}\u{200c}\u{200d}\u{feff}",
                "zero\\u{200b}\\u{200c}\\u{200d}\\u{feff}",
            ),
            (
                "\u{2028}\u{2029}\u{e0041}\u{e000}",
                "\\u{2028}\\u{2029}\\u{e0041}\\u{e000}",
            ),
        ] {
            assert_eq!(printable(text), shown);
            assert!(!printable_lines(text).contains('\x1b'));
        }
    }

    #[test]
    fn json_holds_the_same_strings_and_shows_all_of_them() {
        let text = "a\x1b[31m\u{202e}\u{9b}\u{7f}\u{e0041}\n\"\\ grün";
        let mut out = Vec::new();
        let mut serializer = serde_json::Serializer::with_formatter(&mut out, VisibleJson::new());
        serde::Serialize::serialize(&[text], &mut serializer).unwrap();
        let json = String::from_utf8(out).unwrap();
        assert!(json.lines().all(|line| line.chars().all(shows)), "{json}");
        assert_eq!(serde_json::from_str::<Vec<String>>(&json).unwrap(), [text]);
        let line = visible_json(&serde_json::json!([text]));
        assert!(line.chars().all(shows), "{line}");
        assert_eq!(serde_json::from_str::<Vec<String>>(&line).unwrap(), [text]);
    }

    #[test]
    fn bytes_that_are_not_utf8_stay_tellable() {
        assert_eq!(lossy(b"/a\xff\xc3(b"), "/a\\xff\\xc3(b");
    }
}
