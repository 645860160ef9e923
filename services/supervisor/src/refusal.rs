//! Why a node or an administrator is turned away: one table of stable codes, HTTP statuses and gRPC codes.

use crate::domain::membership;
use crate::error::Error;
use http::StatusCode;
use sextant_proto::join::ErrorBody;
use tonic::{Code, Status};

macro_rules! codes {
    ($($(#[$doc:meta])* $variant:ident = $text:literal, $http:ident, $grpc:ident;)+) => {
        /// A stable code of a refusal.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum RefusalCode {
            $($(#[$doc])* $variant,)+
        }

        impl RefusalCode {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// As it stands in answers, logs and metrics.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }

            /// Of the join API.
            pub fn http(self) -> StatusCode {
                match self { $(Self::$variant => StatusCode::$http,)+ }
            }

            /// Of gRPC.
            pub fn grpc(self) -> Code {
                match self { $(Self::$variant => Code::$grpc,)+ }
            }
        }
    };
}

codes! {
    /// An address that a node can't have.
    AddressRefused = "address_refused", UNPROCESSABLE_ENTITY, InvalidArgument;
    /// The token pins another CA than this cluster's.
    CaMismatch = "ca_mismatch", FORBIDDEN, PermissionDenied;
    /// A certificate request that isn't one, or with a bad signature.
    CsrInvalid = "csr_invalid", UNPROCESSABLE_ENTITY, InvalidArgument;
    /// An enrolment token that isn't the administrator's, or isn't valid.
    EnrolmentRefused = "enrolment_refused", FORBIDDEN, PermissionDenied;
    /// The request can't be read.
    Malformed = "malformed", BAD_REQUEST, InvalidArgument;
    /// A name that a node can't have.
    NameRefused = "name_refused", UNPROCESSABLE_ENTITY, InvalidArgument;
    /// Another machine has this name.
    NameTaken = "name_taken", CONFLICT, AlreadyExists;
    /// The nonce is unknown, used or too old.
    NonceUnknown = "nonce_unknown", FORBIDDEN, PermissionDenied;
    /// The node isn't registered, or with another key.
    NotRegistered = "not_registered", FORBIDDEN, PermissionDenied;
    /// The node was away for too long.
    RejoinWindowPassed = "rejoin_window_passed", FORBIDDEN, PermissionDenied;
    /// The signature of a rejoin is wrong.
    SignatureInvalid = "signature_invalid", FORBIDDEN, PermissionDenied;
    /// The token has expired.
    TokenExpired = "token_expired", FORBIDDEN, PermissionDenied;
    /// There is no token, or it doesn't look like one.
    TokenMalformed = "token_malformed", UNAUTHORIZED, Unauthenticated;
    /// The token isn't for this node or this network.
    TokenOutOfScope = "token_scope", FORBIDDEN, PermissionDenied;
    /// The token was revoked.
    TokenRevoked = "token_revoked", FORBIDDEN, PermissionDenied;
    /// No such token.
    TokenUnknown = "token_unknown", FORBIDDEN, PermissionDenied;
    /// The token has no use left.
    TokenUsedUp = "token_used_up", FORBIDDEN, PermissionDenied;
    /// The body is longer than any request's.
    TooLarge = "too_large", PAYLOAD_TOO_LARGE, InvalidArgument;
    /// Too many attempts.
    TooManyRequests = "too_many_requests", TOO_MANY_REQUESTS, ResourceExhausted;
    /// The body doesn't arrive in time.
    TooSlow = "too_slow", REQUEST_TIMEOUT, DeadlineExceeded;
    /// A part that is needed doesn't answer; the same request later may succeed.
    Unavailable = "unavailable", SERVICE_UNAVAILABLE, Unavailable;
}

/// A refusal with a sentence for whom it turns away.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {message}", code.as_str())]
pub struct Refusal {
    /// The code.
    pub code: RefusalCode,
    /// What was tried, what was found, what to do.
    pub message: String,
}

impl Refusal {
    /// A refusal.
    pub fn new(code: RefusalCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }

    /// The body of the join API's answer.
    pub fn body(&self) -> ErrorBody {
        ErrorBody {
            code: self.code.as_str().to_owned(),
            message: self.message.clone(),
        }
    }

    /// For gRPC.
    pub fn to_status(&self) -> Status {
        Status::new(self.code.grpc(), self.to_string())
    }

    /// What token-service's answer to Verify means.
    pub fn from_verify(status: &Status) -> Self {
        let reason = status
            .metadata()
            .get("sextant-code")
            .and_then(|reason| reason.to_str().ok())
            .unwrap_or_default();
        let code = match (reason, status.code()) {
            ("ca_mismatch", _) => RefusalCode::CaMismatch,
            ("token_expired", _) => RefusalCode::TokenExpired,
            ("token_malformed", _) | (_, Code::InvalidArgument) => RefusalCode::TokenMalformed,
            ("token_scope", _) => RefusalCode::TokenOutOfScope,
            ("token_revoked", _) => RefusalCode::TokenRevoked,
            ("token_used_up", _) => RefusalCode::TokenUsedUp,
            ("token_unknown", _)
            | (_, Code::NotFound | Code::Unauthenticated | Code::PermissionDenied) => {
                RefusalCode::TokenUnknown
            }
            (_, Code::ResourceExhausted) => RefusalCode::TooManyRequests,
            _ => {
                return Self::new(
                    RefusalCode::Unavailable,
                    format!("token-service: {}; try again", status.message()),
                );
            }
        };
        Self::new(code, status.message())
    }
}

impl From<membership::Refusal> for Refusal {
    fn from(refusal: membership::Refusal) -> Self {
        use membership::Refusal as M;
        let code = match refusal {
            M::Address(_) => RefusalCode::AddressRefused,
            M::KeyUnknown(_) | M::NotRegistered(_) => RefusalCode::NotRegistered,
            M::Name(_) => RefusalCode::NameRefused,
            M::NameTaken { .. } => RefusalCode::NameTaken,
            M::WindowPassed { .. } => RefusalCode::RejoinWindowPassed,
        };
        Self::new(code, refusal.to_string())
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        let code = match error.code() {
            Code::InvalidArgument => RefusalCode::CsrInvalid,
            _ => RefusalCode::Unavailable,
        };
        Self::new(code, error.to_string())
    }
}
