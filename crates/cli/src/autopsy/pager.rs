//! What commands found, on its way out: through a pager where somebody sits at a terminal, to a shell's command behind `!`,
//! or as it is.

use std::io::{self, BufWriter, IsTerminal, Write};
use std::process::{Command, Stdio};
use std::sync::atomic::Ordering;

use anstream::ColorChoice;
use console::{Key, Term};
use stillcore_v8::Stop;

use super::paint::paint;
use crate::escape::printable;
use crate::output::{DIM, closed_or};

/// How lines are shown.
pub struct Show<'a> {
    /// Stop at each page, when it is a terminal.
    pub paged: bool,
    /// Colours: `Auto` is on a terminal, and not with NO_COLOR.
    pub color: ColorChoice,
    /// Set by Ctrl-C.
    pub stop: &'a Stop,
}

impl Show<'_> {
    /// Writes lines to standard output.
    ///
    /// # Errors
    /// [`crate::error::Closed`] when nobody reads it any more; what else the operating system says.
    pub fn lines(&self, lines: &[String]) -> anyhow::Result<()> {
        let stdout = io::stdout();
        let color = match self.color {
            ColorChoice::Auto => anstream::AutoStream::choice(&stdout) != ColorChoice::Never,
            choice => choice != ColorChoice::Never,
        };
        if self.paged
            && stdout.is_terminal()
            && io::stdin().is_terminal()
            && let Some((rows, columns)) = Term::stdout().size_checked()
            && rows > 2
            && !fits(lines, rows, columns)
        {
            return match std::env::var("PAGER").ok().filter(|name| !name.is_empty()) {
                Some(pager) => self
                    .external(&pager, lines, color)
                    .or_else(|| Some(self.built_in(lines, color)))
                    .unwrap_or(Ok(())),
                None => self.built_in(lines, color),
            };
        }
        let mut out = BufWriter::with_capacity(1 << 16, stdout.lock());
        for line in lines {
            if self.stopped() {
                break;
            }
            writeln!(out, "{}", text_of(line, color)).map_err(closed_or)?;
        }
        out.flush().map_err(closed_or)
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Through $PAGER; none when it cannot be started.
    fn external(&self, pager: &str, lines: &[String], color: bool) -> Option<anyhow::Result<()>> {
        let mut command = Command::new("sh");
        command.arg("-c").arg(pager).stdin(Stdio::piped());
        if std::env::var_os("LESS").is_none() {
            // It ends by itself where all fits, and lets colours through.
            command.env("LESS", "FRX");
        }
        let mut child = command.spawn().ok()?;
        feed(&mut child, lines, color);
        match child.wait() {
            // The shell's word for a command that is not there.
            Ok(status) if status.code() == Some(127) => None,
            Ok(_) => Some(Ok(())),
            Err(error) => Some(Err(error.into())),
        }
    }

    /// A page at a time: space for the next, Enter for a line, q to leave the rest out.
    fn built_in(&self, lines: &[String], color: bool) -> anyhow::Result<()> {
        let terminal = Term::stdout();
        let mut room = 0;
        let mut first = true;
        for (index, line) in lines.iter().enumerate() {
            if self.stopped() {
                return Ok(());
            }
            let (rows, columns) = terminal.size();
            let height = height(line, columns);
            if first {
                (room, first) = (usize::from(rows) - 1, false);
            }
            while height > room && room < usize::from(rows) - 1 {
                let left = lines.len() - index;
                terminal.write_str(&format!(
                    "{DIM}-- {left} more lines: space, Enter, q --{DIM:#}"
                ))?;
                let key = terminal.read_key();
                terminal.clear_line()?;
                room = match key {
                    Ok(Key::Char(' ' | 'f') | Key::PageDown) => usize::from(rows) - 1,
                    Ok(Key::Enter | Key::ArrowDown | Key::Char('j')) => height,
                    Ok(Key::Char('G') | Key::End) => usize::MAX,
                    Ok(Key::Char('q' | 'Q' | '\u{4}') | Key::Escape) | Err(_) => return Ok(()),
                    Ok(_) => room,
                };
            }
            terminal
                .write_line(&text_of(line, color))
                .map_err(closed_or)?;
            room = room.saturating_sub(height);
        }
        Ok(())
    }
}

/// Gives lines to a command of the shell.
///
/// # Errors
/// It cannot be started.
pub fn to_shell(command: &str, lines: &[String]) -> anyhow::Result<()> {
    let mut child = Command::new("sh")
        .arg("-c")
        .arg(command)
        .stdin(Stdio::piped())
        .spawn()
        .map_err(|error| anyhow::Error::new(error).context("sh"))?;
    feed(&mut child, lines, false);
    child.wait()?;
    Ok(())
}

fn feed(child: &mut std::process::Child, lines: &[String], color: bool) {
    let Some(stdin) = child.stdin.take() else {
        return;
    };
    let mut stdin = BufWriter::new(stdin);
    for line in lines {
        // That it has read enough is no failure.
        if writeln!(stdin, "{}", text_of(line, color)).is_err() {
            return;
        }
    }
    let _ = stdin.flush();
}

fn text_of(line: &str, color: bool) -> String {
    let line = printable(line);
    let line = line.trim_end();
    if color {
        paint(line).into_owned()
    } else {
        line.to_owned()
    }
}

/// How many rows of the terminal a line takes.
fn height(line: &str, columns: u16) -> usize {
    let width = unicode_width::UnicodeWidthStr::width(printable(line).trim_end());
    width.div_ceil(usize::from(columns.max(1))).max(1)
}

fn fits(lines: &[String], rows: u16, columns: u16) -> bool {
    let mut used = 0;
    lines.iter().all(|line| {
        used += height(line, columns);
        used < usize::from(rows)
    })
}
