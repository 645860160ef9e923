//! The store that is filled. Until it is kept nobody takes it for a whole one.

use super::held::Held;
use super::side::{Side, look_at_file, look_at_server};
use super::tenancy::Tenancy;
use crate::domain::lease::{Lease, LeaseChange};
use crate::domain::state::{Changes, State, Write};
use crate::error::Error;
use crate::store::sqlite::fill::Filler;
use crate::store::sqlite::{self, Claim};
use crate::store::{Log, Logged, StoreError};
use crate::tools::{claim_new, file, publish};
use std::fs::File;
use std::path::{Path, PathBuf};
use tokio::runtime::Runtime;

/// Bytes in one transaction, roughly.
const BATCH_BYTES: usize = 1 << 20;

pub(super) enum Target<'r> {
    File(NewFile),
    Server(NewSchema<'r>),
}

/// A file with another name than it will have.
pub(super) struct NewFile {
    path: PathBuf,
    part: PathBuf,
    filler: Option<Filler>,
    is_kept: bool,
    _claim: Claim,
}

/// A schema that is marked as one that is being filled.
pub(super) struct NewSchema<'r> {
    tenancy: Tenancy<'r>,
    log: Box<dyn Log>,
    /// Bytes of the open transaction.
    open: usize,
    last_row: i64,
}

impl<'r> Target<'r> {
    /// Begins to fill it; it must be empty.
    pub(super) fn begin(to: &Side, runtime: &'r Runtime) -> Result<Self, Error> {
        match to {
            Side::File(path) => NewFile::begin(path).map(Self::File),
            Side::Server(settings) => {
                let tenancy = Tenancy::take(settings, runtime)?;
                let held = look_at_server(tenancy.database(), runtime)?;
                if held.revision > State::default().revision || !held.leases.is_empty() {
                    return Err(Error::MigrationOverSomething(to.to_string()));
                }
                NewSchema::begin(tenancy).map(Self::Server)
            }
        }
    }

    /// Adds a row.
    pub(super) fn add(&mut self, logged: Logged) -> Result<(), StoreError> {
        let write = Write::from(logged);
        match self {
            Self::File(new) => new.filler()?.add(&write),
            Self::Server(new) => new.add(write),
        }
    }

    /// Adds a lease.
    pub(super) fn lease(&mut self, lease: &Lease) -> Result<(), StoreError> {
        match self {
            Self::File(new) => new.filler()?.lease(lease),
            Self::Server(new) => new.log.append(&Changes {
                leases: vec![LeaseChange::Granted(lease.clone())],
                ..Changes::default()
            }),
        }
    }

    /// Nothing more is added. Tells what is there now.
    pub(super) fn complete(&mut self, source: &Held) -> Result<Held, Error> {
        match self {
            Self::File(new) => {
                if let Some(filler) = new.filler.take() {
                    filler.finish(source.compacted)?;
                }
                look_at_file(&new.part)
            }
            Self::Server(new) => {
                new.log.append(&Changes {
                    compacted: (source.compacted > 0).then_some(source.compacted),
                    ..Changes::default()
                })?;
                new.commit()?;
                new.tenancy.show(new.last_row)?;
                look_at_server(new.tenancy.database(), new.tenancy.runtime())
            }
        }
    }

    /// From now on it is a store.
    pub(super) fn keep(self) -> Result<(), Error> {
        match self {
            Self::File(mut new) => {
                let part = File::open(&new.part).map_err(|e| file("opening", &new.part, &e))?;
                publish(&part, &new.part, &new.path)?;
                new.is_kept = true;
                Ok(())
            }
            Self::Server(new) => {
                let tenancy = new.tenancy;
                tenancy
                    .runtime()
                    .block_on(tenancy.database().end_filling())?;
                tenancy.end()
            }
        }
    }
}

impl NewFile {
    fn begin(path: &Path) -> Result<Self, Error> {
        let claim = claim_new(path)?;
        let part = sqlite::sibling(path, ".part");
        sqlite::remove(&part)?;
        let filler = Some(Filler::new(&part)?);
        Ok(Self {
            path: path.to_owned(),
            part,
            filler,
            is_kept: false,
            _claim: claim,
        })
    }

    fn filler(&mut self) -> Result<&mut Filler, StoreError> {
        self.filler.as_mut().ok_or_else(|| StoreError::Failed {
            doing: format!("filling {}", self.part.display()),
            found: "it is complete already".into(),
        })
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        self.filler = None;
        if !self.is_kept {
            // Of no use to anybody, and as large as the store.
            let _ = sqlite::remove(&self.part);
        }
    }
}

impl<'r> NewSchema<'r> {
    fn begin(tenancy: Tenancy<'r>) -> Result<Self, Error> {
        let log = tenancy.runtime().block_on(async {
            tenancy.database().begin_filling().await?;
            tenancy.database().log(tenancy.won(), 0).await
        })?;
        log.begin()?;
        Ok(Self {
            tenancy,
            log,
            open: 0,
            last_row: 0,
        })
    }

    fn add(&mut self, write: Write) -> Result<(), StoreError> {
        self.last_row = write.version.row;
        self.open += write.key.len() + write.value.len() + 64;
        self.log.append(&Changes {
            writes: vec![write],
            ..Changes::default()
        })?;
        if self.open < BATCH_BYTES {
            return Ok(());
        }
        self.commit()?;
        self.log.begin()
    }

    fn commit(&mut self) -> Result<(), StoreError> {
        self.open = 0;
        self.log.commit()
    }
}
