//! From two looks at one replica to what it did in between.

use super::{Datastore, Measures};
use sextant_proto::supervisor::{CallRates, CommitRates, DatastoreOverview};
use std::time::Duration;

const P99: f64 = 0.99;
/// Looks that are closer together say nothing: one call more or less would be a jump.
const SHORTEST: Duration = Duration::from_millis(200);

/// Calls answered between two looks. `None` where it was another process then, or never answered any.
#[must_use]
pub fn call_rates(now: &Measures, before: &Measures, apart: Duration) -> Option<CallRates> {
    let (calls, earlier) = (&now.calls, &before.calls);
    if calls.ended == 0.0 || !is_same(now, before) || calls.ended < earlier.ended {
        return None;
    }
    Some(CallRates {
        per_second: per_second(calls.ended - earlier.ended, apart)?,
        failures_per_second: per_second(calls.failed - earlier.failed, apart)?,
        p99_seconds: calls.seconds.since(&earlier.seconds).quantile(P99),
    })
}

/// A datastore as it is, with what it committed since the earlier look, if there was one.
#[must_use]
pub fn datastore(
    now: &Measures,
    before: Option<(&Measures, Duration)>,
) -> Option<DatastoreOverview> {
    let store = now.datastore.as_ref()?;
    let commits = before
        .filter(|(before, _)| is_same(now, before))
        .and_then(|(before, apart)| commit_rates(store, before.datastore.as_ref()?, apart));
    Some(DatastoreOverview {
        revision: store.revision,
        size_bytes: store.size_bytes,
        used_bytes: store.used_bytes,
        waiting_requests: store.waiting,
        watches: store.watches,
        watches_behind: store.watches_behind,
        term: store.term,
        elected: store.elected,
        commits,
    })
}

fn commit_rates(now: &Datastore, before: &Datastore, apart: Duration) -> Option<CommitRates> {
    if now.commits.total() < before.commits.total() {
        return None;
    }
    let commits = now.commits.since(&before.commits);
    Some(CommitRates {
        per_second: per_second(commits.total(), apart)?,
        requests_per_second: per_second(now.requests - before.requests, apart)?,
        p99_seconds: commits.quantile(P99),
    })
}

/// A process that started anew counts from zero.
fn is_same(now: &Measures, before: &Measures) -> bool {
    now.started_unix == before.started_unix
}

fn per_second(count: f64, apart: Duration) -> Option<f64> {
    (apart >= SHORTEST).then(|| count.max(0.0) / apart.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const APART: Duration = Duration::from_secs(2);

    fn measured(started: i64, calls: u32, failed: u32) -> Measures {
        let quick = calls.saturating_sub(failed);
        let method = r#"method="/a.B/C""#;
        Measures::read(&format!(
            "sextant_process_start_time_seconds {started}\n\
             sextant_rpc_server_duration_seconds_count{{{method},code=\"Ok\"}} {quick}\n\
             sextant_rpc_server_duration_seconds_count{{{method},code=\"Internal\"}} {failed}\n\
             sextant_rpc_server_duration_seconds_bucket{{le=\"0.001\",{method}}} {quick}\n\
             sextant_rpc_server_duration_seconds_bucket{{le=\"1.0\",{method}}} {calls}\n\
             sextant_rpc_server_duration_seconds_bucket{{le=\"+Inf\",{method}}} {calls}\n\
             sextant_datastore_commit_batch_size_sum {calls}\n\
             sextant_datastore_commit_seconds_bucket{{le=\"0.01\"}} {quick}\n\
             sextant_datastore_commit_seconds_bucket{{le=\"+Inf\"}} {quick}\n"
        ))
    }

    #[test]
    fn counts_what_happened_in_between() {
        let (before, now) = (measured(1, 100, 0), measured(1, 200, 10));
        let rates = call_rates(&now, &before, APART).unwrap();
        assert_eq!((rates.per_second, rates.failures_per_second), (50.0, 5.0));
        let p99 = rates.p99_seconds.unwrap();
        assert!(p99 > 0.001 && p99 <= 1.0, "{p99}");
        let store = datastore(&now, Some((&before, APART))).unwrap();
        let commits = store.commits.unwrap();
        assert_eq!(
            (commits.per_second, commits.requests_per_second),
            (45.0, 50.0)
        );
    }

    #[test]
    fn a_quiet_replica_has_a_rate_and_no_p99() {
        let quiet = measured(1, 100, 0);
        let rates = call_rates(&quiet, &quiet, APART).unwrap();
        assert_eq!((rates.per_second, rates.p99_seconds), (0.0, None));
    }

    #[test]
    fn another_process_is_not_compared() {
        let (before, now) = (measured(1, 100, 0), measured(2, 101, 0));
        assert_eq!(call_rates(&now, &before, APART), None);
        assert_eq!(
            datastore(&now, Some((&before, APART))).unwrap().commits,
            None
        );
        assert_eq!(datastore(&now, None).unwrap().commits, None);
    }

    #[test]
    fn one_that_never_answered_has_no_rate() {
        let silent = measured(1, 0, 0);
        assert_eq!(call_rates(&silent, &silent, APART), None);
    }

    proptest! {
        #[test]
        fn is_never_negative_nor_endless(
            before in (0..9_u32, 0..100_u32), now in (0..9_u32, 0..100_u32), millis in 0..5_000_u64,
        ) {
            let before = measured(1, before.0 + before.1, before.1);
            let now = measured(1, now.0 + now.1, now.1);
            let apart = Duration::from_millis(millis);
            let calls = call_rates(&now, &before, apart);
            let commits = datastore(&now, Some((&before, apart))).and_then(|store| store.commits);
            let rates = calls.map(|rates| [rates.per_second, rates.failures_per_second]);
            let commits = commits.map(|rates| [rates.per_second, rates.requests_per_second]);
            for rate in rates.iter().chain(&commits).flatten() {
                prop_assert!(rate.is_finite() && *rate >= 0.0, "{}", rate);
            }
        }
    }
}
