//! What is said of every decision: one line in the log and one count.

use crate::domain::profile::Profile;
use crate::error::Error;
use crate::metrics::Metrics;
use crate::store::issued::Certificate;

/// Tells of decisions. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Audit(Metrics);

impl Audit {
    /// Counts in `metrics`.
    pub fn new(metrics: Metrics) -> Self {
        Self(metrics)
    }

    /// A certificate was issued and recorded.
    pub fn issued(&self, profile: Profile, certificate: &Certificate) {
        self.0.issued(profile);
        tracing::info!(
            requester = certificate.requester,
            profile = certificate.profile,
            subject = certificate.subject,
            serial = certificate.serial,
            fingerprint = certificate.fingerprint,
            not_after = certificate.not_after,
            "issued"
        );
    }

    /// `requester` didn't get what it `asked` for.
    pub fn refused(&self, error: &Error, requester: &str, asked: &str) {
        self.0.refused(error);
        tracing::warn!(requester, asked, reason = error.code(), %error, "refused");
    }
}
