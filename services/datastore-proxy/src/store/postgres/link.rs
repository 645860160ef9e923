//! One connection, made anew when it is lost.

use super::error::{describe, failed, is_lost, note};
use super::settings::Settings;
use super::tls::MakeTls;
use crate::store::{StoreError, span};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Row, Statement};
use tracing::Instrument;

/// How long most queries may take, and the server works on them.
pub(super) const DEADLINE: Duration = Duration::from_secs(5);

/// Its name in spans.
pub(super) const SYSTEM: &str = "postgresql";

/// Parameters of a statement.
pub(super) type Parameters<'p> = &'p [&'p (dyn ToSql + Sync)];

/// A connection that is there, with what was prepared on it.
pub(super) struct Session {
    pub(super) client: Client,
    statements: Mutex<HashMap<&'static str, Statement>>,
}

impl Session {
    /// Connects. The server gives a statement up after `limit`.
    pub(super) async fn open(settings: &Settings, limit: Duration) -> Result<Self, StoreError> {
        let work = async {
            let tls = MakeTls(settings.tls.clone());
            let (client, connection) = settings.config.connect(tls).await?;
            tokio::spawn(async move {
                if let Err(error) = connection.await {
                    tracing::debug!(%error, "a connection to the database ended");
                }
            });
            // The schema's name needs no quotes, see `Settings`.
            let setup = format!(
                "SET search_path TO {}; SET statement_timeout TO {}; \
                 SELECT set_config('synchronous_commit', 'on', false) \
                 WHERE current_setting('synchronous_commit') = 'off'",
                settings.schema,
                limit.as_millis()
            );
            client.batch_execute(&setup).await?;
            Ok(client)
        };
        match tokio::time::timeout(DEADLINE, work).await {
            Ok(Ok(client)) => Ok(Self {
                client,
                statements: Mutex::default(),
            }),
            Ok(Err(error)) => Err(describe(settings, "connecting", &error)),
            Err(_) => Err(failed(settings, "connecting", "no answer in time")),
        }
    }

    /// Prepares `sql`, or finds it prepared.
    pub(super) async fn prepare(
        &self,
        sql: &'static str,
    ) -> Result<Statement, tokio_postgres::Error> {
        let mut statements = self.statements.lock().await;
        if let Some(statement) = statements.get(sql) {
            return Ok(statement.clone());
        }
        let statement = self.client.prepare(sql).await?;
        statements.insert(sql, statement.clone());
        Ok(statement)
    }
}

/// The place of a session.
pub(super) struct Link {
    settings: Arc<Settings>,
    limit: Duration,
    session: Mutex<Option<Arc<Session>>>,
}

impl Link {
    /// A link whose queries may take `limit` each.
    pub(super) fn new(settings: &Arc<Settings>, limit: Duration) -> Self {
        Self {
            settings: Arc::clone(settings),
            limit,
            session: Mutex::default(),
        }
    }

    /// The session; connects if there is none.
    pub(super) async fn session(&self) -> Result<Arc<Session>, StoreError> {
        let mut slot = self.session.lock().await;
        match slot.as_ref().filter(|session| !session.client.is_closed()) {
            Some(session) => Ok(Arc::clone(session)),
            None => {
                let session = Arc::new(Session::open(&self.settings, self.limit).await?);
                *slot = Some(Arc::clone(&session));
                Ok(session)
            }
        }
    }

    /// Forgets a session that doesn't answer.
    pub(super) async fn forget(&self, session: &Arc<Session>) {
        let mut slot = self.session.lock().await;
        if slot.as_ref().is_some_and(|held| Arc::ptr_eq(held, session)) {
            *slot = None;
        }
    }

    /// Runs a statement that may be run twice: a lost connection is made anew once.
    pub(super) async fn query(
        &self,
        doing: &str,
        sql: &'static str,
        parameters: Parameters<'_>,
    ) -> Result<Vec<Row>, StoreError> {
        let mut again = true;
        loop {
            let session = self.session().await?;
            let work = async {
                let statement = session.prepare(sql).await?;
                session.client.query(&statement, parameters).await
            };
            let span = span::statement(SYSTEM, doing, || sql);
            let work = work.instrument(span.clone());
            let error = match tokio::time::timeout(self.limit, work).await {
                Ok(Ok(rows)) => return Ok(rows),
                Ok(Err(error)) => {
                    note(&span, &error);
                    let told = describe(&self.settings, doing, &error);
                    if !is_lost(&error) {
                        return Err(told);
                    }
                    told
                }
                Err(_) => {
                    span::fail(&span, None, span::TIMEOUT);
                    again = false;
                    failed(&self.settings, doing, "no answer in time")
                }
            };
            self.forget(&session).await;
            if !std::mem::take(&mut again) {
                return Err(error);
            }
        }
    }
}
