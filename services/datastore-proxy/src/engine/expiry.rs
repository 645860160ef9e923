//! Ends leases whose time is over.

use super::{Engine, Request};
use crate::domain::authz::Caller;
use crate::domain::fault::Fault;
use std::time::Duration;

/// How late a lease may end.
const PERIOD: Duration = Duration::from_millis(500);
/// So many are ended per period at most, so that they don't crowd out what clients ask.
const LIMIT: usize = 500;

pub(crate) async fn run(engine: Engine) {
    let mut ticks = tokio::time::interval(PERIOD);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let shared = engine.shared();
        let expired = shared.state().leases.expired(shared.clock.now(), LIMIT);
        for id in expired {
            match engine.submit(Request::Expire { id }, Caller::local()).await {
                Ok(_) | Err(Fault::LeaseNotFound) => {}
                Err(fault) => {
                    tracing::warn!(lease = id, %fault, "an expired lease stays; it is tried again");
                    break;
                }
            }
        }
    }
}
