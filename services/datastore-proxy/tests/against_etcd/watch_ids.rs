//! Several watches on one stream: their numbers, refusals and ends.

use crate::support::Clients;
use sextant_proto::etcd::etcdserverpb as pb;
use sextant_proto::etcd::etcdserverpb::watch_request::RequestUnion;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

fn create(key: &'static str, end: &'static str, watch_id: i64) -> RequestUnion {
    RequestUnion::CreateRequest(pb::WatchCreateRequest {
        key: key.into(),
        range_end: end.into(),
        watch_id,
        ..pb::WatchCreateRequest::default()
    })
}

fn cancel(watch_id: i64) -> RequestUnion {
    RequestUnion::CancelRequest(pb::WatchCancelRequest { watch_id })
}

/// What is asked; each is answered once.
fn requests() -> Vec<RequestUnion> {
    let negative = pb::WatchCreateRequest {
        key: "a".into(),
        start_revision: -7,
        ..pb::WatchCreateRequest::default()
    };
    vec![
        create("a", "", 0),
        create("a", "b", 0),
        create("a", "", 2),
        // The next free one isn't 2.
        create("a", "\0", 0),
        create("a", "", 3),
        create("a", "", 1),
        create("b", "a", 0),
        create("a", "a", 0),
        create("", "", 0),
        create("", "\0", 0),
        RequestUnion::CreateRequest(negative),
        cancel(1),
        create("a", "", 1),
        cancel(2),
        cancel(0),
        create("a", "", 0),
        create("z", "", 1 << 40),
    ]
}

/// The answers, without what may differ.
pub async fn answers(clients: &mut Clients) -> Vec<pb::WatchResponse> {
    let (sender, stream) = mpsc::channel(1);
    let mut requests = requests().into_iter().map(|union| pb::WatchRequest {
        request_union: Some(union),
    });
    // etcd answers nothing at all before it was asked something.
    sender
        .try_send(requests.next().expect("a request"))
        .expect("room");
    let watch = clients.watch.watch(ReceiverStream::new(stream));
    let mut stream = watch.await.expect("a stream").into_inner();
    let mut answers = Vec::new();
    loop {
        let answer = tokio::time::timeout(Duration::from_secs(10), stream.message()).await;
        let answer = answer.unwrap_or_else(|_| panic!("no answer after {answers:#?}"));
        let mut answer = answer.expect("a stream").expect("an answer");
        answer.header = None;
        answers.push(answer);
        match requests.next() {
            Some(request) => sender.send(request).await.expect("room"),
            None => return answers,
        }
    }
}
