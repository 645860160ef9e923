//! A balancer for TCP connections: what `runner edge` puts in front of the control plane, and what node-agent
//! listens with on the API address of its node.
//!
//! It knows nothing of TLS: connections pass through as they are, so it needs no identity and sees no secret.
//!
//! ```no_run
//! # async fn example(drain: sextant_kit::Drain) -> std::io::Result<()> {
//! use sextant_runner::balance::Balancer;
//! let (upstreams, follow) = tokio::sync::watch::channel(vec!["kube-apiserver:6443".to_owned()]);
//! let balancer = Balancer::bind("0.0.0.0:6443".parse().unwrap(), follow).await?;
//! tokio::spawn(balancer.run(drain));
//! upstreams.send_replace(vec!["10.0.0.1:6443".to_owned(), "10.0.0.2:6443".to_owned()]);
//! # Ok(())
//! # }
//! ```

mod connection;
mod metrics;
mod pool;
mod ready;
mod resolve;

use std::{
    collections::BTreeSet,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use sextant_kit::Drain;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Notify, Semaphore, watch},
};
use tokio_util::task::TaskTracker;

pub use metrics::BalancerMetrics;

use pool::Pool;

/// Limits of a balancer.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Connections at a time; more wait in the kernel's backlog.
    pub connections: usize,
    /// How long one address may take to accept a connection.
    pub connect: Duration,
    /// How long a new connection may look for an address that accepts it.
    pub search: Duration,
    /// How often names are resolved again; a failed connection does so at once.
    pub resolve: Duration,
    /// How long open connections may go on once the drain has started.
    pub linger: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 4096,
            connect: Duration::from_secs(2),
            search: Duration::from_secs(10),
            resolve: Duration::from_secs(2),
            linger: Duration::from_secs(5),
        }
    }
}

/// A bound balancer. Connections go to the address with the fewest, over all addresses of all upstreams.
#[derive(Debug)]
pub struct Balancer {
    listener: TcpListener,
    upstreams: watch::Receiver<Vec<String>>,
    ready_port: Option<u16>,
    limits: Limits,
    shared: Shared,
}

/// What the connections of one balancer share.
#[derive(Clone, Debug)]
struct Shared {
    pool: Arc<Mutex<Pool>>,
    /// Asks for resolving names now.
    stale: Arc<Notify>,
    metrics: BalancerMetrics,
}

impl Shared {
    fn pool(&self) -> MutexGuard<'_, Pool> {
        self.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, addresses: &BTreeSet<SocketAddr>) {
        let mut pool = self.pool();
        pool.set(addresses);
        self.metrics
            .addresses
            .set(i64::try_from(pool.len()).unwrap_or(i64::MAX));
    }
}

impl Balancer {
    /// Listens on `listen` (port 0 takes a free one) and follows `upstreams`: `host:port`, a host being a name or an
    /// address. An empty list, or names that no longer resolve, change nothing: the addresses known last stay.
    pub async fn bind(
        listen: SocketAddr,
        upstreams: watch::Receiver<Vec<String>>,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind(listen).await.map_err(|error| {
            io::Error::new(
                error.kind(),
                format!("can't listen on {listen}: {error}; free the port or choose another"),
            )
        })?;
        let shared = Shared {
            pool: Arc::default(),
            stale: Arc::default(),
            metrics: BalancerMetrics::default(),
        };
        Ok(Self {
            listener,
            upstreams,
            ready_port: None,
            limits: Limits::default(),
            shared,
        })
    }

    /// Sets other limits.
    pub fn with_limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Prefers addresses at which `port` answers `/readyz` with 200, over plain HTTP.
    pub fn with_ready_port(mut self, port: Option<u16>) -> Self {
        self.ready_port = port;
        if port.is_some() {
            self.shared.pool().ask();
        }
        self
    }

    /// Counts in `metrics`, which the caller has registered.
    pub fn with_metrics(mut self, metrics: BalancerMetrics) -> Self {
        self.shared.metrics = metrics;
        self
    }

    /// Where it listens.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Accepts connections until the drain starts, then gives the open ones [`Limits::linger`] to end.
    pub async fn run(self, drain: Drain) {
        let (open, linger) = (TaskTracker::new(), self.limits.linger);
        let resolving = resolve::follow(self.upstreams, self.shared.clone(), self.limits.resolve);
        let asking = async {
            if let Some(port) = self.ready_port {
                ready::follow(port, self.shared.clone()).await;
            }
        };
        let accepting = accept(self.listener, self.limits, &self.shared, &open);
        drain
            .run(async { tokio::join!(resolving, asking, accepting) })
            .await;
        open.close();
        if tokio::time::timeout(linger, open.wait()).await.is_err() {
            tracing::info!(connections = open.len(), "leaving open connections behind");
        }
    }
}

async fn accept(listener: TcpListener, limits: Limits, shared: &Shared, open: &TaskTracker) {
    let slots = Arc::new(Semaphore::new(limits.connections));
    loop {
        // The semaphore is never closed.
        let Ok(slot) = slots.clone().acquire_owned().await else {
            return;
        };
        let client = match listener.accept().await {
            Ok((client, _)) => client,
            Err(error) => {
                // Out of descriptors, mostly: connections that end make room.
                tracing::warn!(%error, "accepting a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let (shared, limits) = (shared.clone(), limits.clone());
        open.spawn(async move {
            connection::carry(client, &shared, &limits).await;
            drop(slot);
        });
    }
}

/// How long a client may be silent on the way: its network may be a poor one.
const CLIENT_GONE: Duration = Duration::from_secs(30);
/// How long an upstream may: requests that wait for a machine that vanished without a word fail early and go to another.
const UPSTREAM_GONE: Duration = Duration::from_secs(9);

/// Latency counts for more than packets; a peer is given up when it acknowledges nothing for as long as `gone`.
fn tune(stream: &TcpStream, gone: Duration) -> io::Result<()> {
    let socket = socket2::SockRef::from(stream);
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_user_timeout(Some(gone))?;
    let keepalive = socket2::TcpKeepalive::new()
        .with_time(gone / 3)
        .with_interval(gone / 9)
        .with_retries(6);
    socket.set_tcp_keepalive(&keepalive)
}
