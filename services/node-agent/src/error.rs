//! What can go wrong on a node.

use std::path::PathBuf;

/// An error of the agent.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A setting is missing or wrong.
    #[error("configuration: {0}")]
    Config(String),
    /// A file could not be read or written.
    #[error("{action} {path}: {source}")]
    File {
        /// What was tried, e.g. `writing`.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Identity, certificates or the connection to a supervisor.
    #[error(transparent)]
    Identity(#[from] sextant_identity::Error),
    /// An image archive could not be imported.
    #[error("importing {path}: {reason}")]
    Image {
        /// The archive.
        path: PathBuf,
        /// What went wrong.
        reason: String,
    },
    /// The node can't join, and what to do about it.
    #[error("{0}")]
    Join(String),
    /// The kernel refused a network change.
    #[error("network: {what}: {reason}")]
    Network {
        /// What was tried.
        what: String,
        /// What was found.
        reason: String,
    },
    /// The API server refused or didn't answer.
    #[error("Kubernetes API: {0}")]
    Api(String),
    /// A supervisor refused or didn't answer.
    #[error("supervisor {address}: {reason}")]
    Supervisor {
        /// Whom the agent talked to.
        address: String,
        /// What happened.
        reason: String,
    },
}

impl Error {
    /// Stable code for logs and statuses.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Api(_) => "api",
            Self::Config(_) => "config",
            Self::File { .. } => "file",
            Self::Identity(_) => "identity",
            Self::Image { .. } => "image",
            Self::Join(_) => "join",
            Self::Network { .. } => "network",
            Self::Supervisor { .. } => "supervisor",
        }
    }

    /// A network change that failed.
    pub fn network(what: impl Into<String>, reason: impl std::fmt::Display) -> Self {
        Self::Network {
            what: what.into(),
            reason: reason.to_string(),
        }
    }

    /// A file that could not be used.
    pub fn file(action: &'static str, path: impl Into<PathBuf>, source: std::io::Error) -> Self {
        Self::File {
            action,
            path: path.into(),
            source,
        }
    }
}

impl From<Error> for tonic::Status {
    fn from(error: Error) -> Self {
        let message = error.to_string();
        match error {
            Error::Config(_) | Error::Image { .. } => Self::invalid_argument(message),
            Error::Api(_) | Error::Identity(_) | Error::Supervisor { .. } => {
                Self::unavailable(message)
            }
            Error::File { .. } | Error::Join(_) | Error::Network { .. } => Self::internal(message),
        }
    }
}
