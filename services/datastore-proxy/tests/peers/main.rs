//! Bugs that other stores behind this API have or had, each under its name: none of them is here.
//!
//! Not here because they are shown elsewhere: writes that a power cut takes back (kine syncs too little) and stale
//! reads after a pause (etcd 20418), both in `faults`.
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

mod compaction;
mod lease;
mod reads;
mod requests;
mod watch;
mod writes;
