//! A table in its frame, as much of it as fits.
use super::Palette;
use crate::dashboard::section::{Section, Tone};
use crate::dashboard::ui::{Tab, Ui};
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::Style;
use ratatui::text::Line;
use ratatui::widgets::{Block, Paragraph, Row, Table, Wrap};

const GAP: u16 = 2;

pub(super) fn draw_section(
    frame: &mut Frame<'_>,
    area: Rect,
    ui: &mut Ui,
    tab: Tab,
    section: &Section,
    palette: Palette,
) {
    let style = if tab == ui.tab {
        palette.selected()
    } else {
        palette.dim()
    };
    let block = Block::bordered().border_style(style);
    let inside = block.inner(area);
    let notes = notes_height(section, inside);
    let [table, below] =
        Layout::vertical([Constraint::Min(0), Constraint::Length(notes)]).areas(inside);
    let room = usize::from(table.height.saturating_sub(1));
    let first = ui.first_row(tab, section.rows.len(), room);
    let block = block.title(title(section, first, room));
    frame.render_widget(block, area);
    if !section.rows.is_empty() {
        frame.render_widget(rows(section, first, room, table.width, palette), table);
    }
    let notes: Vec<Line<'_>> = section
        .notes
        .iter()
        .map(|note| Line::raw(note.as_str()))
        .collect();
    frame.render_widget(Paragraph::new(notes).wrap(Wrap { trim: true }), below);
}

/// Notes take what they need, up to half of the frame; with no rows above them, all of it.
fn notes_height(section: &Section, inside: Rect) -> u16 {
    let width = usize::from(inside.width.max(1));
    let lines = section.notes.iter().map(|note| super::lines(note, width));
    let most = if section.rows.is_empty() {
        inside.height
    } else {
        inside.height / 2
    };
    lines.fold(0, u16::saturating_add).min(most)
}

/// `Services`, and where some rows have no room, which are shown: `Events 1-8 of 50`.
fn title(section: &Section, first: usize, room: usize) -> String {
    let all = section.rows.len();
    if all <= room {
        return format!(" {} ", section.title);
    }
    let last = (first + room).min(all);
    format!(
        " {} {}-{last} of {all} ",
        section.title,
        (first + 1).min(last)
    )
}

fn rows<'a>(
    section: &'a Section,
    first: usize,
    room: usize,
    width: u16,
    palette: Palette,
) -> Table<'a> {
    let widths = section.widths(width.into(), GAP.into());
    let kept = |cells: Vec<&'a str>| -> Vec<&'a str> {
        let cells = cells.into_iter().zip(&widths);
        cells
            .filter(|(_, width)| width.is_some())
            .map(|(cell, _)| cell)
            .collect()
    };
    let header = kept(section.columns.iter().map(|column| column.name).collect());
    let shown = section.rows.iter().skip(first).take(room).map(|row| {
        let style = match row.tone {
            Tone::Fine => Style::new(),
            Tone::Warning => palette.warning(),
            Tone::Bad => palette.bad(),
        };
        Row::new(kept(row.cells.iter().map(String::as_str).collect())).style(style)
    });
    // The last column gets what is left, so that it is the one that is cut off.
    let shown_widths: Vec<usize> = widths.iter().flatten().copied().collect();
    let last = shown_widths.len().saturating_sub(1);
    let constraints = shown_widths.iter().enumerate().map(|(at, width)| {
        if at == last {
            Constraint::Fill(1)
        } else {
            Constraint::Length(u16::try_from(*width).unwrap_or(u16::MAX))
        }
    });
    Table::new(shown.collect::<Vec<_>>(), constraints.collect::<Vec<_>>())
        .header(Row::new(header).style(palette.head()))
        .column_spacing(GAP)
}
