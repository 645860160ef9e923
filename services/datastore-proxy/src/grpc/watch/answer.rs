//! What a watch stream says.

use crate::grpc::MAX_REQUEST;
use crate::watch::committed::Change;
use crate::watch::hub::Spec;
use crate::watch::source::Source;
use bytes::Bytes;
use prost::Message;
use sextant_proto::etcd::etcdserverpb as pb;
use sextant_proto::etcd::mvccpb::Event;
use std::pin::pin;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tonic::Status;

/// A client that takes nothing for so long is told of in the log.
const LATE: Duration = Duration::from_secs(5);

/// The sending half of a stream.
pub(super) struct Answers<S> {
    source: S,
    /// Name of the client.
    caller: String,
    sender: mpsc::Sender<Result<pb::WatchResponse, Status>>,
}

impl<S: Source> Answers<S> {
    pub(super) fn new(
        source: S,
        caller: String,
        sender: mpsc::Sender<Result<pb::WatchResponse, Status>>,
    ) -> Self {
        Self {
            source,
            caller,
            sender,
        }
    }

    /// Resolves when the client has gone.
    pub(super) async fn closed(&self) {
        self.sender.closed().await;
    }

    pub(super) async fn created(&self, id: i64, revision: i64) -> Result<(), Status> {
        self.send(pb::WatchResponse {
            created: true,
            ..self.answer(id, revision)
        })
        .await
    }

    pub(super) async fn canceled(&self, id: i64, revision: i64) -> Result<(), Status> {
        self.send(pb::WatchResponse {
            canceled: true,
            ..self.answer(id, revision)
        })
        .await
    }

    pub(super) async fn progress(&self, id: i64, revision: i64) -> Result<(), Status> {
        self.send(self.answer(id, revision)).await
    }

    pub(super) async fn compacted(
        &self,
        id: i64,
        revision: i64,
        compact_revision: i64,
    ) -> Result<(), Status> {
        let answer = self.answer(id, revision);
        self.send(pb::WatchResponse {
            canceled: true,
            compact_revision,
            ..answer
        })
        .await
    }

    /// A watch that was not made.
    pub(super) async fn refused(&self, revision: i64, cancel_reason: String) -> Result<(), Status> {
        let answer = self.answer(super::NO_WATCH, revision);
        self.send(pb::WatchResponse {
            created: true,
            canceled: true,
            cancel_reason,
            ..answer
        })
        .await
    }

    /// Changes of whole revisions; the watch has heard everything up to `through` then.
    pub(super) async fn events(
        &self,
        spec: &Spec,
        changes: &[&Change],
        through: i64,
    ) -> Result<(), Status> {
        let previous = self.previous(spec, changes).await?;
        let events: Vec<Event> = changes
            .iter()
            .zip(previous)
            .map(|(change, previous)| change.event(previous))
            .collect();
        let answer = self.answer(spec.id, through);
        if !spec.fragment {
            return self.send(pb::WatchResponse { events, ..answer }).await;
        }
        let mut pieces = fragments(events).into_iter().peekable();
        while let Some(events) = pieces.next() {
            let fragment = pieces.peek().is_some();
            self.send(pb::WatchResponse {
                events,
                fragment,
                ..answer.clone()
            })
            .await?;
        }
        Ok(())
    }

    /// The value before each change, where it is wanted and there was one. One that was compacted stays out.
    async fn previous(
        &self,
        spec: &Spec,
        changes: &[&Change],
    ) -> Result<Vec<Option<Bytes>>, Status> {
        if !spec.prev_kv {
            return Ok(vec![None; changes.len()]);
        }
        let missing: Vec<_> = changes
            .iter()
            .filter_map(|change| change.missing())
            .collect();
        let mut read = self.source.values(&missing).await?.into_iter();
        let value = |change: &&Change| {
            let previous = change.previous.as_ref()?;
            previous.value.clone().or_else(|| read.next().flatten())
        };
        Ok(changes.iter().map(value).collect())
    }

    fn answer(&self, watch_id: i64, revision: i64) -> pb::WatchResponse {
        let header = Some(self.source.header(revision));
        pb::WatchResponse {
            header,
            watch_id,
            ..pb::WatchResponse::default()
        }
    }

    async fn send(&self, answer: pb::WatchResponse) -> Result<(), Status> {
        let mut sent = pin!(self.sender.send(Ok(answer)));
        let sent = match (timeout(LATE, &mut sent).await, S::PATIENCE) {
            (Ok(sent), _) => sent,
            (Err(_), patience) => {
                tracing::warn!(
                    caller = self.caller,
                    "a client takes no answers of its watches and falls behind"
                );
                match patience {
                    None => sent.await,
                    Some(patience) => {
                        let rest = timeout(patience.saturating_sub(LATE), sent).await;
                        rest.map_err(|_| {
                            let text = format!(
                                "this client took no answer of its watches for {patience:?}: watch again from the last revision"
                            );
                            Status::unavailable(text)
                        })?
                    }
                }
            }
        };
        sent.map_err(|_| Status::cancelled("the client has gone"))
    }
}

/// Events in pieces of at most [`MAX_REQUEST`] bytes, or of one event.
fn fragments(events: Vec<Event>) -> Vec<Vec<Event>> {
    let mut pieces: Vec<Vec<Event>> = Vec::new();
    let mut size = 0;
    for event in events {
        let length = event.encoded_len();
        match pieces.last_mut() {
            Some(piece) if size + length < MAX_REQUEST => piece.push(event),
            _ => {
                pieces.push(vec![event]);
                size = 0;
            }
        }
        size += length;
    }
    pieces
}
