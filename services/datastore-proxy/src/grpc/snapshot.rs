//! The stream of a snapshot: a copy of the store, then the SHA-256 of it, as etcd's clients expect.

use super::Services;
use super::maintenance::STORAGE_VERSION;
use crate::domain::fault::Fault;
use aws_lc_rs::digest::{Context, SHA256};
use bytes::{Bytes, BytesMut};
use sextant_kit::telemetry;
use sextant_proto::etcd::etcdserverpb::SnapshotResponse;
use std::fs::File;
use std::sync::Arc;
use tokio::io::AsyncReadExt;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;
use tracing::field::Empty;
use tracing::{Instrument, Span};

/// Bytes of one answer.
const PIECE: usize = 64 << 10;
/// Answers on their way to one client.
const PIECES: usize = 4;

type Answers = mpsc::Sender<Result<SnapshotResponse, Status>>;

impl Services {
    /// Copies the store, then sends the copy. One at a time, since each takes as much disk as the store.
    pub(super) async fn snapshot(
        &self,
    ) -> Result<ReceiverStream<Result<SnapshotResponse, Status>>, Fault> {
        let turn = Arc::clone(&self.snapshots)
            .try_acquire_owned()
            .map_err(|_| Fault::TooManyRequests)?;
        let copy = self.engine.copy().await?;
        let (answers, stream) = mpsc::channel(PIECES);
        let drain = self.drain.clone();
        let span = tracing::info_span!("snapshot.send", bytes = Empty);
        let sending = async move {
            let _turn = turn;
            let sent = drain.run(send(copy, &answers)).await;
            let failed = match sent {
                Some(Ok(())) => return,
                Some(Err(Unsent::Gone)) => {
                    return telemetry::fail(&Span::current(), "the client has gone");
                }
                Some(Err(Unsent::File(error))) => {
                    Fault::Store(format!("reading the copy: {error}"))
                }
                None => Fault::Stopped,
            };
            telemetry::fail(&Span::current(), &failed);
            // A client that has gone needs no answer.
            let _ = answers.try_send(Err(failed.into()));
        };
        tokio::spawn(sending.instrument(span));
        Ok(ReceiverStream::new(stream))
    }
}

/// Why a copy wasn't sent to its end.
enum Unsent {
    File(std::io::Error),
    Gone,
}

impl From<std::io::Error> for Unsent {
    fn from(error: std::io::Error) -> Self {
        Self::File(error)
    }
}

/// Reads, hashes and sends the file.
async fn send(copy: File, answers: &Answers) -> Result<(), Unsent> {
    let mut left = copy.metadata()?.len();
    Span::current().record("bytes", left);
    let mut copy = tokio::fs::File::from_std(copy);
    let mut digest = Context::new(&SHA256);
    while left > 0 {
        let mut piece = BytesMut::with_capacity(PIECE);
        if copy.read_buf(&mut piece).await? == 0 {
            return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into());
        }
        digest.update(&piece);
        left = left.saturating_sub(piece.len() as u64);
        if answers
            .send(Ok(answer(left, piece.freeze())))
            .await
            .is_err()
        {
            return Err(Unsent::Gone);
        }
    }
    let digest = Bytes::copy_from_slice(digest.finish().as_ref());
    let sent = answers.send(Ok(answer(0, digest))).await;
    sent.map_err(|_| Unsent::Gone)
}

fn answer(remaining_bytes: u64, blob: Bytes) -> SnapshotResponse {
    SnapshotResponse {
        header: None,
        remaining_bytes,
        blob,
        version: STORAGE_VERSION.to_owned(),
    }
}
