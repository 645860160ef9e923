//! Decisions without I/O: what the cluster is, what its components are told, who may join, where a connection goes.

pub mod cluster;
pub mod components;
pub mod events;
pub mod fleet;
pub mod measures;
pub mod membership;
pub mod queue;
pub mod routing;
pub mod settings;
pub mod skew;
pub mod token_file;
