//! The one thread that writes: what came in while the disk was busy goes out in one write and one sync.

use super::recover::Tail;
use super::row::{self, Certificate, Row};
use crate::error::Error;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::{mpsc, oneshot};

/// Rows of one write.
const BATCH: usize = 256;

/// A row to append, and whom to tell its sequence number once it is durable.
#[derive(Debug)]
pub(super) struct Append {
    pub(super) certificate: Certificate,
    pub(super) done: oneshot::Sender<Result<u64, Error>>,
}

/// The log's end.
pub(super) struct Writer {
    file: File,
    path: PathBuf,
    tail: Tail,
    durable_length: Arc<AtomicU64>,
    /// A write failed: there may be bytes after the tail.
    dirty: bool,
}

impl Writer {
    pub(super) fn new(
        file: File,
        path: PathBuf,
        tail: Tail,
        durable_length: Arc<AtomicU64>,
    ) -> Self {
        Self {
            file,
            path,
            tail,
            durable_length,
            dirty: false,
        }
    }

    /// Writes until nobody can append any more.
    pub(super) fn run(mut self, mut appends: mpsc::Receiver<Append>) {
        let mut batch = Vec::with_capacity(BATCH);
        while appends.blocking_recv_many(&mut batch, BATCH) > 0 {
            let (rows, waiting): (Vec<_>, Vec<_>) = batch
                .drain(..)
                .map(|append| (append.certificate, append.done))
                .unzip();
            let first = self.tail.sequence + 1;
            match self.append(rows) {
                Ok(()) => {
                    for (done, sequence) in waiting.into_iter().zip(first..) {
                        // The asker may have given up; the row stands.
                        let _ = done.send(Ok(sequence));
                    }
                }
                Err(source) => {
                    tracing::error!(log = %self.path.display(), error = %source, "can't write");
                    let source = Arc::new(source);
                    for done in waiting {
                        let path = self.path.clone();
                        let _ = done.send(Err(Error::LogWrite {
                            path,
                            source: source.clone(),
                        }));
                    }
                }
            }
        }
    }

    /// All rows durable, or the log as before.
    fn append(&mut self, certificates: Vec<Certificate>) -> io::Result<()> {
        if self.dirty {
            self.file.set_len(self.tail.length)?;
            self.dirty = false;
        }
        let durable = self.tail.sequence;
        let mut sequence = self.tail.sequence;
        let mut previous = self.tail.hash.clone();
        let mut bytes = Vec::new();
        for certificate in certificates {
            sequence += 1;
            let (line, hash) = row::encode(&Row {
                previous,
                sequence,
                durable,
                certificate,
            })?;
            bytes.extend_from_slice(&line);
            previous = hash;
        }
        let written = self
            .file
            .write_all_at(&bytes, self.tail.length)
            .and_then(|()| self.file.sync_data());
        if let Err(error) = written {
            self.dirty = true;
            // Try at once; if this fails too, the next append tries again.
            if self.file.set_len(self.tail.length).is_ok() {
                self.dirty = false;
            }
            return Err(error);
        }
        let length = self.tail.length + bytes.len() as u64;
        self.tail = Tail {
            length,
            sequence,
            hash: previous,
        };
        self.durable_length.store(length, Ordering::Release);
        Ok(())
    }
}
