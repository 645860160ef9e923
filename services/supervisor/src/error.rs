//! What can go wrong in the supervisor, and what callers are told.

use tonic::{Code, Status};

/// An error of the supervisor.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A manifest that comes with the binary doesn't parse after its values were filled in.
    #[error(
        "add-on {name}: {message}; check the values that cluster.images and cluster.networks give it"
    )]
    Addon {
        /// File of the add-on.
        name: &'static str,
        /// What is wrong.
        message: String,
    },
    /// The configuration doesn't describe a cluster.
    #[error("configuration: {0}")]
    Config(String),
    /// Somebody else changed the same key first.
    #[error("{0} was changed by another supervisor at the same time; try again")]
    Conflict(String),
    /// datastore-proxy refused or failed.
    #[error("datastore: {what}: {source}")]
    Datastore {
        /// What was tried.
        what: String,
        /// What it answered.
        source: etcd_client::Error,
    },
    /// No answer in time.
    #[error("{0}: no answer within {1} s; is the part up and reachable?")]
    Deadline(String, u64),
    /// The mesh identity or a certificate.
    #[error(transparent)]
    Identity(#[from] sextant_identity::Error),
    /// A file or socket.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The Kubernetes API refused or failed.
    #[error("kube-apiserver: {what}: {source}")]
    Kube {
        /// What was tried.
        what: String,
        /// What it answered.
        source: Box<kube::Error>,
    },
    /// This replica holds no lease in the datastore now.
    #[error(
        "this supervisor has no lease in the datastore now, so it can't {0}; it tries again by itself"
    )]
    NoLease(&'static str),
    /// Another part refused or failed.
    #[error("{what}: {}", .status.message())]
    Peer {
        /// What was tried.
        what: String,
        /// What it answered.
        status: Status,
    },
    /// What is kept in the datastore can't be read.
    #[error("datastore: {key} holds something that isn't ours: {message}")]
    Record {
        /// The key.
        key: String,
        /// What is wrong.
        message: String,
    },
    /// A TLS configuration for the Kubernetes API can't be made.
    #[error("TLS for kube-apiserver: {0}")]
    Tls(#[from] rustls::Error),
}

impl Error {
    /// An error of the Kubernetes API.
    pub fn kube(what: impl Into<String>, source: kube::Error) -> Self {
        Self::Kube {
            what: what.into(),
            source: Box::new(source),
        }
    }

    /// An error of a file or socket.
    pub fn io(what: impl Into<String>, source: std::io::Error) -> Self {
        Self::Io {
            what: what.into(),
            source,
        }
    }

    /// A refusal by another part.
    pub fn peer(what: impl Into<String>, status: Status) -> Self {
        Self::Peer {
            what: what.into(),
            status,
        }
    }

    /// The gRPC code that callers get.
    pub fn code(&self) -> Code {
        match self {
            Self::Addon { .. } | Self::Config(_) | Self::Record { .. } | Self::Tls(_) => {
                Code::Internal
            }
            Self::Conflict(_) => Code::Aborted,
            Self::Datastore { .. }
            | Self::Deadline(..)
            | Self::Identity(_)
            | Self::Io { .. }
            | Self::Kube { .. }
            | Self::NoLease(_) => Code::Unavailable,
            Self::Peer { status, .. } => status.code(),
        }
    }
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        Self::new(error.code(), error.to_string())
    }
}

/// Puts a deadline on one attempt.
///
/// # Errors
/// [`Error::Deadline`] when it passes, else the attempt's own.
pub async fn within<T, E: Into<Error>>(
    what: &str,
    limit: std::time::Duration,
    attempt: impl Future<Output = Result<T, E>>,
) -> Result<T, Error> {
    // Calls of clients are large futures; boxed, they don't add up on the stack of whoever nests them.
    match tokio::time::timeout(limit, Box::pin(attempt)).await {
        Ok(outcome) => outcome.map_err(Into::into),
        Err(_) => Err(Error::Deadline(what.to_owned(), limit.as_secs())),
    }
}
