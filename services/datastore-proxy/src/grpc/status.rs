//! Faults as gRPC statuses. Codes are etcd's.

use crate::domain::fault::Fault;
use tonic::{Code, Status};

impl From<Fault> for Status {
    fn from(fault: Fault) -> Self {
        Self::new(code(&fault), fault.to_string())
    }
}

fn code(fault: &Fault) -> Code {
    match fault {
        Fault::Compacted | Fault::FutureRevision | Fault::TtlTooLarge => Code::OutOfRange,
        Fault::Corrupt => Code::DataLoss,
        Fault::DeniedCall { .. } | Fault::DeniedLease { .. } | Fault::DeniedRange { .. } => {
            Code::PermissionDenied
        }
        Fault::DuplicateKey
        | Fault::EmptyKey
        | Fault::InvalidSort
        | Fault::KeyNotFound
        | Fault::LeaseProvided
        | Fault::RequestTooLarge
        | Fault::TooManyOperations
        | Fault::ValueProvided => Code::InvalidArgument,
        Fault::Forwarded { code, .. } => Code::from_i32(*code),
        Fault::LeaseExists => Code::FailedPrecondition,
        Fault::LeaseNotFound => Code::NotFound,
        Fault::NoSpace | Fault::TooManyRequests => Code::ResourceExhausted,
        Fault::LeaderChanged
        | Fault::NoLeader
        | Fault::Stopped
        | Fault::Store(_)
        | Fault::Timeout => Code::Unavailable,
        // etcd gives these no code either.
        Fault::NobodyElected | Fault::NoLeaderKey | Fault::NotLeader | Fault::SessionExpired => {
            Code::Unknown
        }
        Fault::Unsupported(_) => Code::Unimplemented,
    }
}
