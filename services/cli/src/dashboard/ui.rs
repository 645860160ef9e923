//! What is shown of the view, and what a key changes about it.
use crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

/// A table that can be looked at.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Tab {
    /// The control plane's replicas.
    Services,
    /// Nodes and their sessions.
    Nodes,
    /// Certificates by next expiry.
    Certificates,
    /// Size, commits, watches.
    Datastore,
    /// The last events.
    Events,
}

impl Tab {
    /// In the order in which they are shown.
    pub const ALL: [Self; 5] = [
        Self::Services,
        Self::Nodes,
        Self::Certificates,
        Self::Datastore,
        Self::Events,
    ];

    /// What it is called.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Services => "Services",
            Self::Nodes => "Nodes",
            Self::Certificates => "Certificates",
            Self::Datastore => "Datastore",
            Self::Events => "Events",
        }
    }

    /// Its place among them.
    #[must_use]
    pub fn index(self) -> usize {
        Self::ALL.iter().position(|tab| *tab == self).unwrap_or(0)
    }

    fn step(self, steps: usize) -> Self {
        let all = Self::ALL.iter().cycle().skip(self.index());
        all.copied().nth(steps).unwrap_or(self)
    }
}

/// What a key asks for beyond another look at the same.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Wish {
    /// Nothing.
    None,
    /// The end.
    Quit,
    /// New answers, now.
    Refresh,
}

/// What somebody looks at.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Ui {
    /// The table that keys move.
    pub tab: Tab,
    /// Whether the keys are explained.
    pub help: bool,
    /// First row of each table.
    offsets: [usize; Tab::ALL.len()],
    /// Rows that fitted of the tab when it was drawn.
    page: usize,
}

impl Default for Ui {
    fn default() -> Self {
        Self {
            tab: Tab::Services,
            help: false,
            offsets: [0; Tab::ALL.len()],
            page: 1,
        }
    }
}

impl Ui {
    /// What a key does.
    pub fn press(&mut self, key: KeyEvent) -> Wish {
        if key.kind == KeyEventKind::Release {
            return Wish::None;
        }
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        match key.code {
            KeyCode::Char('c') if control => return Wish::Quit,
            _ if control => {}
            KeyCode::Char('q') => return Wish::Quit,
            KeyCode::Esc if self.help => self.help = false,
            KeyCode::Esc => return Wish::Quit,
            KeyCode::Char('?') => self.help = !self.help,
            KeyCode::Char('r') => return Wish::Refresh,
            KeyCode::Tab | KeyCode::Right | KeyCode::Char('l') => self.tab = self.tab.step(1),
            KeyCode::BackTab | KeyCode::Left | KeyCode::Char('h') => {
                self.tab = self.tab.step(Tab::ALL.len() - 1);
            }
            KeyCode::Char(digit @ '1'..='5') => {
                let index = digit.to_digit(10).map_or(0, |digit| digit as usize - 1);
                self.tab = Tab::Services.step(index);
            }
            KeyCode::Up | KeyCode::Char('k') => self.scroll(|at, _| at.saturating_sub(1)),
            KeyCode::Down | KeyCode::Char('j') => self.scroll(|at, _| at.saturating_add(1)),
            KeyCode::PageUp => self.scroll(usize::saturating_sub),
            KeyCode::PageDown => self.scroll(usize::saturating_add),
            KeyCode::Home => self.scroll(|_, _| 0),
            KeyCode::End => self.scroll(|_, _| usize::MAX),
            _ => {}
        }
        Wish::None
    }

    fn scroll(&mut self, to: impl Fn(usize, usize) -> usize) {
        let page = self.page;
        if let Some(offset) = self.offsets.get_mut(self.tab.index()) {
            *offset = to(*offset, page);
        }
    }

    /// The first row to show of `rows`, of which `room` fit: never so far that there is room below the last.
    pub fn first_row(&mut self, tab: Tab, rows: usize, room: usize) -> usize {
        if tab == self.tab {
            self.page = room.max(1);
        }
        let last = rows.saturating_sub(room);
        match self.offsets.get_mut(tab.index()) {
            Some(offset) => {
                *offset = last.min(*offset);
                *offset
            }
            None => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn press(ui: &mut Ui, code: KeyCode) -> Wish {
        ui.press(KeyEvent::from(code))
    }

    #[test]
    fn tabs_go_round_and_have_numbers() {
        let mut ui = Ui::default();
        press(&mut ui, KeyCode::BackTab);
        assert_eq!(ui.tab, Tab::Events);
        press(&mut ui, KeyCode::Tab);
        assert_eq!(ui.tab, Tab::Services);
        press(&mut ui, KeyCode::Char('4'));
        assert_eq!(ui.tab, Tab::Datastore);
    }

    #[test]
    fn escape_closes_the_help_and_then_the_dashboard() {
        let mut ui = Ui::default();
        press(&mut ui, KeyCode::Char('?'));
        assert!(ui.help);
        assert_eq!(press(&mut ui, KeyCode::Esc), Wish::None);
        assert!(!ui.help);
        assert_eq!(press(&mut ui, KeyCode::Esc), Wish::Quit);
        assert_eq!(press(&mut ui, KeyCode::Char('q')), Wish::Quit);
        assert_eq!(press(&mut ui, KeyCode::Char('r')), Wish::Refresh);
        let interrupt = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
        assert_eq!(ui.press(interrupt), Wish::Quit);
        let other = KeyEvent::new(KeyCode::Char('q'), KeyModifiers::CONTROL);
        assert_eq!(ui.press(other), Wish::None);
    }

    #[test]
    fn scrolls_by_rows_and_pages() {
        let mut ui = Ui::default();
        assert_eq!(ui.first_row(Tab::Services, 20, 8), 0);
        press(&mut ui, KeyCode::Down);
        press(&mut ui, KeyCode::PageDown);
        assert_eq!(ui.first_row(Tab::Services, 20, 8), 9);
        press(&mut ui, KeyCode::End);
        assert_eq!(ui.first_row(Tab::Services, 20, 8), 12);
        press(&mut ui, KeyCode::Up);
        assert_eq!(ui.first_row(Tab::Services, 20, 8), 11);
        assert_eq!(ui.first_row(Tab::Nodes, 20, 8), 0, "each table has its own");
        press(&mut ui, KeyCode::Home);
        assert_eq!(ui.first_row(Tab::Services, 20, 8), 0);
    }

    proptest! {
        #[test]
        fn never_leaves_the_table(
            keys in prop::collection::vec(0..6_usize, 0..40), rows in 0..50_usize, room in 0..20_usize,
        ) {
            let codes = [KeyCode::Up, KeyCode::Down, KeyCode::PageUp, KeyCode::PageDown, KeyCode::Home, KeyCode::End];
            let mut ui = Ui::default();
            for key in keys {
                press(&mut ui, codes[key]);
                let first = ui.first_row(Tab::Services, rows, room);
                prop_assert!(first + room.min(rows) <= rows);
            }
        }
    }
}
