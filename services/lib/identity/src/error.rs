//! What can go wrong with identities, certificates and the connections that use them.

/// An error of this crate.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The process is stopping; the wait was given up.
    #[error("stopping before {0}")]
    Drained(String),
    /// A file could not be read or written.
    #[error("{action} {path}: {source}")]
    File {
        /// "reading" or "writing".
        action: &'static str,
        /// Which file.
        path: std::path::PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The cluster that hosts this control plane can't be asked, or says no.
    #[error(transparent)]
    Hosting(#[from] sextant_hosting::Error),
    /// Text is not what it should be: a name, a URI, a certificate, a key.
    #[error("{what}: {reason}")]
    Invalid {
        /// What was parsed.
        what: String,
        /// Why it was refused.
        reason: String,
    },
    /// A connection or a request over it failed.
    #[error("{address}: {reason}")]
    Peer {
        /// Whom we talked to.
        address: String,
        /// What happened.
        reason: String,
    },
    /// A key could not be made or used.
    #[error("key: {0}")]
    Key(String),
    /// cert-authority refused.
    #[error("{address} refused {what}: {reason}")]
    Refused {
        /// Whom we asked.
        address: String,
        /// What was asked for.
        what: String,
        /// The answer.
        reason: String,
    },
    /// TLS could not be configured.
    #[error("TLS: {0}")]
    Tls(#[from] rustls::Error),
}
