//! What a command prints: one value, as text or as JSON.

use std::io::{self, BufWriter, Write};

use anstyle::{AnsiColor, Style};
use serde::Serialize;

use crate::error::Closed;
use crate::escape::{VisibleJson, printable};

/// What a command found out. Its fields are what `--json` prints, and its text is made of nothing else.
pub trait Answer: Serialize {
    /// Writes it for people.
    fn text(&self, out: &mut Text<'_>) -> io::Result<()>;

    /// Whether the answer is bad: exit code 1.
    fn is_bad(&self) -> bool {
        false
    }

    /// What should be known beside the answer, a sentence or two each; text goes to stderr.
    fn warnings(&self) -> &[String] {
        &[]
    }
}

/// Text on its way out. Colours reach only a terminal, and not with NO_COLOR.
pub struct Text<'a> {
    out: &'a mut dyn Write,
}

/// Headings.
pub const BOLD: Style = Style::new().bold();
/// What is less important.
pub const DIM: Style = Style::new().dimmed();
/// What is wrong.
pub const RED: Style = AnsiColor::Red.on_default();
/// What is as it should be.
pub const GREEN: Style = AnsiColor::Green.on_default();
/// What should be looked at.
pub const YELLOW: Style = AnsiColor::Yellow.on_default();

impl<'a> Text<'a> {
    pub fn new(out: &'a mut dyn Write) -> Text<'a> {
        Text { out }
    }

    /// A line, whose characters are made safe for a terminal.
    pub fn line(&mut self, text: impl AsRef<str>) -> io::Result<()> {
        writeln!(self.out, "{}", printable(text.as_ref()).trim_end())
    }

    /// A line in a style.
    pub fn styled(&mut self, style: Style, text: impl AsRef<str>) -> io::Result<()> {
        let text = printable(text.as_ref());
        writeln!(self.out, "{style}{}{style:#}", text.trim_end())
    }

    /// A name in bold, padded to a column, and what there is to say of it.
    pub fn field(&mut self, name: &str, value: impl AsRef<str>) -> io::Result<()> {
        let value = printable(value.as_ref());
        writeln!(self.out, "{BOLD}{name:<10}{BOLD:#} {}", value.trim_end())
    }
}

/// Prints an answer to standard output.
///
/// # Errors
/// [`Closed`] when nobody reads it any more; what else the operating system says.
pub fn print(answer: &impl Answer, json: bool) -> anyhow::Result<()> {
    let stdout = anstream::AutoStream::auto(io::stdout().lock());
    write(answer, json, BufWriter::with_capacity(1 << 16, stdout)).map_err(closed_or)
}

fn write(answer: &impl Answer, json: bool, mut out: impl Write) -> io::Result<()> {
    if json {
        let mut serializer = serde_json::Serializer::with_formatter(&mut out, VisibleJson::new());
        answer.serialize(&mut serializer).map_err(io::Error::from)?;
        writeln!(out)?;
    } else {
        answer.text(&mut Text::new(&mut out))?;
    }
    out.flush()
}

/// Tells a reader that has gone from real trouble.
pub fn closed_or(error: io::Error) -> anyhow::Error {
    if error.kind() == io::ErrorKind::BrokenPipe {
        anyhow::Error::new(Closed)
    } else {
        anyhow::Error::new(error).context("standard output")
    }
}

/// A word of warning on stderr; `stillcore: warning: ...`. That stderr is closed hurts nobody.
pub fn warn(text: &str) {
    let text = printable(text);
    let _ = writeln!(
        anstream::stderr().lock(),
        "{YELLOW}stillcore: note:{YELLOW:#} {text}"
    );
}

/// What went wrong, on stderr: `stillcore: core: this is not an ELF file`.
pub fn complain(text: &str) {
    let text = printable(text);
    let _ = writeln!(anstream::stderr().lock(), "{RED}stillcore:{RED:#} {text}");
}
