//! cert-authority, token-service and supervisor as a runner sees them.

mod fakes;

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    pin::pin,
    sync::{Arc, atomic::AtomicUsize},
    task::Poll,
    time::Duration,
};

use sextant_identity::{ClientAuth, ServiceName, serve_grpc};
use sextant_kit::{Context, Drain, DrainTrigger};
use sextant_proto::{
    certauthority::cert_authority_server::CertAuthorityServer,
    externaljwt::external_jwt_signer_server::ExternalJwtSignerServer,
    kms::key_management_service_server::KeyManagementServiceServer,
    supervisor::{
        ComponentConfig, ComponentFile, components_server::ComponentsServer,
        egress_server::EgressServer,
    },
};
use sextant_runner::{
    app,
    config::{Component, Config},
};
use sextant_testkit::Root;
use tokio::{
    net::TcpListener,
    sync::{Semaphore, watch},
    task::JoinHandle,
};
use tonic::service::Routes;

pub use fakes::{CertAuthority, Supervisor, TokenService};

/// What surrounds a runner.
pub struct Surroundings {
    pub root: Root,
    pub folder: tempfile::TempDir,
    pub cert_authority: SocketAddr,
    pub supervisor: SocketAddr,
    pub token_service: SocketAddr,
    /// What `Components.Watch` says.
    pub wanted: watch::Sender<ComponentConfig>,
    /// Why it says nothing yet.
    pub withheld: watch::Sender<Option<&'static str>>,
    /// How often its configuration was asked for.
    pub watched: Arc<AtomicUsize>,
    /// Turns to restart that the supervisor has left to give.
    pub turns: Arc<Semaphore>,
    /// How often a turn was asked for.
    pub asked: Arc<AtomicUsize>,
    stop_supervisor: DrainTrigger,
    stop_token_service: DrainTrigger,
    stop_cert_authority: DrainTrigger,
}

impl Drop for Surroundings {
    fn drop(&mut self) {
        self.stop_supervisor.start();
        self.stop_token_service.start();
        self.stop_cert_authority.start();
    }
}

impl Surroundings {
    pub async fn new(first: ComponentConfig) -> Self {
        let root = Root::new();
        let wanted = watch::Sender::new(first);
        let (withheld, watched) = (watch::Sender::new(None), Arc::default());
        let (turns, asked) = (Arc::new(Semaphore::new(0)), Arc::default());
        let supervisor = Supervisor {
            wanted: wanted.subscribe(),
            withheld: withheld.subscribe(),
            watched: Arc::clone(&watched),
            turns: Arc::clone(&turns),
            asked: Arc::clone(&asked),
        };
        let routes = Routes::new(ComponentsServer::new(supervisor.clone()))
            .add_service(EgressServer::new(supervisor));
        let (supervisor, stop_supervisor) = serve(&root, ServiceName::Supervisor, routes).await;
        let routes = Routes::new(ExternalJwtSignerServer::new(TokenService));
        let (token_service, stop_token_service) =
            serve(&root, ServiceName::TokenService, routes).await;
        let issuer = CertAuthority { root: root.clone() };
        let routes = Routes::new(CertAuthorityServer::new(issuer.clone()))
            .add_service(KeyManagementServiceServer::new(issuer));
        let (cert_authority, stop_cert_authority) =
            serve(&root, ServiceName::CertAuthority, routes).await;
        Self {
            root,
            folder: tempfile::tempdir().unwrap(),
            cert_authority,
            supervisor,
            token_service,
            wanted,
            withheld,
            watched,
            turns,
            asked,
            stop_supervisor,
            stop_token_service,
            stop_cert_authority,
        }
    }

    /// Supervisor and token-service go away for good.
    pub fn stop_others(&self) {
        self.stop_supervisor.start();
        self.stop_token_service.start();
    }

    pub fn run_folder(&self) -> PathBuf {
        self.folder.path().join("run")
    }

    pub fn config(&self, program: &Path) -> Config {
        let state_folder = self.folder.path().join("state");
        std::fs::create_dir_all(&state_folder).unwrap();
        Config {
            component: Component::KubeApiserver,
            program: Some(program.to_owned()),
            listen: ([127, 0, 0, 1], 0).into(),
            supervisor: self.supervisor.to_string(),
            token_service: self.token_service.to_string(),
            enroll: sextant_identity::EnrollConfig {
                cert_authority: self.cert_authority.to_string(),
                ..Default::default()
            },
            run_folder: self.run_folder(),
            state_folder,
            patience_seconds: 1,
            grace_seconds: 5,
            ..Config::default()
        }
    }

    /// A runner of `program`.
    pub fn run(&self, program: &Path) -> Running {
        self.run_with(self.config(program))
    }

    /// A runner with this configuration.
    pub fn run_with(&self, config: Config) -> Running {
        let mesh = self.root.mesh(ServiceName::KubeApiserver);
        let mesh = mesh.with_cert_authority(&self.cert_authority.to_string());
        let (ctx, trigger) = Context::new();
        let task = ctx.clone();
        // Nobody is ready who hasn't said yet what to wait for.
        let beginning = ctx.readiness.task("beginning");
        let task = tokio::spawn(async move {
            let mut run = pin!(app::run(config, mesh, &task));
            let polled = futures::poll!(&mut run);
            beginning.ready();
            match polled {
                Poll::Ready(ended) => ended,
                Poll::Pending => run.await,
            }
        });
        Running { ctx, trigger, task }
    }
}

/// A runner in process.
pub struct Running {
    pub ctx: Context,
    trigger: DrainTrigger,
    task: JoinHandle<Result<(), sextant_runner::error::Error>>,
}

impl Running {
    pub async fn ready(&self) {
        let ready = self.ctx.readiness.ready();
        let waited = tokio::time::timeout(Duration::from_secs(30), ready).await;
        waited.unwrap_or_else(|_| panic!("not ready: {:?}", self.ctx.readiness.waiting()));
    }

    /// Stops it as SIGTERM would.
    pub async fn stop(self) {
        self.trigger.start();
        let ended = tokio::time::timeout(Duration::from_secs(20), self.task).await;
        ended
            .expect("the runner ends within 20 s")
            .unwrap()
            .unwrap();
    }
}

async fn serve(root: &Root, name: ServiceName, routes: Routes) -> (SocketAddr, DrainTrigger) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let tls = root.mesh(name).server_tls(ClientAuth::Required);
    let (drain, trigger) = Drain::new();
    tokio::spawn(serve_grpc(listener, tls, routes, drain));
    (address, trigger)
}

/// A configuration of kube-apiserver.
pub fn config(arguments: Vec<String>, files: &[(&str, &str, bool)]) -> ComponentConfig {
    let files: Vec<_> = files
        .iter()
        .map(|(path, content, reloads)| ComponentFile {
            path: (*path).to_owned(),
            content: content.as_bytes().to_vec().into(),
            reloads: *reloads,
        })
        .collect();
    let digest = format!("{arguments:?} {files:?}");
    ComponentConfig {
        component: "kube-apiserver".to_owned(),
        digest,
        arguments,
        files,
        version: String::new(),
    }
}
