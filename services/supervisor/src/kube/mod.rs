//! The supervisor as a client of the Kubernetes API: RBAC, add-ons, the endpoints of `default/kubernetes`, nodes,
//! events.

mod addons;
mod bootstrap;
mod client;
mod endpoints;
mod events;
mod manifests;
mod nodes;
mod objects;
mod rights;
mod serving;

pub use addons::Addons;
pub use bootstrap::run as bootstrap;
pub use client::rotating;
pub use endpoints::run as keep_endpoints;
pub use events::EventsFollower;
pub use nodes::{register_pod_networks, watch as watch_nodes};

/// Who owns the fields that we apply.
pub const FIELD_MANAGER: &str = "sextant";
