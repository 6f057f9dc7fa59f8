//! Rows in aligned columns, one line each whatever the width of the terminal: lines stay greppable and pasteable.

use std::io;

use anstyle::Style;
use unicode_width::UnicodeWidthStr;

use crate::escape::printable;
use crate::output::{BOLD, Text};

/// On which side the cells of a column are filled up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Align {
    Left,
    Right,
}

/// A table with a heading.
pub struct Table {
    columns: Vec<(&'static str, Align)>,
    rows: Vec<Row>,
}

struct Row {
    cells: Vec<String>,
    style: Option<Style>,
    /// Lines below the row, indented.
    below: Vec<String>,
}

impl Table {
    pub fn new(columns: &[(&'static str, Align)]) -> Table {
        Table {
            columns: columns.to_vec(),
            rows: Vec::new(),
        }
    }

    /// A row; what a cell lacks is shown as `-`.
    pub fn row<const N: usize>(&mut self, cells: [String; N]) -> &mut Table {
        self.styled_row(None, cells)
    }

    pub fn styled_row<const N: usize>(
        &mut self,
        style: Option<Style>,
        cells: [String; N],
    ) -> &mut Table {
        debug_assert_eq!(N, self.columns.len());
        let cells = cells
            .map(|cell| match printable(&cell) {
                shown if shown.is_empty() => "-".to_owned(),
                shown => shown.into_owned(),
            })
            .into();
        self.rows.push(Row {
            cells,
            style,
            below: Vec::new(),
        });
        self
    }

    /// A line below the last row.
    pub fn below(&mut self, line: String) {
        if let Some(row) = self.rows.last_mut() {
            row.below.push(line);
        }
    }

    pub fn print(&self, out: &mut Text<'_>) -> io::Result<()> {
        let mut widths: Vec<usize> = self.columns.iter().map(|(name, _)| name.width()).collect();
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(&row.cells) {
                *width = cell.width().max(*width);
            }
        }
        let names: Vec<&str> = self.columns.iter().map(|(name, _)| *name).collect();
        out.styled(BOLD, self.join(&widths, &names))?;
        for row in &self.rows {
            let cells: Vec<&str> = row.cells.iter().map(String::as_str).collect();
            let line = self.join(&widths, &cells);
            match row.style {
                Some(style) => out.styled(style, line)?,
                None => out.line(line)?,
            }
            for line in &row.below {
                out.line(line)?;
            }
        }
        Ok(())
    }

    fn join(&self, widths: &[usize], cells: &[&str]) -> String {
        let mut line = String::new();
        for ((cell, &width), (_, align)) in cells.iter().zip(widths).zip(&self.columns) {
            if !line.is_empty() {
                line.push_str("  ");
            }
            let fill = " ".repeat(width - cell.width());
            match align {
                Align::Left => line.extend([cell, fill.as_str()]),
                Align::Right => line.extend([fill.as_str(), cell]),
            }
        }
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell_shows() {
        let mut table = Table::new(&[
            ("NAME", Align::Left),
            ("SIZE", Align::Right),
            ("FILE", Align::Left),
        ]);
        table.row(["東京".into(), "1".into(), "/a".into()]);
        table.row(["a\x1b".into(), "1000 MB".into(), String::new()]);
        table.below("    below".into());
        let mut out = Vec::new();
        table.print(&mut Text::new(&mut out)).unwrap();
        let text = anstream::adapter::strip_bytes(&out).into_vec();
        assert_eq!(
            String::from_utf8(text).unwrap(),
            "NAME        SIZE  FILE\n東京           1  /a\na\\u{1b}  1000 MB  -\n    below\n"
        );
    }
}
