//! The controller as a whole: a Kubernetes API on one side, a node's kernel on the other, its socket between.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "tests stop at the first surprise"
)]

mod connections;
mod running;
mod socket;
#[path = "../support/mod.rs"]
mod support;
mod table;
