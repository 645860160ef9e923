//! kine's table in PostgreSQL.

use super::{Database, KineRow, Rows, Visit, failure};
use crate::config::DatabaseConfig;
use crate::error::Error;
use crate::store::StoreError;
use crate::store::postgres::{Settings, connect};
use futures::{TryStreamExt, pin_mut};
use tokio::runtime::Runtime;
use tokio_postgres::{Client, Row};

pub(super) struct Server {
    settings: Settings,
    runtime: Runtime,
    client: Client,
}

impl Server {
    /// kine's table is in the schema `public` unless the endpoint names another one.
    pub(super) fn open(endpoint: &str, config: &DatabaseConfig) -> Result<Self, Error> {
        let settings = Settings::in_schema(endpoint, "public", config)?;
        let runtime = Runtime::new().map_err(Error::Thread)?;
        let client = runtime.block_on(async {
            let client = connect(&settings).await?;
            // One state for all that is read.
            let one = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
            let begun = client.batch_execute(one).await;
            begun.map_err(|error| failure(&settings, &error))?;
            Ok::<_, StoreError>(client)
        })?;
        Ok(Self {
            settings,
            runtime,
            client,
        })
    }
}

impl Database for Server {
    fn numbers(&mut self, sql: &str) -> Result<Vec<i64>, StoreError> {
        // Of whatever width its columns are.
        let sql = format!("SELECT x::bigint FROM ({sql}) AS found (x) ORDER BY x");
        let found = self.runtime.block_on(self.client.query(&sql, &[]));
        let found = found.map_err(|error| failure(&self.settings, &causes(&error)))?;
        Ok(found.iter().map(|row| row.get(0)).collect())
    }

    fn select(&mut self, rows: Rows, visit: Visit<'_>) -> Result<(), StoreError> {
        let failed = |error: tokio_postgres::Error| failure(&self.settings, &causes(&error));
        let sql = format!(
            "SELECT id::bigint, convert_to(name, 'UTF8'), created::bigint, deleted::bigint, \
             create_revision::bigint, lease::bigint, value {}",
            rows.chosen()
        );
        self.runtime.block_on(async {
            let none: [i64; 0] = [];
            let rows = self.client.query_raw(&sql, none).await.map_err(failed)?;
            pin_mut!(rows);
            while let Some(row) = rows.try_next().await.map_err(failed)? {
                visit(&read(&row).map_err(failed)?)?;
            }
            Ok(())
        })
    }
}

fn read(row: &Row) -> Result<KineRow<'_>, tokio_postgres::Error> {
    let bytes = |index| Ok(row.try_get::<_, Option<&[u8]>>(index)?.unwrap_or_default());
    let number = |index| Ok(row.try_get::<_, Option<i64>>(index)?.unwrap_or_default());
    Ok(KineRow {
        id: number(0)?,
        name: bytes(1)?,
        created: number(2)? != 0,
        deleted: number(3)? != 0,
        create_revision: number(4)?,
        lease: number(5)?,
        value: bytes(6)?,
    })
}

/// tokio-postgres keeps what the server said to itself.
fn causes(error: &tokio_postgres::Error) -> String {
    let said = error.as_db_error();
    said.map_or_else(|| error.to_string(), |said| said.message().to_owned())
}
