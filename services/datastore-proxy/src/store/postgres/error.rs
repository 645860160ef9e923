//! What an error of PostgreSQL means for us.

use super::settings::{Settings, causes};
use crate::store::{StoreError, span};
use tokio_postgres::Error;
use tokio_postgres::error::SqlState;
use tracing::Span;

/// The error in our words. Only for what can't have been stored: see [`is_lost`].
pub(super) fn describe(settings: &Settings, doing: &str, error: &Error) -> StoreError {
    match error.code() {
        Some(&SqlState::DISK_FULL) => StoreError::NoSpace(settings.to_string().into()),
        Some(&SqlState::DATA_CORRUPTED | &SqlState::INDEX_CORRUPTED) => StoreError::Corrupt {
            path: settings.to_string().into(),
            found: causes(error),
            advice: "restore the database from a backup".into(),
        },
        // "no schema has been selected to create in": it is there, and leads nowhere for this user.
        Some(&SqlState::INVALID_SCHEMA_NAME) => failed(
            settings,
            doing,
            "permission denied: the schema is another user's; name this user's own in the endpoint, or give it this one \
             (ALTER SCHEMA … OWNER TO …)",
        ),
        _ => failed(settings, doing, causes(error)),
    }
}

pub(super) fn failed(settings: &Settings, doing: &str, found: impl Into<String>) -> StoreError {
    StoreError::Failed {
        doing: format!("{doing} ({settings})"),
        found: found.into(),
    }
}

/// Notes on the span of a statement why it failed.
pub(super) fn note(span: &Span, error: &Error) {
    span::fail(span, error.code().map(SqlState::code), span::CONNECTION);
}

/// Whether the connection is gone, so that what came of the last statement isn't known.
pub(super) fn is_lost(error: &Error) -> bool {
    match error.code() {
        None => true,
        // Connection exceptions; shutdowns and crashes of the server.
        Some(state) => {
            error.is_closed() || state.code().starts_with("08") || state.code().starts_with("57P")
        }
    }
}
