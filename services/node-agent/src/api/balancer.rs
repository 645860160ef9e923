//! The API on `node.apiAddress`: connections go to whichever API server answers.

use crate::domain::balancer::Health;
use sextant_kit::Drain;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream, lookup_host};
use tokio::sync::{Semaphore, watch};

/// Connections through one node.
const MAX_CONNECTIONS: usize = 4096;
/// Longest dial of one server; the next one gets its turn then.
const DIAL: Duration = Duration::from_secs(3);

/// A TCP balancer over a list of `host:port` that may change.
#[derive(Clone)]
pub struct Balancer {
    servers: watch::Receiver<Vec<String>>,
    health: Arc<Mutex<Health>>,
    connections: Arc<Semaphore>,
}

impl Balancer {
    /// A balancer over `servers`.
    pub fn new(servers: watch::Receiver<Vec<String>>) -> Self {
        let connections = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        Self {
            servers,
            health: Arc::default(),
            connections,
        }
    }

    /// Serves `listener` until drained.
    pub async fn serve(self, listener: TcpListener, drain: Drain) {
        let accept = async {
            loop {
                // The semaphore is never closed.
                let Ok(permit) = self.connections.clone().acquire_owned().await else {
                    return;
                };
                match listener.accept().await {
                    Ok((client, _)) => {
                        let balancer = self.clone();
                        drain.spawn(async move {
                            balancer.carry(client).await;
                            drop(permit);
                        });
                    }
                    Err(error) => {
                        tracing::warn!(%error, "a connection to the API could not be accepted");
                        tokio::time::sleep(Duration::from_millis(100)).await;
                    }
                }
            }
        };
        let _ = drain.run(accept).await;
    }

    async fn carry(mut self, mut client: TcpStream) {
        let Some((server, mut upstream)) = self.connect().await else {
            return;
        };
        let _ = client.set_nodelay(true);
        let _ = upstream.set_nodelay(true);
        let removed = self.servers.wait_for(|servers| !servers.contains(&server));
        tokio::select! {
            _ = copy_bidirectional(&mut client, &mut upstream) => {}
            // A server that left the list may be another cluster's tomorrow.
            _ = removed => tracing::info!(server, "connection closed: the API server left the list"),
        }
    }

    /// A connection to the first server that answers, in the order that past failures suggest.
    async fn connect(&self) -> Option<(String, TcpStream)> {
        let servers = self.servers.borrow().clone();
        let order = {
            let mut health = self.health.lock().unwrap_or_else(PoisonError::into_inner);
            health.keep_only(&servers);
            health.order(&servers, Instant::now(), &mut rand::rng())
        };
        for server in order {
            let result = dial(&server).await;
            let mut health = self.health.lock().unwrap_or_else(PoisonError::into_inner);
            match result {
                Ok(stream) => {
                    health.succeeded(&server);
                    return Some((server, stream));
                }
                Err(error) => {
                    health.failed(&server, Instant::now());
                    tracing::debug!(server, %error, "API server doesn't answer");
                }
            }
        }
        None
    }
}

/// Names are resolved anew each time; each address gets its turn.
async fn dial(server: &str) -> std::io::Result<TcpStream> {
    let timeout = |_| std::io::Error::other("no answer in time");
    let resolved = tokio::time::timeout(DIAL, lookup_host(server))
        .await
        .map_err(timeout)??;
    let mut addresses: Vec<SocketAddr> = resolved.collect();
    if addresses.len() > 1 {
        let start = rand::random_range(0..addresses.len());
        addresses.rotate_left(start);
    }
    let mut last = std::io::Error::other("the name has no address");
    for address in addresses {
        match tokio::time::timeout(DIAL, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => last = error,
            Err(elapsed) => last = timeout(elapsed),
        }
    }
    Err(last)
}
