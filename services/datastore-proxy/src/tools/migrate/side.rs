//! The two ends of a migration.

use super::held::Held;
use super::tenancy::Tenancy;
use crate::config::{Config, DatabaseConfig, Endpoint};
use crate::domain::state::State;
use crate::error::Error;
use crate::store::replicated::Replicated;
use crate::store::server::Settings;
use crate::store::sqlite::{self, Claim};
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::runtime::Runtime;

/// Where a store is.
pub(super) enum Side {
    File(PathBuf),
    Server(Settings),
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Server(settings) => write!(f, "{settings}"),
        }
    }
}

/// Keeps everybody from writing to the store that is read.
pub(super) enum Source<'r> {
    File(#[expect(dead_code, reason = "held until the end")] Claim),
    Server(Tenancy<'r>),
}

impl Source<'_> {
    /// Lets others write again, if nobody has meanwhile.
    pub(super) fn release(self) -> Result<(), Error> {
        match self {
            Self::File(_) => Ok(()),
            Self::Server(tenancy) => tenancy.end(),
        }
    }
}

impl Side {
    pub(super) fn parse(endpoint: &str, database: &DatabaseConfig) -> Result<Self, Error> {
        let config = Config {
            endpoint: endpoint.to_owned(),
            ..Config::default()
        };
        match config.endpoint()? {
            Endpoint::Sqlite(path) => Ok(Self::File(path)),
            Endpoint::Server(url) => Ok(Self::Server(Settings::new(&url, database)?)),
            Endpoint::Etcd(_) => Err(Error::MigrationOfEtcd),
        }
    }

    /// The store, which nobody else can write to as long as the source is held.
    pub(super) fn hold<'r>(&self, runtime: &'r Runtime) -> Result<(Source<'r>, Held), Error> {
        let (source, held) = match self {
            Self::File(path) => {
                if !path.exists() {
                    return Err(Error::MigrationOfNothing(self.to_string()));
                }
                let claim = Claim::new(path)?;
                (Source::File(claim), look_at_file(path)?)
            }
            Self::Server(settings) => {
                let tenancy = Tenancy::take(settings, runtime)?;
                let held = look_at_server(tenancy.database(), runtime)?;
                (Source::Server(tenancy), held)
            }
        };
        if held.revision <= State::default().revision {
            return Err(Error::MigrationOfNothing(self.to_string()));
        }
        Ok((source, held))
    }
}

/// What is in a file that nobody writes to.
pub(super) fn look_at_file(path: &std::path::Path) -> Result<Held, Error> {
    let (loaded, reader) = sqlite::look(path)?;
    let state = loaded.state;
    let leases = state.leases.iter().cloned().collect();
    Ok(Held::new((state.revision, state.compacted), leases, reader))
}

/// What is in a schema whose term is held.
pub(super) fn look_at_server(
    database: &Arc<dyn Replicated>,
    runtime: &Runtime,
) -> Result<Held, Error> {
    let (loaded, leases) = runtime.block_on(async {
        let loaded = database.load().await?;
        Ok::<_, Error>((loaded.state, database.leases().await?))
    })?;
    let newest = (loaded.revision, loaded.compacted);
    Ok(Held::new(newest, leases, database.reader()))
}
