//! cert-authority: has every CA key and key-encryption key of a cluster, and issues certificates from one total
//! table of profiles.
//!
//! [`domain`] decides, [`store`] keeps, [`grpc`] answers, [`app`] puts them together.

pub mod app;
pub mod audit;
pub mod clock;
pub mod config;
pub mod domain;
pub mod error;
pub mod grpc;
pub mod issuer;
pub mod metrics;
pub mod store;
