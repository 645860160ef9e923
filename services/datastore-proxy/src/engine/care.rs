//! What an operator asks of the store: alarms, checksums, copies, its space.

use super::read::TRIES;
use super::{Engine, Reply, Request, Shared};
use crate::domain::alarm::{Alarm, Alarms};
use crate::domain::authz::Caller;
use crate::domain::digest::Digest;
use crate::domain::fault::Fault;
use crate::domain::lease::Lease;
use crate::domain::query::check_revision;
use crate::domain::quota;
use crate::domain::range::KeyRange;
use crate::store::{Logged, StoreError, sqlite};
use sextant_kit::telemetry;
use std::fs::File;
use std::time::Duration;

/// Giving space back is done in small steps beside everything else, so it may take long.
const DEFRAGMENTATION_TIMEOUT: Duration = Duration::from_secs(3600);
/// A part of the log that is read at once.
const PAGE_BYTES: usize = 1 << 20;

/// A checksum, and of what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checksum {
    /// The checksum.
    pub hash: u32,
    /// The store's revision when it was made.
    pub newest: i64,
    /// Everything up to this revision is in it.
    pub revision: i64,
    /// Revisions below this one were forgotten.
    pub compacted: i64,
}

impl Engine {
    /// Raised alarms, wherever they were raised, and [`Alarm::NoSpace`] while the disk is full.
    pub async fn alarms(&self) -> Result<Alarms, Fault> {
        if let Some(replicas) = self.replicas() {
            replicas.learn_alarms().await?;
        }
        Ok(self.known_alarms())
    }

    /// The alarms that are known here.
    pub fn known_alarms(&self) -> Alarms {
        let alarms = self.shared.state().alarms;
        alarms.with(
            Alarm::NoSpace,
            alarms.has(Alarm::NoSpace) || self.shared.is_full(),
        )
    }

    /// Raises or clears an alarm. One that came from a full disk comes back with the next write that finds no space.
    pub async fn set_alarm(&self, alarm: Alarm, raised: bool) -> Result<(), Fault> {
        if alarm == Alarm::NoSpace && !raised {
            self.shared.set_full(false);
        }
        let request = Request::Alarm { alarm, raised };
        self.submit(request, Caller::local()).await.map(drop)
    }

    /// Whether a request is to be tried at all. The first one that goes over the quota raises the alarm.
    pub(crate) async fn admit(&self, request: &Request) -> Result<(), Fault> {
        let cost = match request {
            Request::Alarm { .. } | Request::Defragment | Request::Expire { .. } => return Ok(()),
            Request::Compact { .. } | Request::Renew { .. } | Request::Revoke { .. } => 0,
            Request::Grant { .. } => quota::LEASE,
            Request::Txn(txn) => quota::of_txn(txn),
        };
        let alarms = self.shared.state().alarms;
        if alarms.has(Alarm::Corrupt) {
            return Err(Fault::Corrupt);
        }
        if cost == 0 {
            return Ok(());
        }
        if alarms.has(Alarm::NoSpace) {
            return Err(Fault::NoSpace);
        }
        let used = self.shared.size().in_use;
        if self.quota == 0 || used.saturating_add(cost) <= self.quota {
            return Ok(());
        }
        tracing::warn!(
            used,
            quota = self.quota,
            "the quota is used up: raising NOSPACE"
        );
        // Without the recursion being boxed the future would hold itself.
        Box::pin(self.set_alarm(Alarm::NoSpace, true)).await?;
        Err(Fault::NoSpace)
    }

    /// The checksum of all versions up to `revision`, 0 for the newest one.
    pub async fn checksum(&self, revision: i64) -> Result<Checksum, Fault> {
        self.digest(revision).await.map(|(checksum, _)| checksum)
    }

    /// The checksum of everything as of now, leases included.
    pub async fn checksum_of_all(&self) -> Result<Checksum, Fault> {
        let (mut checksum, mut digest) = self.digest(0).await?;
        let mut leases: Vec<_> = {
            let state = self.shared.state();
            state
                .leases
                .iter()
                .map(|lease| (lease.id, lease.ttl))
                .collect()
        };
        leases.sort_unstable();
        for (id, ttl) in leases {
            digest.write(&id.to_be_bytes());
            digest.write(&ttl.to_be_bytes());
        }
        checksum.hash = digest.finish();
        Ok(checksum)
    }

    async fn digest(&self, revision: i64) -> Result<(Checksum, Digest), Fault> {
        self.confirm().await?;
        self.shared.keys_loaded().await;
        for _ in 0..TRIES {
            let (checksum, mut digest) = self.begin_digest(revision)?;
            self.add_log(&checksum, &mut digest).await?;
            // Otherwise rows may have gone while they were read.
            if self.shared.state().compacted == checksum.compacted {
                let hash = digest.finish();
                return Ok((Checksum { hash, ..checksum }, digest));
            }
        }
        Err(Fault::Timeout)
    }

    fn begin_digest(&self, revision: i64) -> Result<(Checksum, Digest), Fault> {
        let state = self.shared.state();
        let checksum = Checksum {
            hash: 0,
            newest: state.revision,
            revision: if revision > 0 {
                revision
            } else {
                state.revision
            },
            compacted: state.compacted,
        };
        check_revision(checksum.revision, state.revision, state.compacted)?;
        let mut live = state.index.iter(&KeyRange::all(), checksum.revision);
        let digest = Digest::new(state.compacted, checksum.revision, live.next().is_some());
        Ok((checksum, digest))
    }

    async fn add_log(&self, checksum: &Checksum, digest: &mut Digest) -> Result<(), Fault> {
        let mut from = 0;
        while from <= checksum.revision {
            let page = self
                .shared
                .page(KeyRange::all(), from, checksum.revision, PAGE_BYTES)
                .await?;
            from = page.through + 1;
            let state = self.shared.state();
            for Logged {
                key,
                version,
                value,
            } in &page.writes
            {
                let live = version.mod_revision > checksum.compacted
                    || state
                        .index
                        .get(key, checksum.revision)
                        .is_some_and(|live| live.row == version.row);
                digest.add(key, version, value, live);
            }
        }
        Ok(())
    }

    /// A copy of the store as of one moment: a SQLite store, whatever this one is kept in.
    pub async fn copy(&self) -> Result<File, Fault> {
        // The copy may hold newer ones as well.
        let revision = self.shared.state().revision;
        let span = tracing::info_span!("snapshot.copy", revision);
        telemetry::traced(span, self.try_copy()).await
    }

    async fn try_copy(&self) -> Result<File, Fault> {
        let Some(replicas) = self.replicas() else {
            return self.shared.blocking(|shared| shared.reader.copy()).await;
        };
        self.confirm().await?;
        for _ in 0..TRIES {
            let leases = replicas.leases().await?;
            let copied = self
                .shared
                .blocking(move |shared| copy_log(shared, &leases));
            if let Some(copy) = copied.await? {
                return Ok(copy);
            }
        }
        Err(Fault::Timeout)
    }

    /// Gives all free space back to the file system.
    pub async fn defragment(&self) -> Result<i64, Fault> {
        if let Some(replicas) = self.replicas() {
            replicas.shrink().await?;
            return Ok(self.shared.state().revision);
        }
        let answer = self.submit_within(
            Request::Defragment,
            Caller::local(),
            DEFRAGMENTATION_TIMEOUT,
        );
        match answer.await? {
            Reply::Done { revision } => Ok(revision),
            _ => Err(Fault::Stopped),
        }
    }
}

/// A store with the rows up to the newest revision, and these leases; `None` if a compaction came in between.
fn copy_log(shared: &Shared, leases: &[Lease]) -> Result<Option<File>, StoreError> {
    let (revision, compacted) = {
        let state = shared.state();
        (state.revision, state.compacted)
    };
    let mut is_whole = true;
    let copy = sqlite::collect(|filler| {
        let mut from = 0;
        while from <= revision && is_whole {
            let all = KeyRange::all();
            let page = shared.reader.page(&all, from, revision, PAGE_BYTES)?;
            is_whole = page.compacted <= compacted;
            for logged in page.writes {
                filler.add(&logged.into())?;
            }
            from = page.through + 1;
        }
        for lease in leases {
            filler.lease(lease)?;
        }
        Ok(compacted)
    })?;
    Ok(is_whole.then_some(copy))
}
