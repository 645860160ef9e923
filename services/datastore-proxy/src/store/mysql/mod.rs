//! MySQL 8 and MariaDB 10.11 and later, also as a Galera cluster: one server or cluster, any number of replicas, one
//! database per control plane.

mod commit;
mod error;
mod link;
mod literal;
mod load;
mod reader;
mod schema;
mod settings;
mod transaction;

pub(crate) use link::connect;
pub use settings::Settings;

use super::replicated::{Member, Replicated, Tail, Won};
use super::{Loaded, Log, Reader, Size, StoreError, span};
use crate::domain::alarm::Alarms;
use crate::domain::election::{Tenure, Term};
use crate::domain::lease::Lease;
use crate::domain::version::Row;
use crate::store::gathered::Gathered;
use error::{describe, failed, note};
use link::{Answer, Link, column};
use mysql_async::prelude::Queryable;
use mysql_async::{Error, Params};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use tracing::Instrument;

/// Connections for readers, each for one query at a time.
const READERS: usize = 6;
/// A replica that wasn't heard of for so long isn't listed, in seconds. Dead ones are deleted after ten times that.
const LISTED_SECONDS: i64 = 10;
/// How long a question about the term may take; a sign of life that takes longer is none.
const TERM_DEADLINE: Duration = Duration::from_secs(2);

/// A database, as one replica uses it. Connections are made when they are needed, and anew when they are lost.
pub struct MySql {
    settings: Arc<Settings>,
    /// For the term alone, so that nothing slow delays a sign of life.
    control: Link,
    tail: Link,
    readers: Arc<reader::Pool>,
    member_id: u64,
}

impl MySql {
    /// Connects, and makes the database and its tables if they aren't there. `member_id` names this replica.
    pub async fn open(settings: Settings, member_id: u64) -> Result<Self, StoreError> {
        let settings = Arc::new(settings);
        schema::prepare(&settings).await?;
        Ok(Self {
            control: Link::new(&settings, TERM_DEADLINE),
            tail: Link::new(&settings, link::DEADLINE),
            readers: Arc::new(reader::Pool::new(&settings, READERS)),
            settings,
            member_id,
        })
    }

    /// Makes something of each row of an answer.
    fn each<T>(
        &self,
        doing: &str,
        answer: &Answer,
        make: impl Fn(&mysql_async::Row) -> Result<T, Error>,
    ) -> Result<Vec<T>, StoreError> {
        let made: Result<Vec<T>, Error> = answer.rows.iter().map(make).collect();
        made.map_err(|error| describe(&self.settings, doing, &error))
    }

    /// The first of them.
    fn first<T>(&self, doing: &str, made: Vec<T>) -> Result<T, StoreError> {
        let missing = "the table is empty: the database is damaged, restore it from a backup";
        let first = made.into_iter().next();
        first.ok_or_else(|| failed(&self.settings, doing, missing))
    }
}

#[tonic::async_trait]
impl Replicated for MySql {
    async fn term(&self) -> Result<Term, StoreError> {
        let doing = "reading the term";
        let sql = "SELECT epoch, beat, holder, address, applied FROM writer";
        let answer = self.control.run(doing, sql, Params::Empty).await?;
        let terms = self.each(doing, &answer, |row| {
            Ok(Term {
                epoch: column(row, 0)?,
                beat: column(row, 1)?,
                holder: column::<i64>(row, 2)?.cast_unsigned(),
                address: column(row, 3)?,
                applied: column(row, 4)?,
            })
        })?;
        self.first(doing, terms)
    }

    async fn campaign(&self, seen: &Term, candidate: &Member) -> Result<Option<Won>, StoreError> {
        let sql = "UPDATE writer SET epoch = epoch + 1, beat = 0, batch = 0, holder = ?, address = ? \
                   WHERE epoch = ? AND beat = ?";
        let tenure = Arc::new(Tenure::new(Instant::now()));
        let id = candidate.id.cast_signed();
        let parameters = (id, candidate.peer_address.as_str(), seen.epoch, seen.beat);
        let answer = self.control.run("campaigning", sql, parameters).await?;
        Ok((answer.affected == 1).then(|| Won::new(seen.epoch + 1, tenure)))
    }

    async fn beat(&self, won: &Won, applied: Row) -> Result<bool, StoreError> {
        let sql =
            "UPDATE writer SET beat = beat + 1, applied = GREATEST(applied, ?) WHERE epoch = ?";
        let sent = Instant::now();
        let epoch = won.epoch();
        let beaten = self
            .control
            .run("giving a sign of life", sql, (applied, epoch));
        if beaten.await?.affected == 0 {
            // The writer itself may have raised it, see `commit`.
            return Ok(won.epoch() != epoch);
        }
        won.tenure.extend(sent);
        Ok(true)
    }

    async fn resign(&self, won: &Won) -> Result<(), StoreError> {
        let sql = "UPDATE writer SET holder = 0 WHERE epoch = ?";
        self.control.run("resigning", sql, (won.epoch(),)).await?;
        Ok(())
    }

    async fn log(&self, won: &Won, last_row: Row) -> Result<Box<dyn Log>, StoreError> {
        let runtime = Handle::current();
        let committer = commit::Committer::new(&self.settings, won, last_row, runtime);
        committer.connect().await?;
        Ok(Box::new(Gathered::new(committer, last_row)))
    }

    fn reader(&self) -> Arc<dyn Reader> {
        Arc::<reader::Pool>::clone(&self.readers)
    }

    async fn load(&self) -> Result<Loaded, StoreError> {
        load::load(&self.settings, self.member_id).await
    }

    async fn tail(&self, revision: i64, through: Row) -> Result<Tail, StoreError> {
        reader::tail(&self.tail, &self.settings, revision, through).await
    }

    async fn leases(&self) -> Result<Vec<Lease>, StoreError> {
        let doing = "reading leases";
        let sql = "SELECT id, ttl, deadline, owner FROM lease";
        let answer = self.tail.run(doing, sql, Params::Empty).await?;
        self.each(doing, &answer, |row| {
            Ok(Lease {
                id: column(row, 0)?,
                ttl: column(row, 1)?,
                deadline: column(row, 2)?,
                owner: column(row, 3)?,
            })
        })
    }

    async fn alarms(&self) -> Result<Alarms, StoreError> {
        let doing = "reading alarms";
        let sql = "SELECT value FROM meta WHERE name = 'alarms'";
        let answer = self.control.run(doing, sql, Params::Empty).await?;
        let bits = self.each(doing, &answer, |row| column(row, 0))?;
        Ok(Alarms::from_bits(bits.first().copied().unwrap_or_default()))
    }

    async fn shrink(&self) -> Result<(), StoreError> {
        // On a connection of its own, without a limit.
        let mut conn = connect(&self.settings, Duration::ZERO).await?;
        let sql = "OPTIMIZE TABLE log, lease";
        let span = span::statement(link::SYSTEM, "shrinking", || sql);
        let optimized = conn.query_drop(sql).instrument(span.clone()).await;
        optimized.map_err(|error| {
            note(&span, &error);
            describe(&self.settings, "shrinking", &error)
        })
    }

    async fn size(&self) -> Result<Size, StoreError> {
        let doing = "measuring";
        let sql = "SELECT CAST(SUM(data_length + index_length + data_free) AS UNSIGNED), \
                   CAST(SUM(data_length + index_length) AS UNSIGNED) \
                   FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name IN ('log', 'lease')";
        let answer = self.tail.run(doing, sql, Params::Empty).await?;
        let sizes = self.each(doing, &answer, |row| {
            Ok(Size {
                total: column(row, 0)?,
                in_use: column(row, 1)?,
            })
        })?;
        self.first(doing, sizes)
    }

    async fn announce(&self, member: &Member) -> Result<(), StoreError> {
        let gone = "DELETE FROM replica WHERE seen < UTC_TIMESTAMP(3) - INTERVAL ? SECOND";
        let sql = "INSERT INTO replica (id, peer_address, client_url, seen) VALUES (?, ?, ?, UTC_TIMESTAMP(3)) \
                   ON DUPLICATE KEY UPDATE peer_address = VALUES(peer_address), client_url = VALUES(client_url), \
                   seen = VALUES(seen)";
        let id = member.id.cast_signed();
        let parameters = (id, member.peer_address.as_str(), member.client_url.as_str());
        let long = LISTED_SECONDS * 10;
        self.tail.run("announcing", gone, (long,)).await?;
        self.tail.run("announcing", sql, parameters).await?;
        Ok(())
    }

    async fn members(&self) -> Result<Vec<Member>, StoreError> {
        let doing = "listing replicas";
        let sql = "SELECT id, peer_address, client_url FROM replica \
                   WHERE seen > UTC_TIMESTAMP(3) - INTERVAL ? SECOND ORDER BY id";
        let answer = self.tail.run(doing, sql, (LISTED_SECONDS,)).await?;
        self.each(doing, &answer, |row| {
            Ok(Member {
                id: column::<i64>(row, 0)?.cast_unsigned(),
                peer_address: column(row, 1)?,
                client_url: column(row, 2)?,
            })
        })
    }

    async fn begin_filling(&self) -> Result<(), StoreError> {
        let sql = "INSERT INTO meta (name, value) VALUES ('filling', 1)";
        self.control
            .run("beginning", sql, Params::Empty)
            .await
            .map(drop)
    }

    async fn end_filling(&self) -> Result<(), StoreError> {
        let sql = "DELETE FROM meta WHERE name = 'filling'";
        self.control
            .run("ending", sql, Params::Empty)
            .await
            .map(drop)
    }
}
