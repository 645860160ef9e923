//! A watch stream as tests read it.

use crate::support::{self, Clients};
use sextant_proto::etcd::etcdserverpb as pb;
use sextant_proto::etcd::etcdserverpb::watch_request::RequestUnion;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

pub struct Stream {
    requests: mpsc::Sender<pb::WatchRequest>,
    answers: tonic::Streaming<pb::WatchResponse>,
}

impl Stream {
    /// Opens a stream with one watch, and waits until that is made.
    pub async fn open(clients: &Clients, create: pb::WatchCreateRequest) -> Self {
        let (requests, stream) = mpsc::channel(64);
        let mut client = clients.watch.clone();
        let answers = client
            .watch(ReceiverStream::new(stream))
            .await
            .expect("a stream")
            .into_inner();
        let mut stream = Self { requests, answers };
        stream.create(create).await;
        stream
    }

    pub async fn create(&mut self, create: pb::WatchCreateRequest) {
        self.ask(RequestUnion::CreateRequest(create)).await;
        let made = self.next().await.expect("made");
        assert!(made.created && !made.canceled, "{made:?}");
    }

    pub async fn ask(&self, union: RequestUnion) {
        let request_union = Some(union);
        let request = pb::WatchRequest { request_union };
        self.requests.send(request).await.expect("room");
    }

    pub async fn next(&mut self) -> Result<pb::WatchResponse, tonic::Status> {
        let answer = tokio::time::timeout(Duration::from_secs(30), self.answers.message()).await;
        Ok(answer.expect("an answer in time")?.expect("an answer"))
    }

    /// Keys and revisions of all events up to revision `through`; whole revisions, each once, in order.
    pub async fn until(&mut self, through: i64) -> Vec<(String, i64)> {
        let mut found: Vec<(String, i64)> = Vec::new();
        while found.last().is_none_or(|(_, revision)| *revision < through) {
            let answer = self.next().await.expect("events");
            assert!(!answer.canceled, "{answer:?}");
            let before = found.last().map_or(0, |(_, revision)| *revision);
            for event in answer.events {
                let kv = event.kv.expect("a key");
                assert!(kv.mod_revision > before, "{before} came in parts or twice");
                let key = String::from_utf8_lossy(&kv.key).into_owned();
                found.push((key, kv.mod_revision));
            }
        }
        found
    }

    /// The revision of the next report on behalf of all watches; there must be no event before it.
    pub async fn progress(&mut self) -> i64 {
        let question = RequestUnion::ProgressRequest(pb::WatchProgressRequest {});
        self.ask(question).await;
        let answer = self.next().await.expect("a report");
        assert!(
            answer.watch_id == -1 && answer.events.is_empty(),
            "{answer:?}"
        );
        support::revision(answer.header)
    }
}

pub fn prefix(prefix: &str, start_revision: i64) -> pb::WatchCreateRequest {
    pb::WatchCreateRequest {
        key: prefix.to_owned().into(),
        range_end: support::prefix_end(prefix).into(),
        start_revision,
        prev_kv: true,
        ..pb::WatchCreateRequest::default()
    }
}
