//! The database servers that replicas can share, and what their settings have in common.

use super::replicated::Replicated;
use super::{StoreError, mysql, postgres};
use crate::config::DatabaseConfig;
use crate::error::Error;
use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, pem::PemObject};
use std::fmt;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

/// How to reach one.
#[derive(Clone, Debug)]
pub enum Settings {
    /// MySQL or MariaDB.
    MySql(mysql::Settings),
    /// PostgreSQL.
    Postgres(Box<postgres::Settings>),
}

impl Settings {
    /// Reads an endpoint, `postgres://…` or `mysql://…`, and the files that `database` names.
    pub fn new(endpoint: &str, database: &DatabaseConfig) -> Result<Self, Error> {
        if endpoint.starts_with("mysql://") {
            mysql::Settings::new(endpoint, database).map(Self::MySql)
        } else {
            let settings = postgres::Settings::new(endpoint, database)?;
            Ok(Self::Postgres(Box::new(settings)))
        }
    }

    /// Connects, and makes the tables if they aren't there. `member_id` names this replica.
    pub async fn open(self, member_id: u64) -> Result<Arc<dyn Replicated>, StoreError> {
        Ok(match self {
            Self::MySql(settings) => Arc::new(mysql::MySql::open(settings, member_id).await?),
            Self::Postgres(settings) => {
                Arc::new(postgres::Postgres::open(*settings, member_id).await?)
            }
        })
    }

    /// An address of the server, to find out by which address of ours it is reached.
    pub fn host(&self) -> Option<(String, u16)> {
        match self {
            Self::MySql(settings) => Some(settings.host()),
            Self::Postgres(settings) => settings.host(),
        }
    }
}

/// Without the password.
impl fmt::Display for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MySql(settings) => settings.fmt(f),
            Self::Postgres(settings) => settings.fmt(f),
        }
    }
}

/// A text file that the configuration names.
pub(super) fn read(path: &Path) -> Result<String, Error> {
    std::fs::read_to_string(path).map_err(|error| Error::File {
        path: path.to_owned(),
        error,
    })
}

/// The password in a file, without the end of its line.
pub(super) fn password(path: &Path) -> Result<String, Error> {
    Ok(read(path)?.trim_end_matches(['\r', '\n']).to_owned())
}

/// The authorities in a PEM file.
pub(super) fn roots(pem: &str) -> Result<RootCertStore, Error> {
    let refuse = |error: &dyn fmt::Display| Error::DatabaseAuthority(error.to_string());
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        let certificate = certificate.map_err(|error| refuse(&error))?;
        roots.add(certificate).map_err(|error| refuse(&error))?;
    }
    if roots.is_empty() {
        return Err(refuse(&"there is no certificate in it"));
    }
    Ok(roots)
}

/// Whether a host is this machine.
pub(super) fn is_local(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || address.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// Names that need no quotes, so that people can type them.
pub(super) fn is_identifier(name: &str) -> bool {
    let mut characters = name.chars();
    characters.next().is_some_and(|c| c.is_ascii_lowercase())
        && characters.all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
        && name.len() <= 63
}
