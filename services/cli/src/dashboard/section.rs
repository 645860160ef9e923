//! One table of the dashboard, to be printed or drawn.
use crate::output::{Table, shown};

/// How a row stands out.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Tone {
    /// As it should be.
    #[default]
    Fine,
    /// Worth a look.
    Warning,
    /// Not as it should be.
    Bad,
}

/// A column; of those that have no room, the ones with the highest rank go first.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    /// Its heading.
    pub name: &'static str,
    /// 0 stays.
    pub rank: u8,
}

/// A row of as many cells as there are columns.
#[derive(Clone, Debug)]
pub struct Row {
    /// What stands in it, without what could steer a terminal.
    pub cells: Vec<String>,
    /// How it stands out.
    pub tone: Tone,
}

/// A table under a title, and what is to be said of it.
#[derive(Clone, Debug)]
pub struct Section {
    /// Its title.
    pub title: &'static str,
    /// What each column is.
    pub columns: Vec<Column>,
    /// What there is.
    pub rows: Vec<Row>,
    /// Sentences below it.
    pub notes: Vec<String>,
}

impl Section {
    /// A table without rows.
    #[must_use]
    pub fn new(title: &'static str, columns: &[(&'static str, u8)]) -> Self {
        let columns = columns.iter().map(|&(name, rank)| Column { name, rank });
        Self {
            title,
            columns: columns.collect(),
            rows: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// Adds a row. An empty cell is shown as `-`.
    pub fn row(&mut self, tone: Tone, cells: impl IntoIterator<Item = String>) {
        let cells = cells.into_iter().map(|cell| shown(&cell)).collect();
        self.rows.push(Row { cells, tone });
    }

    /// Adds a sentence.
    pub fn note(&mut self, sentence: &str) {
        self.notes.push(shown(sentence));
    }

    /// The table as plain text; without rows only what is to be said.
    #[must_use]
    pub fn print(&self) -> String {
        let mut text = String::new();
        if !self.rows.is_empty() {
            let header: Vec<&str> = self.columns.iter().map(|column| column.name).collect();
            let mut table = Table::new(&header);
            for row in &self.rows {
                table.row(row.cells.iter().cloned());
            }
            text = table.render();
        }
        for note in &self.notes {
            text.push_str(note);
            text.push('\n');
        }
        text
    }

    /// How wide each column is; `None` for those that have no room in `width` with `gap` between two. What stays is at
    /// least the columns of rank 0, however narrow it is.
    #[must_use]
    pub fn widths(&self, width: usize, gap: usize) -> Vec<Option<usize>> {
        let widest = |at: usize| {
            let cells = self.rows.iter().filter_map(|row| row.cells.get(at));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let mut widths: Vec<Option<usize>> = self
            .columns
            .iter()
            .enumerate()
            .map(|(at, column)| Some(widest(at).max(column.name.chars().count())))
            .collect();
        loop {
            let shown = widths.iter().flatten().count();
            let total = widths.iter().flatten().sum::<usize>() + gap * shown.saturating_sub(1);
            let removable = self.columns.iter().enumerate().filter(|(at, column)| {
                column.rank > 0 && widths.get(*at).is_some_and(Option::is_some)
            });
            match removable.max_by_key(|(_, column)| column.rank) {
                Some((at, _)) if total > width => {
                    if let Some(width) = widths.get_mut(at) {
                        *width = None;
                    }
                }
                _ => return widths,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn section() -> Section {
        let mut section = Section::new("T", &[("NAME", 0), ("LESS", 2), ("LEAST", 3), ("SOME", 1)]);
        section.row(Tone::Fine, ["supervisor", "a", "b", "c"].map(String::from));
        section
    }

    #[test]
    fn columns_go_by_rank() {
        let wide = vec![Some(10), Some(4), Some(5), Some(4)];
        assert_eq!(section().widths(29, 2), wide);
        assert_eq!(section().widths(28, 2), [Some(10), Some(4), None, Some(4)]);
        assert_eq!(section().widths(17, 2), [Some(10), None, None, Some(4)]);
        assert_eq!(section().widths(3, 2), [Some(10), None, None, None]);
    }

    #[test]
    fn what_others_wrote_does_not_steer_the_terminal() {
        let mut section = Section::new("T", &[("NAME", 0)]);
        section.row(Tone::Fine, ["\u{1b}[2J".to_owned()]);
        section.note("a\u{7}b\nc");
        assert_eq!(section.print(), "NAME\n [2J\na b c\n");
    }

    proptest! {
        #[test]
        fn what_is_shown_fits_or_cannot_be_less(width in 0..40_usize) {
            let widths = section().widths(width, 2);
            let shown: Vec<usize> = widths.iter().flatten().copied().collect();
            let total = shown.iter().sum::<usize>() + 2 * (shown.len() - 1);
            prop_assert!(total <= width || shown == [10]);
        }
    }
}
