//! What can go wrong between a pod and the cluster that hosts it.

use http::StatusCode;
use std::path::PathBuf;
use std::time::Duration;

/// An error of this crate.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The answer isn't what the API promises.
    #[error("the hosting cluster's answer to {what} isn't understood: {reason}")]
    Answer {
        /// Method and path.
        what: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A file of the pod's ServiceAccount can't be used.
    #[error("{}: {reason}: mount the pod's ServiceAccount there (automountServiceAccountToken), or set the folder", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// No address of the API is known.
    #[error(
        "{0} isn't set, so the hosting cluster's API isn't known: run in a pod, or set the server"
    )]
    NotInAPod(&'static str),
    /// The API said no.
    #[error("the hosting cluster answered {status} to {what}: {message}")]
    Refused {
        /// Method and path.
        what: String,
        /// The answer's status.
        status: StatusCode,
        /// Its words.
        message: String,
    },
    /// No answer in time.
    #[error("the hosting cluster at {server} gave no answer to {what} within {limit:?}")]
    TimedOut {
        /// `host:port`.
        server: String,
        /// Method and path.
        what: String,
        /// The deadline.
        limit: Duration,
    },
    /// TLS could not be configured.
    #[error("TLS: {0}")]
    Tls(#[from] rustls::Error),
    /// The connection failed.
    #[error("the hosting cluster at {server} can't be asked ({what}): {reason}")]
    Unreachable {
        /// `host:port`.
        server: String,
        /// Method and path.
        what: String,
        /// What happened.
        reason: String,
    },
}

impl Error {
    /// Whether an object was there already, or has another version than the one that was to be changed.
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::Refused { status, .. } if *status == StatusCode::CONFLICT)
    }

    /// Whether there is no such object.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Refused { status, .. } if *status == StatusCode::NOT_FOUND)
    }
}
