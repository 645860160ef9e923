//! Moves what the write-ahead log holds into the database file, beside the writer instead of in its way.

use super::{SYSTEM, StoreError, connect, describe, failed, note, schema};
use crate::store::span;
use rusqlite::{Connection, OpenFlags};
use std::cell::Cell;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

/// A checkpoint is begun each time the log has grown by so many pages (4 MiB).
const EVERY_PAGES: i32 = 1024;
/// With so many pages in the log (16 MiB) what can wait waits.
const BEHIND_PAGES: i32 = 4096;
/// With so many pages in the log (32 MiB) the writer itself starts it afresh: steady writes otherwise leave no gap
/// in which a checkpoint could finish.
const RESTART_PAGES: i32 = 8192;
/// How long a restart waits for readers that still need the old log.
const RESTART_PATIENCE: Duration = Duration::from_millis(20);

/// The checkpointing thread, as the writer sees it. It ends with the writer.
pub(super) struct Checkpointer {
    wake: SyncSender<()>,
    /// Pages in the log, as far as they may have to be copied.
    pages: Arc<AtomicI32>,
    /// How long the log may become before something is done.
    limit: Cell<i32>,
}

impl Checkpointer {
    /// Starts the thread for the database of `writer`.
    pub(super) fn start(writer: &mut Connection, path: &Path) -> Result<Self, StoreError> {
        let pages = Arc::new(AtomicI32::new(0));
        let hooked = Arc::clone(&pages);
        writer
            .wal_hook(Some(move |_: &mut rusqlite::hooks::Wal, pages| {
                hooked.store(pages, Ordering::Relaxed);
                Ok(())
            }))
            .map_err(|error| describe(path, "setting up", &error))?;
        let connection = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        connection
            .execute_batch("PRAGMA synchronous = FULL; PRAGMA cache_size = -512;")
            .map_err(|error| describe(path, "opening", &error))?;
        let (wake, woken) = sync_channel(1);
        let shared = Arc::clone(&pages);
        std::thread::Builder::new()
            .name("checkpoint".into())
            .spawn(move || run(&connection, &woken, &shared))
            .map_err(|error| failed("starting the checkpoint thread".into(), error))?;
        Ok(Self {
            wake,
            pages,
            limit: Cell::new(EVERY_PAGES),
        })
    }

    /// Whether the log is long. Asks for a checkpoint then.
    pub(super) fn is_behind(&self) -> bool {
        let behind = self.pages.load(Ordering::Relaxed) > BEHIND_PAGES;
        if behind {
            // A full channel means that it will run anyway.
            let _ = self.wake.try_send(());
        }
        behind
    }

    /// To be called by the writer after each commit.
    pub(super) fn committed(&self, writer: &Connection) {
        let pages = self.pages.load(Ordering::Relaxed);
        if pages < self.limit.get() {
            // Once everything is copied the log begins anew by itself.
            self.limit.set(self.limit.get().min(pages + EVERY_PAGES));
            return;
        }
        self.limit.set(pages + EVERY_PAGES);
        if pages > RESTART_PAGES {
            restart(writer);
        } else {
            // A full channel means that it will run anyway.
            let _ = self.wake.try_send(());
        }
    }
}

fn run(connection: &Connection, woken: &Receiver<()>, pages: &AtomicI32) {
    while woken.recv().is_ok() {
        match checkpoint(connection, "PASSIVE") {
            // With all of it copied the next commit begins the log anew, if none has come meanwhile.
            Ok((log, copied)) if log == copied => {
                let _ = pages.compare_exchange(log, 0, Ordering::Relaxed, Ordering::Relaxed);
            }
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "checkpoint failed; it is tried again"),
        }
    }
}

/// Copies the rest and starts the log afresh. Holds the writer up, but little is left to copy, and readers are
/// waited for only briefly.
fn restart(connection: &Connection) {
    let restarted = connection
        .busy_timeout(RESTART_PATIENCE)
        .and_then(|()| checkpoint(connection, "RESTART"));
    let restored = connection.busy_timeout(schema::PATIENCE);
    if let Err(error) = restarted.and(restored) {
        tracing::warn!(%error, "the write-ahead log could not be restarted; it is tried again");
    }
}

/// Copies what can be copied; answers how many pages the log has, and how many of them are copied.
fn checkpoint(connection: &Connection, mode: &str) -> rusqlite::Result<(i32, i32)> {
    let checkpoint = format!("PRAGMA wal_checkpoint({mode})");
    let span = span::statement(SYSTEM, "checkpointing", || checkpoint.clone()).entered();
    let done = connection.query_row(&checkpoint, [], |row| Ok((row.get(1)?, row.get(2)?)));
    done.inspect_err(|error| note(&span, error))
}
