//! Why datastore-proxy does not start, or stops.

use crate::store::StoreError;
use std::net::SocketAddr;
use thiserror::Error;

/// A failure of the process, not of a request (that is [`crate::domain::fault::Fault`]).
#[derive(Debug, Error)]
pub enum Error {
    /// The endpoint isn't one that is known.
    #[error("endpoint {0:?} isn't known: write sqlite:///path/to/state.db, with an absolute path")]
    Endpoint(String),
    /// No certificate, or no TLS with it.
    #[error(transparent)]
    Identity(#[from] sextant_identity::Error),
    /// Plaintext is asked for on an address that others can reach.
    #[error(
        "insecure_loopback serves without TLS, so it needs a loopback address: listen is {0}, write 127.0.0.1:2379"
    )]
    NotLoopback(SocketAddr),
    /// The listener failed.
    #[error("serving etcd clients: {0}")]
    Serve(String),
    /// The store can't be opened.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A thread can't be started.
    #[error("starting a thread: {0}")]
    Thread(std::io::Error),
}
