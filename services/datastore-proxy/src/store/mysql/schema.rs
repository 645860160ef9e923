//! The tables.

use super::error::{describe, failed};
use super::link::{DEADLINE, column, connect_and_check, create_database};
use super::settings::Settings;
use crate::store::StoreError;
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Error, Row};

/// Raised by one with each change of the tables.
const VERSION: i64 = 1;

/// Rows are numbered by the writer, in the order of their revisions and without gaps: `AUTO_INCREMENT` takes no part.
/// Every table has a primary key, which Galera needs to tell rows apart. `guard` holds one row for ever: adding it
/// again is how a transaction fails whose term is over, see `commit`.
///
/// Replicas may start at once, so each statement may be run by several of them.
const TABLES: [&str; 8] = [
    "CREATE TABLE IF NOT EXISTS log (
        id bigint PRIMARY KEY,
        revision bigint NOT NULL,
        name mediumblob NOT NULL,
        create_revision bigint NOT NULL,
        version bigint NOT NULL,
        lease bigint NOT NULL,
        value mediumblob NOT NULL,
        KEY log_revision (revision)
    ) ENGINE = InnoDB",
    "CREATE TABLE IF NOT EXISTS lease (
        id bigint PRIMARY KEY,
        ttl bigint NOT NULL,
        deadline bigint NOT NULL,
        owner varbinary(255) NOT NULL
    ) ENGINE = InnoDB",
    "CREATE TABLE IF NOT EXISTS meta (
        name varchar(63) CHARACTER SET ascii PRIMARY KEY,
        value bigint NOT NULL
    ) ENGINE = InnoDB",
    "CREATE TABLE IF NOT EXISTS writer (
        id bigint PRIMARY KEY,
        epoch bigint NOT NULL,
        beat bigint NOT NULL,
        batch bigint NOT NULL,
        holder bigint NOT NULL,
        address varchar(255) CHARACTER SET utf8mb4 NOT NULL,
        applied bigint NOT NULL
    ) ENGINE = InnoDB",
    "CREATE TABLE IF NOT EXISTS guard (id bigint PRIMARY KEY) ENGINE = InnoDB",
    "CREATE TABLE IF NOT EXISTS replica (
        id bigint PRIMARY KEY,
        peer_address varchar(255) CHARACTER SET utf8mb4 NOT NULL,
        client_url varchar(255) CHARACTER SET utf8mb4 NOT NULL,
        seen datetime(3) NOT NULL
    ) ENGINE = InnoDB",
    "INSERT IGNORE INTO writer (id, epoch, beat, batch, holder, address, applied) VALUES (1, 0, 0, 0, 0, '', 0)",
    "INSERT IGNORE INTO guard (id) VALUES (1)",
];

/// Makes the tables where they aren't there, and refuses those of another version.
pub(super) async fn prepare(settings: &Settings) -> Result<(), StoreError> {
    create_database(settings).await?;
    let mut conn = connect_and_check(settings).await?;
    let work = async {
        if version(&mut conn).await?.is_none() {
            create(&mut conn).await?;
        }
        let filling = "SELECT 1 FROM meta WHERE name = 'filling'";
        let filling: Option<Row> = conn.query_first(filling).await?;
        Ok::<_, Error>((version(&mut conn).await?, filling.is_some()))
    };
    let refuse = |found: String| failed(settings, "opening the database", found);
    match tokio::time::timeout(DEADLINE, work).await {
        Ok(Ok((_, true))) => Err(refuse(
            "a migration fills it, or was stopped before it was done: wait for it, or drop the database and begin again"
                .into(),
        )),
        Ok(Ok((Some(VERSION), false))) => Ok(()),
        Ok(Ok((Some(found), false))) => Err(refuse(format!(
            "it was written by another version of datastore-proxy (schema {found}, this one knows {VERSION})"
        ))),
        Ok(Ok((None, false))) => Err(refuse("it has no version".into())),
        Ok(Err(error)) => Err(describe(settings, "opening the database", &error)),
        Err(_) => Err(refuse("no answer in time".into())),
    }
}

async fn version(conn: &mut Conn) -> Result<Option<i64>, Error> {
    let exists = "SELECT 1 FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name = 'meta'";
    let exists: Option<Row> = conn.query_first(exists).await?;
    if exists.is_none() {
        return Ok(None);
    }
    let version: Option<Row> = conn
        .query_first("SELECT value FROM meta WHERE name = 'version'")
        .await?;
    version.map(|row| column(&row, 0)).transpose()
}

async fn create(conn: &mut Conn) -> Result<(), Error> {
    for table in TABLES {
        conn.query_drop(table).await?;
    }
    let cluster_id = (rand::random::<u64>() | 1).cast_signed();
    // In one statement: who sees the version sees the rest.
    let meta = "INSERT IGNORE INTO meta (name, value) VALUES ('cluster_id', ?), ('compacted', -1), ('version', ?)";
    conn.exec_drop(meta, (cluster_id, VERSION)).await
}
