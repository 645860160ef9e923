//! The supervisor in process, between small stand-ins of the parts it calls.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test may stop at the first surprise"
)]

mod authority;
mod components;
mod datastore;
mod join;
mod nodes;
mod overview;
mod rig;
mod sessions;
mod telemetry;
mod token_files;
mod tokens;
mod tunnel;
