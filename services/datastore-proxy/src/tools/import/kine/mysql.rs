//! kine's table in MySQL or MariaDB.

use super::{Database, KineRow, Rows, Visit, failure};
use crate::config::DatabaseConfig;
use crate::error::Error;
use crate::store::StoreError;
use crate::store::mysql::{Settings, connect};
use mysql_async::prelude::{FromValue, Queryable};
use mysql_async::{Conn, Row};
use std::time::Duration;
use tokio::runtime::Runtime;

pub(super) struct Server {
    settings: Settings,
    runtime: Runtime,
    conn: Conn,
}

impl Server {
    pub(super) fn open(endpoint: &str, config: &DatabaseConfig) -> Result<Self, Error> {
        let settings = Settings::new(endpoint, config)?;
        let runtime = Runtime::new().map_err(Error::Thread)?;
        let conn = runtime.block_on(async {
            let mut conn = connect(&settings, Duration::ZERO).await?;
            // One state for all that is read.
            let one = "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ; \
                       START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY";
            let begun = conn.query_drop(one).await;
            begun.map_err(|error| failure(&settings, &error))?;
            Ok::<_, StoreError>(conn)
        })?;
        Ok(Self {
            settings,
            runtime,
            conn,
        })
    }
}

impl Database for Server {
    fn numbers(&mut self, sql: &str) -> Result<Vec<i64>, StoreError> {
        let sql = format!("{sql} ORDER BY 1");
        let found = self.runtime.block_on(self.conn.query(sql));
        found.map_err(|error| failure(&self.settings, &error))
    }

    fn select(&mut self, rows: Rows, visit: Visit<'_>) -> Result<(), StoreError> {
        let failed = |error: mysql_async::Error| failure(&self.settings, &error);
        let sql = format!(
            "SELECT id, CAST(name AS BINARY), created, deleted, create_revision, lease, value {}",
            rows.chosen()
        );
        self.runtime.block_on(async {
            let mut rows = self.conn.query_iter(sql).await.map_err(failed)?;
            while let Some(row) = rows.next().await.map_err(failed)? {
                let [name, value] = [1, 6].map(|index| get::<Vec<u8>>(&row, index));
                let number = |index| get::<i64>(&row, index);
                visit(&KineRow {
                    id: number(0),
                    name: &name,
                    created: number(2) != 0,
                    deleted: number(3) != 0,
                    create_revision: number(4),
                    lease: number(5),
                    value: &value,
                })?;
            }
            Ok(())
        })
    }
}

/// A column; its default where it is NULL.
fn get<T: FromValue + Default>(row: &Row, index: usize) -> T {
    row.get::<Option<T>, _>(index).flatten().unwrap_or_default()
}
