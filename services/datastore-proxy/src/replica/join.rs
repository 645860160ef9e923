//! Becoming one of the replicas: the database, an address for the others, the state.

use super::{Dial, PeerChannel, Replicas, loopback};
use crate::config::Config;
use crate::error::Error;
use crate::metrics::Metrics;
use crate::store::replicated::{Member, Replicated};
use sextant_identity::{ClientAuth, Mesh, Peer, ServerTls, ServiceName};
use sextant_kit::backoff::{self, Backoff};
use sextant_kit::{Context, Task, net};
use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use tokio::net::{TcpListener, UdpSocket};

/// The listener for other replicas.
pub struct PeerListener {
    /// Bound.
    pub listener: TcpListener,
    /// `None`: plaintext on loopback.
    pub tls: Option<ServerTls>,
    /// Where others reach it.
    address: String,
    dial: Dial,
}

impl PeerListener {
    /// Binds it. `database` is the host and port by which our own address is found out, if none is configured;
    /// `mesh` is `None` where everything is plaintext on loopback.
    pub async fn bind(
        config: &Config,
        mesh: Option<&Mesh>,
        database: Option<(String, u16)>,
    ) -> anyhow::Result<Self> {
        let Some(mesh) = mesh else {
            let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, config.peer.listen.port()));
            let listener = net::bind(listen).await?;
            return Ok(Self {
                address: listener.local_addr()?.to_string(),
                listener,
                tls: None,
                dial: loopback(),
            });
        };
        let listener = net::bind(config.peer.listen).await?;
        let address = if config.peer.address.is_empty() {
            let ip = own_address(database).await?;
            SocketAddr::new(ip, listener.local_addr()?.port()).to_string()
        } else {
            config.peer.address.clone()
        };
        let tls = mesh.server_tls(ClientAuth::Required);
        Ok(Self {
            listener,
            tls: Some(tls),
            address,
            dial: over(mesh.clone()),
        })
    }

    /// Where others reach it.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The host part of the address that others use.
    fn host(&self) -> &str {
        self.address
            .rsplit_once(':')
            .map_or(self.address.as_str(), |(host, _)| host)
    }
}

/// Channels over the mesh: only to another datastore-proxy.
fn over(mesh: Mesh) -> Dial {
    Arc::new(move |address| {
        PeerChannel::new(mesh.channel(address, Peer::Service(ServiceName::DatastoreProxy)))
    })
}

/// Our address on the way to the database. Nothing is sent.
async fn own_address(database: Option<(String, u16)>) -> Result<IpAddr, Error> {
    let Some((host, port)) = database else {
        let found = "the database is reached over a Unix socket".to_owned();
        return Err(Error::PeerAddress(found));
    };
    let refuse = |error: std::io::Error| Error::PeerAddress(format!("{host}: {error}"));
    let target = tokio::net::lookup_host((host.as_str(), port))
        .await
        .map_err(refuse)?
        .next()
        .ok_or_else(|| Error::PeerAddress(format!("{host} has no address")))?;
    let any: IpAddr = if target.is_ipv4() {
        Ipv4Addr::UNSPECIFIED.into()
    } else {
        std::net::Ipv6Addr::UNSPECIFIED.into()
    };
    let socket = UdpSocket::bind((any, 0)).await.map_err(refuse)?;
    socket.connect(target).await.map_err(refuse)?;
    Ok(socket.local_addr().map_err(refuse)?.ip())
}

/// Repeats `attempt` until it succeeds and says meanwhile what it waits for; fails only at the drain.
pub async fn until_there<T, E, F>(
    what: &str,
    ready: &Task,
    ctx: &Context,
    attempt: impl FnMut() -> F,
) -> anyhow::Result<T>
where
    E: std::fmt::Display,
    F: Future<Output = Result<T, E>>,
{
    backoff::retry(what, ready, Backoff::default(), &ctx.drain, attempt)
        .await
        .ok_or_else(|| anyhow::anyhow!("stopped while waiting for the database"))
}

/// Takes part. `client_port` is where etcd clients are served.
pub async fn join(
    database: Arc<dyn Replicated>,
    member_id: u64,
    peers: &PeerListener,
    client_port: u16,
    ready: &Task,
    ctx: &Context,
) -> anyhow::Result<Arc<Replicas>> {
    let scheme = if peers.tls.is_some() { "https" } else { "http" };
    let member = Member {
        id: member_id,
        peer_address: peers.address.clone(),
        client_url: format!("{scheme}://{}:{client_port}", peers.host()),
    };
    ready.waiting("loading the index");
    let loaded = until_there("loading", ready, ctx, || database.load()).await?;
    // Clients divide by it.
    let size = until_there("measuring", ready, ctx, || database.size()).await?;
    let metrics = Metrics::new(&ctx.metrics);
    let dial = Arc::clone(&peers.dial);
    let replicas = Replicas::start(database, loaded, member, dial, metrics, &ctx.drain);
    replicas.shared().set_size(size);
    Ok(replicas)
}
