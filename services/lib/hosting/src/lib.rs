//! A small client of the cluster that hosts a control plane: Secrets and ConfigMaps by name, reviews of tokens.
//!
//! It is what images of a few megabytes can afford. Each request reads the pod's own token and CA anew, opens a
//! connection of its own and has one deadline: requests are so few that a pool would only hold what has gone stale.
//! Nothing is repeated here; who waits for the hosting cluster does so with its own back-off and says so.

mod client;
mod config;
mod error;
mod object;
mod review;
mod tls;

pub use client::Client;
pub use config::ApiConfig;
pub use error::Error;
pub use object::{ConfigMap, Metadata, Object, Secret, Value};
pub use review::{Review, User};
