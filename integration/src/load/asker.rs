//! A client that asks the same over and over.

use super::server::Server;
use super::tally::Tally;
use super::transport::Transport;
use anyhow::{Result, ensure};
use bytes::Bytes;
use http::Method;
use serde_json::Value;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::time::sleep;

/// After a failure, so that a server that is away isn't asked a thousand times a second.
const PAUSE: Duration = Duration::from_millis(200);

/// One request.
#[derive(Clone, Debug)]
pub struct Question {
    /// What it is counted as.
    pub verb: &'static str,
    /// Path and query.
    pub path: String,
    /// What is posted; `None` gets.
    pub body: Option<Value>,
}

pub(super) struct Asker {
    question: Question,
    transport: Transport,
    tally: Arc<Tally>,
}

impl Asker {
    pub fn new(question: &Question, server: &Arc<Server>, tally: &Arc<Tally>) -> Self {
        Self {
            question: question.clone(),
            transport: Transport::new(server, tally),
            tally: Arc::clone(tally),
        }
    }

    pub async fn run(mut self, stopped: watch::Receiver<bool>) {
        while !*stopped.borrow() {
            if let Err(error) = self.ask().await {
                self.tally
                    .fail(format!("{}: {error:#}", self.question.verb));
                sleep(PAUSE).await;
            }
        }
    }

    async fn ask(&mut self) -> Result<()> {
        let Question { verb, path, body } = &self.question;
        let (method, body) = match body {
            Some(body) => (Method::POST, Bytes::from(body.to_string())),
            None => (Method::GET, Bytes::new()),
        };
        let asked = Instant::now();
        let (status, said) = self.transport.ask(&method, path, body).await?;
        ensure!(
            status.is_success(),
            "{status}: {}",
            String::from_utf8_lossy(&said)
        );
        self.tally.answer(verb, asked.elapsed());
        Ok(())
    }
}
