//! token-service: join tokens, and the external signer of ServiceAccount tokens.
//!
//! [`domain`] decides, [`store`] keeps state in the datastore, [`grpc`] answers.

pub mod app;
mod cleaning;
pub mod clock;
pub mod config;
mod datastore;
pub mod domain;
pub mod error;
pub mod grpc;
pub mod keys;
pub mod metrics;
pub mod store;
