//! What every service can be told.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::net::{Ipv4Addr, SocketAddr};

/// Settings that every part has.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Common {
    /// Address of the admin port: `/livez`, `/readyz`, `/metrics`. Plain HTTP.
    pub admin_listen: SocketAddr,
    /// Log filter, e.g. `info` or `info,sextant_identity=debug`.
    pub log: String,
    /// How log lines are written on standard output.
    pub log_format: LogFormat,
    /// How long a stopping process waits for open work, in seconds.
    pub drain_seconds: u64,
}

/// Form of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// One JSON object per line, with trace ids.
    Json,
    /// For people.
    Text,
}

/// Gives the shared shell its settings.
pub trait HasCommon {
    /// The shared settings.
    fn common(&self) -> &Common;
}

impl Default for Common {
    fn default() -> Self {
        Self {
            admin_listen: (Ipv4Addr::UNSPECIFIED, 9090).into(),
            log: "info".to_owned(),
            log_format: LogFormat::Json,
            drain_seconds: 10,
        }
    }
}

impl HasCommon for Common {
    fn common(&self) -> &Common {
        self
    }
}
