//! The issuance log: one line per certificate, durable before the certificate leaves.
//!
//! A line is the SHA-256 of its JSON (hexadecimal), a space, the JSON, a newline. The JSON names the hash of the
//! line before it, so rows form a chain, and the newest row that was durable when it was written, so that a torn
//! tail (never acknowledged) can be told from damage (acknowledged once). The file stays readable by `tail` and
//! `cut -d' ' -f2- | jq`.

mod read;
mod recover;
mod row;
mod write;

pub use row::Certificate;

use crate::error::Error;
use read::Rows;
use row::Row;
use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::{mpsc, oneshot};

const FILE: &str = "issued.log";
/// Rows that may wait for the disk; more wait for room.
const QUEUE: usize = 1024;
/// Rows that a reader may be ahead of its client.
const READ_AHEAD: usize = 64;

/// The log, open for appending. Cheap to clone.
#[derive(Clone, Debug)]
pub struct IssuedLog {
    path: PathBuf,
    durable_length: Arc<AtomicU64>,
    queue: mpsc::Sender<write::Append>,
}

/// Whether there is a log with rows.
pub fn exists(state: &Path) -> Result<bool, Error> {
    let path = state.join(FILE);
    match path.metadata() {
        Ok(metadata) => Ok(metadata.len() > 0),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(source) => Err(Error::File {
            action: "looking at",
            path,
            source,
        }),
    }
}

impl IssuedLog {
    /// Opens the log, checks every row, cuts off a torn tail, and starts the writing thread.
    pub fn open(state: &Path) -> Result<Self, Error> {
        let path = state.join(FILE);
        let failed = |action| {
            move |source| Error::File {
                action,
                path: state.join(FILE),
                source,
            }
        };
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(failed("opening"))?;
        super::files::sync_folder(state)?;
        let tail = recover::recover(&file, &path)?;
        let durable_length = Arc::new(AtomicU64::new(tail.length));
        let (queue, appends) = mpsc::channel(QUEUE);
        let writer = write::Writer::new(file, path.clone(), tail, Arc::clone(&durable_length));
        std::thread::Builder::new()
            .name("issued-log".to_owned())
            .spawn(move || writer.run(appends))
            .map_err(failed("starting the thread that writes"))?;
        Ok(Self {
            path,
            durable_length,
            queue,
        })
    }

    /// Appends a row and waits until it is durable. Rows that wait at the same time share one sync.
    pub async fn append(&self, certificate: Certificate) -> Result<u64, Error> {
        let (done, answer) = oneshot::channel();
        let append = write::Append { certificate, done };
        self.queue.send(append).await.map_err(|_| Error::Stopping)?;
        answer.await.map_err(|_| Error::Stopping)?
    }

    /// The rows that are durable now, oldest first, with their sequence numbers; only those that `wanted` accepts.
    /// Memory doesn't grow with the log.
    pub fn rows(
        &self,
        wanted: impl Fn(&Certificate) -> bool + Send + 'static,
    ) -> mpsc::Receiver<Result<(u64, Certificate), Error>> {
        let (sender, receiver) = mpsc::channel(READ_AHEAD);
        let path = self.path.clone();
        let length = self.durable_length.load(Ordering::Acquire);
        tokio::task::spawn_blocking(move || {
            let rows = match Rows::open(&path, length) {
                Ok(rows) => rows,
                Err(error) => {
                    let _ = sender.blocking_send(Err(error));
                    return;
                }
            };
            for row in rows {
                let row = row.map(
                    |Row {
                         sequence,
                         certificate,
                         ..
                     }| (sequence, certificate),
                );
                if row
                    .as_ref()
                    .is_ok_and(|(_, certificate)| !wanted(certificate))
                {
                    continue;
                }
                let failed = row.is_err();
                let gone = sender.blocking_send(row).is_err();
                if failed || gone {
                    return;
                }
            }
        });
        receiver
    }
}

#[cfg(test)]
mod tests;
