//! The entry point of every image that holds an upstream component, and the library that it shares with node-agent:
//! supervised [`child`] processes, the connection [`balance`]r and the [`relay`] for what upstream tells about itself.
//!
//! `runner serve` enrols, obtains the component's certificates, follows the supervisor for its flags and files, and
//! keeps the component running. `runner edge` balances connections in front of the control plane.

mod address;
pub mod app;
pub mod balance;
pub mod child;
mod collector;
pub mod config;
mod desired;
mod domain;
mod edge;
pub mod error;
mod files;
mod health;
mod kept;
mod memory;
mod metrics;
mod pki;
mod probe;
pub mod relay;
mod rollout;
mod slot;
mod sockets;
mod version;
