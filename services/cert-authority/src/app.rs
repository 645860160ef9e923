//! Putting the parts together: build, bind, run.

mod hosted;
mod keep;
mod settings;

use crate::audit::Audit;
use crate::clock::Clock;
use crate::config::Config;
use crate::domain::enrolment::EnrolmentTokens;
use crate::domain::keyring::Keyring;
use crate::domain::kms::KeyEncryption;
use crate::domain::policy::Policy;
use crate::domain::rate::Attempts;
use crate::domain::seal::Sealer;
use crate::error::Error;
use crate::grpc::{self, Certificates, Enrolment, Kms, Sealing};
use crate::issuer::Issuer;
use crate::metrics::Metrics;
use crate::store::bootstrap::Bootstrap;
use crate::store::folder::StateLock;
use crate::store::issued::IssuedLog;
use hosted::Hosted;
use sextant_identity::{
    Authority, ClientAuth, Identity, Mesh, ServiceName, TrustBundle, serve_grpc,
};
use sextant_kit::{Context, Service, net};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Instant;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tonic::service::Routes;

/// The service.
pub struct App;

impl Service for App {
    const NAME: &'static str = "cert-authority";
    type Config = Config;

    async fn run(config: Config, ctx: Context) -> anyhow::Result<()> {
        let drain = ctx.drain.clone();
        let served = async {
            match drain.run(Bound::bind(config, ctx, Clock::system())).await {
                Some(bound) => bound?.run().await,
                None => Ok(()),
            }
        };
        // Our errors' texts hold their causes already.
        served.await.map_err(|error| anyhow::anyhow!("{error}"))
    }
}

/// A cert-authority whose state is open and whose listener is bound.
pub struct Bound {
    listener: TcpListener,
    mesh: Mesh,
    routes: Routes,
    ctx: Context,
    _lock: StateLock,
}

impl Bound {
    /// Opens the state (making it on first start), binds the listener and starts what is kept fresh. Waits, and
    /// says so on `/readyz`, while another process has the state or the clock is behind.
    pub async fn bind(config: Config, ctx: Context, clock: Clock) -> Result<Self, Error> {
        let identities = settings::identities(&config)?;
        let policy = Policy::new(&config)?;
        let hosted = Hosted::new(&config).await?;
        let listener = net::bind(config.listen).await?;
        let lock = keep::state_lock(&config.state_folder, &ctx).await?;
        let (state, seal) = hosted::stores(&config, hosted.as_ref());
        let keyring = Arc::new(keep::keyring(&*state, &*seal, &clock, &ctx).await?);
        keep::clock(keyring.valid_from(), clock.clone(), &ctx).await;

        let log = open_log(&config).await?;
        let metrics = Metrics::new(&ctx.metrics);
        for authority in Authority::ALL {
            metrics.authority(keyring.authority(authority));
        }
        let audit = Audit::new(metrics);
        let issuer = Issuer::new(
            Arc::clone(&keyring),
            policy,
            log,
            clock.clone(),
            audit.clone(),
        );
        let (trust_sender, trust) = watch::channel(Arc::new(trust_bundle(&keyring)));
        let credentials =
            keep::own_certificate(issuer.clone(), clock.clone(), &ctx, trust_sender).await?;
        let mesh = Mesh::from_parts(
            Identity::Service(ServiceName::CertAuthority),
            credentials,
            trust.clone(),
        );
        mesh.secure_telemetry();

        let tokens = EnrolmentTokens::new(&keyring.enrolment_key, keyring.trust_domain.clone());
        let anchor = trust.borrow().mesh_pem();
        let volumes = keep::Enrolment::new(&config.enrolment, identities, &tokens, anchor, &ctx);
        ctx.drain.spawn(volumes.keep(clock.clone()));
        if let Some(hosted) = &hosted {
            let task = ctx.readiness.task("published anchors");
            ctx.drain.spawn(hosted.clone().publish(trust.clone(), task));
        }
        let enrolment = Enrolment {
            audit: audit.clone(),
            tokens,
            reviews: hosted.as_ref().map(Hosted::reviews),
            attempts: Mutex::new(Attempts::new(settings::rate(&config), Instant::now())),
            clock: clock.clone(),
        };
        let certificates = Certificates {
            issuer,
            audit: audit.clone(),
            enrolment,
            bootstrap: Bootstrap::new(state),
            trust,
            clock,
            drain: ctx.drain.clone(),
        };
        let sealer = Sealer::new(keyring.seal_master.clone(), keyring.trust_domain.clone());
        let kms = KeyEncryption::new(keyring.key_encryption_key.clone());
        let routes = grpc::routes(
            certificates,
            Sealing::new(sealer, audit.clone()),
            Kms::new(kms, audit),
        );
        ctx.readiness.started();
        Ok(Self {
            listener,
            mesh,
            routes,
            ctx,
            _lock: lock,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Its mesh identity.
    pub fn mesh(&self) -> &Mesh {
        &self.mesh
    }

    /// Serves until drained.
    pub async fn run(self) -> Result<(), Error> {
        let tls = self.mesh.server_tls(ClientAuth::Optional);
        serve_grpc(self.listener, tls, self.routes, self.ctx.drain).await?;
        Ok(())
    }
}

async fn open_log(config: &Config) -> Result<IssuedLog, Error> {
    let state = config.state_folder.clone();
    tokio::task::spawn_blocking(move || IssuedLog::open(&state))
        .await
        .map_err(|_| Error::Stopping)?
}

fn trust_bundle(keyring: &Keyring) -> TrustBundle {
    let anchors = |authority| vec![keyring.authority(authority).certificate.clone()];
    TrustBundle {
        trust_domain: keyring.trust_domain.clone(),
        generation: keyring.generation,
        mesh: anchors(Authority::Mesh),
        cluster_server: anchors(Authority::ClusterServer),
        cluster_client: anchors(Authority::ClusterClient),
        request_header: anchors(Authority::RequestHeader),
        datastore: anchors(Authority::Datastore),
    }
}
