//! A supervisor as far as a node sees it: real TLS, real certificates, scripted answers.

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use axum::extract::{Extension, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::{get, post};
use axum::{Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{CertificateSigningRequestParams, PublicKeyData, SubjectPublicKeyInfo};
use sextant_identity::{
    Authority, ClientAuth, Identity, Limits, PeerInfo, ServiceName, serve_http,
};
use sextant_kit::{Drain, DrainTrigger};
use sextant_proto::join::{
    ErrorBody, JoinRequest, JoinResponse, RejoinNonce, RejoinRequest, rejoin_message,
};
use sextant_proto::supervisor::node_session_server::{NodeSession, NodeSessionServer};
use sextant_proto::supervisor::{
    NodeCertificateRequests, NodeCertificates, NodeInstruction, NodeReport, NodeSettings,
    TunnelData,
};
use sextant_testkit::Root;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

type Refusal = (StatusCode, Json<ErrorBody>);

/// The supervisor's state, for tests to set and to look at.
#[derive(Clone)]
pub(crate) struct Supervisor {
    pub(crate) root: Root,
    pub(crate) address: String,
    inner: Arc<Mutex<Inner>>,
    instructions: Arc<tokio::sync::Mutex<mpsc::Receiver<Result<NodeInstruction, Status>>>>,
    pub(crate) instruct: mpsc::Sender<Result<NodeInstruction, Status>>,
    reports: mpsc::Sender<NodeReport>,
    tunnels: mpsc::Sender<Tunnel>,
    _drain: Arc<DrainTrigger>,
}

struct Inner {
    life: Duration,
    refuse: Option<&'static str>,
    joins: usize,
    rejoins: usize,
    renewals: usize,
}

/// A tunnel stream that the node opened.
pub(crate) struct Tunnel {
    pub(crate) id: String,
    pub(crate) up: Streaming<TunnelData>,
    pub(crate) down: mpsc::Sender<Result<TunnelData, Status>>,
}

/// What the node sent.
pub(crate) struct Seen {
    pub(crate) reports: mpsc::Receiver<NodeReport>,
    pub(crate) tunnels: mpsc::Receiver<Tunnel>,
}

impl Supervisor {
    pub(crate) async fn start() -> (Self, Seen) {
        let root = Root::new();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (drain, trigger) = Drain::new();
        let (instruct, instructions) = mpsc::channel(8);
        let (reports, seen_reports) = mpsc::channel(64);
        let (tunnels, seen_tunnels) = mpsc::channel(8);
        let life = Duration::from_secs(3600);
        let inner = Inner {
            life,
            refuse: None,
            joins: 0,
            rejoins: 0,
            renewals: 0,
        };
        let supervisor = Self {
            root: root.clone(),
            address: listener.local_addr().unwrap().to_string(),
            inner: Arc::new(Mutex::new(inner)),
            instructions: Arc::new(tokio::sync::Mutex::new(instructions)),
            instruct,
            reports,
            tunnels,
            _drain: Arc::new(trigger),
        };
        let grpc = NodeSessionServer::new(supervisor.clone());
        let app = Router::new()
            .route("/cacerts", get(cacerts))
            .route("/v1/join", post(join))
            .route("/v1/rejoin/nonce", get(nonce))
            .route("/v1/rejoin", post(rejoin))
            .with_state(supervisor.clone())
            .merge(tonic::service::Routes::new(grpc).into_axum_router());
        let tls = root
            .mesh(ServiceName::Supervisor)
            .server_tls(ClientAuth::Optional);
        tokio::spawn(serve_http(listener, tls, app, Limits::default(), drain));
        (
            supervisor,
            Seen {
                reports: seen_reports,
                tunnels: seen_tunnels,
            },
        )
    }

    /// A token that this supervisor takes.
    pub(crate) fn token(&self) -> String {
        let pem = self.root.bundle().mesh_pem();
        let hash = digest(&SHA256, pem.as_bytes());
        let hash: String = hash
            .as_ref()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        format!("K10{hash}::abc123:topsecret")
    }

    pub(crate) fn set_life(&self, life: Duration) {
        self.inner.lock().unwrap().life = life;
    }

    pub(crate) fn refuse(&self, code: Option<&'static str>) {
        self.inner.lock().unwrap().refuse = code;
    }

    /// Joins, rejoins and renewals so far.
    pub(crate) fn counts(&self) -> (usize, usize, usize) {
        let inner = self.inner.lock().unwrap();
        (inner.joins, inner.rejoins, inner.renewals)
    }

    pub(crate) fn settings(&self) -> NodeSettings {
        NodeSettings {
            cluster_name: "test".into(),
            service_cidr: "10.96.0.0/16".into(),
            supervisors: vec![self.address.clone()],
            ..NodeSettings::default()
        }
    }

    fn check(&self) -> Result<(), Refusal> {
        match self.inner.lock().unwrap().refuse {
            None => Ok(()),
            Some(code) => Err(refusal(code)),
        }
    }

    fn respond(&self, name: &str, requests: &NodeCertificateRequests) -> JoinResponse {
        JoinResponse {
            certificates: self.issue(name, requests),
            trust: (&*self.root.bundle()).into(),
            settings: self.settings(),
        }
    }

    fn issue(&self, name: &str, requests: &NodeCertificateRequests) -> NodeCertificates {
        let identity = Identity::Node(name.parse().unwrap());
        let sign = |authority, csr: &str| {
            let csr = CertificateSigningRequestParams::from_pem(csr).unwrap();
            let key = csr.public_key.subject_public_key_info();
            let key = SubjectPublicKeyInfo::from_der(&key).unwrap();
            let now = SystemTime::now();
            let life = self.inner.lock().unwrap().life;
            let wish = self.root.wish(authority).identity(&identity);
            // A life of zero is over already.
            let wish = wish.valid(now - Duration::from_secs(60), now + life);
            sextant_identity::trust::certificates_to_pem(&[self.root.sign_key(wish, &key)])
        };
        NodeCertificates {
            mesh: sign(Authority::Mesh, &requests.mesh),
            kubelet_client: sign(Authority::ClusterClient, &requests.kubelet_client),
            kubelet_serving: sign(Authority::ClusterServer, &requests.kubelet_serving),
            kube_proxy: sign(Authority::ClusterClient, &requests.kube_proxy),
        }
    }
}

fn refusal(code: &str) -> Refusal {
    let message = format!("refused for the test: {code}");
    (
        StatusCode::FORBIDDEN,
        Json(ErrorBody {
            code: code.into(),
            message,
        }),
    )
}

async fn cacerts(State(supervisor): State<Supervisor>) -> String {
    supervisor.root.bundle().mesh_pem()
}

async fn join(
    State(supervisor): State<Supervisor>,
    headers: HeaderMap,
    Json(request): Json<JoinRequest>,
) -> Result<Json<JoinResponse>, Refusal> {
    supervisor.inner.lock().unwrap().joins += 1;
    supervisor.check()?;
    if headers["authorization"] != format!("Bearer {}", supervisor.token()) {
        return Err(refusal("token_unknown"));
    }
    Ok(Json(
        supervisor.respond(&request.node_name, &request.requests),
    ))
}

async fn nonce() -> Json<RejoinNonce> {
    Json(RejoinNonce {
        nonce: STANDARD.encode([7; 32]),
    })
}

async fn rejoin(
    State(supervisor): State<Supervisor>,
    Extension(peer): Extension<PeerInfo>,
    Json(request): Json<RejoinRequest>,
) -> Result<Json<JoinResponse>, Refusal> {
    supervisor.inner.lock().unwrap().rejoins += 1;
    supervisor.check()?;
    let key = STANDARD.decode(&request.public_key).unwrap();
    // The last 65 bytes of a P-256 SubjectPublicKeyInfo are the point.
    let point = &key[key.len() - 65..];
    let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, point);
    let message = rejoin_message(&[7; 32], &peer.exporter, &request.node_name);
    let signature = STANDARD.decode(&request.signature).unwrap();
    key.verify(&message, &signature)
        .map_err(|_| refusal("signature_invalid"))?;
    Ok(Json(
        supervisor.respond(&request.node_name, &request.requests),
    ))
}

#[tonic::async_trait]
impl NodeSession for Supervisor {
    type SessionStream = ReceiverStream<Result<NodeInstruction, Status>>;
    type TunnelStream = ReceiverStream<Result<TunnelData, Status>>;

    async fn session(
        &self,
        request: Request<Streaming<NodeReport>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let (send, stream) = mpsc::channel(8);
        let (instructions, reports) = (self.instructions.clone(), self.reports.clone());
        let mut from_node = request.into_inner();
        tokio::spawn(async move {
            let mut instructions = instructions.lock().await;
            loop {
                tokio::select! {
                    Some(instruction) = instructions.recv() => {
                        let end = instruction.is_err();
                        if send.send(instruction).await.is_err() || end { return }
                    }
                    report = from_node.message() => match report {
                        Ok(Some(report)) => { let _ = reports.try_send(report); }
                        _ => return,
                    },
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }

    async fn tunnel(
        &self,
        request: Request<Streaming<TunnelData>>,
    ) -> Result<Response<Self::TunnelStream>, Status> {
        let id = request
            .metadata()
            .get("sextant-tunnel-id")
            .unwrap()
            .to_str()
            .unwrap()
            .to_owned();
        let (down, stream) = mpsc::channel(8);
        let tunnel = Tunnel {
            id,
            up: request.into_inner(),
            down,
        };
        self.tunnels
            .send(tunnel)
            .await
            .map_err(|_| Status::unavailable("the test is over"))?;
        Ok(Response::new(ReceiverStream::new(stream)))
    }

    async fn renew(
        &self,
        request: Request<NodeCertificateRequests>,
    ) -> Result<Response<NodeCertificates>, Status> {
        self.inner.lock().unwrap().renewals += 1;
        Ok(Response::new(self.issue("node-1", request.get_ref())))
    }
}
