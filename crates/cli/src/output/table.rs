//! Tables for people: columns as wide as their content, two spaces apart.

use std::fmt::Write;

use crate::exit::Failure;

/// A table that is printed once it is complete.
#[derive(Debug)]
pub(crate) struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<String>>,
}

/// A heading, and whether the column holds numbers.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Column {
    Left(&'static str),
    Right(&'static str),
}

impl Column {
    const fn heading(self) -> &'static str {
        match self {
            Self::Left(heading) | Self::Right(heading) => heading,
        }
    }
}

impl Table {
    pub(crate) fn new(columns: &[Column]) -> Self {
        Self { columns: columns.to_vec(), rows: Vec::new() }
    }

    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        let cells: Vec<String> = cells.into_iter().map(|cell| one_line(&cell)).collect();
        debug_assert_eq!(cells.len(), self.columns.len(), "a cell for each column");
        self.rows.push(cells);
    }

    pub(crate) fn print(&self) -> Result<(), Failure> {
        super::raw(self.render().as_bytes())
    }

    pub(crate) fn render(&self) -> String {
        let headings: Vec<String> = self.columns.iter().map(|column| column.heading().to_owned()).collect();
        let all = || std::iter::once(&headings).chain(&self.rows);
        let width = |at: usize| all().filter_map(|row| row.get(at)).map(|cell| cell.chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..self.columns.len()).map(width).collect();
        let mut text = String::new();
        for row in all() {
            let mut line = String::new();
            for ((cell, column), width) in row.iter().zip(&self.columns).zip(&widths) {
                let gap = if line.is_empty() { "" } else { "  " };
                // Writing to a string does not fail.
                let _ = match column {
                    Column::Left(_) => write!(line, "{gap}{cell:<width$}"),
                    Column::Right(_) => write!(line, "{gap}{cell:>width$}"),
                };
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

/// Names with their values below each other, for one thing in detail.
pub(crate) fn details(pairs: &[(&str, String)]) -> String {
    let width = pairs.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    pairs.iter().map(|(name, value)| format!("{name:<width$}  {}\n", one_line(value))).collect()
}

/// `-` for what is not there.
pub(crate) fn or_dash(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

/// Text of users may hold line ends and escape sequences; a table must not pass them to a terminal.
pub(crate) fn one_line(text: &str) -> String {
    if text.is_empty() {
        return "-".to_owned();
    }
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_lines_not_padded() {
        let mut table = Table::new(&[Column::Right("ID"), Column::Left("NAME"), Column::Left("STATE")]);
        table.row(["7".into(), "a\nb\u{1b}[31m".into(), "ok".into()]);
        table.row(["1234".into(), String::new(), "failed".into()]);
        let expected = "  ID  NAME      STATE\n   7  a b [31m  ok\n1234  -         failed\n";
        assert_eq!(table.render(), expected);
    }

    #[test]
    fn details_are_aligned() {
        assert_eq!(details(&[("id", "1".into()), ("name", String::new())]), "id    1\nname  -\n");
    }
}
