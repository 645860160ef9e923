//! What the node offers on `node.apiAddress`: the API, and a resolver.

mod balancer;
mod client;
mod dns;
mod offer;

pub use balancer::Balancer;
pub use client::{ApiClient, tls};
pub use dns::Forwarder;
pub use offer::offer;
