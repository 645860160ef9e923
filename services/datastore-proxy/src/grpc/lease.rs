//! Time-limited ownership of keys.

use super::Services;
use crate::domain::authz::{Call, Caller};
use crate::domain::fault::Fault;
use crate::engine::{Reply, Request as Work};
use sextant_proto::datastore::submit_request::Work as Question;
use sextant_proto::datastore::submit_response::Outcome;
use sextant_proto::etcd::etcdserverpb as pb;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

pub(super) struct Leases(pub(super) Services);

impl Leases {
    async fn renew(
        services: &Services,
        id: i64,
        caller: Caller,
    ) -> Result<pb::LeaseKeepAliveResponse, Fault> {
        let (revision, ttl) = match services.engine.submit(Work::Renew { id }, caller).await {
            Ok(Reply::Lease { revision, ttl }) => (revision, ttl),
            Ok(_) => return Err(Fault::Stopped),
            // The client learns it from a TTL of 0.
            Err(Fault::LeaseNotFound) => (services.engine.shared().state().revision, 0),
            Err(fault) => return Err(fault),
        };
        Ok(pb::LeaseKeepAliveResponse {
            header: Some(services.header(revision)),
            id,
            ttl,
        })
    }
}

#[tonic::async_trait]
impl pb::lease_server::Lease for Leases {
    async fn lease_grant(
        &self,
        request: Request<pb::LeaseGrantRequest>,
    ) -> Result<Response<pb::LeaseGrantResponse>, Status> {
        let caller = self.0.caller(&request, Call::Keys)?;
        let pb::LeaseGrantRequest { ttl, id } = request.into_inner();
        let id = if id == 0 {
            rand::random_range(1..i64::MAX)
        } else {
            id
        };
        match self
            .0
            .engine
            .submit(Work::Grant { id, ttl }, caller)
            .await?
        {
            Reply::Lease { revision, ttl } => {
                let header = Some(self.0.header(revision));
                Ok(Response::new(pb::LeaseGrantResponse {
                    header,
                    id,
                    ttl,
                    error: String::new(),
                }))
            }
            _ => Err(Fault::Stopped.into()),
        }
    }

    async fn lease_revoke(
        &self,
        request: Request<pb::LeaseRevokeRequest>,
    ) -> Result<Response<pb::LeaseRevokeResponse>, Status> {
        let caller = self.0.caller(&request, Call::Keys)?;
        let pb::LeaseRevokeRequest { id } = request.into_inner();
        match self.0.engine.submit(Work::Revoke { id }, caller).await? {
            Reply::Done { revision } => {
                let header = Some(self.0.header(revision));
                Ok(Response::new(pb::LeaseRevokeResponse { header }))
            }
            _ => Err(Fault::Stopped.into()),
        }
    }

    type LeaseKeepAliveStream = ReceiverStream<Result<pb::LeaseKeepAliveResponse, Status>>;

    async fn lease_keep_alive(
        &self,
        request: Request<Streaming<pb::LeaseKeepAliveRequest>>,
    ) -> Result<Response<Self::LeaseKeepAliveStream>, Status> {
        let caller = self.0.caller(&request, Call::Keys)?;
        let mut requests = request.into_inner();
        let (answers, stream) = mpsc::channel(16);
        let services = self.0.clone();
        let drain = self.0.drain.clone();
        drain.clone().spawn(async move {
            while let Ok(Some(pb::LeaseKeepAliveRequest { id })) = requests.message().await {
                let answer = Self::renew(&services, id, caller.clone()).await;
                let failed = answer.is_err();
                let answer = answer.map_err(Status::from);
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
        let request = request.into_inner();
        let response = match self
            .0
            .elsewhere(Question::TimeToLive(request), &caller)
            .await?
        {
            None => self.0.time_to_live(request, &caller).await?,
            Some(Outcome::TimeToLive(response)) => pb::LeaseTimeToLiveResponse {
                header: self.0.own_header(response.header),
                ..response
            },
            Some(_) => return Err(Fault::Stopped.into()),
        };
        Ok(Response::new(response))
    }

    async fn lease_leases(
        &self,
        request: Request<pb::LeaseLeasesRequest>,
    ) -> Result<Response<pb::LeaseLeasesResponse>, Status> {
        let caller = self.0.caller(&request, Call::Keys)?;
        let request = request.into_inner();
        let response = match self.0.elsewhere(Question::Leases(request), &caller).await? {
            None => self.0.leases(&caller),
            Some(Outcome::Leases(response)) => pb::LeaseLeasesResponse {
                header: self.0.own_header(response.header),
                ..response
            },
            Some(_) => return Err(Fault::Stopped.into()),
        };
        Ok(Response::new(response))
    }
}

impl Services {
    /// Has the replica that writes answer what only it knows; `None` if that is this one.
    async fn elsewhere(&self, work: Question, caller: &Caller) -> Result<Option<Outcome>, Fault> {
        match self.engine.replicas() {
            Some(replicas) => replicas.ask_writer(work, caller).await,
            None => Ok(None),
        }
    }

    /// The header of another replica's answer, as this one's.
    fn own_header(&self, header: Option<pb::ResponseHeader>) -> Option<pb::ResponseHeader> {
        header.map(|header| self.header(header.revision))
    }

    pub(super) async fn time_to_live(
        &self,
        request: pb::LeaseTimeToLiveRequest,
        caller: &Caller,
    ) -> Result<pb::LeaseTimeToLiveResponse, Fault> {
        let pb::LeaseTimeToLiveRequest { id, keys } = request;
        let shared = self.engine.shared();
        if keys {
            shared.keys_loaded().await;
        }
        let state = shared.state();
        let now = shared.clock.now();
        let mut response = pb::LeaseTimeToLiveResponse {
            header: Some(self.header(state.revision)),
            id,
            ttl: -1,
            ..pb::LeaseTimeToLiveResponse::default()
        };
        if let Some(lease) = state.leases.get(id).filter(|lease| !lease.is_expired(now)) {
            caller.check_lease(lease)?;
            response.ttl = lease.remaining(now);
            response.granted_ttl = lease.ttl;
            if keys {
                response.keys = state.leases.keys(id).cloned().collect();
            }
        }
        Ok(response)
    }

    pub(super) fn leases(&self, caller: &Caller) -> pb::LeaseLeasesResponse {
        let state = self.engine.shared().state();
        let own = state
            .leases
            .iter()
            .filter(|lease| caller.check_lease(lease).is_ok());
        let leases = own.map(|lease| pb::LeaseStatus { id: lease.id }).collect();
        let header = Some(self.header(state.revision));
        pb::LeaseLeasesResponse { header, leases }
    }
}
