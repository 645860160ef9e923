//! What cert-authority counts.

use crate::domain::profile::Profile;
use crate::error::Error;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;

/// The counters. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    issued: Family<Issued, Counter>,
    refused: Family<Refused, Counter>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Issued {
    profile: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Refused {
    reason: &'static str,
}

impl Metrics {
    /// Registers them: `sextant_ca_issued_total{profile}`, `sextant_ca_refused_total{reason}`.
    pub fn new(metrics: &sextant_kit::Metrics) -> Self {
        let own = Self::default();
        metrics.register(|registry| {
            registry.register("ca_issued", "Certificates issued", own.issued.clone());
            registry.register("ca_refused", "Requests refused", own.refused.clone());
        });
        own
    }

    pub(crate) fn issued(&self, profile: Profile) {
        self.issued
            .get_or_create(&Issued {
                profile: profile.as_str(),
            })
            .inc();
    }

    pub(crate) fn refused(&self, error: &Error) {
        self.refused
            .get_or_create(&Refused {
                reason: error.code(),
            })
            .inc();
    }
}
