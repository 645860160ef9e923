//! The agent's side of joining and of sessions, against a supervisor made for the test.
#![allow(
    clippy::panic,
    clippy::unwrap_used,
    reason = "tests may stop at the first surprise"
)]

mod join;
mod session;
mod supervisor;
mod tunnel;
