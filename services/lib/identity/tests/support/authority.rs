//! A cert-authority that signs everything, and refuses when told to.

use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{FutureExt as _, StreamExt as _};
use rcgen::SubjectPublicKeyInfo;
use sextant_identity::{Authority, ClientAuth, Identity, ServiceName, peer, serve_grpc};
use sextant_kit::{Drain, DrainTrigger};
use sextant_proto::certauthority::cert_authority_server::{CertAuthority, CertAuthorityServer};
use sextant_proto::certauthority::*;
use sextant_testkit::{Root, Wish};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_stream::wrappers::WatchStream;
use tonic::service::Routes;
use tonic::{Request, Response, Status};

pub const TOKEN: &str = "enrolment-token";

/// What it was asked, in order: "enroll", "renew", "sign <profile>".
#[derive(Clone)]
pub struct FakeAuthority {
    pub root: Root,
    /// Whom an enrolment certifies.
    pub enrols: Identity,
    /// Life of what it signs, from the shown time on.
    pub life: Duration,
    pub now: Arc<dyn Fn() -> SystemTime + Send + Sync>,
    pub asked: Arc<Mutex<Vec<String>>>,
    pub refuse_renewal: Arc<std::sync::atomic::AtomicBool>,
    pub trust: Arc<watch::Sender<TrustBundle>>,
}

impl FakeAuthority {
    pub fn new(root: &Root, enrols: impl Into<Identity>) -> Self {
        let bundle = TrustBundle::from(&*root.bundle());
        Self {
            root: root.clone(),
            enrols: enrols.into(),
            life: Duration::from_secs(3600),
            now: Arc::new(SystemTime::now),
            asked: Arc::default(),
            refuse_renewal: Arc::default(),
            trust: Arc::new(watch::Sender::new(bundle)),
        }
    }

    /// Serves as service/cert-authority.
    pub async fn start(&self) -> (SocketAddr, DrainTrigger) {
        self.start_at("127.0.0.1:0".parse().unwrap()).await
    }

    /// Serves at an address that was free before.
    pub async fn start_at(&self, address: SocketAddr) -> (SocketAddr, DrainTrigger) {
        let tls = self
            .root
            .mesh(ServiceName::CertAuthority)
            .server_tls(ClientAuth::Optional);
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (drain, trigger) = Drain::new();
        let routes = Routes::new(CertAuthorityServer::new(self.clone()));
        tokio::spawn(serve_grpc(listener, tls, routes, drain));
        (address, trigger)
    }

    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }

    fn note(&self, what: impl Into<String>) {
        self.asked.lock().unwrap().push(what.into());
    }

    fn wish(&self, authority: Authority, identity: &Identity) -> Wish {
        let now = (self.now)();
        self.root
            .wish(authority)
            .identity(identity)
            .valid(now, now + self.life)
    }

    fn chain(&self, wish: Wish, csr: &[u8]) -> Vec<Bytes> {
        let csr = rcgen::CertificateSigningRequestParams::from_der(&csr.to_vec().into()).unwrap();
        let spki = rcgen::PublicKeyData::subject_public_key_info(&csr.public_key);
        let key = SubjectPublicKeyInfo::from_der(&spki).unwrap();
        vec![self.root.sign_key(wish, &key).to_vec().into()]
    }
}

#[tonic::async_trait]
impl CertAuthority for FakeAuthority {
    async fn enroll(
        &self,
        call: Request<EnrollRequest>,
    ) -> Result<Response<EnrollResponse>, Status> {
        self.note("enroll");
        let request = call.into_inner();
        if request.token != TOKEN {
            return Err(Status::permission_denied("the enrolment token is wrong"));
        }
        let chain = self.chain(self.wish(Authority::Mesh, &self.enrols), &request.csr);
        let trust = Some(self.trust.borrow().clone());
        Ok(Response::new(EnrollResponse { chain, trust }))
    }

    async fn renew(&self, call: Request<RenewRequest>) -> Result<Response<RenewResponse>, Status> {
        self.note("renew");
        if self
            .refuse_renewal
            .load(std::sync::atomic::Ordering::Relaxed)
        {
            return Err(Status::permission_denied("revoked"));
        }
        let caller = peer::identity(call.extensions()).unwrap().clone();
        let chain = self.chain(self.wish(Authority::Mesh, &caller), &call.into_inner().csr);
        Ok(Response::new(RenewResponse { chain }))
    }

    async fn sign(&self, call: Request<SignRequest>) -> Result<Response<SignResponse>, Status> {
        let caller = peer::identity(call.extensions()).unwrap().clone();
        let request = call.into_inner();
        self.note(format!("sign {}", request.profile().as_str_name()));
        let chain = self.chain(self.wish(Authority::Datastore, &caller), &request.csr);
        Ok(Response::new(SignResponse {
            chain,
            not_after_unix: 0,
        }))
    }

    type WatchTrustStream = BoxStream<'static, Result<TrustBundle, Status>>;

    async fn watch_trust(
        &self,
        _call: Request<WatchTrustRequest>,
    ) -> Result<Response<Self::WatchTrustStream>, Status> {
        let stream = WatchStream::new(self.trust.subscribe()).map(Ok);
        Ok(Response::new(stream.boxed()))
    }

    async fn complete_bootstrap(
        &self,
        _call: Request<CompleteBootstrapRequest>,
    ) -> Result<Response<CompleteBootstrapResponse>, Status> {
        Ok(Response::new(CompleteBootstrapResponse {}))
    }

    type ListIssuedStream = BoxStream<'static, Result<IssuedCertificate, Status>>;

    async fn list_issued(
        &self,
        _call: Request<ListIssuedRequest>,
    ) -> Result<Response<Self::ListIssuedStream>, Status> {
        Ok(Response::new(
            futures::future::pending().into_stream().boxed(),
        ))
    }
}
