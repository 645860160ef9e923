//! A watch of the etcd for one watch of a client, until that has come up to the feed.

use super::Backend;
use super::batch::{Batch, changes};
use super::request;
use crate::domain::range::KeyRange;
use crate::watch::source::{Past, PastError, Piece};
use sextant_proto::etcd::etcdserverpb as pb;
use sextant_proto::etcd::etcdserverpb::watch_client::WatchClient;
use sextant_proto::etcd::etcdserverpb::watch_request::RequestUnion;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

/// etcd says that it has no more only if asked at the right time.
const ASK: Duration = Duration::from_millis(50);
/// How long etcd may say nothing.
const SILENCE: Duration = Duration::from_secs(10);

/// Reads what a watch has missed from the etcd. Opened at the first use.
pub struct EtcdPast {
    backend: Backend,
    range: KeyRange,
    from: i64,
    open: Option<Open>,
}

struct Open {
    requests: mpsc::Sender<pb::WatchRequest>,
    answers: Streaming<pb::WatchResponse>,
    batch: Batch,
    _permit: OwnedSemaphorePermit,
}

impl EtcdPast {
    pub(super) fn new(backend: Backend, range: KeyRange, from: i64) -> Self {
        Self {
            backend,
            range,
            from,
            open: None,
        }
    }

    async fn open(&self) -> Result<Open, Status> {
        let create = request::watch(self.backend.plane(), &self.range, self.from);
        let opened = self.backend.pool().open(|channel| {
            let (requests, stream) = mpsc::channel(4);
            // There is room: it is new.
            let _ = requests.try_send(asking(RequestUnion::CreateRequest(create.clone())));
            async move {
                let mut client = WatchClient::new(channel).max_decoding_message_size(usize::MAX);
                let stream = super::upstream::demanding_leader(ReceiverStream::new(stream));
                let answers = client.watch(stream).await?;
                Ok(answers.map(|answers| (requests, answers)))
            }
        });
        let ((requests, answers), permit) = opened.await?;
        self.backend.metrics().catch_up();
        Ok(Open {
            requests,
            answers,
            batch: Batch::default(),
            _permit: permit,
        })
    }
}

impl Past for EtcdPast {
    async fn next(&mut self, _through: i64) -> Result<Piece, PastError> {
        let mut open = match self.open.take() {
            Some(open) => open,
            None => self.open().await?,
        };
        let piece = open.next(&self.backend).await?;
        self.open = Some(open);
        Ok(piece)
    }
}

impl Open {
    async fn next(&mut self, backend: &Backend) -> Result<Piece, PastError> {
        let deadline = Instant::now() + SILENCE;
        loop {
            let Ok(answer) = tokio::time::timeout(ASK, self.answers.message()).await else {
                if Instant::now() > deadline {
                    let text = format!("etcd said nothing of a watch for {SILENCE:?}");
                    return Err(Status::unavailable(text).into());
                }
                // A full queue has such a question in it.
                let question = RequestUnion::ProgressRequest(pb::WatchProgressRequest {});
                let _ = self.requests.try_send(asking(question));
                continue;
            };
            let ended = || Status::unavailable("etcd ended a watch");
            let answer = answer.map_err(PastError::Failed)?.ok_or_else(ended)?;
            if answer.canceled && answer.compact_revision > 0 {
                return Err(PastError::Compacted(answer.compact_revision));
            }
            if answer.canceled {
                let text = format!("etcd canceled a watch: {}", answer.cancel_reason);
                return Err(Status::unavailable(text).into());
            }
            if answer.created {
                continue;
            }
            let revision = answer.header.as_ref().map_or(0, |header| header.revision);
            if answer.events.is_empty() {
                let changes = Vec::new();
                return Ok(Piece {
                    changes,
                    through: revision,
                });
            }
            if let Some(events) = self.batch.push(answer) {
                let newest = events.last().and_then(|event| event.kv.as_ref());
                let through = newest.map_or(0, |kv| kv.mod_revision);
                let changes = changes(backend.plane(), events);
                return Ok(Piece { changes, through });
            }
        }
    }
}

fn asking(union: RequestUnion) -> pb::WatchRequest {
    pb::WatchRequest {
        request_union: Some(union),
    }
}
