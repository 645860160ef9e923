//! From a TCP connection to a verified caller.

use super::Limits;
use super::connection::{self, Caller};
use crate::peer::{PeerIdentity, PeerInfo};
use crate::tls;
use rustls::ServerConfig;
use sextant_kit::Drain;
use sextant_proto::join::REJOIN_EXPORTER_LABEL;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::Instant;
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::task::TaskTracker;

/// A pause after an accept that failed for want of something (file descriptors, memory).
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The accept loop and what its connections share.
pub(super) struct Acceptor {
    shared: Arc<Shared>,
    connections: Arc<Semaphore>,
    tasks: TaskTracker,
}

struct Shared {
    tls: watch::Receiver<Arc<ServerConfig>>,
    app: axum::Router,
    limits: Limits,
    drain: Drain,
    handshakes: Semaphore,
    anonymous: Semaphore,
}

impl Acceptor {
    pub(super) fn new(
        tls: watch::Receiver<Arc<ServerConfig>>,
        app: axum::Router,
        limits: Limits,
        drain: Drain,
    ) -> Self {
        let connections = Arc::new(Semaphore::new(limits.max_connections));
        let shared = Shared {
            tls,
            app,
            handshakes: Semaphore::new(limits.max_handshakes),
            anonymous: Semaphore::new(limits.max_connections.div_ceil(4)),
            limits,
            drain,
        };
        Self {
            shared: Arc::new(shared),
            connections,
            tasks: TaskTracker::new(),
        }
    }

    /// Accepts until drained, closes the listener at once, then waits for the open connections.
    pub(super) async fn run(self, listener: TcpListener) {
        let drain = self.shared.drain.clone();
        drain.run(self.accept(&listener)).await;
        drop(listener);
        self.tasks.close();
        self.tasks.wait().await;
    }

    async fn accept(&self, listener: &TcpListener) {
        // The semaphore is never closed.
        while let Ok(permit) = Arc::clone(&self.connections).acquire_owned().await {
            match listener.accept().await {
                Ok((stream, address)) => {
                    let shared = Arc::clone(&self.shared);
                    self.tasks.spawn(shared.handle(stream, address, permit));
                }
                Err(error) => {
                    tracing::warn!(%error, "accepting a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

impl Shared {
    async fn handle(
        self: Arc<Self>,
        stream: TcpStream,
        address: SocketAddr,
        permit: OwnedSemaphorePermit,
    ) {
        let _permit = permit;
        let deadline = Instant::now() + self.limits.handshake_deadline;
        let shaken = tokio::time::timeout_at(deadline, self.handshake(stream, address));
        let (stream, caller) = match self.drain.run(shaken).await {
            Some(Ok(Ok(accepted))) => accepted,
            Some(Ok(Err(error))) => {
                tracing::info!(peer = %address, error = tls::explain(&error, None), "refused");
                return;
            }
            Some(Err(_)) => {
                tracing::info!(peer = %address, "refused: the TLS handshake took too long");
                return;
            }
            None => return,
        };
        let _anonymous = if caller.identity.is_none() {
            let Ok(permit) = self.anonymous.try_acquire() else {
                tracing::warn!(peer = %address, "refused: too many callers without a certificate");
                return;
            };
            Some(permit)
        } else {
            None
        };
        connection::serve(stream, caller, self.app.clone(), &self.limits, &self.drain).await;
    }

    async fn handshake(
        &self,
        stream: TcpStream,
        address: SocketAddr,
    ) -> std::io::Result<(TlsStream<TcpStream>, Caller)> {
        stream.set_nodelay(true)?;
        // Who says nothing takes nobody's turn.
        let hello = LazyConfigAcceptor::new(rustls::server::Acceptor::default(), stream).await?;
        let _turn = self
            .handshakes
            .acquire()
            .await
            .map_err(std::io::Error::other)?;
        let config = Arc::clone(&self.tls.borrow());
        let stream = hello.into_stream(config).await?;
        let caller = caller(&stream, address).map_err(std::io::Error::other)?;
        Ok((stream, caller))
    }
}

fn caller(stream: &TlsStream<TcpStream>, addr: SocketAddr) -> Result<Caller, rustls::Error> {
    let (_, tls) = stream.get_ref();
    let exporter = tls.export_keying_material([0; 32], REJOIN_EXPORTER_LABEL, None)?;
    let leaf = tls.peer_certificates().and_then(|chain| chain.first());
    let certificate = leaf.map(|leaf| Arc::new(leaf.clone().into_owned()));
    // The verifier has checked the trust domain.
    let identity = leaf
        .map(|leaf| tls::identity_of(leaf, None))
        .transpose()?
        .map(PeerIdentity);
    Ok(Caller {
        identity,
        info: PeerInfo {
            addr,
            exporter,
            certificate,
        },
    })
}
