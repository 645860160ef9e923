//! Leases.

use super::{Answers, Store};
use sextant_proto::etcd::etcdserverpb::{
    LeaseGrantRequest, LeaseGrantResponse, LeaseKeepAliveRequest, LeaseKeepAliveResponse,
    LeaseLeasesRequest, LeaseLeasesResponse, LeaseRevokeRequest, LeaseRevokeResponse,
    LeaseTimeToLiveRequest, LeaseTimeToLiveResponse, lease_server::Lease,
};
use std::time::Duration;
use tokio::time::Instant;
use tonic::{Request, Response, Status, Streaming};

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
