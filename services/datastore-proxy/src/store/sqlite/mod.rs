//! SQLite: one file, one writing connection, a few reading ones.

mod check;
mod checkpoint;
pub mod contents;
mod copy;
pub mod fill;
pub mod inspect;
mod load;
mod log;
mod reader;
pub mod rewind;
mod schema;
#[cfg(test)]
mod tests;

pub use copy::{collect, copy};

use super::{Keys, Loaded, Opened, Reader, StoreError, span};
use crate::domain::range::KeyRange;
use rusqlite::{Connection, ErrorCode, OpenFlags};
use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tracing::Span;

/// Its name in spans.
const SYSTEM: &str = "sqlite";
/// Reading connections.
const READERS: usize = 3;
/// A file larger than this is served from before it is looked through and its keys are in memory.
const LARGE: u64 = 64 << 20;

/// A file that no other process can open as a store as long as this lives.
#[derive(Debug)]
pub struct Claim {
    path: PathBuf,
    _lock: File,
}

impl Claim {
    /// Claims the store at `path`, which need not exist yet.
    pub fn new(path: &Path) -> Result<Self, StoreError> {
        let lock_path = sibling(path, ".lock");
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&lock_path)
            .map_err(|error| failed(format!("opening {}", lock_path.display()), error))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self {
                path: path.to_owned(),
                _lock: lock,
            }),
            Err(TryLockError::WouldBlock) => Err(StoreError::Locked(path.to_owned())),
            Err(TryLockError::Error(error)) => {
                Err(failed(format!("locking {}", lock_path.display()), error))
            }
        }
    }

    /// Opens the store, or makes it.
    pub fn open(self) -> Result<Opened, StoreError> {
        self.open_as(LARGE)
    }

    /// [`open`](Self::open), with another limit from which on a file is large.
    pub fn open_as(self, large: u64) -> Result<Opened, StoreError> {
        let path = self.path.clone();
        copy::sweep(&path);
        // SQLite would make it readable for others; its side files take over the mode.
        let size = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&path)
            .and_then(|file| file.metadata())
            .map_err(|error| failed(format!("opening {}", path.display()), error))?
            .len();
        let is_large = size > large;
        let mut connection = connect(&path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        schema::prepare(&connection, &path)?;
        check::quickly(&connection, &path, is_large)?;
        let mut loaded = load::load(&connection, &path)?;
        let reader = Arc::new(reader::Pool::open(&path, READERS)?);
        let keys: Option<Arc<dyn Keys>> = if is_large {
            Some(Arc::<reader::Pool>::clone(&reader))
        } else {
            reader.load(&KeyRange::all(), &mut loaded.state)?;
            None
        };
        let checkpoint = checkpoint::Checkpointer::start(&mut connection, &path)?;
        let log = log::SqliteLog::new(connection, self, checkpoint);
        Ok(Opened {
            loaded,
            keys,
            log: Box::new(log),
            reader,
        })
    }
}

/// What a file holds that nobody writes to, without its keys, and the reading side.
pub fn look(path: &Path) -> Result<(Loaded, Arc<dyn Reader>), StoreError> {
    let connection = connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    let loaded = load::load(&connection, path)?;
    Ok((loaded, Arc::new(reader::Pool::open(path, 1)?)))
}

/// Removes a file, and what SQLite has left beside it.
pub fn remove(path: &Path) -> Result<(), StoreError> {
    for suffix in ["", "-wal", "-shm", "-journal"] {
        let file = sibling(path, suffix);
        match std::fs::remove_file(&file) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(failed(format!("removing {}", file.display()), error));
            }
            _ => {}
        }
    }
    Ok(())
}

/// The path with something after its name.
pub fn sibling(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn connect(path: &Path, mode: OpenFlags) -> Result<Connection, StoreError> {
    let flags = mode | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)
        .map_err(|error| describe(path, "opening", &error))?;
    connection.set_prepared_statement_cache_capacity(32);
    // The image has no folder for temporary files, into which SQLite would move the undo journal of a request that
    // changes more than 64 KiB. What is kept in memory is bounded by the size of a request.
    connection
        .pragma_update(None, "temp_store", "MEMORY")
        .map_err(|error| describe(path, "opening", &error))?;
    Ok(connection)
}

/// What an error of SQLite means for us.
fn describe(path: &Path, doing: &str, error: &rusqlite::Error) -> StoreError {
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => StoreError::NoSpace(path.to_owned()),
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            corrupt(path, &error.to_string())
        }
        // "disk I/O error" stands for some thirty reasons, which SQLite tells apart by number only.
        Some(ErrorCode::SystemIoFailure) => {
            let code = error.sqlite_error().map_or(0, |error| error.extended_code);
            failed(
                format!("{doing} {} (SQLite's code {code})", path.display()),
                error,
            )
        }
        _ => failed(format!("{doing} {}", path.display()), error),
    }
}

/// Notes on the span of a statement why it failed.
fn note(span: &Span, error: &rusqlite::Error) {
    let code = error
        .sqlite_error()
        .map(|error| error.extended_code.to_string());
    span::fail(span, code.as_deref(), span::DRIVER);
}

fn corrupt(path: &Path, found: &str) -> StoreError {
    StoreError::Corrupt {
        path: path.to_owned(),
        found: found.to_owned(),
        advice: format!(
            "nothing was changed or deleted; stop this service, copy {0} and {0}-wal away, then put a backup in \
             their place, or save what can be read with `sqlite3 {0} .recover`",
            path.display()
        ),
    }
}

fn failed(doing: String, found: impl std::fmt::Display) -> StoreError {
    StoreError::Failed {
        doing,
        found: found.to_string(),
    }
}
