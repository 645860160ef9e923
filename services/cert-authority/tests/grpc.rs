//! The whole service in process: real TLS, real certificates, real files.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test stops at the first surprise"
)]

#[path = "table/certificate.rs"]
mod certificate;
#[path = "grpc/certificates.rs"]
mod certificates;
#[path = "grpc/harness.rs"]
mod harness;
#[path = "table/model.rs"]
mod model;
#[path = "grpc/sealing.rs"]
mod sealing;
#[path = "grpc/starting.rs"]
mod starting;
