//! A `kube::Client` whose certificate and anchors renew: the connection pool is replaced whole at each change, so
//! no request ever goes out with an old certificate; watches that run on the old pool end by themselves.

use crate::domain::cluster::ClusterConfig;
use crate::error::Error;
use futures::future::BoxFuture;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{Client as Pool, Error as PoolError};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use kube::client::middleware::BaseUriLayer;
use kube::client::{Body, ClientBuilder};
use rustls::{ClientConfig, RootCertStore};
use sextant_identity::{Credentials, Leaf, TrustBundle};
use sextant_kit::Drain;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::watch;

type Connections = Pool<HttpsConnector<HttpConnector>, Body>;

/// A client with one fixed certificate.
///
/// # Errors
/// A TLS configuration that can't be made.
pub fn connect(
    cluster: &ClusterConfig,
    credentials: &Credentials,
    trust: &TrustBundle,
) -> Result<kube::Client, Error> {
    let (_, current) = watch::channel(pool(credentials, trust)?);
    client(cluster, current)
}

/// A client that follows its certificate and the anchors until drained.
///
/// # Errors
/// A TLS configuration that can't be made.
pub fn rotating(
    cluster: &ClusterConfig,
    leaf: &Leaf,
    mut trust: watch::Receiver<Arc<TrustBundle>>,
    drain: &Drain,
) -> Result<kube::Client, Error> {
    let mut credentials = leaf.credentials();
    let first = {
        let (credentials, trust) = (credentials.borrow_and_update(), trust.borrow_and_update());
        pool(&credentials, &trust)?
    };
    let (publish, current) = watch::channel(first);
    drain.spawn(async move {
        loop {
            let changed = tokio::select! {
                changed = credentials.changed() => changed,
                changed = trust.changed() => changed,
            };
            if changed.is_err() {
                return;
            }
            let next = pool(&credentials.borrow_and_update(), &trust.borrow_and_update());
            match next {
                Ok(next) => {
                    publish.send_replace(next);
                }
                Err(error) => tracing::error!(%error, "staying with the old certificate"),
            }
        }
    });
    client(cluster, current)
}

fn client(
    cluster: &ClusterConfig,
    current: watch::Receiver<Connections>,
) -> Result<kube::Client, Error> {
    let base = format!("https://{}", cluster.api.internal)
        .parse()
        .map_err(|error| {
            Error::Config(format!("api.internal {:?}: {error}", cluster.api.internal))
        })?;
    Ok(ClientBuilder::new(Newest { current }, "default")
        .with_layer(&BaseUriLayer::new(base))
        .build())
}

/// Sends each request over the newest pool.
#[derive(Clone)]
struct Newest {
    current: watch::Receiver<Connections>,
}

impl tower::Service<Request<Body>> for Newest {
    type Response = Response<Incoming>;
    type Error = PoolError;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let pool = self.current.borrow().clone();
        Box::pin(pool.request(request))
    }
}

fn pool(credentials: &Credentials, trust: &TrustBundle) -> Result<Connections, Error> {
    let mut roots = RootCertStore::empty();
    for anchor in &trust.cluster_server {
        roots.add(anchor.clone())?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_client_auth_cert(credentials.chain.clone(), credentials.key.private_key_der())?;
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(Duration::from_secs(5)));
    let https = HttpsConnectorBuilder::new()
        .with_tls_config(tls)
        .https_only()
        .enable_http2()
        .wrap_connector(tcp);
    // A half-open connection is noticed by its own pings, not by a watch that says nothing for minutes.
    Ok(Pool::builder(TokioExecutor::new())
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(Duration::from_secs(90))
        .http2_only(true)
        .http2_keep_alive_interval(Duration::from_secs(10))
        .http2_keep_alive_timeout(Duration::from_secs(5))
        .http2_keep_alive_while_idle(true)
        .build(https))
}
