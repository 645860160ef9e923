//! One node of a Sextant cluster: its identity, containerd, kubelet and kube-proxy, the pod network, and the way to
//! the API.
//!
//! `node-agent init` is PID 1 of the node's container and keeps `node-agent serve` running; under the name
//! `sextant-policy` the same binary is a CNI plugin.

pub mod api;
pub mod app;
pub mod cni;
pub mod config;
pub mod domain;
pub mod error;
pub mod grpc;
pub mod init;
pub mod join;
pub mod metrics;
mod neighbours;
pub mod network;
pub mod runtime;
pub mod session;
mod status;
pub mod store;
pub mod telemetry;
