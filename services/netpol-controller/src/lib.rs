//! Turns NetworkPolicy objects into one nftables table of this node.
//!
//! ```text
//! watch/ ──changes──▶ enforce ──▶ domain (engine → ruleset → diff) ──▶ nft/ ──▶ kernel
//! grpc/ ──EnsurePod──▶   ▲                                            conntrack: what is forbidden now, ends
//! ```

pub mod app;
pub mod config;
pub mod conntrack;
pub mod domain;
pub mod enforce;
pub mod error;
pub mod grpc;
pub mod metrics;
pub mod nft;
pub mod watch;

pub use error::{Error, Result};

/// Removes the table from the network namespace of the calling thread, and with it all enforcement. `false` if
/// there was none. For whoever turns network policy off on a node where the controller can't do it itself.
pub fn cleanup() -> Result<bool> {
    nft::kernel::Kernel::open()?.remove()
}
