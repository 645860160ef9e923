//! Time-limited ownership of keys.

use super::Serving;
use crate::domain::authz::{Call, Caller};
use crate::domain::fault::Fault;
use crate::domain::range::KeyRange;
use crate::passthrough::request::NO_LEASE;
use crate::passthrough::upstream::{Channel, Kind, demanding_leader};
use crate::passthrough::{Backend, read, records};
use sextant_proto::etcd::etcdserverpb as pb;
use sextant_proto::etcd::etcdserverpb::lease_client::LeaseClient;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

pub(super) struct Leases(pub(super) Serving);

fn client(channel: Channel) -> LeaseClient<Channel> {
    LeaseClient::new(channel).max_decoding_message_size(usize::MAX)
}

async fn revoke(backend: &Backend, id: i64) -> Result<pb::LeaseRevokeResponse, Status> {
    let call = |channel| async move {
        let request = demanding_leader(pb::LeaseRevokeRequest { id });
        client(channel).lease_revoke(request).await
    };
    backend.pool().call(Kind::Write, call).await
}

pub(super) async fn renew(
    backend: &Backend,
    id: i64,
    caller: &Caller,
) -> Result<pb::LeaseKeepAliveResponse, Status> {
    let there = backend.lease(id, caller).await?;
    // A renewal more does no harm.
    let renewal = backend.pool().call(Kind::Read, |channel| async move {
        let request = tokio_stream::once(pb::LeaseKeepAliveRequest { id: there });
        let mut client = client(channel);
        let answers = client.lease_keep_alive(demanding_leader(request)).await?;
        let mut answers = answers.into_inner();
        match answers.message().await? {
            Some(answer) => Ok(Response::new(answer)),
            None => Err(Status::unavailable("etcd did not answer a renewal")),
        }
    });
    Ok(pb::LeaseKeepAliveResponse {
        id,
        ..renewal.await?
    })
}

/// Makes a lease of the caller's.
pub(super) async fn grant(
    backend: &Backend,
    request: pb::LeaseGrantRequest,
    caller: &Caller,
) -> Result<pb::LeaseGrantResponse, Status> {
    if request.id == NO_LEASE {
        return Err(Fault::LeaseExists.into());
    }
    let call = |channel| async move {
        let request = demanding_leader(request);
        client(channel).lease_grant(request).await
    };
    let answer = backend.pool().call(Kind::Write, call).await?;
    if backend.owns_by_record(caller)
        && let Err(status) = backend.own(answer.id, caller).await
    {
        // Nobody could use it. If this fails too, its time runs out.
        let _ = revoke(backend, answer.id).await;
        return Err(status);
    }
    Ok(answer)
}

#[tonic::async_trait]
impl pb::lease_server::Lease for Leases {
    async fn lease_grant(
        &self,
        request: Request<pb::LeaseGrantRequest>,
    ) -> Result<Response<pb::LeaseGrantResponse>, Status> {
        let caller = self.0.caller(&request, Call::Keys)?;
        let granted = grant(&self.0.backend, request.into_inner(), &caller);
        granted.await.map(Response::new)
    }

    async fn lease_revoke(
        &self,
        request: Request<pb::LeaseRevokeRequest>,
    ) -> Result<Response<pb::LeaseRevokeResponse>, Status> {
        let caller = self.0.caller(&request, Call::Keys)?;
        let pb::LeaseRevokeRequest { id } = request.into_inner();
        let backend = &self.0.backend;
        let there = backend.lease_now(id, &caller).await?;
        Ok(Response::new(revoke(backend, there).await?))
    }

    type LeaseKeepAliveStream = ReceiverStream<Result<pb::LeaseKeepAliveResponse, Status>>;

    async fn lease_keep_alive(
        &self,
        request: Request<Streaming<pb::LeaseKeepAliveRequest>>,
    ) -> Result<Response<Self::LeaseKeepAliveStream>, Status> {
        let caller = self.0.caller(&request, Call::Keys)?;
        let mut requests = request.into_inner();
        let (answers, stream) = mpsc::channel(16);
        let backend = self.0.backend.clone();
        self.0.drain.spawn(async move {
            while let Ok(Some(pb::LeaseKeepAliveRequest { id })) = requests.message().await {
                let answer = renew(&backend, id, &caller).await;
                let failed = answer.is_err();
                if answers.send(answer).await.is_err() || failed {
                    return;
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }

    async fn lease_time_to_live(
        &self,
        request: Request<pb::LeaseTimeToLiveRequest>,
    ) -> Result<Response<pb::LeaseTimeToLiveResponse>, Status> {
        let caller = self.0.caller(&request, Call::Keys)?;
        let pb::LeaseTimeToLiveRequest { id, keys } = request.into_inner();
        let backend = &self.0.backend;
        let there = backend.lease(id, &caller).await?;
        let call = |channel| async move {
            let request = pb::LeaseTimeToLiveRequest { id: there, keys };
            let request = demanding_leader(request);
            client(channel).lease_time_to_live(request).await
        };
        let mut answer = backend.pool().call(Kind::Read, call).await?;
        answer.id = id;
        let own = answer.keys.iter().filter_map(|key| {
            let key = backend.plane().strip(key)?;
            (!key.starts_with(records::RESERVED)).then_some(key)
        });
        answer.keys = own.collect();
        Ok(Response::new(answer))
    }

    async fn lease_leases(
        &self,
        request: Request<pb::LeaseLeasesRequest>,
    ) -> Result<Response<pb::LeaseLeasesResponse>, Status> {
        let caller = self.0.caller(&request, Call::Keys)?;
        let backend = &self.0.backend;
        if !backend.owns_by_record(&caller) {
            let call = |channel| async move {
                let request = demanding_leader(pb::LeaseLeasesRequest {});
                client(channel).lease_leases(request).await
            };
            let answer = backend.pool().call(Kind::Read, call).await?;
            return Ok(Response::new(answer));
        }
        let prefix = backend.plane().prefix();
        let (key, range_end) = KeyRange::below(records::owners(prefix)).to_wire();
        let request = pb::RangeRequest {
            key,
            range_end,
            ..pb::RangeRequest::default()
        };
        let answer = read(backend.pool(), request).await?;
        let own = answer.kvs.iter().filter_map(|kv| {
            let id = records::lease_of(prefix, &kv.key)?;
            let owner = std::str::from_utf8(&kv.value).ok()?;
            caller.check_owner(id, owner).ok()?;
            Some(pb::LeaseStatus { id })
        });
        Ok(Response::new(pb::LeaseLeasesResponse {
            leases: own.collect(),
            header: answer.header,
        }))
    }
}
