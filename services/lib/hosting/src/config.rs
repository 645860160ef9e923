//! Where the hosting cluster's API is, and what a pod shows there.

use crate::error::Error;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

const HOST: &str = "KUBERNETES_SERVICE_HOST";
const PORT: &str = "KUBERNETES_SERVICE_PORT";

/// The API of the cluster that hosts this control plane.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ApiConfig {
    /// `host:port` of its API server; empty takes KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT, which every pod
    /// has.
    pub server: String,
    /// Folder with the pod's own `token`, `ca.crt` and `namespace`.
    pub folder: PathBuf,
}

impl Default for ApiConfig {
    fn default() -> Self {
        Self {
            server: String::new(),
            folder: "/var/run/secrets/kubernetes.io/serviceaccount".into(),
        }
    }
}

impl ApiConfig {
    /// `host:port` to dial, from the setting or from what `variable` knows of the environment.
    pub(crate) fn address(
        &self,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<String, Error> {
        if !self.server.is_empty() {
            return Ok(self.server.clone());
        }
        let set = |name| variable(name).filter(|value| !value.is_empty());
        let host = set(HOST).ok_or(Error::NotInAPod(HOST))?;
        let port = set(PORT).ok_or(Error::NotInAPod(PORT))?;
        Ok(match host.contains(':') {
            true => format!("[{host}]:{port}"),
            false => format!("{host}:{port}"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(server: &str, host: &str, port: &str) -> Result<String, Error> {
        let config = ApiConfig {
            server: server.to_owned(),
            ..ApiConfig::default()
        };
        config.address(|name| Some(if name == HOST { host } else { port }.to_owned()))
    }

    #[test]
    fn the_setting_counts_before_the_environment() {
        assert_eq!(address("api:1", "10.96.0.1", "443").unwrap(), "api:1");
        assert_eq!(address("", "10.96.0.1", "443").unwrap(), "10.96.0.1:443");
        assert_eq!(address("", "fd00::1", "443").unwrap(), "[fd00::1]:443");
    }

    #[test]
    fn outside_of_a_pod_it_says_what_is_missing() {
        let error = address("", "10.96.0.1", "").unwrap_err().to_string();
        assert!(error.contains(PORT) && error.contains("pod"), "{error}");
    }
}
