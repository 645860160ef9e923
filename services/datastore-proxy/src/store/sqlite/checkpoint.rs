//! Moves what the write-ahead log holds into the database file, beside the writer instead of in its way.

use super::{StoreError, connect, describe, failed, schema};
use rusqlite::{Connection, OpenFlags};
use std::cell::Cell;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

/// A checkpoint is begun after about so many bytes.
const EVERY: usize = 4 << 20;
/// With so many pages in the log (32 MiB) the writer itself starts it afresh: steady writes otherwise leave no
/// gap in which a checkpoint could finish.
const RESTART_PAGES: i64 = 8192;

/// How long a restart waits for readers that still need the old log.
const RESTART_PATIENCE: Duration = Duration::from_millis(20);

/// The checkpointing thread, as the writer sees it. It ends with the writer.
pub(super) struct Checkpointer {
    wake: SyncSender<()>,
    /// Pages in the log after the last checkpoint.
    pages: Arc<AtomicI64>,
    since: Cell<usize>,
}

impl Checkpointer {
    pub(super) fn start(path: &Path) -> Result<Self, StoreError> {
        let connection = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        connection
            .execute_batch("PRAGMA synchronous = FULL; PRAGMA cache_size = -512;")
            .map_err(|error| describe(path, "opening", &error))?;
        let (wake, woken) = sync_channel(1);
        let pages = Arc::new(AtomicI64::new(0));
        let shared = Arc::clone(&pages);
        std::thread::Builder::new()
            .name("checkpoint".into())
            .spawn(move || run(&connection, &woken, &shared))
            .map_err(|error| failed("starting the checkpoint thread".into(), error))?;
        Ok(Self {
            wake,
            pages,
            since: Cell::new(0),
        })
    }

    /// Tells that about `bytes` were written; `true`: the log has become too long, see [`restart`].
    pub(super) fn written(&self, bytes: usize) -> bool {
        self.since.set(self.since.get() + bytes);
        if self.since.get() < EVERY {
            return false;
        }
        self.since.set(0);
        // A full channel means that it will run anyway.
        let _ = self.wake.try_send(());
        self.pages.load(Ordering::Relaxed) > RESTART_PAGES
    }
}

fn run(connection: &Connection, woken: &Receiver<()>, pages: &AtomicI64) {
    while woken.recv().is_ok() {
        match checkpoint(connection, "PASSIVE") {
            Ok(left) => pages.store(left, Ordering::Relaxed),
            Err(error) => tracing::warn!(%error, "checkpoint failed; it is tried again"),
        }
    }
}

/// Copies the rest and starts the log afresh. Holds the writer up, but little is left to copy, and readers are
/// waited for only briefly.
pub(super) fn restart(connection: &Connection) {
    let restarted = connection
        .busy_timeout(RESTART_PATIENCE)
        .and_then(|()| checkpoint(connection, "RESTART"));
    let restored = connection.busy_timeout(schema::PATIENCE);
    if let Err(error) = restarted.and(restored) {
        tracing::warn!(%error, "the write-ahead log could not be restarted; it is tried again");
    }
}

fn checkpoint(connection: &Connection, mode: &str) -> rusqlite::Result<i64> {
    connection.query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |row| {
        row.get(1)
    })
}
