//! token-service as a service.

use std::{net::SocketAddr, sync::Arc};

use sextant_identity::{ClientAuth, Identity, Mesh, Peer, ServiceName, serve_grpc};
use sextant_kit::{
    Context, Service,
    backoff::{Backoff, retry},
};
use sextant_proto::{
    externaljwt::external_jwt_signer_server::ExternalJwtSignerServer,
    tokenservice::join_tokens_server::JoinTokensServer,
};
use tokio::net::TcpListener;
use tonic::service::Routes;

use crate::{
    cleaning,
    clock::Clock,
    config::Config,
    datastore,
    domain::claims::ClaimsPolicy,
    grpc::{JoinTokensService, SignerService},
    keys::Keys,
    metrics::TokenMetrics,
    store::{CertAuthoritySeal, EtcdKv, Kv, Seal, Secrets, Tokens},
};

/// The least that kube-apiserver accepts as the longest life of a token, in seconds.
const SHORTEST_MAX: i64 = 600;

/// `token-service`.
#[derive(Debug)]
pub struct TokenService;

impl Service for TokenService {
    const NAME: &'static str = "token-service";
    type Config = Config;

    async fn run(config: Config, ctx: Context) -> anyhow::Result<()> {
        let listener = sextant_kit::net::bind(config.listen).await?;
        match start(config, listener, &ctx).await {
            // Whatever was waited for won't come any more: that is no failure.
            Err(_) if ctx.drain.is_draining() => Ok(()),
            ended => ended,
        }
    }
}

async fn start(config: Config, listener: TcpListener, ctx: &Context) -> anyhow::Result<()> {
    anyhow::ensure!(
        config.max_service_account_token_seconds >= SHORTEST_MAX,
        "max_service_account_token_seconds is {}: kube-apiserver needs at least {SHORTEST_MAX}",
        config.max_service_account_token_seconds
    );
    let identity = Identity::from(ServiceName::TokenService);
    let mesh = Mesh::enroll(&config.enroll, identity, ctx).await?;
    let kv = EtcdKv::new(mesh.datastore_client(&config.datastore, ctx).await?);
    let cert_authority = Peer::Service(ServiceName::CertAuthority);
    let seal = CertAuthoritySeal::new(mesh.channel(&config.enroll.cert_authority, cert_authority));
    let bound = Bound {
        config,
        listener,
        mesh,
        kv,
        seal,
        clock: Clock::system(),
    };
    bound.run(ctx).await
}

/// A service whose listener is bound and whose neighbours are known.
#[derive(Debug)]
pub struct Bound<K, S> {
    /// Its configuration.
    pub config: Config,
    /// Where it will serve.
    pub listener: TcpListener,
    /// Who it is.
    pub mesh: Mesh,
    /// Where state is.
    pub kv: K,
    /// What opens keys.
    pub seal: S,
    /// The time.
    pub clock: Clock,
}

impl<K: Kv, S: Seal> Bound<K, S> {
    /// Where it serves.
    pub fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Waits for the keys, then serves until the drain.
    pub async fn run(self, ctx: &Context) -> anyhow::Result<()> {
        let Self {
            config,
            listener,
            mesh,
            kv,
            seal,
            clock,
        } = self;
        let metrics = TokenMetrics::register(&ctx.metrics);
        let task = ctx.readiness.task("keys");
        ctx.readiness.started();
        let secrets = Secrets::new(kv.clone(), seal);
        let load = || Keys::load(&secrets, clock.unix());
        let loaded = retry("loading keys", &task, Backoff::default(), &ctx.drain, load).await;
        let Some(keys) = loaded.map(Arc::new) else {
            return Ok(());
        };
        tracing::info!(kid = keys.signing.id, "keys loaded");
        let reachable = ctx.readiness.task("datastore");
        reachable.ready();
        ctx.drain.spawn(datastore::watch(kv.clone(), reachable));

        let tokens = Tokens::new(kv);
        let cleaning = cleaning::run(tokens.clone(), clock.clone(), metrics.clone());
        ctx.drain.spawn(cleaning);
        let join_tokens = JoinTokensService::new(
            tokens,
            keys.clone(),
            mesh.trust(),
            config.allow_tokens_without_ca_hash,
            clock.clone(),
            metrics.clone(),
        );
        let policy = Arc::new(ClaimsPolicy {
            issuer: config.service_account_issuer,
            max_seconds: config.max_service_account_token_seconds,
        });
        let signer = SignerService {
            keys,
            policy,
            clock,
            metrics,
        };
        let routes = Routes::new(JoinTokensServer::new(join_tokens))
            .add_service(ExternalJwtSignerServer::new(signer))
            .add_service(sextant_kit::telemetry::server());
        task.ready();
        let tls = mesh.server_tls(ClientAuth::Required);
        Ok(serve_grpc(listener, tls, routes, ctx.drain.clone()).await?)
    }
}
