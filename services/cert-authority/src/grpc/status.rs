//! The one table from errors to gRPC status.

use crate::domain::denied::DenialReason;
use crate::error::Error;
use tonic::{Code, Status};

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        Status::new(code(&error), error.to_string())
    }
}

fn code(error: &Error) -> Code {
    match error {
        Error::Csr(_)
        | Error::KmsCiphertext
        | Error::NotSealedHere { .. }
        | Error::PurposeMissing
        | Error::TooLong { .. } => Code::InvalidArgument,
        Error::Denied(denied) => match denied.reason {
            DenialReason::BootstrapComplete => Code::FailedPrecondition,
            DenialReason::Requester => Code::PermissionDenied,
            DenialReason::NodeAddress
            | DenialReason::NodeName
            | DenialReason::Profile
            | DenialReason::Subject
            | DenialReason::Ttl => Code::InvalidArgument,
        },
        Error::Account(_) | Error::EnrolmentToken(_) | Error::NoIdentity => Code::Unauthenticated,
        Error::KmsKey { .. } => Code::FailedPrecondition,
        Error::TooManyAttempts { .. } => Code::ResourceExhausted,
        Error::AuthorityExpired { .. }
        | Error::ClockBehind { .. }
        | Error::EnrolmentVolume(_)
        | Error::File { .. }
        | Error::Hosting(_)
        | Error::Locked(_)
        | Error::LogWrite { .. }
        | Error::Review(_)
        | Error::ReviewsBusy
        | Error::Stopping => Code::Unavailable,
        Error::Config(_)
        | Error::Crypto(_)
        | Error::Identity(_)
        | Error::Keyring(_)
        | Error::Kit(_)
        | Error::LogCorrupt { .. }
        | Error::Signing(_) => Code::Internal,
    }
}
