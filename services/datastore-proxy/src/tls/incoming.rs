//! Accepting TLS connections.

use super::Clients;
use crate::domain::authz::Caller;
use rustls::ServerConfig;
use sextant_kit::Drain;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::server::Connected;

/// Connections at one time.
const CONNECTIONS: usize = 4096;
/// Connections that are accepted but not yet served.
const BACKLOG: usize = 16;
/// How long a handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// A pause after an accept that failed for want of something (file descriptors, memory).
const PAUSE: Duration = Duration::from_millis(50);

/// A connection whose client is known.
pub struct Secured {
    stream: TlsStream<TcpStream>,
    caller: Caller,
    _turn: OwnedSemaphorePermit,
}

/// Connections, until drained. Each takes the newest TLS.
pub fn incoming(
    listener: TcpListener,
    tls: watch::Receiver<Arc<ServerConfig>>,
    clients: Clients,
    drain: &Drain,
) -> ReceiverStream<io::Result<Secured>> {
    let (accepted, stream) = mpsc::channel(BACKLOG);
    let clients = Arc::new(clients);
    let turns = Arc::new(Semaphore::new(CONNECTIONS));
    drain.spawn(async move {
        // The semaphore is never closed.
        while let Ok(turn) = Arc::clone(&turns).acquire_owned().await {
            let (stream, address) = match listener.accept().await {
                Ok(connection) => connection,
                Err(error) => {
                    tracing::warn!(%error, "accepting a connection");
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            };
            let acceptor = TlsAcceptor::from(Arc::clone(&tls.borrow()));
            let (clients, accepted) = (Arc::clone(&clients), accepted.clone());
            tokio::spawn(async move {
                let shaken = tokio::time::timeout(HANDSHAKE, shake(stream, &acceptor)).await;
                match shaken.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
                    Ok(stream) => {
                        let secured = Secured::new(stream, &clients, turn);
                        // Nobody is left to serve it at the end.
                        let _ = accepted.send(Ok(secured)).await;
                    }
                    Err(error) => tracing::info!(peer = %address, %error, "refused"),
                }
            });
        }
    });
    ReceiverStream::new(stream)
}

async fn shake(stream: TcpStream, acceptor: &TlsAcceptor) -> io::Result<TlsStream<TcpStream>> {
    stream.set_nodelay(true)?;
    acceptor.accept(stream).await
}

impl Secured {
    fn new(stream: TlsStream<TcpStream>, clients: &Clients, turn: OwnedSemaphorePermit) -> Self {
        let chain = stream.get_ref().1.peer_certificates();
        let leaf = chain.and_then(|chain| chain.first());
        let caller = leaf.map_or_else(|| Caller::named("unknown"), |leaf| clients.caller(leaf));
        Self {
            stream,
            caller,
            _turn: turn,
        }
    }
}

impl Connected for Secured {
    type ConnectInfo = Caller;

    fn connect_info(&self) -> Caller {
        self.caller.clone()
    }
}

impl AsyncRead for Secured {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Secured {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
