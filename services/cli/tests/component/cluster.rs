//! A cluster in this process: `/v1/enroll` and the Admin service over testkit's authorities, on port 0.

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use axum::{Json, Router};
use sextant_cli::Error;
use sextant_cli::app::{Host, run};
use sextant_cli::args::Cli;
use sextant_identity::{
    Authority, ClientAuth, Identity, Limits, ServerTls, ServiceName, serve_http,
};
use sextant_kit::{Context, DrainTrigger};
use sextant_proto::join::{AdminEnrollRequest, AdminEnrollResponse, ErrorBody};
use sextant_proto::supervisor::admin_server::AdminServer;
use sextant_testkit::Root;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use time::OffsetDateTime;

/// The fake cluster with a home folder for its administrator.
pub struct Cluster {
    pub address: String,
    pub home: tempfile::TempDir,
    served: Arc<Served>,
    drain: DrainTrigger,
    _runtime: tokio::runtime::Runtime,
}

/// What one run of the program came to.
pub struct Outcome {
    pub result: Result<u8, Error>,
    pub out: String,
    pub err: String,
}

/// What answers, and what it was asked.
pub(super) struct Served {
    pub(super) root: Root,
    calls: Mutex<Vec<String>>,
    /// The ServiceAccount token that was shown last.
    account: Mutex<String>,
}

impl Cluster {
    /// Starts one on a free port.
    pub fn start() -> Self {
        Self::start_at("127.0.0.1:0", tempfile::tempdir().unwrap())
    }

    /// Stops it and starts another one, with other authorities, at the same address and home.
    pub fn made_anew(self) -> Self {
        let Self {
            address,
            home,
            drain,
            _runtime,
            ..
        } = self;
        drain.start();
        _runtime.block_on(drain.finished());
        drop(_runtime);
        Self::start_at(&address, home)
    }

    fn start_at(address: &str, home: tempfile::TempDir) -> Self {
        let served = Arc::new(Served {
            root: Root::new(),
            calls: Mutex::default(),
            account: Mutex::default(),
        });
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let (context, drain) = Context::new();
        let (listener, tls) = runtime.block_on(async {
            let mesh = served.root.mesh(ServiceName::Supervisor);
            let listener = tokio::net::TcpListener::bind(address).await.unwrap();
            (listener, mesh.server_tls(ClientAuth::Optional))
        });
        let address = listener.local_addr().unwrap().to_string();
        runtime.spawn(serve(listener, tls, Arc::clone(&served), context));
        let cluster = Self {
            address,
            home,
            served,
            drain,
            _runtime: runtime,
        };
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/docker.sh");
        // It is there already when the cluster was made anew.
        let _ = std::os::unix::fs::symlink(script, cluster.home.path().join("docker"));
        let enrol = cluster.home.path().join("volume");
        std::fs::create_dir_all(&enrol).unwrap();
        std::fs::write(enrol.join("token"), "good\n").unwrap();
        std::fs::write(
            enrol.join("ca.pem"),
            cluster.served.root.bundle().mesh_pem(),
        )
        .unwrap();
        cluster
    }

    /// The calls since the last look.
    pub fn calls(&self) -> Vec<String> {
        std::mem::take(&mut self.served.calls.lock().unwrap())
    }

    /// The ServiceAccount token that was shown last.
    pub fn account(&self) -> String {
        self.served.account.lock().unwrap().clone()
    }

    pub fn state(&self, file: &str) -> PathBuf {
        self.home.path().join("state/default").join(file)
    }

    /// Runs the program, enrolling through a stand-in for `docker`.
    pub fn sextant(&self, line: &str) -> Outcome {
        self.sextant_at(line, OffsetDateTime::now_utc())
    }

    /// The same at another time.
    pub fn sextant_at(&self, line: &str, now: OffsetDateTime) -> Outcome {
        self.run(&format!("sextant --server {} {line}", self.address), now)
    }

    /// One that isn't told the server's address.
    pub fn run(&self, line: &str, now: OffsetDateTime) -> Outcome {
        let docker = self.home.path().join("docker");
        let cli = <Cli as clap::Parser>::try_parse_from(line.split_whitespace()).unwrap();
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let result = run(
            cli,
            Host {
                docker,
                state_home: Some(self.home.path().join("state")),
                program: Path::new("/usr/local/bin/sextant").to_owned(),
                now,
                screen: None,
                out: &mut out,
                err: &mut err,
            },
        );
        Outcome {
            result,
            out: String::from_utf8(out).unwrap(),
            err: String::from_utf8(err).unwrap(),
        }
    }
}

impl Outcome {
    /// The exit code of a run that didn't fail.
    pub fn code(&self) -> u8 {
        match &self.result {
            Ok(code) => *code,
            Err(error) => panic!("failed: {error}"),
        }
    }

    /// The message of a run that failed.
    pub fn message(&self) -> String {
        match &self.result {
            Ok(code) => panic!("ended with {code}: {}", self.out),
            Err(error) => error.to_string(),
        }
    }
}

async fn serve(
    listener: tokio::net::TcpListener,
    tls: ServerTls,
    served: Arc<Served>,
    context: Context,
) {
    let routes = tonic::service::Routes::new(AdminServer::from_arc(Arc::clone(&served)));
    let app = Router::new()
        .route("/v1/enroll", post(enroll))
        .with_state(served)
        .merge(routes.prepare().into_axum_router());
    serve_http(listener, tls, app, Limits::default(), context.drain)
        .await
        .unwrap();
}

async fn enroll(
    State(served): State<Arc<Served>>,
    Json(request): Json<AdminEnrollRequest>,
) -> Result<Json<AdminEnrollResponse>, (StatusCode, Json<ErrorBody>)> {
    served.note("Enroll");
    // cert-authority would have the hosting cluster review it.
    let account = request.token.split('.').count() == 3;
    if account {
        served.account.lock().unwrap().clone_from(&request.token);
    }
    if request.token != "good" && !account {
        let body = ErrorBody {
            code: "token_expired".into(),
            message: "the enrolment token has expired".into(),
        };
        return Err((StatusCode::UNAUTHORIZED, Json(body)));
    }
    let (certificate, _) = served.sign(Authority::Mesh, &request.csr);
    Ok(Json(AdminEnrollResponse {
        certificate,
        trust: (&*served.root.bundle()).into(),
    }))
}

impl Served {
    pub(super) fn note(&self, call: &str) {
        self.calls.lock().unwrap().push(call.to_owned());
    }

    /// Signs the request's key for `admin`.
    pub(super) fn sign(&self, authority: Authority, csr: &str) -> (String, i64) {
        let (certificate, key) = self.root.authority(authority);
        let key = rcgen::KeyPair::from_pem(&key.private_key_pem()).unwrap();
        let issuer = rcgen::Issuer::from_ca_cert_der(&certificate, key).unwrap();
        let mut wanted = rcgen::CertificateSigningRequestParams::from_pem(csr).unwrap();
        let uri = Identity::Admin.to_uri(self.root.trust_domain());
        wanted.params.subject_alt_names = vec![rcgen::SanType::URI(uri.try_into().unwrap())];
        let now = OffsetDateTime::now_utc();
        wanted.params.not_before = now - Duration::from_secs(30);
        wanted.params.not_after = now + Duration::from_secs(24 * 3_600);
        let not_after = wanted.params.not_after.unix_timestamp();
        (wanted.signed_by(&issuer).unwrap().pem(), not_after)
    }
}

impl fmt::Debug for Served {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Served")
    }
}
