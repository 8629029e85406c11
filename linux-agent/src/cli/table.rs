//! Tables for people: columns as wide as what is in them.

use std::fmt::Write as _;

/// A table with headings. Numbers stand at the right of their column.
pub struct TextTable {
    rows: Vec<Vec<String>>,
    right: Vec<bool>,
}

impl TextTable {
    /// With these headings; those that begin with `>` are of columns of numbers.
    pub fn new(headings: &[&str]) -> TextTable {
        TextTable {
            rows: vec![
                headings
                    .iter()
                    .map(|it| printable(it.trim_start_matches('>')))
                    .collect(),
            ],
            right: headings.iter().map(|it| it.starts_with('>')).collect(),
        }
    }

    /// Adds a row. What a terminal would not show as text is replaced.
    pub fn add<const N: usize>(&mut self, cells: [String; N]) {
        self.add_all(cells.into());
    }

    /// As [`TextTable::add`], with as many cells as there are headings.
    pub fn add_all(&mut self, cells: Vec<String>) {
        self.rows
            .push(cells.iter().map(|it| printable(it)).collect());
    }

    /// Whether no row has been added.
    pub fn is_empty(&self) -> bool {
        self.rows.len() == 1
    }

    /// The lines.
    pub fn text(&self) -> String {
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells
                .map(|it: &String| it.chars().count())
                .max()
                .unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.right.len()).map(width).collect();
        let mut text = String::new();
        for row in &self.rows {
            let mut line = String::new();
            for ((cell, width), right) in row.iter().zip(&widths).zip(&self.right) {
                // Writing into a string cannot fail.
                let _ = match right {
                    true => write!(line, "{cell:>width$}  "),
                    false => write!(line, "{cell:width$}  "),
                };
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

/// A client may name things as it likes.
fn printable(text: &str) -> String {
    let shown = |it: char| if it.is_control() { '\u{fffd}' } else { it };
    text.chars().map(shown).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_what_is_in_them() {
        let mut table = TextTable::new(&["HOST", ">CPU"]);
        assert!(table.is_empty());
        table.add(["web".to_owned(), "5.0".to_owned()]);
        table.add(["säule-1".to_owned(), "100.0".to_owned()]);
        assert_eq!(
            table.text(),
            "HOST       CPU\nweb        5.0\nsäule-1  100.0\n"
        );
        assert!(!table.is_empty());
    }

    #[test]
    fn a_name_cannot_write_to_the_terminal() {
        let mut table = TextTable::new(&["HOST"]);
        table.add(["a\x1b[2J\nb".to_owned()]);
        assert_eq!(table.text(), "HOST\na\u{fffd}[2J\u{fffd}b\n");
    }
}
