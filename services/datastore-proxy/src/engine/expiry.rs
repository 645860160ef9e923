//! Ends leases whose time is over.

use super::{Engine, Request};
use crate::domain::authz::Caller;
use crate::domain::fault::Fault;
use sextant_kit::backoff::Backoff;
use std::time::Duration;

/// How late a lease may end.
const PERIOD: Duration = Duration::from_millis(500);
/// So many are ended per period at most, so that they don't crowd out what clients ask.
const LIMIT: usize = 500;
/// After so many failures it is the store that fails, not a lease.
const FAILURES: usize = 8;
/// How long it waits at most for a store that fails.
const LATEST: Duration = Duration::from_secs(5);

pub(crate) async fn run(engine: Engine) {
    let mut backoff = Backoff::new(PERIOD, LATEST);
    loop {
        if end_expired(&engine).await {
            backoff.reset();
            tokio::time::sleep(PERIOD).await;
        } else {
            tokio::time::sleep(backoff.next()).await;
        }
    }
}

/// Whether all that could be tried were ended. One that can't be doesn't keep the others.
async fn end_expired(engine: &Engine) -> bool {
    let shared = engine.shared();
    let expired = shared.state().leases.expired(shared.clock.now(), LIMIT);
    let mut failures = 0;
    for id in expired {
        match engine.submit(Request::Expire { id }, Caller::local()).await {
            Ok(_) | Err(Fault::LeaseNotFound) => {}
            Err(fault) => {
                tracing::warn!(lease = id, %fault, "an expired lease stays; it is tried again");
                failures += 1;
            }
        }
        if failures == FAILURES {
            break;
        }
    }
    failures == 0
}
