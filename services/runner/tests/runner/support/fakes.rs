//! The gRPC services behind [`super::Surroundings`].

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use futures::{Stream, StreamExt};
use rcgen::{CertificateSigningRequestParams, PublicKeyData, SubjectPublicKeyInfo};
use sextant_identity::{Authority, Identity, ServiceName};
use sextant_proto::{certauthority as ca, externaljwt as jwt, kms, supervisor as sv};
use sextant_testkit::Root;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio_stream::wrappers::{ReceiverStream, WatchStream};
use tonic::{Request, Response, Status, Streaming};

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// Signs whatever it is asked for.
#[derive(Clone)]
pub struct CertAuthority {
    pub root: Root,
}

#[tonic::async_trait]
impl ca::cert_authority_server::CertAuthority for CertAuthority {
    type ListIssuedStream = Answers<ca::IssuedCertificate>;
    type WatchTrustStream = Answers<ca::TrustBundle>;

    async fn sign(
        &self,
        request: Request<ca::SignRequest>,
    ) -> Result<Response<ca::SignResponse>, Status> {
        let request = request.into_inner();
        let authority = match request.profile() {
            ca::Profile::ApiserverServing => Authority::ClusterServer,
            ca::Profile::DatastoreClient => Authority::Datastore,
            ca::Profile::RequestHeaderClient => Authority::RequestHeader,
            _ => Authority::ClusterClient,
        };
        let csr = CertificateSigningRequestParams::from_der(&request.csr.to_vec().into())
            .map_err(|error| Status::invalid_argument(error.to_string()))?;
        let life = Duration::from_secs(3600);
        let (from, to) = (
            SystemTime::now() - Duration::from_secs(60),
            SystemTime::now() + life,
        );
        let name = format!("{:?}", request.profile());
        let wish = self
            .root
            .wish(authority)
            .dns("localhost")
            .subject(&name, &["test"]);
        let wish = wish
            .address([127, 0, 0, 1].into())
            .identity(&Identity::from(ServiceName::KubeApiserver))
            .valid(from, to);
        let key = SubjectPublicKeyInfo::from_der(&csr.public_key.subject_public_key_info())
            .map_err(|error| Status::invalid_argument(error.to_string()))?;
        let leaf = self.root.sign_key(wish, &key);
        let not_after_unix =
            i64::try_from(to.duration_since(UNIX_EPOCH).unwrap().as_secs()).unwrap();
        let chain = vec![leaf.to_vec().into()];
        Ok(Response::new(ca::SignResponse {
            chain,
            not_after_unix,
        }))
    }

    async fn enroll(
        &self,
        _: Request<ca::EnrollRequest>,
    ) -> Result<Response<ca::EnrollResponse>, Status> {
        Err(Status::unimplemented("not here"))
    }

    async fn renew(
        &self,
        _: Request<ca::RenewRequest>,
    ) -> Result<Response<ca::RenewResponse>, Status> {
        Err(Status::unimplemented("not here"))
    }

    async fn watch_trust(
        &self,
        _: Request<ca::WatchTrustRequest>,
    ) -> Result<Response<Self::WatchTrustStream>, Status> {
        Err(Status::unimplemented("not here"))
    }

    async fn complete_bootstrap(
        &self,
        _: Request<ca::CompleteBootstrapRequest>,
    ) -> Result<Response<ca::CompleteBootstrapResponse>, Status> {
        Err(Status::unimplemented("not here"))
    }

    async fn list_issued(
        &self,
        _: Request<ca::ListIssuedRequest>,
    ) -> Result<Response<Self::ListIssuedStream>, Status> {
        Err(Status::unimplemented("not here"))
    }
}

/// "Encrypts" by turning every bit over.
#[tonic::async_trait]
impl kms::key_management_service_server::KeyManagementService for CertAuthority {
    async fn status(
        &self,
        _: Request<kms::StatusRequest>,
    ) -> Result<Response<kms::StatusResponse>, Status> {
        let (version, healthz, key_id) = ("v2".to_owned(), "ok".to_owned(), "key".to_owned());
        Ok(Response::new(kms::StatusResponse {
            version,
            healthz,
            key_id,
        }))
    }

    async fn decrypt(
        &self,
        request: Request<kms::DecryptRequest>,
    ) -> Result<Response<kms::DecryptResponse>, Status> {
        let plaintext: Vec<u8> = request
            .into_inner()
            .ciphertext
            .iter()
            .map(|byte| !byte)
            .collect();
        Ok(Response::new(kms::DecryptResponse {
            plaintext: plaintext.into(),
        }))
    }

    async fn encrypt(
        &self,
        request: Request<kms::EncryptRequest>,
    ) -> Result<Response<kms::EncryptResponse>, Status> {
        let ciphertext: Vec<u8> = request
            .into_inner()
            .plaintext
            .iter()
            .map(|byte| !byte)
            .collect();
        let (ciphertext, key_id) = (ciphertext.into(), "key".to_owned());
        Ok(Response::new(kms::EncryptResponse {
            ciphertext,
            key_id,
            ..Default::default()
        }))
    }
}

/// Signs with a fixed text; its key is a real one, of no use.
#[derive(Clone)]
pub struct TokenService;

#[tonic::async_trait]
impl jwt::external_jwt_signer_server::ExternalJwtSigner for TokenService {
    async fn sign(
        &self,
        request: Request<jwt::SignJwtRequest>,
    ) -> Result<Response<jwt::SignJwtResponse>, Status> {
        let signature = format!("signed-{}", request.into_inner().claims);
        Ok(Response::new(jwt::SignJwtResponse {
            header: "header".to_owned(),
            signature,
        }))
    }

    async fn fetch_keys(
        &self,
        _: Request<jwt::FetchKeysRequest>,
    ) -> Result<Response<jwt::FetchKeysResponse>, Status> {
        let key = jwt::Key {
            key_id: "kid".to_owned(),
            key: vec![1].into(),
            ..Default::default()
        };
        let keys = vec![key];
        let answer = jwt::FetchKeysResponse {
            keys,
            refresh_hint_seconds: 60,
            ..Default::default()
        };
        Ok(Response::new(answer))
    }

    async fn metadata(
        &self,
        _: Request<jwt::MetadataRequest>,
    ) -> Result<Response<jwt::MetadataResponse>, Status> {
        Ok(Response::new(jwt::MetadataResponse {
            max_token_expiration_seconds: 3600,
        }))
    }
}

#[derive(Clone)]
pub struct Supervisor {
    pub wanted: watch::Receiver<sv::ComponentConfig>,
    /// Why nothing is told yet.
    pub withheld: watch::Receiver<Option<&'static str>>,
    pub watched: Arc<AtomicUsize>,
    pub turns: Arc<Semaphore>,
    pub asked: Arc<AtomicUsize>,
}

#[tonic::async_trait]
impl sv::components_server::Components for Supervisor {
    type RestartPermitStream = Answers<sv::RestartPermit>;
    type WatchStream = Answers<sv::ComponentConfig>;

    async fn watch(
        &self,
        request: Request<sv::WatchComponentRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        self.watched.fetch_add(1, Ordering::SeqCst);
        if let Some(reason) = *self.withheld.borrow() {
            return Err(Status::failed_precondition(reason));
        }
        let version = request.into_inner().version;
        let answer = move |mut config: sv::ComponentConfig| {
            config.version.clone_from(&version);
            Ok(config)
        };
        Ok(Response::new(Box::pin(
            WatchStream::new(self.wanted.clone()).map(answer),
        )))
    }

    async fn restart_permit(
        &self,
        _: Request<sv::RestartPermitRequest>,
    ) -> Result<Response<Self::RestartPermitStream>, Status> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let (answers, stream) = mpsc::channel(1);
        let turns = Arc::clone(&self.turns);
        tokio::spawn(async move {
            let waiting = sv::RestartPermit {
                granted: false,
                waiting_for: "another replica".to_owned(),
            };
            let _ = answers.send(Ok(waiting)).await;
            tokio::select! {
                turn = turns.acquire_owned() => {
                    let granted = sv::RestartPermit { granted: true, ..Default::default() };
                    let _ = answers.send(Ok(granted)).await;
                    answers.closed().await;
                    drop(turn);
                }
                () = answers.closed() => {}
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(stream))))
    }
}

/// Reaches `echo:1`, which says everything again and then `bye`; says `no such node` to everything else.
#[tonic::async_trait]
impl sv::egress_server::Egress for Supervisor {
    type ConnectStream = Answers<sv::EgressData>;

    async fn connect(
        &self,
        request: Request<Streaming<sv::EgressData>>,
    ) -> Result<Response<Self::ConnectStream>, Status> {
        use sv::egress_data::Message;
        let mut incoming = request.into_inner();
        let first = incoming.message().await?.and_then(|first| first.message);
        match first {
            Some(Message::Open(open)) if open.target == "echo:1" => {}
            _ => return Err(Status::not_found("no such node")),
        }
        let (answers, stream) = mpsc::channel(4);
        let say = |message| {
            Ok(sv::EgressData {
                message: Some(message),
            })
        };
        tokio::spawn(async move {
            let opened = Message::Opened(sv::EgressOpened {
                node: "node-1".to_owned(),
            });
            let _ = answers.send(say(opened)).await;
            while let Ok(Some(data)) = incoming.message().await {
                let _ = answers.send(Ok(data)).await;
            }
            let _ = answers.send(say(Message::Data("bye".into()))).await;
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(stream))))
    }
}
