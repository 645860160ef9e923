//! The tunnel: connections of kube-apiserver into the node network, carried by the nodes' own sessions.

mod carry;
mod pending;
mod relay;
mod service;

pub use carry::Carrier;
pub use pending::Pending;
pub use service::{EgressTunnel, Map};

use std::time::Duration;

/// Longest wait for the first message, for the node's end, and for its dial.
pub const OPEN_DEADLINE: Duration = Duration::from_secs(10);
/// Messages of one connection and direction that may wait; more is the sender's to hold back.
const WINDOW: usize = 8;
