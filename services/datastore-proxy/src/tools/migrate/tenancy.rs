//! Holding the term of a database, so that no replica writes there meanwhile.

use crate::domain::election::{BEAT, LOOK, Observer, Verdict};
use crate::error::Error;
use crate::store::replicated::{Member, Replicated, Won};
use crate::store::server::Settings;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Instant;
use tokio::runtime::Runtime;
use tokio_util::task::AbortOnDropHandle;

pub(super) struct Tenancy<'r> {
    runtime: &'r Runtime,
    database: Arc<dyn Replicated>,
    won: Won,
    name: String,
    /// The last row that is to be visible.
    applied: Arc<AtomicI64>,
    beating: AbortOnDropHandle<()>,
}

impl<'r> Tenancy<'r> {
    /// Takes the term, if nobody has given a sign of life for as long as replicas wait for one.
    pub(super) fn take(settings: &Settings, runtime: &'r Runtime) -> Result<Self, Error> {
        let name = settings.to_string();
        let (database, won) = runtime.block_on(win(settings.clone(), &name))?;
        let applied = Arc::new(AtomicI64::new(0));
        let beating = {
            let (database, won, applied) = (database.clone(), won.clone(), applied.clone());
            let beats = async move {
                loop {
                    // Whether it was in time shows at the end.
                    let _ = database.beat(&won, applied.load(Ordering::SeqCst)).await;
                    tokio::time::sleep(BEAT).await;
                }
            };
            AbortOnDropHandle::new(runtime.spawn(beats))
        };
        Ok(Self {
            runtime,
            database,
            won,
            name,
            applied,
            beating,
        })
    }

    pub(super) fn runtime(&self) -> &'r Runtime {
        self.runtime
    }

    pub(super) fn database(&self) -> &Arc<dyn Replicated> {
        &self.database
    }

    pub(super) fn won(&self) -> &Won {
        &self.won
    }

    /// Makes everything up to `row` visible.
    pub(super) fn show(&self, row: i64) -> Result<(), Error> {
        self.applied.store(row, Ordering::SeqCst);
        self.check()
    }

    /// Gives the term back, if it was ours until now.
    pub(super) fn end(self) -> Result<(), Error> {
        self.check()?;
        drop(self.beating);
        Ok(self.runtime.block_on(self.database.resign(&self.won))?)
    }

    fn check(&self) -> Result<(), Error> {
        let applied = self.applied.load(Ordering::SeqCst);
        let beat = self.database.beat(&self.won, applied);
        if self.runtime.block_on(beat)? {
            Ok(())
        } else {
            Err(Error::MigrationDisturbed(self.name.clone()))
        }
    }
}

async fn win(settings: Settings, name: &str) -> Result<(Arc<dyn Replicated>, Won), Error> {
    let disturbed = || Error::MigrationDisturbed(name.to_owned());
    let id = rand::random::<u64>() | 1;
    let database = settings.open(id).await?;
    let candidate = Member {
        id,
        ..Member::default()
    };
    let mut observer = Observer::default();
    let first = database.term().await?;
    loop {
        let term = database.term().await?;
        if (term.epoch, term.beat) != (first.epoch, first.beat) {
            return Err(disturbed());
        }
        if observer.observe(&term, Instant::now()) == Verdict::Campaign {
            let won = database.campaign(&term, &candidate).await?;
            return Ok((database, won.ok_or_else(disturbed)?));
        }
        tokio::time::sleep(LOOK).await;
    }
}
