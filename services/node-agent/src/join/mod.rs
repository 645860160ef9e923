//! Becoming and staying a member of the cluster.

mod membership;
mod renewal;

pub use membership::{Joined, Joiner, Step, Token};
pub use renewal::Renewal;
