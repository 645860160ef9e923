//! A stand-in for datastore-proxy: the etcd v3 API as far as the supervisor uses it, in memory.

use futures::Stream;
use sextant_proto::etcd::etcdserverpb::{
    CompactionRequest, CompactionResponse, DeleteRangeRequest, DeleteRangeResponse,
    LeaseGrantRequest, LeaseGrantResponse, LeaseKeepAliveRequest, LeaseKeepAliveResponse,
    LeaseLeasesRequest, LeaseLeasesResponse, LeaseRevokeRequest, LeaseRevokeResponse,
    LeaseTimeToLiveRequest, LeaseTimeToLiveResponse, PutRequest, PutResponse, RangeRequest,
    RangeResponse, RangeStreamResponse, ResponseHeader, ResponseOp, TxnRequest, TxnResponse,
    WatchRequest, WatchResponse, compare::TargetUnion, kv_server::Kv, lease_server::Lease,
    request_op, response_op, watch_request::RequestUnion, watch_server::Watch,
};
use sextant_proto::etcd::mvccpb::{Event, KeyValue, event::EventType};
use std::collections::{BTreeMap, HashMap};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;
use tonic::{Request, Response, Status, Streaming};

type Bytes = bytes::Bytes;
type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// The store. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    db: Arc<Mutex<Db>>,
    revision: Arc<watch::Sender<i64>>,
    away: Arc<watch::Sender<bool>>,
}

#[derive(Default)]
struct Db {
    revision: i64,
    keys: BTreeMap<Bytes, KeyValue>,
    leases: HashMap<i64, (Duration, Instant)>,
    events: Vec<(i64, Event)>,
}

impl Store {
    pub fn new() -> Self {
        let db = Db {
            revision: 1,
            ..Db::default()
        };
        let store = Self {
            db: Arc::new(Mutex::new(db)),
            revision: Arc::new(watch::Sender::new(1)),
            away: Arc::new(watch::Sender::new(false)),
        };
        let expiring = store.clone();
        tokio::spawn(async move {
            let mut ticks = tokio::time::interval(Duration::from_millis(50));
            loop {
                ticks.tick().await;
                expiring.expire();
            }
        });
        store
    }

    /// Every call fails and every stream ends while it is away.
    pub fn set_away(&self, away: bool) {
        self.away.send_replace(away);
    }

    pub fn value(&self, key: &str) -> Option<serde_json::Value> {
        let db = self.db.lock().unwrap();
        db.keys
            .get(key.as_bytes())
            .map(|kv| serde_json::from_slice(&kv.value).unwrap())
    }

    pub fn keys(&self, prefix: &str) -> Vec<String> {
        let db = self.db.lock().unwrap();
        let keys = db
            .keys
            .keys()
            .map(|key| String::from_utf8_lossy(key).into_owned());
        keys.filter(|key| key.starts_with(prefix)).collect()
    }

    fn check(&self) -> Result<(), Status> {
        if *self.away.borrow() {
            Err(Status::unavailable("the test took the datastore away"))
        } else {
            Ok(())
        }
    }

    fn change<T>(&self, change: impl FnOnce(&mut Db) -> T) -> T {
        let (outcome, revision) = {
            let mut db = self.db.lock().unwrap();
            (change(&mut db), db.revision)
        };
        self.revision
            .send_if_modified(|known| std::mem::replace(known, revision) != revision);
        outcome
    }

    fn expire(&self) {
        let now = Instant::now();
        let over: Vec<i64> = {
            let db = self.db.lock().unwrap();
            db.leases
                .iter()
                .filter(|(_, (_, end))| *end <= now)
                .map(|(id, _)| *id)
                .collect()
        };
        for id in over {
            self.change(|db| db.revoke(id));
        }
    }
}

impl Db {
    fn header(&self) -> Option<ResponseHeader> {
        Some(ResponseHeader {
            revision: self.revision,
            ..ResponseHeader::default()
        })
    }

    fn within(key: &Bytes, start: &Bytes, end: &Bytes) -> bool {
        if end.is_empty() {
            key == start
        } else {
            key >= start && key < end
        }
    }

    fn put(&mut self, request: PutRequest) {
        let old = self.keys.get(&request.key);
        let kv = KeyValue {
            create_revision: old.map_or(self.revision, |kv| kv.create_revision),
            mod_revision: self.revision,
            version: old.map_or(1, |kv| kv.version + 1),
            key: request.key.clone(),
            value: request.value,
            lease: request.lease,
        };
        self.keys.insert(request.key, kv.clone());
        let event = Event {
            r#type: EventType::Put.into(),
            kv: Some(kv),
            prev_kv: None,
        };
        self.events.push((self.revision, event));
    }

    fn range(&self, request: &RangeRequest) -> RangeResponse {
        let kvs: Vec<_> = self
            .keys
            .values()
            .filter(|kv| Self::within(&kv.key, &request.key, &request.range_end))
            .cloned()
            .collect();
        RangeResponse {
            header: self.header(),
            count: kvs.len() as i64,
            kvs,
            ..RangeResponse::default()
        }
    }

    fn delete(&mut self, keys: Vec<Bytes>) {
        for key in keys {
            if self.keys.remove(&key).is_some() {
                let kv = KeyValue {
                    key,
                    mod_revision: self.revision,
                    ..KeyValue::default()
                };
                let event = Event {
                    r#type: EventType::Delete.into(),
                    kv: Some(kv),
                    prev_kv: None,
                };
                self.events.push((self.revision, event));
            }
        }
    }

    fn revoke(&mut self, id: i64) {
        self.leases.remove(&id);
        let keys = self
            .keys
            .values()
            .filter(|kv| kv.lease == id)
            .map(|kv| kv.key.clone())
            .collect();
        self.revision += 1;
        self.delete(keys);
    }
}

#[tonic::async_trait]
impl Kv for Store {
    type RangeStreamStream = Answers<RangeStreamResponse>;

    async fn range(
        &self,
        request: Request<RangeRequest>,
    ) -> Result<Response<RangeResponse>, Status> {
        self.check()?;
        Ok(Response::new(
            self.db.lock().unwrap().range(request.get_ref()),
        ))
    }

    async fn range_stream(
        &self,
        _: Request<RangeRequest>,
    ) -> Result<Response<Self::RangeStreamStream>, Status> {
        Err(Status::unimplemented("not used"))
    }

    async fn put(&self, request: Request<PutRequest>) -> Result<Response<PutResponse>, Status> {
        self.check()?;
        let request = request.into_inner();
        self.change(|db| {
            if request.lease != 0 && !db.leases.contains_key(&request.lease) {
                return Err(Status::not_found("etcdserver: requested lease not found"));
            }
            db.revision += 1;
            db.put(request);
            Ok(Response::new(PutResponse {
                header: db.header(),
                prev_kv: None,
            }))
        })
    }

    async fn delete_range(
        &self,
        request: Request<DeleteRangeRequest>,
    ) -> Result<Response<DeleteRangeResponse>, Status> {
        self.check()?;
        let request = request.into_inner();
        self.change(|db| {
            let range = RangeRequest {
                key: request.key,
                range_end: request.range_end,
                ..RangeRequest::default()
            };
            let keys: Vec<_> = db.range(&range).kvs.into_iter().map(|kv| kv.key).collect();
            let deleted = keys.len() as i64;
            db.revision += 1;
            db.delete(keys);
            Ok(Response::new(DeleteRangeResponse {
                header: db.header(),
                deleted,
                prev_kvs: vec![],
            }))
        })
    }

    async fn txn(&self, request: Request<TxnRequest>) -> Result<Response<TxnResponse>, Status> {
        self.check()?;
        let request = request.into_inner();
        self.change(|db| {
            let succeeded = request.compare.iter().all(|compare| {
                let Some(TargetUnion::ModRevision(wanted)) = compare.target_union else {
                    panic!("only mod_revision is compared");
                };
                db.keys.get(&compare.key).map_or(0, |kv| kv.mod_revision) == wanted
            });
            let ops = if succeeded {
                request.success
            } else {
                request.failure
            };
            let mut responses = Vec::new();
            for op in ops {
                let response = match op.request.unwrap() {
                    request_op::Request::RequestRange(range) => {
                        response_op::Response::ResponseRange(db.range(&range))
                    }
                    request_op::Request::RequestPut(put) => {
                        db.revision += 1;
                        db.put(put);
                        response_op::Response::ResponsePut(PutResponse::default())
                    }
                    other => panic!("not used: {other:?}"),
                };
                responses.push(ResponseOp {
                    response: Some(response),
                });
            }
            Ok(Response::new(TxnResponse {
                header: db.header(),
                succeeded,
                responses,
            }))
        })
    }

    async fn compact(
        &self,
        _: Request<CompactionRequest>,
    ) -> Result<Response<CompactionResponse>, Status> {
        Err(Status::unimplemented("not used"))
    }
}

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

#[tonic::async_trait]
impl Lease for Store {
    type LeaseKeepAliveStream = Answers<LeaseKeepAliveResponse>;

    async fn lease_grant(
        &self,
        request: Request<LeaseGrantRequest>,
    ) -> Result<Response<LeaseGrantResponse>, Status> {
        self.check()?;
        let ttl = request.get_ref().ttl;
        let life = Duration::from_secs(ttl.unsigned_abs());
        let id = i64::from(rand::random::<u32>()) + 1;
        self.db
            .lock()
            .unwrap()
            .leases
            .insert(id, (life, Instant::now() + life));
        Ok(Response::new(LeaseGrantResponse {
            id,
            ttl,
            ..LeaseGrantResponse::default()
        }))
    }

    async fn lease_revoke(
        &self,
        request: Request<LeaseRevokeRequest>,
    ) -> Result<Response<LeaseRevokeResponse>, Status> {
        self.check()?;
        self.change(|db| db.revoke(request.get_ref().id));
        Ok(Response::new(LeaseRevokeResponse::default()))
    }

    async fn lease_keep_alive(
        &self,
        request: Request<Streaming<LeaseKeepAliveRequest>>,
    ) -> Result<Response<Self::LeaseKeepAliveStream>, Status> {
        use futures::StreamExt;
        self.check()?;
        let store = self.clone();
        let answers = request.into_inner().map(move |asked| {
            let id = asked?.id;
            store.check()?;
            let mut db = store.db.lock().unwrap();
            let ttl = db.leases.get_mut(&id).map_or(0, |(life, end)| {
                *end = Instant::now() + *life;
                life.as_secs() as i64
            });
            Ok(LeaseKeepAliveResponse {
                id,
                ttl,
                header: None,
            })
        });
        Ok(Response::new(Box::pin(answers)))
    }

    async fn lease_time_to_live(
        &self,
        _: Request<LeaseTimeToLiveRequest>,
    ) -> Result<Response<LeaseTimeToLiveResponse>, Status> {
        Err(Status::unimplemented("not used"))
    }

    async fn lease_leases(
        &self,
        _: Request<LeaseLeasesRequest>,
    ) -> Result<Response<LeaseLeasesResponse>, Status> {
        Err(Status::unimplemented("not used"))
    }
}
