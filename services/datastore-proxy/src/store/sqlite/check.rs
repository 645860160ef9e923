//! A look at the file before it is served from.

use super::{StoreError, corrupt, describe};
use rusqlite::{Connection, ErrorCode};
use std::path::Path;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

/// A large file is checked only as far as this goes: a start must not wait for the disk to be read.
const BUDGET: Duration = Duration::from_millis(50);

/// SQLite's own check, of a large file cut short.
pub(super) fn quickly(
    connection: &Connection,
    path: &Path,
    is_large: bool,
) -> Result<(), StoreError> {
    let interrupt = connection.get_interrupt_handle();
    let (done, finished) = mpsc::channel::<()>();
    let watchdog = std::thread::spawn(move || {
        if is_large && finished.recv_timeout(BUDGET) == Err(RecvTimeoutError::Timeout) {
            interrupt.interrupt();
        }
    });
    let found: rusqlite::Result<String> =
        connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0));
    drop(done);
    // It has ended by itself, or is about to; a panic in it can't happen.
    let _ = watchdog.join();
    match found {
        Ok(found) if found == "ok" => Ok(()),
        Ok(found) => Err(corrupt(path, &found)),
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::OperationInterrupted) => {
            tracing::info!(path = %path.display(), "checked in part: the file is large");
            Ok(())
        }
        Err(error) => Err(describe(path, "checking", &error)),
    }
}
