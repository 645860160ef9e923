//! One connection, made anew when it is lost.

use super::error::{UNKNOWN_DATABASE, code, describe, failed, is_lost, note};
use super::settings::Settings;
use crate::store::{StoreError, span};
use bytes::Bytes;
use mysql_async::prelude::{FromValue, Queryable};
use mysql_async::{Conn, DriverError, Error, OptsBuilder, Params, Row};
use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;
use tracing::{Instrument, Span};

/// How long most statements may take.
pub(super) const DEADLINE: Duration = Duration::from_secs(5);

/// Its name in spans, also where it is MariaDB.
pub(super) const SYSTEM: &str = "mysql";

/// What a packet must be able to hold, see `commit`.
const PACKET: u64 = 16 << 20;

/// The text of a statement.
pub(super) struct Sql<'s> {
    /// As it is sent.
    pub(super) sent: &'s str,
    /// As spans tell it, where values are in what is sent.
    pub(super) shown: Option<&'static str>,
}

/// One whose values are parameters.
impl<'s> From<&'s str> for Sql<'s> {
    fn from(sent: &'s str) -> Self {
        Self { sent, shown: None }
    }
}

impl Sql<'_> {
    fn told(&self) -> Cow<'static, str> {
        match self.shown {
            Some(shown) => shown.into(),
            None => self.sent.to_owned().into(),
        }
    }
}

/// What a statement answered.
pub(super) struct Answer {
    pub(super) rows: Vec<Row>,
    /// Rows that it changed.
    pub(super) affected: u64,
}

/// Connects. The server gives a statement up after `limit`; zero: never.
pub(crate) async fn connect(settings: &Settings, limit: Duration) -> Result<Conn, StoreError> {
    open(settings, limit).await.map(|(conn, _)| conn)
}

/// The first connection: looks at what the server is like.
pub(super) async fn connect_and_check(settings: &Settings) -> Result<Conn, StoreError> {
    let (conn, found) = open(settings, DEADLINE).await?;
    check(settings, &found)?;
    Ok(conn)
}

async fn open(settings: &Settings, limit: Duration) -> Result<(Conn, Variables), StoreError> {
    let work = async {
        let mut conn = Conn::new(settings.opts.clone()).await?;
        let found = variables(&mut conn).await?;
        conn.query_drop(setup(&found, limit)).await?;
        Ok((conn, found))
    };
    match tokio::time::timeout(DEADLINE, work).await {
        Ok(Ok(connected)) => Ok(connected),
        Ok(Err(error)) => Err(describe(settings, "connecting", &error)),
        Err(_) => Err(failed(settings, "connecting", "no answer in time")),
    }
}

/// Makes the database where it isn't there; whoever may not must have been given one.
pub(super) async fn create_database(settings: &Settings) -> Result<(), StoreError> {
    let work = async {
        match Conn::new(settings.opts.clone()).await {
            Err(error) if code(&error) == Some(UNKNOWN_DATABASE) => {}
            found => return found.map(drop),
        }
        let nowhere = OptsBuilder::from_opts(settings.opts.clone()).db_name(None::<String>);
        let mut conn = Conn::new(nowhere).await?;
        // The name needs no quotes, see `Settings`.
        let create = format!("CREATE DATABASE IF NOT EXISTS {}", settings.database);
        conn.query_drop(create).await
    };
    match tokio::time::timeout(DEADLINE, work).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(describe(settings, "opening the database", &error)),
        Err(_) => Err(failed(
            settings,
            "opening the database",
            "no answer in time",
        )),
    }
}

type Variables = HashMap<String, String>;

/// Settings of the server that matter here, as far as it has them.
async fn variables(conn: &mut Conn) -> Result<Variables, Error> {
    let sql = "SHOW VARIABLES WHERE Variable_name IN ('version', 'wsrep_on', 'max_allowed_packet', \
               'max_statement_time', 'information_schema_stats_expiry', 'innodb_flush_log_at_trx_commit')";
    let rows: Vec<Row> = conn.query(sql).await?;
    rows.iter()
        .map(|row| Ok((column(row, 0)?, column(row, 1)?)))
        .collect()
}

/// What every connection is told: nothing depends on the server's own settings.
fn setup(found: &Variables, limit: Duration) -> String {
    let isolation = if is_mariadb(found) {
        "tx_isolation"
    } else {
        "transaction_isolation"
    };
    let mut setup = format!(
        "SET SESSION autocommit = 1, sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION', \
         time_zone = '+00:00', {isolation} = 'READ-COMMITTED'"
    );
    if !limit.is_zero() {
        let seconds = limit.as_secs().max(1);
        setup += &format!(", innodb_lock_wait_timeout = {seconds}");
        if found.contains_key("max_statement_time") {
            setup += &format!(", max_statement_time = {seconds}");
        }
    }
    if found.contains_key("information_schema_stats_expiry") {
        setup += ", information_schema_stats_expiry = 0";
    }
    if found.get("wsrep_on").is_some_and(|on| on == "ON") {
        // A node of a Galera cluster reads only once it has everything that was committed on another one.
        setup += ", wsrep_sync_wait = 1";
    }
    setup
}

fn is_mariadb(found: &Variables) -> bool {
    found
        .get("version")
        .is_some_and(|version| version.contains("MariaDB"))
}

fn check(settings: &Settings, found: &Variables) -> Result<(), StoreError> {
    let number = |name: &str| found.get(name).and_then(|value| value.parse::<u64>().ok());
    if let Some(packet) = number("max_allowed_packet").filter(|packet| *packet < PACKET) {
        let advice = format!("max_allowed_packet is {packet}: set it to {PACKET} or more");
        return Err(failed(settings, "connecting", advice));
    }
    if number("innodb_flush_log_at_trx_commit").is_some_and(|when| when != 1) {
        tracing::warn!(
            database = %settings,
            "innodb_flush_log_at_trx_commit isn't 1: writes that were acknowledged are lost with the server's power"
        );
    }
    Ok(())
}

/// A column of a row.
pub(super) fn column<T: FromValue>(row: &Row, index: usize) -> Result<T, Error> {
    match row.get_opt(index) {
        Some(Ok(value)) => Ok(value),
        Some(Err(mysql_async::FromValueError(value))) => {
            Err(DriverError::FromValue { value }.into())
        }
        None => Err(DriverError::FromRow { row: row.clone() }.into()),
    }
}

/// Bytes of a row.
pub(super) fn blob(row: &Row, index: usize) -> Result<Bytes, Error> {
    column::<Vec<u8>>(row, index).map(Bytes::from)
}

/// The place of a connection. Statements take turns on it.
pub(super) struct Link {
    settings: Arc<Settings>,
    limit: Duration,
    conn: Mutex<Option<Conn>>,
}

impl Link {
    /// A link whose statements may take `limit` each.
    pub(super) fn new(settings: &Arc<Settings>, limit: Duration) -> Self {
        Self {
            settings: Arc::clone(settings),
            limit,
            conn: Mutex::default(),
        }
    }

    /// Connects if there is no connection.
    pub(super) async fn connect(&self) -> Result<(), StoreError> {
        let mut slot = self.conn.lock().await;
        if slot.is_none() {
            *slot = Some(connect(&self.settings, self.limit).await?);
        }
        Ok(())
    }

    /// Sends packets of statements, one after the other. On an error the connection is closed, and with it ends what
    /// it had begun. The first error is whether a connection was there at all.
    pub(super) async fn send(&self, packets: Vec<Bytes>) -> Result<Result<(), Error>, StoreError> {
        let mut slot = self.conn.lock().await;
        // Taken: a connection whose statement was given up on must not be used again.
        let mut conn = match slot.take() {
            Some(conn) => conn,
            None => connect(&self.settings, self.limit).await?,
        };
        for packet in packets {
            if let Err(error) = conn.query_drop(&packet[..]).await {
                return Ok(Err(error));
            }
        }
        *slot = Some(conn);
        Ok(Ok(()))
    }

    /// Runs a statement that may be run twice: a lost connection is made anew once.
    pub(super) async fn run<'s>(
        &self,
        doing: &str,
        sql: impl Into<Sql<'s>>,
        parameters: impl Into<Params>,
    ) -> Result<Answer, StoreError> {
        let (sql, parameters) = (sql.into(), parameters.into());
        let span = span::statement(SYSTEM, doing, || sql.told());
        let work = self
            .try_run(doing, sql.sent, parameters, &span)
            .instrument(span.clone());
        // For the turn, the connection and the statement.
        match tokio::time::timeout(self.limit, work).await {
            Ok(answer) => answer,
            Err(_) => {
                span::fail(&span, None, span::TIMEOUT);
                Err(failed(&self.settings, doing, "no answer in time"))
            }
        }
    }

    async fn try_run(
        &self,
        doing: &str,
        sql: &str,
        parameters: Params,
        span: &Span,
    ) -> Result<Answer, StoreError> {
        let mut slot = self.conn.lock().await;
        loop {
            // Only one that was there before can be stale.
            let (mut conn, is_old) = match slot.take() {
                Some(conn) => (conn, true),
                None => {
                    let connected = connect(&self.settings, self.limit).await;
                    let connected =
                        connected.inspect_err(|_| span::fail(span, None, span::CONNECTION))?;
                    (connected, false)
                }
            };
            let answered = match &parameters {
                // Text that is another one each time isn't worth preparing.
                Params::Empty => conn.query(sql).await,
                parameters => conn.exec(sql, parameters.clone()).await,
            };
            match answered {
                Ok(rows) => {
                    let affected = conn.affected_rows();
                    *slot = Some(conn);
                    return Ok(Answer { rows, affected });
                }
                Err(error) if is_lost(&error) && is_old => {}
                Err(error) => {
                    note(span, &error);
                    if !is_lost(&error) {
                        *slot = Some(conn);
                    }
                    return Err(describe(&self.settings, doing, &error));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables(all: &[(&str, &str)]) -> Variables {
        all.iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn a_connection_is_told_what_its_server_knows() {
        let limit = Duration::from_secs(2);
        let mariadb = [
            ("version", "10.11.19-MariaDB"),
            ("max_statement_time", "0"),
            ("wsrep_on", "OFF"),
        ];
        let told = setup(&variables(&mariadb), limit);
        assert!(told.contains(" tx_isolation = 'READ-COMMITTED'"), "{told}");
        assert!(told.contains("max_statement_time = 2"), "{told}");
        assert!(!told.contains("wsrep"), "{told}");

        let mysql = [
            ("version", "8.0.40"),
            ("information_schema_stats_expiry", "86400"),
        ];
        let told = setup(&variables(&mysql), Duration::ZERO);
        assert!(
            told.contains("transaction_isolation = 'READ-COMMITTED'"),
            "{told}"
        );
        assert!(
            !told.contains("timeout") && !told.contains("max_statement"),
            "{told}"
        );
        assert!(
            told.contains("information_schema_stats_expiry = 0"),
            "{told}"
        );

        let galera = [("version", "10.11.19-MariaDB"), ("wsrep_on", "ON")];
        assert!(setup(&variables(&galera), limit).contains("wsrep_sync_wait = 1"));
    }
}
