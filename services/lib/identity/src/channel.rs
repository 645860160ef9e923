//! gRPC clients over the mesh.

mod lane;

use crate::identity::{Identity, ServiceName};
use crate::{tls, window};
use hyper_util::rt::TokioIo;
use lane::{Lane, Targets, least};
use rand::seq::SliceRandom;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use sextant_kit::telemetry::rpc;
use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::body::Body;
use tonic::transport::Endpoint;
use tonic::{Code, Status};

pub(crate) const CONNECT_DEADLINE: Duration = Duration::from_secs(10);
const DIAL_DEADLINE: Duration = Duration::from_secs(3);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(20);
const KEEPALIVE_DEADLINE: Duration = Duration::from_secs(10);

/// Whom a client demands at the other end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Peer {
    /// Anybody of the trust domain.
    Any,
    /// Exactly this identity.
    Identity(Identity),
    /// A replica of this service.
    Service(ServiceName),
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Peer::Any => f.write_str("any identity"),
            Peer::Identity(identity) => identity.fmt(f),
            Peer::Service(name) => write!(f, "service/{name}"),
        }
    }
}

/// A lazily connected gRPC channel that traces and measures every call and carries the trace context. It has one
/// connection, or several over which calls that overlap are spread.
/// Cheap to clone. Its errors are statuses that name the address.
#[derive(Clone, Debug)]
pub struct Channel {
    address: Arc<str>,
    /// One or more.
    lanes: Vec<Lane>,
    /// That of the next call, chosen when it asks whether there is room.
    next: usize,
}

/// What a connection is made with.
pub(crate) struct Dial {
    config: Result<Arc<ClientConfig>, String>,
    /// Validity of the certificate we show, to explain a refusal.
    life: Option<(SystemTime, SystemTime)>,
}

impl Dial {
    pub(crate) fn new(config: ClientConfig, life: Option<(SystemTime, SystemTime)>) -> Self {
        Self {
            config: Ok(Arc::new(config)),
            life,
        }
    }

    /// Every connect fails with `reason`.
    pub(crate) fn impossible(reason: String) -> Self {
        Self {
            config: Err(reason),
            life: None,
        }
    }
}

impl Channel {
    /// One with up to so many connections, each of which prefers an address that the others don't have.
    pub(crate) fn new(address: &str, dial: watch::Receiver<Arc<Dial>>, connections: usize) -> Self {
        let address: Arc<str> = address.into();
        let targets = Targets::new(connections);
        let lanes = (0..connections).map(|lane| {
            let endpoint = endpoint(&address);
            let (address, dial, targets) = (Arc::clone(&address), dial.clone(), targets.clone());
            let connector = tower::service_fn(move |_| {
                let (address, targets) = (Arc::clone(&address), targets.clone());
                let dial = Arc::clone(&dial.borrow());
                async move {
                    let used = |target| targets.others(lane, target);
                    let stream = connect(&address, &dial, used).await?;
                    targets.connected(lane, stream.get_ref().0.peer_addr().ok());
                    Ok::<_, std::io::Error>(TokioIo::new(stream))
                }
            });
            Lane::new(rpc::Client::new(
                endpoint.connect_with_connector_lazy(connector),
            ))
        });
        Self {
            lanes: lanes.collect(),
            address,
            next: 0,
        }
    }
}

fn endpoint(address: &str) -> Endpoint {
    // The connector dials `address` itself; the URI only fills in :authority.
    Endpoint::from_shared(format!("http://{address}"))
        .unwrap_or_else(|_| Endpoint::from_static("http://mesh"))
        .connect_timeout(CONNECT_DEADLINE)
        .initial_stream_window_size(window::STREAM)
        .initial_connection_window_size(window::connection(window::STREAMS, window::STREAM))
        .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_DEADLINE)
        .keep_alive_while_idle(true)
}

impl tower::Service<http::Request<Body>> for Channel {
    type Response = http::Response<Body>;
    type Error = Status;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Status>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Status>> {
        self.next = least(&self.lanes);
        self.lanes[self.next]
            .connection
            .poll_ready(cx)
            .map_err(|e| unavailable(&self.address, e))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let address = Arc::clone(&self.address);
        // Where there is no choice nothing need be counted.
        let counted = self.lanes.len() > 1;
        let lane = &mut self.lanes[self.next];
        let call = lane.connection.call(request);
        let open = counted.then(|| lane.begin());
        Box::pin(async move {
            let answer = call.await.map_err(|e| unavailable(&address, e))?;
            Ok(match open {
                Some(open) => open.with(answer),
                None => answer,
            })
        })
    }
}

/// A transport error as a status with the whole story: tonic's own text is only "transport error".
fn unavailable(address: &str, error: tonic::transport::Error) -> Status {
    let mut story = format!("{address}: ");
    let mut cause: Option<&dyn std::error::Error> = Some(&error);
    let mut last = String::new();
    while let Some(error) = cause {
        let text = tls::explain_text(error.to_string());
        // tonic's wrappers say nothing that the causes don't say better.
        if text != "transport error" && !last.contains(&text) {
            if !last.is_empty() {
                story.push_str(": ");
            }
            story.push_str(&text);
            last = text;
        }
        cause = error.source();
    }
    if last.is_empty() {
        story.push_str("the connection failed");
    }
    let code = match Status::from_error(Box::new(error)).code() {
        // The peer closed the connection; nobody here gave the call up.
        Code::Cancelled | Code::Unknown => Code::Unavailable,
        code => code,
    };
    Status::new(code, story)
}

/// Resolves `address`, tries its addresses in random order, the least used first, and shakes hands with the first that
/// answers.
pub(crate) async fn connect(
    address: &str,
    dial: &Dial,
    used: impl Fn(SocketAddr) -> usize,
) -> Result<TlsStream<TcpStream>, std::io::Error> {
    let config = dial.config.clone().map_err(std::io::Error::other)?;
    let mut targets = resolve(address).await?;
    targets.shuffle(&mut rand::rng());
    targets.sort_by_key(|target| used(*target));
    let mut failure = std::io::Error::new(
        std::io::ErrorKind::NotFound,
        format!("{address} has no address"),
    );
    for target in targets {
        let stream = match tokio::time::timeout(DIAL_DEADLINE, TcpStream::connect(target)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(e)) => {
                failure = std::io::Error::new(e.kind(), format!("dialling {target}: {e}"));
                continue;
            }
            Err(_) => {
                let text = format!("dialling {target}: no answer within {DIAL_DEADLINE:?}");
                failure = std::io::Error::new(std::io::ErrorKind::TimedOut, text);
                continue;
            }
        };
        stream.set_nodelay(true)?;
        let connector = TlsConnector::from(config);
        return connector
            .connect(server_name(address), stream)
            .await
            .map_err(|e| {
                let reason = tls::explain(&e, dial.life);
                std::io::Error::new(e.kind(), format!("TLS with {target}: {reason}"))
            });
    }
    Err(failure)
}

/// A DNS server that never answers is another fault than a peer that doesn't: the resolver's own patience would
/// outlast the connection's, and hide which of both it was.
async fn resolve(address: &str) -> Result<Vec<SocketAddr>, std::io::Error> {
    let failed =
        |kind, reason: &str| std::io::Error::new(kind, format!("resolving {address}: {reason}"));
    match tokio::time::timeout(DIAL_DEADLINE, tokio::net::lookup_host(address)).await {
        Ok(Ok(targets)) => Ok(targets.collect()),
        Ok(Err(e)) => Err(failed(e.kind(), &e.to_string())),
        Err(_) => {
            let reason = format!("no answer from DNS within {DIAL_DEADLINE:?}");
            Err(failed(std::io::ErrorKind::TimedOut, &reason))
        }
    }
}

/// The name for SNI. Verification doesn't use it.
fn server_name(address: &str) -> ServerName<'static> {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    ServerName::try_from(host.trim_matches(['[', ']']).to_owned()).unwrap_or(ServerName::IpAddress(
        std::net::Ipv4Addr::UNSPECIFIED.into(),
    ))
}
