//! What an error of MySQL or MariaDB means for us.

use super::settings::Settings;
use crate::store::{StoreError, span};
use mysql_async::{DriverError, Error};
use tracing::Span;

/// `ER_BAD_DB_ERROR`: there is no such database.
pub(super) const UNKNOWN_DATABASE: u16 = 1049;
/// `ER_DUP_ENTRY`: a row is there already.
pub(super) const DUPLICATE: u16 = 1062;
/// `ER_DISK_FULL`, `ER_RECORD_FILE_FULL`.
const NO_SPACE: [u16; 2] = [1021, 1114];
/// `ER_NOT_KEYFILE`, `ER_CRASHED_ON_USAGE`, `ER_TABLE_CORRUPT`.
const CORRUPT: [u16; 3] = [1034, 1194, 1877];
/// The server is going away, or has ended the connection or the statement: `ER_SERVER_SHUTDOWN`,
/// `ER_QUERY_INTERRUPTED`, `ER_CONNECTION_KILLED` of both, and `ER_UNKNOWN_COM_ERROR`, which a node of a Galera
/// cluster answers that is cut off.
const LOST: [u16; 5] = [1053, 1317, 1927, 3169, 1047];

/// The error in our words. Only for what can't have been stored: see [`is_lost`].
pub(super) fn describe(settings: &Settings, doing: &str, error: &Error) -> StoreError {
    match code(error) {
        Some(code) if NO_SPACE.contains(&code) => StoreError::NoSpace(settings.to_string().into()),
        Some(code) if CORRUPT.contains(&code) => StoreError::Corrupt {
            path: settings.to_string().into(),
            found: error.to_string(),
            advice: "restore the database from a backup".into(),
        },
        _ => failed(settings, doing, error.to_string()),
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
    let code = code(error).map(|code| code.to_string());
    span::fail(span, code.as_deref(), span::CONNECTION);
}

/// The server's number of an error, where it is the server's.
pub(super) fn code(error: &Error) -> Option<u16> {
    match error {
        Error::Server(error) => Some(error.code),
        _ => None,
    }
}

/// Whether the connection is of no more use.
pub(super) fn is_lost(error: &Error) -> bool {
    match error {
        Error::Driver(DriverError::FromRow { .. } | DriverError::FromValue { .. }) => false,
        error => code(error).is_none_or(|code| LOST.contains(&code)),
    }
}
