//! What token-service can be told.

use std::net::{Ipv4Addr, SocketAddr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sextant_identity::EnrollConfig;
use sextant_kit::config::{Common, HasCommon};

/// Configuration of token-service.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Settings that every part has.
    pub common: Common,
    /// Address of the gRPC port.
    pub listen: SocketAddr,
    /// Where to enrol.
    pub enroll: EnrollConfig,
    /// `host:port` of datastore-proxy, which keeps the tokens.
    pub datastore: String,
    /// The only issuer (claim `iss`) that ServiceAccount tokens are signed for.
    pub service_account_issuer: String,
    /// Longest life of a ServiceAccount token, in seconds; at least 600.
    pub max_service_account_token_seconds: i64,
    /// Accepts join tokens without the hash of the CA bundle (`<id>:<secret>`). Whoever joins with one has to know the
    /// CA from elsewhere, or trusts whoever answers.
    pub allow_tokens_without_ca_hash: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            common: Common::default(),
            listen: (Ipv4Addr::UNSPECIFIED, 7443).into(),
            enroll: EnrollConfig::default(),
            datastore: "datastore-proxy:2379".to_owned(),
            service_account_issuer: "https://kubernetes.default.svc.cluster.local".to_owned(),
            max_service_account_token_seconds: 365 * 24 * 3600,
            allow_tokens_without_ca_hash: false,
        }
    }
}

impl HasCommon for Config {
    fn common(&self) -> &Common {
        &self.common
    }
}
