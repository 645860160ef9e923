//! datastore-proxy: the etcd v3 API over SQLite, PostgreSQL or a real etcd.

pub mod app;
pub mod config;
pub mod domain;
pub mod engine;
pub mod error;
pub mod grpc;
pub mod metrics;
pub mod passthrough;
pub mod replica;
pub mod slow;
pub mod store;
pub mod tls;
pub mod tools;
pub mod watch;
