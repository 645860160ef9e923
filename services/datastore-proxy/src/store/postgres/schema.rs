//! The tables.

use super::error::{describe, failed};
use super::link::{DEADLINE, Session};
use super::settings::Settings;
use crate::store::StoreError;

/// Raised by one with each change of the tables.
const VERSION: i64 = 1;

/// Rows are numbered by the writer, in the order of their revisions and without gaps: no sequence takes part.
/// `writer` and `meta` are written over and over, so they keep room in their pages.
const TABLES: &str = "
    CREATE TABLE log (
        id bigint PRIMARY KEY,
        revision bigint NOT NULL,
        key bytea NOT NULL,
        create_revision bigint NOT NULL,
        version bigint NOT NULL,
        lease bigint NOT NULL,
        value bytea NOT NULL
    );
    CREATE INDEX log_revision ON log (revision);
    CREATE TABLE lease (
        id bigint PRIMARY KEY,
        ttl bigint NOT NULL,
        deadline bigint NOT NULL,
        owner text NOT NULL
    );
    CREATE TABLE meta (name text PRIMARY KEY, value bigint NOT NULL) WITH (fillfactor = 50);
    CREATE TABLE writer (
        epoch bigint NOT NULL,
        beat bigint NOT NULL,
        batch bigint NOT NULL,
        holder bigint NOT NULL,
        address text NOT NULL,
        applied bigint NOT NULL
    ) WITH (fillfactor = 10);
    CREATE TABLE replica (
        id bigint PRIMARY KEY,
        peer_address text NOT NULL,
        client_url text NOT NULL,
        seen timestamptz NOT NULL DEFAULT now()
    );
    INSERT INTO writer (epoch, beat, batch, holder, address, applied) VALUES (0, 0, 0, 0, '', 0);
";

/// Makes the tables where they aren't there, and refuses those of another version.
pub(super) async fn prepare(settings: &Settings) -> Result<(), StoreError> {
    let session = Session::open(settings, DEADLINE).await?;
    let work = async {
        if version(&session).await?.is_none() {
            create(&session, settings).await?;
        }
        let filling = "SELECT EXISTS (SELECT FROM meta WHERE name = 'filling')";
        let filling = session.client.query_one(filling, &[]).await?;
        Ok::<_, tokio_postgres::Error>((version(&session).await?, filling.get::<_, bool>(0)))
    };
    let found = tokio::time::timeout(DEADLINE, work).await;
    match found {
        Ok(Ok((_, true))) => Err(failed(
            settings,
            "opening the schema",
            "a migration fills it, or was stopped before it was done: wait for it, or drop the schema and begin again",
        )),
        Ok(Ok((Some(VERSION), false))) => Ok(()),
        Ok(Ok((Some(found), false))) => Err(failed(
            settings,
            "opening the schema",
            format!(
                "it was written by another version of datastore-proxy (schema {found}, this one knows {VERSION})"
            ),
        )),
        Ok(Ok((None, false))) => Err(failed(settings, "opening the schema", "it has no version")),
        Ok(Err(error)) => Err(describe(settings, "opening the schema", &error)),
        Err(_) => Err(failed(settings, "opening the schema", "no answer in time")),
    }
}

async fn version(session: &Session) -> Result<Option<i64>, tokio_postgres::Error> {
    let exists = session
        .client
        .query_one("SELECT to_regclass('meta') IS NOT NULL", &[])
        .await?;
    if !exists.get::<_, bool>(0) {
        return Ok(None);
    }
    let row = session
        .client
        .query_opt("SELECT value FROM meta WHERE name = 'version'", &[])
        .await?;
    Ok(row.map(|row| row.get(0)))
}

/// Several replicas may start at once: they take turns.
async fn create(session: &Session, settings: &Settings) -> Result<(), tokio_postgres::Error> {
    let client = &session.client;
    let lock = format!(
        "BEGIN; SELECT pg_advisory_xact_lock(hashtext('sextant datastore {}'))",
        settings.schema
    );
    client.batch_execute(&lock).await?;
    if version(session).await?.is_none() {
        let cluster_id = (rand::random::<u64>() | 1).cast_signed();
        // Who may not make schemas may still have been given one.
        let exists = format!("SELECT to_regnamespace('{}') IS NOT NULL", settings.schema);
        if !client.query_one(&exists, &[]).await?.get::<_, bool>(0) {
            let create = format!("CREATE SCHEMA {}", settings.schema);
            client.batch_execute(&create).await?;
        }
        let create = format!(
            "{TABLES} INSERT INTO meta (name, value) VALUES \
             ('version', {VERSION}), ('cluster_id', {cluster_id}), ('compacted', -1)"
        );
        client.batch_execute(&create).await?;
    }
    client.batch_execute("COMMIT").await
}
