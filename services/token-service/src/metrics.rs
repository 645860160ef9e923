//! What token-service counts.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Unit,
};
use sextant_kit::Metrics;

use crate::{domain::record::State, store::Stored};

/// The service's own metrics.
#[derive(Clone, Debug, Default)]
pub struct TokenMetrics {
    verifications: Family<OutcomeLabels, Counter>,
    signatures: Family<OutcomeLabels, Counter>,
    pub(crate) cleaned: Counter,
    tokens: Family<StateLabels, Gauge>,
    longest_left: Gauge,
}

/// What can be done with a token.
#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct StateLabels {
    state: &'static str,
}

/// How it ended: `accepted`, or the error's code.
#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct OutcomeLabels {
    outcome: &'static str,
}

/// What the verification of a join token comes to where everybody answers.
const VERIFICATIONS: [&str; 9] = [
    "accepted",
    "ca_mismatch",
    "token_expired",
    "token_malformed",
    "token_revoked",
    "token_scope",
    "token_unknown",
    "token_used_up",
    "too_many_attempts",
];

impl TokenMetrics {
    /// Registers them.
    pub fn register(metrics: &Metrics) -> Self {
        let own = Self::default();
        // Prometheus sees no increase in a series whose first value isn't zero.
        for outcome in VERIFICATIONS {
            own.verifications
                .get_or_create_owned(&OutcomeLabels { outcome });
        }
        let Self {
            verifications,
            signatures,
            cleaned,
            tokens,
            longest_left,
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
            registry.register(
                "join_tokens",
                "Join tokens that are kept, by what can be done with them; read once a minute",
                tokens,
            );
            registry.register_with_unit(
                "join_token_longest_left",
                "How long the usable join token that lives longest can still be used; 0 without one",
                Unit::Seconds,
                longest_left,
            );
        });
        own
    }

    /// What the tokens that there are can be used for.
    pub(crate) fn count(&self, tokens: &[Stored], now: i64) {
        let states = tokens.iter().map(|stored| stored.record.state(now));
        let states: Vec<State> = states.collect();
        for state in State::ALL {
            let count = states.iter().filter(|other| **other == state).count();
            let labels = StateLabels {
                state: state.name(),
            };
            let gauge = self.tokens.get_or_create_owned(&labels);
            gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
        }
        let usable = tokens.iter().zip(&states);
        let usable = usable.filter(|(_, state)| **state == State::Usable);
        let left = usable.map(|(stored, _)| stored.record.expires - now);
        self.longest_left.set(left.max().unwrap_or(0));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::verification::Refusal;
    use crate::error::Error;

    #[test]
    fn every_refusal_of_a_token_is_counted_from_zero_on() {
        let metrics = Metrics::new();
        let own = TokenMetrics::register(&metrics);
        let series = || metrics.encode().unwrap().lines().count();
        let before = series();
        own.verified(&Ok::<_, Error>(()));
        let name = String::new;
        for error in [
            Refusal::CaMismatch.into(),
            Refusal::Expired(name()).into(),
            Refusal::Malformed("").into(),
            Refusal::Revoked(name()).into(),
            Refusal::Scope(name()).into(),
            Refusal::Unknown.into(),
            Refusal::UsedUp(name()).into(),
            Error::Limited(""),
        ] {
            own.verified(&Err::<(), Error>(error));
        }
        assert_eq!(series(), before);
    }
}
