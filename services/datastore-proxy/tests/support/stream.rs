//! A client's end of a watch stream.

use super::Clients;
use sextant_proto::etcd::etcdserverpb as pb;
use sextant_proto::etcd::etcdserverpb::watch_request::RequestUnion;
use sextant_proto::etcd::mvccpb::event::EventType;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

/// A stream of watches.
pub struct Stream {
    pub requests: mpsc::Sender<pb::WatchRequest>,
    pub answers: tonic::Streaming<pb::WatchResponse>,
}

impl Stream {
    pub async fn open(clients: &Clients) -> Self {
        let (requests, stream) = mpsc::channel(64);
        let mut client = clients.watch.clone();
        let answers = client
            .watch(ReceiverStream::new(stream))
            .await
            .unwrap()
            .into_inner();
        Self { requests, answers }
    }

    pub async fn ask(&self, union: RequestUnion) {
        let request = pb::WatchRequest {
            request_union: Some(union),
        };
        self.requests.send(request).await.unwrap();
    }

    /// Makes a watch and returns the first answer.
    pub async fn create(&mut self, request: pb::WatchCreateRequest) -> pb::WatchResponse {
        self.ask(RequestUnion::CreateRequest(request)).await;
        self.next().await
    }

    pub async fn next(&mut self) -> pb::WatchResponse {
        let answer = tokio::time::timeout(Duration::from_secs(20), self.answers.message()).await;
        answer
            .expect("an answer in time")
            .unwrap()
            .expect("an answer")
    }

    pub async fn ask_progress(&self) {
        self.ask(RequestUnion::ProgressRequest(pb::WatchProgressRequest {}))
            .await;
    }

    /// Answers until revision `through` was told; each must begin after the one before.
    pub async fn until(&mut self, through: i64) -> Vec<(EventType, String, i64)> {
        let mut found: Vec<(EventType, String, i64)> = Vec::new();
        while found
            .last()
            .is_none_or(|(_, _, revision)| *revision < through)
        {
            let answer = self.next().await;
            let last = found.last().map_or(0, |(_, _, revision)| *revision);
            for event in &answer.events {
                let kv = event.kv.as_ref().unwrap();
                assert!(
                    kv.mod_revision > last,
                    "revision {last} was told in part, or twice"
                );
                let key = String::from_utf8_lossy(&kv.key).into_owned();
                found.push((event.r#type(), key, kv.mod_revision));
            }
            assert!(answer.header.unwrap().revision >= found.last().map_or(0, |f| f.2));
        }
        found
    }
}

/// A watch of every key that begins with `prefix`.
pub fn prefix(prefix: &str, start_revision: i64) -> pb::WatchCreateRequest {
    pb::WatchCreateRequest {
        key: prefix.to_owned().into(),
        range_end: super::prefix_end(prefix).into(),
        start_revision,
        ..pb::WatchCreateRequest::default()
    }
}
