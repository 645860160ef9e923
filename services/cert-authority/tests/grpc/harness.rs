//! A cert-authority in process, on port 0, with a clock that tests move, and clients with real certificates.

use cert_authority::app::Bound;
use cert_authority::clock::Clock;
use cert_authority::config::Config;
use sextant_identity::{Channel, Credentials, Identity, KeyPair, Mesh, ServiceName, TrustBundle};
use sextant_kit::{Context, DrainTrigger};
use sextant_proto::certauthority::cert_authority_client::CertAuthorityClient;
use sextant_proto::certauthority::{EnrollRequest, EnrollResponse};
use sextant_testkit::eventually;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tonic::Status;

pub const DEADLINE: Duration = Duration::from_secs(20);

/// Its volumes; they outlive the process.
pub struct Volumes {
    root: tempfile::TempDir,
}

impl Volumes {
    pub fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        for folder in ["state", "seal"] {
            std::fs::create_dir(root.path().join(folder)).unwrap();
        }
        for identity in enrolling() {
            std::fs::create_dir_all(root.path().join("enrol").join(identity)).unwrap();
        }
        Self { root }
    }

    pub fn path(&self) -> &Path {
        self.root.path()
    }

    pub fn enrolment(&self, identity: &Identity) -> PathBuf {
        let name = identity.service().map_or("admin", ServiceName::as_str);
        self.path().join("enrol").join(name)
    }

    pub fn config(&self) -> Config {
        let mut config = Config {
            listen: "127.0.0.1:0".parse().unwrap(),
            state_folder: self.path().join("state"),
            seal_folder: self.path().join("seal"),
            ..Config::default()
        };
        config.enrolment.folder = self.path().join("enrol");
        config.enrolment.identities = Some(enrolling());
        config.enrolment.attempts_burst = 100_000;
        config.apiserver.names = vec!["api.example.org".into(), "203.0.113.9".into()];
        config.datastore.names = vec!["etcd.example.org".into()];
        config
    }
}

fn enrolling() -> Vec<String> {
    let services = ServiceName::ALL.iter().map(|name| name.as_str().to_owned());
    services.chain(["admin".to_owned()]).collect()
}

/// A running cert-authority.
pub struct Running {
    pub address: String,
    pub ctx: Context,
    pub own: Mesh,
    offset: Arc<AtomicI64>,
    trigger: DrainTrigger,
    task: JoinHandle<()>,
}

impl Running {
    pub async fn start(volumes: &Volumes) -> Self {
        Self::start_with(volumes.config()).await
    }

    pub async fn start_with(config: Config) -> Self {
        let offset = Arc::new(AtomicI64::new(0));
        let (ctx, trigger) = Context::new();
        let clock = moved_clock(&offset);
        let bound = Bound::bind(config, ctx.clone(), clock).await.unwrap();
        let address = bound.address().unwrap().to_string();
        let own = bound.mesh().clone().with_cert_authority(&address);
        let task = tokio::spawn(async move { bound.run().await.unwrap() });
        let running = Self {
            address,
            ctx,
            own,
            offset,
            trigger,
            task,
        };
        running.ready().await;
        running
    }

    pub async fn ready(&self) {
        eventually(DEADLINE, "cert-authority is ready", || async {
            let waiting = self.ctx.readiness.waiting();
            if waiting.is_empty() {
                Ok(())
            } else {
                Err(waiting)
            }
        })
        .await;
    }

    /// Moves its clock, not the clients'.
    pub fn set_clock(&self, seconds_ahead: i64) {
        self.offset.store(seconds_ahead, Ordering::Relaxed);
    }

    pub async fn stop(self) {
        self.trigger.start();
        self.task.await.unwrap();
    }

    pub fn token(&self, volumes: &Volumes, identity: &Identity) -> String {
        std::fs::read_to_string(volumes.enrolment(identity).join("token")).unwrap()
    }

    /// Enrols by hand.
    pub async fn enroll(&self, token: &str, csr: Vec<u8>) -> Result<EnrollResponse, Status> {
        let request = EnrollRequest {
            token: token.to_owned(),
            csr: csr.into(),
        };
        Ok(self
            .own
            .cert_authority()
            .enroll(request)
            .await?
            .into_inner())
    }

    /// The mesh of `identity`, enrolled with the token of its volume.
    pub async fn mesh(&self, volumes: &Volumes, identity: &Identity) -> Mesh {
        let key = KeyPair::generate().unwrap();
        let token = self.token(volumes, identity);
        let answer = self.enroll(&token, key.csr_der().unwrap()).await.unwrap();
        let trust = TrustBundle::try_from(answer.trust.unwrap()).unwrap();
        self.mesh_of(identity.clone(), answer.chain, key, trust)
    }

    pub fn mesh_of(
        &self,
        identity: Identity,
        chain: Vec<bytes::Bytes>,
        key: KeyPair,
        trust: TrustBundle,
    ) -> Mesh {
        let chain = chain.into_iter().map(|der| der.to_vec().into()).collect();
        let credentials = Credentials::new(chain, key).unwrap();
        let (_, credentials) = watch::channel(Arc::new(credentials));
        let (_, trust) = watch::channel(Arc::new(trust));
        Mesh::from_parts(identity, credentials, trust).with_cert_authority(&self.address)
    }

    pub async fn client(
        &self,
        volumes: &Volumes,
        service: ServiceName,
    ) -> CertAuthorityClient<Channel> {
        self.mesh(volumes, &Identity::Service(service))
            .await
            .cert_authority()
    }
}

fn moved_clock(offset: &Arc<AtomicI64>) -> Clock {
    let (offset, system) = (Arc::clone(offset), Clock::system());
    Clock::new(move || system.now() + offset.load(Ordering::Relaxed))
}
