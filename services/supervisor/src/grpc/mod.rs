//! gRPC for the runners of the Kubernetes components.

mod components;
mod versions;

pub use components::ComponentsService;
