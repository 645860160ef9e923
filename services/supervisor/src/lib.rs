//! The supervisor: the cluster's wanted configuration, its nodes and their sessions, its add-ons, and the tunnel
//! through which kube-apiserver reaches the nodes.

mod admin;
pub mod app;
mod certificates;
mod clock;
pub mod config;
pub mod domain;
mod error;
mod grpc;
mod join;
mod kube;
mod leader;
mod metrics;
mod refusal;
mod session;
pub mod store;
mod telemetry;
mod token_files;
mod tunnel;

pub use error::Error;
