//! What datastore-proxy can be told.

use crate::error::Error;
use crate::passthrough::EtcdConfig;
use crate::passthrough::address::Address;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sextant_identity::EnrollConfig;
use sextant_kit::config::{Common, HasCommon};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

/// Configuration of datastore-proxy.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// What every part has.
    pub common: Common,
    /// Where the data is: `sqlite:///absolute/path/state.db`, `postgres://user@host:5432/database?schema=name` or
    /// `mysql://user@host:3306/database` for any number of replicas, or `etcd://host:2379,host2:2379/prefix`. A
    /// password never stands here, see `database.password_file`.
    pub endpoint: String,
    /// How to reach an etcd.
    pub etcd: EtcdConfig,
    /// How to reach an SQL server.
    pub database: DatabaseConfig,
    /// How replicas on one SQL server reach each other.
    pub peer: PeerConfig,
    /// Where etcd clients are served.
    pub listen: SocketAddr,
    /// How to get a certificate.
    pub enroll: EnrollConfig,
    /// Serve without TLS and without authorization, for one machine alone; `listen` must be a loopback address.
    pub insecure_loopback: bool,
    /// TLS from files instead of a certificate from cert-authority.
    pub tls: TlsFiles,
    /// How much the store may hold, in bytes, before it takes nothing new and raises the alarm NOSPACE; 0 for no limit
    /// but the disk's.
    pub quota_bytes: u64,
    /// Requests for keys that take longer, in milliseconds, are logged; 0 logs none.
    pub slow_request_ms: u64,
    /// How often a watch that asked for it hears how far the store is, in seconds.
    pub watch_progress_seconds: u64,
}

/// How to reach an SQL server.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DatabaseConfig {
    /// A file that holds the password alone.
    pub password_file: Option<PathBuf>,
    /// A PEM file with the authorities of the server's certificate, whose names are verified. Without it the
    /// connection is plaintext, which is for a server on this machine only.
    pub ca_file: Option<PathBuf>,
}

/// How replicas reach each other. SQLite has one replica, which doesn't listen for others.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PeerConfig {
    /// Where other replicas are served. With `insecure_loopback` its port is taken on 127.0.0.1.
    pub listen: SocketAddr,
    /// The `host:port` at which other replicas reach this one; empty for the address by which this machine reaches
    /// the database.
    pub address: String,
}

impl Default for PeerConfig {
    fn default() -> Self {
        Self {
            listen: (Ipv4Addr::UNSPECIFIED, 2380).into(),
            address: String::new(),
        }
    }
}

/// TLS from files, which are read again when they change.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TlsFiles {
    /// The server's certificate and what leads from it to its authority, PEM. Empty: cert-authority is asked.
    pub cert: PathBuf,
    /// The key of `cert`, PEM.
    pub key: PathBuf,
    /// The authorities of clients, PEM. Whoever shows no certificate of theirs is not let in.
    pub client_ca: PathBuf,
    /// What clients may do whose certificates have no SPIFFE id. Who isn't named here may do nothing.
    pub clients: Vec<EtcdClient>,
}

impl TlsFiles {
    /// Whether they are used.
    pub fn is_set(&self) -> bool {
        !self.cert.as_os_str().is_empty()
    }
}

/// A client known by the common name of its certificate.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct EtcdClient {
    /// The common name.
    pub common_name: String,
    /// It may touch the keys that begin with one of these.
    pub prefixes: Vec<String>,
    /// It may touch these keys.
    pub keys: Vec<String>,
    /// It may compact the store.
    pub compact: bool,
    /// It may call Snapshot, Hash, HashKV, Defragment and Alarm: it sees all keys.
    pub maintenance: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            common: Common::default(),
            endpoint: "sqlite:///var/lib/sextant/state.db".to_owned(),
            etcd: EtcdConfig::default(),
            database: DatabaseConfig::default(),
            peer: PeerConfig::default(),
            listen: (Ipv4Addr::UNSPECIFIED, 2379).into(),
            enroll: EnrollConfig::default(),
            insecure_loopback: false,
            tls: TlsFiles::default(),
            quota_bytes: 0,
            // etcd's.
            slow_request_ms: 300,
            watch_progress_seconds: 5,
        }
    }
}

impl HasCommon for Config {
    fn common(&self) -> &Common {
        &self.common
    }
}

/// Where the data is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// A real etcd.
    Etcd(Address),
    /// A SQLite file.
    Sqlite(PathBuf),
    /// A PostgreSQL, MySQL or MariaDB server.
    Server(String),
}

impl Config {
    /// The endpoint, if it is one that is known.
    pub fn endpoint(&self) -> Result<Endpoint, Error> {
        match self.endpoint.split_once("://") {
            Some(("sqlite", path)) if path.starts_with('/') => Ok(Endpoint::Sqlite(path.into())),
            Some(("postgres" | "postgresql" | "mysql", _)) => {
                Ok(Endpoint::Server(self.endpoint.clone()))
            }
            Some(("etcd", etcd)) => Address::parse(etcd)
                .map(Endpoint::Etcd)
                .ok_or_else(|| Error::Endpoint(self.endpoint.clone())),
            // The text of others may hold a password.
            Some((scheme, _)) => Err(Error::Endpoint(format!("{scheme}://…"))),
            None => Err(Error::Endpoint(self.endpoint.clone())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_a_url() {
        let endpoint = |text: &str| {
            Config {
                endpoint: text.to_owned(),
                ..Config::default()
            }
            .endpoint()
            .ok()
        };
        assert_eq!(
            endpoint("sqlite:///a/b.db"),
            Some(Endpoint::Sqlite("/a/b.db".into()))
        );
        assert_eq!(endpoint("sqlite://b.db"), None);
        assert_eq!(endpoint("oracle://x"), None);
        assert!(matches!(endpoint("etcd://h:1/a"), Some(Endpoint::Etcd(_))));
        assert_eq!(endpoint("etcd://"), None);
    }
}
