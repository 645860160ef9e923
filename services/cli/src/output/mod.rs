//! What a command found, as a table for people or as JSON or YAML for programs.
pub(crate) mod quantity;
mod table;
mod timestamp;

pub use table::Table;
pub(crate) use table::shown;
pub use timestamp::Timestamp;

use crate::Error;
use clap::ValueEnum;
use serde::Serialize;
use time::OffsetDateTime;

/// How answers are written.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, ValueEnum)]
pub enum Format {
    /// Columns, with times as people say them.
    #[default]
    Table,
    /// One JSON document, times in RFC 3339.
    Json,
    /// One YAML document, times in RFC 3339.
    Yaml,
}

/// An answer that can be shown in every format.
pub trait View: Serialize {
    /// The answer for people, ending in a line break. `now` makes times relative.
    fn table(&self, now: OffsetDateTime) -> String;
}

/// Writes a view in the wanted format.
///
/// # Errors
/// Never for the views of this crate; serializers may fail in principle.
pub fn render<V: View>(format: Format, view: &V, now: OffsetDateTime) -> Result<String, Error> {
    match format {
        Format::Table => Ok(view.table(now)),
        Format::Json => {
            let mut text = serde_json::to_string_pretty(view).map_err(Error::output)?;
            text.push('\n');
            Ok(text)
        }
        Format::Yaml => serde_norway::to_string(view).map_err(Error::output),
    }
}
