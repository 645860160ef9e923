//! What token-service counts.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family},
};
use sextant_kit::Metrics;

/// The service's own metrics.
#[derive(Clone, Debug, Default)]
pub struct TokenMetrics {
    verifications: Family<OutcomeLabels, Counter>,
    signatures: Family<OutcomeLabels, Counter>,
    pub(crate) cleaned: Counter,
}

/// How it ended: `accepted`, or the error's code.
#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct OutcomeLabels {
    outcome: &'static str,
}

impl TokenMetrics {
    /// Registers them.
    pub fn register(metrics: &Metrics) -> Self {
        let own = Self::default();
        let Self {
            verifications,
            signatures,
            cleaned,
        } = own.clone();
        metrics.register(|registry| {
            registry.register(
                "join_token_verifications",
                "Verified join tokens by outcome",
                verifications,
            );
            registry.register(
                "service_account_signatures",
                "Requests to sign a ServiceAccount token by outcome",
                signatures,
            );
            registry.register(
                "join_tokens_cleaned",
                "Expired join tokens forgotten",
                cleaned,
            );
        });
        own
    }

    pub(crate) fn verified<T>(&self, result: &Result<T, crate::error::Error>) {
        self.verifications
            .get_or_create_owned(&labels(result))
            .inc();
    }

    pub(crate) fn signed<T>(&self, result: &Result<T, crate::error::Error>) {
        self.signatures.get_or_create_owned(&labels(result)).inc();
    }
}

fn labels<T>(result: &Result<T, crate::error::Error>) -> OutcomeLabels {
    OutcomeLabels {
        outcome: result
            .as_ref()
            .map_or_else(|error| error.code(), |_| "accepted"),
    }
}
