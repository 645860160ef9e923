//! Reads that must not be stale.
//!
//! The writer answers from its memory as long as nobody else can have written. The others ask it how far it is, all
//! reads that wait with one question, and wait until they are as far.

use super::{Replicas, Writer};
use crate::domain::fault::Fault;
use sextant_proto::datastore::RevisionRequest;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot};

/// How long an answer may take, an election included.
const LIMIT: Duration = Duration::from_secs(8);
/// How long one try may take: a writer that has stopped in between doesn't answer.
const TRY: Duration = Duration::from_secs(2);
/// Between tries.
const PAUSE: Duration = Duration::from_millis(50);

/// A read that waits.
pub(super) type Question = oneshot::Sender<Result<i64, Fault>>;

impl Replicas {
    /// See [`crate::engine::Engine::confirm`].
    pub async fn confirm(&self) -> Result<(), Fault> {
        if self.own_revision().is_some() {
            return Ok(());
        }
        let (question, answer) = oneshot::channel();
        self.questions
            .try_send(question)
            .map_err(|_| Fault::TooManyRequests)?;
        let revision = answer.await.map_err(|_| Fault::Stopped)??;
        self.reach(revision, LIMIT).await
    }

    /// The newest revision, if this replica writes and nobody else can have written. The revision is read before
    /// the tenure is looked at: if the process stands still in between, the answer is as old as the call at most.
    pub(crate) fn own_revision(&self) -> Option<i64> {
        let Writer::Here { won, .. } = self.writer.borrow().clone() else {
            return None;
        };
        let revision = self.shared.state().revision;
        won.tenure.is_valid(Instant::now()).then_some(revision)
    }

    /// Resolves once `revision` is visible here.
    pub(super) async fn reach(&self, revision: i64, limit: Duration) -> Result<(), Fault> {
        let mut visible = self.shared.visible();
        let reached = visible.wait_for(|visible| *visible >= revision);
        match tokio::time::timeout(limit, reached).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => Err(Fault::Stopped),
            Err(_) => Err(Fault::Timeout),
        }
    }

    async fn ask(&self) -> Result<i64, Fault> {
        let deadline = Instant::now() + LIMIT;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if let Some(revision) = self.try_ask(left).await? {
                return Ok(revision);
            }
            if Instant::now() > deadline {
                return Err(Fault::NoLeader);
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn try_ask(&self, limit: Duration) -> Result<Option<i64>, Fault> {
        let writer = self.some_writer(limit).await?;
        let Writer::There { mut client, .. } = writer.clone() else {
            return Ok(self.own_revision());
        };
        let answer = tokio::select! {
            answer = client.revision(RevisionRequest {}) => answer,
            () = tokio::time::sleep(TRY) => return Ok(None),
            _ = self.another_writer(&writer, tokio::time::Instant::now() + limit) => return Ok(None),
        };
        match answer {
            Ok(answer) => Ok(Some(answer.into_inner().revision)),
            Err(status) => {
                tracing::debug!(%status, "the writer doesn't say how far it is");
                Ok(None)
            }
        }
    }
}

/// Answers questions, those that have gathered with one answer. Only one that is asked after a read has come can
/// answer it, so those that come meanwhile wait for the next.
pub(super) async fn answer(replicas: Arc<Replicas>, mut asked: mpsc::Receiver<Question>) {
    while let Some(first) = asked.recv().await {
        let mut waiting = vec![first];
        while let Ok(question) = asked.try_recv() {
            waiting.push(question);
        }
        let answer = replicas.ask().await;
        for question in waiting {
            // A client that has gone needs no answer.
            let _ = question.send(answer.clone());
        }
    }
}
