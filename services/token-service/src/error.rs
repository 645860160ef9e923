//! What can go wrong in token-service.

use tonic::{Code, Status, metadata::MetadataValue};

use crate::domain::{claims::ClaimsError, verification::Refusal};

/// Metadata key of an error's stable code.
pub const CODE_KEY: &str = "sextant-code";

/// An error of token-service.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The claims of a ServiceAccount token are not what may be signed.
    #[error("refusing to sign: {0}")]
    Claims(#[from] ClaimsError),
    /// The library of primitives failed.
    #[error("cryptography: {0}")]
    Crypto(&'static str),
    /// Another replica changed the token each time it was tried.
    #[error("the token `{0}` changes too quickly; try again")]
    Contention(String),
    /// The datastore didn't answer.
    #[error("datastore: {action}: {reason}; try again once datastore-proxy is ready")]
    Datastore {
        /// What was tried.
        action: &'static str,
        /// What came back.
        reason: String,
    },
    /// A request is not what it should be.
    #[error("{0}")]
    Invalid(String),
    /// Too many wrong attempts.
    #[error("too many attempts {0}; wait a minute and try again")]
    Limited(&'static str),
    /// There is no such token to revoke.
    #[error("there is no join token `{0}`; `sextant token list` shows those there are")]
    NotFound(String),
    /// A presented join token was refused.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// cert-authority didn't seal or open a key.
    #[error("cert-authority: {action}: {reason}")]
    Seal {
        /// What was tried.
        action: &'static str,
        /// What came back.
        reason: String,
    },
    /// What the datastore holds can't be read.
    #[error("the datastore's record {key} is damaged: {reason}; restore it from a snapshot")]
    Stored {
        /// Its key.
        key: String,
        /// What is wrong.
        reason: String,
    },
}

impl Error {
    /// Stable code for programs.
    pub fn code(&self) -> &'static str {
        self.table().0
    }

    /// The one table from errors to codes and gRPC status.
    fn table(&self) -> (&'static str, Code) {
        match self {
            Self::Claims(_) => ("claims_refused", Code::InvalidArgument),
            Self::Crypto(_) => ("internal", Code::Internal),
            Self::Contention(_) => ("contention", Code::Aborted),
            Self::Datastore { .. } => ("datastore_unavailable", Code::Unavailable),
            Self::Invalid(_) => ("invalid_argument", Code::InvalidArgument),
            Self::Limited(_) => ("too_many_attempts", Code::ResourceExhausted),
            Self::NotFound(_) => ("token_unknown", Code::NotFound),
            Self::Refused(refusal) => (
                refusal.code(),
                match refusal {
                    Refusal::Malformed(_) => Code::InvalidArgument,
                    Refusal::Unknown => Code::Unauthenticated,
                    _ => Code::PermissionDenied,
                },
            ),
            Self::Seal { .. } => ("cert_authority_unavailable", Code::Unavailable),
            Self::Stored { .. } => ("record_damaged", Code::DataLoss),
        }
    }
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        let (code, status) = error.table();
        let mut status = Status::new(status, error.to_string());
        status
            .metadata_mut()
            .insert(CODE_KEY, MetadataValue::from_static(code));
        status
    }
}
