//! Watches.

use super::db::Db;
use super::{Answers, Store};
use sextant_proto::etcd::etcdserverpb::{
    WatchRequest, WatchResponse, watch_request::RequestUnion, watch_server::Watch,
};
use tonic::{Request, Response, Status, Streaming};

#[tonic::async_trait]
impl Watch for Store {
    type WatchStream = Answers<WatchResponse>;

    async fn watch(
        &self,
        request: Request<Streaming<WatchRequest>>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        self.check()?;
        let first = request
            .into_inner()
            .message()
            .await?
            .and_then(|r| r.request_union);
        let Some(RequestUnion::CreateRequest(create)) = first else {
            return Err(Status::invalid_argument("create first"));
        };
        let (sender, answers) = tokio::sync::mpsc::channel(64);
        let store = self.clone();
        tokio::spawn(async move {
            let created = WatchResponse {
                created: true,
                ..WatchResponse::default()
            };
            let _ = sender.send(Ok(created)).await;
            let mut next = create.start_revision;
            let (mut revision, mut away) = (store.revision.subscribe(), store.away.subscribe());
            loop {
                revision.borrow_and_update();
                let (events, until) = {
                    let db = store.db.lock().unwrap();
                    let wanted = db.events.iter().filter(|(at, event)| {
                        let key = &event.kv.as_ref().unwrap().key;
                        *at >= next && Db::within(key, &create.key, &create.range_end)
                    });
                    (
                        wanted.map(|(_, event)| event.clone()).collect::<Vec<_>>(),
                        db.revision,
                    )
                };
                next = until + 1;
                if !events.is_empty() {
                    let answer = WatchResponse {
                        events,
                        ..WatchResponse::default()
                    };
                    if sender.send(Ok(answer)).await.is_err() {
                        return;
                    }
                }
                tokio::select! {
                    _ = revision.changed() => {}
                    () = async { drop(away.wait_for(|away| *away).await) } => {
                        let _ = sender.send(Err(Status::unavailable("away"))).await;
                        return;
                    }
                    () = sender.closed() => return,
                }
            }
        });
        Ok(Response::new(Box::pin(
            tokio_stream::wrappers::ReceiverStream::new(answers),
        )))
    }
}
