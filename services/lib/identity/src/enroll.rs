//! Getting and keeping a mesh certificate.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Where to enrol.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct EnrollConfig {
    /// host:port of cert-authority.
    pub cert_authority: String,
    /// Folder with the files `token` and `ca.pem`.
    pub folder: PathBuf,
}

impl Default for EnrollConfig {
    fn default() -> Self {
        Self {
            cert_authority: "cert-authority:7443".to_owned(),
            folder: "/enrol".into(),
        }
    }
}
