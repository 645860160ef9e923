//! Why the issuing table says no.

/// Why the table has no certificate for a request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Denied {
    /// The kind, for metrics.
    pub reason: DenialReason,
    /// What was asked, what was found, what to do.
    pub message: String,
}

/// Kinds of denial.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DenialReason {
    /// The bootstrap is over.
    BootstrapComplete,
    /// An address that a node can't have.
    NodeAddress,
    /// A name that a node can't have.
    NodeName,
    /// No such row.
    Profile,
    /// The asker isn't in the row.
    Requester,
    /// The certificate's subject isn't in the row.
    Subject,
    /// A life that the row doesn't have.
    Ttl,
}

impl Denied {
    /// With a sentence for the asker.
    pub fn new(reason: DenialReason, message: String) -> Self {
        Self { reason, message }
    }
}

impl DenialReason {
    /// Stable name, for metrics and logs.
    pub fn code(self) -> &'static str {
        match self {
            Self::BootstrapComplete => "bootstrap_complete",
            Self::NodeAddress => "node_address",
            Self::NodeName => "node_name",
            Self::Profile => "profile_unknown",
            Self::Requester => "requester",
            Self::Subject => "subject",
            Self::Ttl => "ttl",
        }
    }
}
