//! How things stand out, with colours and without. Nothing is told by colour alone.
use ratatui::style::{Color, Modifier, Style};

/// Whether there are colours.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Palette {
    /// The terminal's own sixteen.
    Colour,
    /// None: <https://no-color.org>.
    Plain,
}

impl Palette {
    /// As the environment variable `NO_COLOR` wants it.
    #[must_use]
    pub fn wanted(no_color: Option<&std::ffi::OsStr>) -> Self {
        match no_color {
            Some(value) if !value.is_empty() => Self::Plain,
            _ => Self::Colour,
        }
    }

    pub(super) fn fine(self) -> Style {
        self.in_colour(Color::Green)
    }

    pub(super) fn warning(self) -> Style {
        self.in_colour(Color::Yellow)
    }

    pub(super) fn bad(self) -> Style {
        self.in_colour(Color::Red).add_modifier(Modifier::BOLD)
    }

    pub(super) fn head(self) -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    pub(super) fn selected(self) -> Style {
        self.in_colour(Color::Cyan).add_modifier(Modifier::BOLD)
    }

    pub(super) fn dim(self) -> Style {
        Style::new().add_modifier(Modifier::DIM)
    }

    fn in_colour(self, colour: Color) -> Style {
        match self {
            Self::Colour => Style::new().fg(colour),
            Self::Plain => Style::new(),
        }
    }
}
