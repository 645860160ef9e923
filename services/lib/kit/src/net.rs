//! Listeners.

use crate::error::Error;
use std::net::SocketAddr;
use tokio::net::TcpListener;

/// Binds a listener; the error names the address and what to do. Port 0 takes a free one.
pub async fn bind(address: SocketAddr) -> Result<TcpListener, Error> {
    TcpListener::bind(address)
        .await
        .map_err(|source| Error::Bind { address, source })
}
