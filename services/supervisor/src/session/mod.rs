//! The nodes' side: sessions over which settings and trust go down, and which open the tunnel.

mod hub;
mod peer;
mod registrar;
mod service;
mod stream;

pub use hub::{Hub, Live};
pub use registrar::run as register;
pub use service::NodeSessions;
pub use stream::Sources;
