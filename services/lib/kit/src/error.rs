//! What can go wrong before a service runs.

use std::net::SocketAddr;
use std::path::PathBuf;

/// An error of the shared shell.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A listener could not be bound.
    #[error(
        "can't listen on {address}: {source}; free the port or choose another address in the configuration"
    )]
    Bind {
        /// Address that was tried.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// A value could not be read, merged or converted.
    #[error("configuration: {0}")]
    Config(#[from] ::config::ConfigError),
    /// A configuration file could not be read.
    #[error("configuration: can't read {path}: {source}")]
    ConfigFile {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A configuration value is not what the schema wants.
    #[error("configuration: {origin}: {message}")]
    ConfigValue {
        /// File, variable or flag that holds it.
        origin: String,
        /// What is wrong with it.
        message: String,
    },
    /// The admin port did not answer as a ready service does.
    #[error("not healthy: {0}")]
    Health(String),
    /// A log filter, an exporter or a subscriber could not be set up.
    #[error("telemetry: {0}")]
    Telemetry(String),
    /// A key that no field of the configuration has.
    #[error("configuration: {origin}: unknown key `{key}`; allowed here: {allowed}")]
    UnknownKey {
        /// File, variable or flag that holds it.
        origin: String,
        /// Path of the key, levels separated by dots.
        key: String,
        /// The names that may stand there.
        allowed: String,
    },
}
