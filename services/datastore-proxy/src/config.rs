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
    /// Where the data is: `sqlite:///absolute/path/state.db`, or `etcd://host:2379,host2:2379/prefix`.
    pub endpoint: String,
    /// How to reach an etcd.
    pub etcd: EtcdConfig,
    /// Where etcd clients are served.
    pub listen: SocketAddr,
    /// How to get a certificate.
    pub enroll: EnrollConfig,
    /// Serve without TLS and without authorization, for one machine alone; `listen` must be a loopback address.
    pub insecure_loopback: bool,
    /// How often a watch that asked for it hears how far the store is, in seconds.
    pub watch_progress_seconds: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            common: Common::default(),
            endpoint: "sqlite:///var/lib/sextant/state.db".to_owned(),
            etcd: EtcdConfig::default(),
            listen: (Ipv4Addr::UNSPECIFIED, 2379).into(),
            enroll: EnrollConfig::default(),
            insecure_loopback: false,
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
}

impl Config {
    /// The endpoint, if it is one that is known.
    pub fn endpoint(&self) -> Result<Endpoint, Error> {
        if let Some(etcd) = self.endpoint.strip_prefix("etcd://") {
            let address = Address::parse(etcd).map(Endpoint::Etcd);
            return address.ok_or_else(|| Error::Endpoint(self.endpoint.clone()));
        }
        match self.endpoint.strip_prefix("sqlite://") {
            Some(path) if path.starts_with('/') => Ok(Endpoint::Sqlite(path.into())),
            _ => Err(Error::Endpoint(self.endpoint.clone())),
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
