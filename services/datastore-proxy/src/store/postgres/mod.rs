//! PostgreSQL 15 and later: one database, any number of replicas, one schema per control plane.

mod commit;
mod error;
mod link;
mod load;
mod reader;
mod schema;
mod settings;
mod tls;

pub use settings::Settings;

use super::replicated::{Member, Replicated, Tail, Won};
use super::{Loaded, Log, Reader, Size, StoreError, span};
use crate::domain::alarm::Alarms;
use crate::domain::election::{Tenure, Term};
use crate::domain::lease::Lease;
use crate::domain::version::Row;
use crate::store::gathered::Gathered;
use link::{Link, Session};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use tracing::Instrument;

/// Connections for readers. Each takes several queries at a time.
const READERS: usize = 3;
/// A replica that wasn't heard of for so long isn't listed, in seconds. Dead ones are deleted after ten times that.
const LISTED_SECONDS: f64 = 10.0;
/// How long a question about the term may take; a sign of life that takes longer is none.
const TERM_DEADLINE: Duration = Duration::from_secs(2);

/// All, and what of it holds rows: their number, times what a row takes in a sample of about 200 pages, its place in
/// the indexes included.
const SIZE: &str = "
    SELECT pg_total_relation_size('log') + pg_total_relation_size('lease'), (
        (SELECT n_live_tup FROM pg_stat_user_tables WHERE relid = 'log'::regclass)
        * (SELECT avg(pg_column_size(key) + pg_column_size(value) + 120) FROM log
           TABLESAMPLE SYSTEM (least(100, 2e4 * 8192 / greatest(1, pg_relation_size('log')))))
    )::bigint";

/// A connection without a limit for its statements.
pub(crate) async fn connect(settings: &Settings) -> Result<tokio_postgres::Client, StoreError> {
    let session = Session::open(settings, Duration::ZERO).await?;
    Ok(session.client)
}

/// A database, as one replica uses it. Connections are made when they are needed, and anew when they are lost.
pub struct Postgres {
    settings: Arc<Settings>,
    /// For the term alone, so that nothing slow delays a sign of life.
    control: Link,
    tail: Link,
    readers: Arc<reader::Pool>,
    member_id: u64,
}

impl Postgres {
    /// Connects, and makes the schema and its tables if they aren't there. `member_id` names this replica.
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
}

#[tonic::async_trait]
impl Replicated for Postgres {
    async fn term(&self) -> Result<Term, StoreError> {
        let sql = "SELECT epoch, beat, holder, address, applied FROM writer";
        let rows = self.control.query("reading the term", sql, &[]).await?;
        let row = rows.first().ok_or_else(|| missing("writer"))?;
        let get = || {
            Ok(Term {
                epoch: row.try_get(0)?,
                beat: row.try_get(1)?,
                holder: row.try_get::<_, i64>(2)?.cast_unsigned(),
                address: row.try_get(3)?,
                applied: row.try_get(4)?,
            })
        };
        get().map_err(|error| error::describe(&self.settings, "reading the term", &error))
    }

    async fn campaign(&self, seen: &Term, candidate: &Member) -> Result<Option<Won>, StoreError> {
        let sql = "UPDATE writer SET epoch = epoch + 1, beat = 0, batch = 0, holder = $3, address = $4 \
                   WHERE epoch = $1 AND beat = $2 RETURNING epoch";
        let tenure = Arc::new(Tenure::new(Instant::now()));
        let id = candidate.id.cast_signed();
        let parameters: link::Parameters<'_> =
            &[&seen.epoch, &seen.beat, &id, &candidate.peer_address];
        let rows = self.control.query("campaigning", sql, parameters).await?;
        Ok(rows.first().map(|row| Won::new(row.get(0), tenure)))
    }

    async fn beat(&self, won: &Won, applied: Row) -> Result<bool, StoreError> {
        let sql = "UPDATE writer SET beat = beat + 1, applied = greatest(applied, $2) \
                   WHERE epoch = $1 RETURNING 1";
        let sent = Instant::now();
        let epoch = won.epoch();
        let doing = "giving a sign of life";
        let rows = self.control.query(doing, sql, &[&epoch, &applied]).await?;
        if rows.is_empty() {
            // The writer itself may have raised it, see `commit`.
            return Ok(won.epoch() != epoch);
        }
        won.tenure.extend(sent);
        Ok(true)
    }

    async fn resign(&self, won: &Won) -> Result<(), StoreError> {
        let sql = "UPDATE writer SET holder = 0 WHERE epoch = $1";
        let epoch = won.epoch();
        self.control.query("resigning", sql, &[&epoch]).await?;
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
        reader::tail(&self.tail, revision, through).await
    }

    async fn leases(&self) -> Result<Vec<Lease>, StoreError> {
        let sql = "SELECT id, ttl, deadline, owner FROM lease";
        let rows = self.tail.query("reading leases", sql, &[]).await?;
        Ok(rows
            .iter()
            .map(|row| Lease {
                id: row.get(0),
                ttl: row.get(1),
                deadline: row.get(2),
                owner: row.get(3),
            })
            .collect())
    }

    async fn alarms(&self) -> Result<Alarms, StoreError> {
        let sql = "SELECT value FROM meta WHERE name = 'alarms'";
        let rows = self.control.query("reading alarms", sql, &[]).await?;
        let bits = rows.first().map(|row| row.get(0));
        Ok(Alarms::from_bits(bits.unwrap_or_default()))
    }

    async fn shrink(&self) -> Result<(), StoreError> {
        // On a connection of its own, without a limit.
        let session = Session::open(&self.settings, Duration::ZERO).await?;
        for table in ["log", "lease"] {
            let vacuum = format!("VACUUM (ANALYZE) {table}");
            let span = span::statement(link::SYSTEM, "shrinking", || vacuum.clone());
            let vacuumed = session.client.batch_execute(&vacuum);
            vacuumed.instrument(span.clone()).await.map_err(|error| {
                error::note(&span, &error);
                error::describe(&self.settings, "shrinking", &error)
            })?;
        }
        Ok(())
    }

    async fn size(&self) -> Result<Size, StoreError> {
        let rows = self.tail.query("measuring", SIZE, &[]).await?;
        let row = rows.first().ok_or_else(|| missing("log"))?;
        let total = row.get::<_, i64>(0).unsigned_abs();
        let in_use = row.get::<_, Option<i64>>(1).map(i64::unsigned_abs);
        Ok(Size {
            total,
            in_use: in_use.unwrap_or(total).min(total),
        })
    }

    async fn announce(&self, member: &Member) -> Result<(), StoreError> {
        let sql = "WITH gone AS (DELETE FROM replica WHERE seen < now() - $4 * interval '10 second') \
                   INSERT INTO replica (id, peer_address, client_url) VALUES ($1, $2, $3) \
                   ON CONFLICT (id) DO UPDATE SET peer_address = $2, client_url = $3, seen = now()";
        let id = member.id.cast_signed();
        self.tail
            .query(
                "announcing",
                sql,
                &[
                    &id,
                    &member.peer_address,
                    &member.client_url,
                    &LISTED_SECONDS,
                ],
            )
            .await?;
        Ok(())
    }

    async fn members(&self) -> Result<Vec<Member>, StoreError> {
        let sql = "SELECT id, peer_address, client_url FROM replica \
                   WHERE seen > now() - $1 * interval '1 second' ORDER BY id";
        let rows = self
            .tail
            .query("listing replicas", sql, &[&LISTED_SECONDS])
            .await?;
        Ok(rows
            .iter()
            .map(|row| Member {
                id: row.get::<_, i64>(0).cast_unsigned(),
                peer_address: row.get(1),
                client_url: row.get(2),
            })
            .collect())
    }

    async fn begin_filling(&self) -> Result<(), StoreError> {
        let sql = "INSERT INTO meta (name, value) VALUES ('filling', 1)";
        self.control.query("beginning", sql, &[]).await.map(drop)
    }

    async fn end_filling(&self) -> Result<(), StoreError> {
        let sql = "DELETE FROM meta WHERE name = 'filling'";
        self.control.query("ending", sql, &[]).await.map(drop)
    }
}

fn missing(table: &str) -> StoreError {
    StoreError::Failed {
        doing: format!("reading {table}"),
        found: "the table is empty: the schema is damaged, restore it from a backup".into(),
    }
}
