//! What cert-authority counts.

use crate::domain::authority::{SigningAuthority, label};
use crate::domain::profile::Profile;
use crate::error::Error;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Unit;

/// The counters. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    issued: Family<Issued, Counter>,
    refused: Family<Refused, Counter>,
    not_after: Family<Authority, Gauge>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Authority {
    authority: &'static str,
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
    /// Registers them: `sextant_ca_issued_total{profile}`, `sextant_ca_refused_total{reason}`,
    /// `sextant_ca_not_after_seconds{authority}`.
    pub fn new(metrics: &sextant_kit::Metrics) -> Self {
        let own = Self::default();
        metrics.register(|registry| {
            registry.register("ca_issued", "Certificates issued", own.issued.clone());
            registry.register("ca_refused", "Requests refused", own.refused.clone());
            registry.register_with_unit(
                "ca_not_after",
                "End of an authority's own life, Unix time",
                Unit::Seconds,
                own.not_after.clone(),
            );
        });
        own
    }

    pub(crate) fn authority(&self, authority: &SigningAuthority) {
        let labels = Authority {
            authority: label(authority.name),
        };
        self.not_after
            .get_or_create(&labels)
            .set(authority.not_after);
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

#[cfg(test)]
mod tests {
    use super::*;
    use sextant_identity::TrustDomain;

    #[test]
    fn an_authoritys_end_is_told() {
        let metrics = sextant_kit::Metrics::new();
        let own = Metrics::new(&metrics);
        let domain: TrustDomain = "0123456789.sextant.internal".parse().unwrap();
        let authority =
            SigningAuthority::generate(sextant_identity::Authority::Mesh, &domain, 1_000).unwrap();
        own.authority(&authority);
        let sample = format!(
            "sextant_ca_not_after_seconds{{authority=\"mesh\"}} {}",
            authority.not_after
        );
        let text = metrics.encode().unwrap();
        assert!(text.contains(&sample), "{sample} isn't in {text}");
    }
}
