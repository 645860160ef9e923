//! What every part of Sextant shares: how it starts and stops, how it says what it waits for, its admin port,
//! its telemetry and its configuration.
//!
//! A service implements [`Service`] and its `main.rs` is one line: `sextant_kit::main::<app::App>()`.

pub mod admin;
pub mod backoff;
pub mod cli;
pub mod config;
pub mod drain;
pub mod error;
pub mod health;
pub mod http;
pub mod metrics;
pub mod net;
pub mod process;
pub mod readiness;
pub mod service;
pub mod telemetry;

pub use cli::{main, main_with};
pub use drain::{Drain, DrainGuard, DrainTrigger};
pub use error::Error;
pub use metrics::Metrics;
pub use readiness::{Readiness, Task};
pub use service::{Context, Service};
