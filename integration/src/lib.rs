//! Drives a real cluster for the tests in `tests/`: its own compose project, ports, kubeconfig and state, removed
//! at the end. The images must be there (`cargo xtask images`).

pub mod alerts;
mod api;
mod cases;
mod cluster;
mod command;
pub mod load;
mod prometheus;
mod scaled;
mod tenant;
mod wait;

pub use api::Api;
pub use cases::{Case, Fixture, run_cases};
pub use cluster::{Cluster, docker, docker_bytes};
pub use command::{Outcome, run, run_with_input};
pub use prometheus::{Firing, Hasty, Prometheus, Target};
pub use scaled::{POD, Scaled};
pub use sextant_project::{Observed, root};
pub use tenant::Tenant;
pub use wait::eventually;

/// Parts of a control plane: services of the compose file, and the ends of pods' names where it is hosted.
pub const PARTS: [&str; 7] = [
    "cert-authority",
    "token-service",
    "datastore-proxy",
    "supervisor",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
];
