//! Columns of text, as kubectl writes them.

const GAP: &str = "   ";

/// Rows under a header. The last column isn't padded.
#[derive(Debug)]
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with this header and no rows.
    #[must_use]
    pub fn new(header: &[&str]) -> Self {
        Self {
            rows: vec![header.iter().map(|&cell| cell.to_owned()).collect()],
        }
    }

    /// Adds a row. An empty cell is shown as `-`.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows
            .push(cells.into_iter().map(|cell| shown(&cell)).collect());
    }

    /// The table as text; every row ends in a line break and no row in blanks.
    #[must_use]
    pub fn render(&self) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let widths: Vec<usize> = (0..columns)
            .map(|c| {
                self.rows
                    .iter()
                    .filter_map(|r| r.get(c))
                    .map(|s| s.chars().count())
                    .max()
            })
            .map(Option::unwrap_or_default)
            .collect();
        let mut text = String::new();
        for row in &self.rows {
            let cells: Vec<String> = row
                .iter()
                .zip(&widths)
                .map(|(cell, &width)| format!("{cell:<width$}"))
                .collect();
            text.push_str(cells.join(GAP).trim_end());
            text.push('\n');
        }
        text
    }
}

/// A cell without what could steer a terminal: names and descriptions come from elsewhere.
pub(crate) fn shown(cell: &str) -> String {
    if cell.trim().is_empty() {
        return "-".to_owned();
    }
    cell.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aligns_columns_and_marks_empty_cells() {
        let mut table = Table::new(&["NAME", "READY", "REASON"]);
        table.row(["a".into(), "true".into(), String::new()]);
        table.row(["longer".into(), "false".into(), "why".into()]);
        assert_eq!(
            table.render(),
            "NAME     READY   REASON\na        true    -\nlonger   false   why\n"
        );
    }

    #[test]
    fn does_not_let_a_cell_steer_the_terminal() {
        let mut table = Table::new(&["X"]);
        table.row(["a\u{1b}[2Jb\nc".into()]);
        assert_eq!(table.render(), "X\na [2Jb c\n");
    }
}
