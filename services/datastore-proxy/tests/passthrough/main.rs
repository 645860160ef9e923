//! datastore-proxy in front of a real etcd. `TEST_ETCD` names the etcd binary; without it the tests are skipped.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    missing_docs,
    unreachable_pub,
    reason = "tests may stop at the first surprise"
)]

#[path = "../support/mod.rs"]
mod support;

mod authorization;
mod etcd;
mod failing;
mod lockstep;
mod older;
mod planes;
mod revisions;
mod sharing;
mod stream;
mod tls;
mod traces;
