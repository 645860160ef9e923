//! From what is known to a frame.
mod palette;
mod table;

pub use palette::Palette;

use super::ui::{Tab, Ui};
use super::view::DashboardView;
use crate::duration;
use crate::output::shown;
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Clear, Paragraph, Wrap};
use std::time::Duration;
use table::draw_section;
use time::OffsetDateTime;

/// From this size on, all tables have room side by side.
const LARGE: (u16, u16) = (140, 40);

/// An answer that takes longer is worth a word.
const LATE: Duration = Duration::from_secs(3);

const KEYS: [(&str, &str); 8] = [
    ("q, Esc, Ctrl-C", "end"),
    ("Tab, Right, l", "next table"),
    ("Shift-Tab, Left, h", "table before"),
    ("1 to 5", "that table"),
    ("Up, Down, k, j", "a row up or down"),
    ("PgUp, PgDn, Home, End", "a page, or all the way"),
    ("r", "ask again now"),
    ("?", "open and close this help"),
];

/// What is known at the moment.
#[derive(Clone, Debug, Default)]
pub struct Shown {
    /// What was answered last.
    pub view: Option<DashboardView>,
    /// When that was.
    pub at: Option<OffsetDateTime>,
    /// Since when an answer is waited for.
    pub asking: Option<OffsetDateTime>,
    /// Why nothing newer is known.
    pub trouble: Option<Trouble>,
}

/// Why the last question wasn't answered.
#[derive(Clone, Debug)]
pub struct Trouble {
    /// What was tried, what was found, what to do.
    pub message: String,
    /// When it is tried again.
    pub next: OffsetDateTime,
}

/// Draws everything.
pub fn draw(
    frame: &mut Frame<'_>,
    ui: &mut Ui,
    shown: &Shown,
    palette: Palette,
    now: OffsetDateTime,
) {
    let trouble = told(shown, now);
    let width = usize::from(frame.area().width.max(1));
    let bottom = trouble
        .as_ref()
        .map_or(1, |text| lines(text, width).clamp(1, 4));
    let [head, tabs, body, foot] = Layout::vertical([
        Constraint::Length(2),
        Constraint::Length(1),
        Constraint::Min(0),
        Constraint::Length(bottom),
    ])
    .areas(frame.area());
    match &shown.view {
        Some(view) => {
            draw_head(frame, head, view, palette, now);
            draw_tabs(frame, tabs, ui.tab, palette);
            draw_body(frame, body, ui, view, palette, now);
        }
        None => frame.render_widget(Paragraph::new("Asking the supervisor …"), head),
    }
    match trouble {
        Some(text) => {
            let text = Paragraph::new(text).style(palette.bad());
            frame.render_widget(text.wrap(Wrap { trim: true }), foot);
        }
        None => frame.render_widget(
            Paragraph::new("q end  Tab next table  ↑↓ scroll  r refresh  ? help")
                .style(palette.dim()),
            foot,
        ),
    }
    if ui.help {
        draw_help(frame, palette);
    }
}

/// Why what is shown isn't new, if it isn't.
fn told(known: &Shown, now: OffsetDateTime) -> Option<String> {
    let since = |time| Duration::try_from(now - time).unwrap_or_default();
    let asking = known.asking.map(since);
    let next = match (&known.trouble, asking) {
        (None, Some(waited)) if waited > LATE => {
            format!("no answer for {}", duration::human(waited))
        }
        (None, _) => return None,
        (Some(trouble), Some(_)) => format!("trying again: {}", shown(&trouble.message)),
        (Some(trouble), None) => {
            let pause = Duration::try_from(trouble.next - now).unwrap_or_default();
            let pause = duration::human(pause);
            format!("next try in {pause}: {}", shown(&trouble.message))
        }
    };
    let old = known.at.map(|at| duration::human(since(at)));
    Some(match old {
        Some(old) => format!("What is shown is {old} old, {next}"),
        None => format!("Nothing is known yet, {next}"),
    })
}

/// Lines that a text takes at most when it is wrapped between words.
fn lines(text: &str, width: usize) -> u16 {
    let mut lines = 1;
    let mut used = 0;
    for word in text.split(' ') {
        let length = word.chars().count();
        if used > 0 && used + 1 + length > width {
            (lines, used) = (lines + 1, 0);
        }
        used += length + usize::from(used > 0);
        // A word that is longer than a line is broken.
        lines += used / (width + 1);
        used %= width + 1;
    }
    u16::try_from(lines).unwrap_or(u16::MAX)
}

fn draw_head(
    frame: &mut Frame<'_>,
    area: Rect,
    view: &DashboardView,
    palette: Palette,
    now: OffsetDateTime,
) {
    let state = if view.is_ready() {
        Span::styled("READY", palette.fine())
    } else {
        Span::styled("NOT READY", palette.bad())
    };
    let clock = now.time();
    let clock = format!(
        "{:02}:{:02}:{:02} UTC",
        clock.hour(),
        clock.minute(),
        clock.second()
    );
    let heading = Line::from(vec![
        Span::styled(shown(&view.heading()), palette.head()),
        Span::raw("  "),
        state,
    ]);
    let [left, right] =
        Layout::horizontal([Constraint::Min(0), Constraint::Length(12)]).areas(area);
    let lines = vec![heading, Line::raw(view.summary(now))];
    frame.render_widget(Paragraph::new(lines), left);
    frame.render_widget(Paragraph::new(clock), right);
}

fn draw_tabs(frame: &mut Frame<'_>, area: Rect, selected: Tab, palette: Palette) {
    let mut spans = Vec::new();
    for (number, tab) in (1..).zip(Tab::ALL) {
        let (open, close, style) = if tab == selected {
            ("[", "]", palette.selected())
        } else {
            (" ", " ", palette.dim())
        };
        spans.push(Span::styled(
            format!("{open}{number} {}{close}", tab.name()),
            style,
        ));
        spans.push(Span::raw(" "));
    }
    frame.render_widget(Line::from(spans), area);
}

fn draw_body(
    frame: &mut Frame<'_>,
    area: Rect,
    ui: &mut Ui,
    view: &DashboardView,
    palette: Palette,
    now: OffsetDateTime,
) {
    let places = if area.width >= LARGE.0 && area.height + 4 >= LARGE.1 {
        all(area, view, now).to_vec()
    } else {
        vec![(ui.tab, area)]
    };
    for (tab, place) in places {
        draw_section(frame, place, ui, tab, &view.section(tab, now), palette);
    }
}

/// All tables: services and events over the whole width, since they are the widest; the others in pairs.
fn all(area: Rect, view: &DashboardView, now: OffsetDateTime) -> [(Tab, Rect); 5] {
    let wanted = |tab: Tab| {
        let section = view.section(tab, now);
        // Header and border.
        u16::try_from(section.rows.len() + section.notes.len() + 3).unwrap_or(u16::MAX)
    };
    let most = area.height / 3;
    let pair = wanted(Tab::Nodes).max(wanted(Tab::Datastore)).min(most);
    let [services, middle, certificates, events] = Layout::vertical([
        Constraint::Length(wanted(Tab::Services).min(most)),
        Constraint::Length(pair),
        Constraint::Fill(1),
        Constraint::Fill(1),
    ])
    .areas(area);
    let [nodes, datastore] =
        Layout::horizontal([Constraint::Fill(1), Constraint::Fill(1)]).areas(middle);
    [
        (Tab::Services, services),
        (Tab::Nodes, nodes),
        (Tab::Datastore, datastore),
        (Tab::Certificates, certificates),
        (Tab::Events, events),
    ]
}

fn draw_help(frame: &mut Frame<'_>, palette: Palette) {
    let lines: Vec<Line<'_>> = KEYS
        .iter()
        .map(|(key, does)| Line::raw(format!(" {key:<22}{does} ")))
        .collect();
    let height = u16::try_from(lines.len() + 2).unwrap_or(u16::MAX);
    let area = frame
        .area()
        .centered(Constraint::Length(52), Constraint::Length(height));
    frame.render_widget(Clear, area);
    let block = Block::bordered()
        .title(" Keys ")
        .border_style(palette.selected());
    frame.render_widget(Paragraph::new(lines).block(block), area);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_the_lines_of_a_wrapped_text() {
        assert_eq!(lines("", 10), 1);
        assert_eq!(lines("one two", 10), 1);
        assert_eq!(lines("one two three", 10), 2);
        assert_eq!(lines(&"x".repeat(25), 10), 3);
    }
}
