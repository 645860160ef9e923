//! Sending the writer what it is to do.

use super::{PeerChannel, Replicas, Writer, wire};
use crate::domain::authz::Caller;
use crate::domain::fault::Fault;
use crate::engine::{Reply, Request};
use sextant_proto::datastore::replica_client::ReplicaClient;
use sextant_proto::datastore::submit_request::Work;
use sextant_proto::datastore::submit_response::Outcome;
use sextant_proto::datastore::{NotWriter, Refusal};
use std::time::Duration;
use tokio::time::Instant;
use tonic::Status;

/// How long an answer waits until this replica sees what was written. It is true without that, so then it is sent.
const CATCH_UP: Duration = Duration::from_secs(3);
/// How long a question may take that needs no writing.
const QUESTION: Duration = Duration::from_secs(5);

impl Replicas {
    /// Asks the writer something that it answers from its memory; `None` if that is this replica.
    pub async fn ask_writer(&self, work: Work, caller: &Caller) -> Result<Option<Outcome>, Fault> {
        let deadline = Instant::now() + QUESTION;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let writer = self.some_writer(left).await?;
            let Writer::There { client, .. } = writer.clone() else {
                return Ok(None);
            };
            if let Some(outcome) = self.send(client, work.clone(), caller, left).await? {
                return Ok(Some(outcome));
            }
            self.another_writer(&writer, deadline).await?;
        }
    }

    /// Sends a request to be queued there; `None` if the other one doesn't write, so that nothing was done.
    pub(super) async fn forward(
        &self,
        client: ReplicaClient<PeerChannel>,
        request: &Request,
        caller: &Caller,
        limit: Duration,
    ) -> Result<Option<Reply>, Fault> {
        let work = wire::work(request).ok_or(Fault::NoLeader)?;
        let Some(outcome) = self.send(client, work, caller, limit).await? else {
            return Ok(None);
        };
        let reply = wire::reply(outcome)?;
        let revision = reply.revision();
        if let Err(fault) = self.reach(revision, CATCH_UP).await {
            tracing::warn!(revision, %fault, "a write that the writer has acknowledged isn't visible here yet");
        }
        Ok(Some(reply))
    }

    async fn send(
        &self,
        client: ReplicaClient<PeerChannel>,
        work: Work,
        caller: &Caller,
        limit: Duration,
    ) -> Result<Option<Outcome>, Fault> {
        // Answers may hold lists, and requests are as large as the first replica let them be.
        let mut client = client
            .max_decoding_message_size(usize::MAX)
            .max_encoding_message_size(usize::MAX);
        let writer = self.writer.borrow().clone();
        let response = tokio::select! {
            response = client.submit(wire::message(work, caller)) => response,
            () = tokio::time::sleep(limit) => return Err(Fault::Timeout),
            // It may have been done before somebody else took over.
            () = self.replaced(&writer) => return Err(Fault::Timeout),
        };
        match response
            .map_err(|status| lost(&status))?
            .into_inner()
            .outcome
        {
            Some(Outcome::NotWriter(NotWriter {})) => Ok(None),
            Some(Outcome::Refusal(Refusal { code, message })) => Err(Fault::told(code, &message)),
            Some(outcome) => Ok(Some(outcome)),
            None => Err(Fault::Timeout),
        }
    }

    /// Resolves once somebody else than `writer` writes.
    async fn replaced(&self, writer: &Writer) {
        let mut current = self.writer.subscribe();
        let replaced = current.wait_for(|current| current.name() != writer.name());
        // It fails only when this replica ends.
        let _ = replaced.await;
    }
}

/// The connection failed: whether the request arrived isn't known.
fn lost(status: &Status) -> Fault {
    tracing::warn!(%status, "a request to the writer was lost");
    Fault::Timeout
}
