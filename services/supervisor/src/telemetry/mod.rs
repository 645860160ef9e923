//! Changes of what the running processes log and which traces they export: each is asked where it is.

mod everywhere;
mod node;
mod replica;

pub use everywhere::Everywhere;
pub use node::{NodeRelayService, Nodes};
pub use replica::Replicas;

use std::time::Duration;

/// Longest time until a process has answered.
const DEADLINE: Duration = Duration::from_secs(5);
/// Processes that are asked at a time.
const AT_ONCE: usize = 64;
/// What runs on every node: its agent, and the controller of packet policy.
const NODE_AGENT: &str = "node-agent";
const NETPOL: &str = "netpol-controller";
