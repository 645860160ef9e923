//! Long answers of etcd on their way to a client.

use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

/// Pieces on their way to one client.
const UNDER_WAY: usize = 2;
/// How long etcd may take for a piece, and a client to take one: it holds a stream of the etcd meanwhile.
const PATIENCE: Duration = Duration::from_secs(20);

/// Passes `answers` on, each changed by `change`.
pub(super) fn forward<T: Send + 'static>(
    mut answers: Streaming<T>,
    permit: OwnedSemaphorePermit,
    change: impl Fn(T) -> T + Send + 'static,
) -> ReceiverStream<Result<T, Status>> {
    let (pieces, stream) = mpsc::channel(UNDER_WAY);
    tokio::spawn(async move {
        let _permit = permit;
        loop {
            let piece = match tokio::time::timeout(PATIENCE, answers.message()).await {
                Ok(Ok(Some(piece))) => Ok(change(piece)),
                Ok(Ok(None)) => return,
                Ok(Err(status)) => Err(status),
                Err(_) => Err(Status::unavailable(format!(
                    "etcd sent nothing more for {PATIENCE:?}"
                ))),
            };
            let failed = piece.is_err();
            let sent = pieces.send_timeout(piece, PATIENCE).await;
            if failed || sent.is_err() {
                return;
            }
        }
    });
    ReceiverStream::new(stream)
}
