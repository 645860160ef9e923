//! The stream of a snapshot: a copy of the store, then the SHA-256 of it, as etcd's clients expect.

use super::Services;
use super::maintenance::STORAGE_VERSION;
use crate::domain::fault::Fault;
use aws_lc_rs::digest::{Context, SHA256};
use bytes::{Bytes, BytesMut};
use sextant_proto::etcd::etcdserverpb::SnapshotResponse;
use std::fs::File;
use std::sync::Arc;
use tokio::io::AsyncReadExt;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

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
        tokio::spawn(async move {
            let _turn = turn;
            let sent = drain.run(send(copy, &answers)).await;
            let failed = match sent {
                Some(Ok(())) => return,
                Some(Err(error)) => Fault::Store(format!("reading the copy: {error}")),
                None => Fault::Stopped,
            };
            // A client that has gone needs no answer.
            let _ = answers.try_send(Err(failed.into()));
        });
        Ok(ReceiverStream::new(stream))
    }
}

/// Sends the file, as far as there is a client.
async fn send(copy: File, answers: &Answers) -> std::io::Result<()> {
    let mut left = copy.metadata()?.len();
    let mut copy = tokio::fs::File::from_std(copy);
    let mut digest = Context::new(&SHA256);
    while left > 0 {
        let mut piece = BytesMut::with_capacity(PIECE);
        if copy.read_buf(&mut piece).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        digest.update(&piece);
        left = left.saturating_sub(piece.len() as u64);
        if answers
            .send(Ok(answer(left, piece.freeze())))
            .await
            .is_err()
        {
            return Ok(());
        }
    }
    let digest = Bytes::copy_from_slice(digest.finish().as_ref());
    // A client that has gone needs no answer.
    let _ = answers.send(Ok(answer(0, digest))).await;
    Ok(())
}

fn answer(remaining_bytes: u64, blob: Bytes) -> SnapshotResponse {
    SnapshotResponse {
        header: None,
        remaining_bytes,
        blob,
        version: STORAGE_VERSION.to_owned(),
    }
}
