//! gRPC for the runners of the Kubernetes components.

mod components;

pub use components::ComponentsService;
