//! One session: what comes up is noted, what changed goes down.

use super::hub::Session;
use crate::domain::cluster::ClusterConfig;
use crate::domain::fleet::Fleet;
use crate::domain::membership::check_addresses;
use crate::store::Datastore;
use sextant_identity::{Leaving, TrustBundle};
use sextant_kit::Drain;
use sextant_proto::supervisor::{
    NodeConfig, NodeHello, NodeInstruction, NodeReport, Trust, node_instruction::Instruction,
    node_report::Report,
};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};
use tonic::{Status, Streaming};

/// A node that says nothing for this long is gone; it reports every 10 s.
const SILENCE: Duration = Duration::from_secs(30);

/// What sessions follow.
#[derive(Clone, Debug)]
pub struct Sources {
    /// Wanted cluster.
    pub cluster: Arc<ClusterConfig>,
    /// All nodes.
    pub fleet: watch::Receiver<Arc<Fleet>>,
    /// Anchors.
    pub trust: watch::Receiver<Arc<TrustBundle>>,
    /// The registry.
    pub store: Datastore,
    /// Ends all sessions.
    pub drain: Drain,
}

/// The downward half of a session.
pub(super) type Down = mpsc::Sender<Result<NodeInstruction, Status>>;

/// The upward half of a session, and what it comes over.
pub(super) struct Up {
    pub reports: Streaming<NodeReport>,
    pub connection: Leaving,
}

/// Runs a session to its end and says why it ended.
pub(super) async fn run(
    node: String,
    mut session: Session,
    mut up: Up,
    mut sources: Sources,
    down: Down,
) {
    let end = follow(&node, &mut session, &mut up, &mut sources, &down).await;
    drop(session);
    tracing::info!(node, reason = end.message(), "session ended");
    // A node that is gone doesn't read it; the send must not wait for it.
    let _ = down.try_send(Err(end));
}

async fn follow(
    node: &str,
    session: &mut Session,
    up: &mut Up,
    sources: &mut Sources,
    down: &Down,
) -> Status {
    let mut sent = NodeConfig::default();
    let mut registered = false;
    let mut silent_at = Instant::now() + SILENCE;
    sources.fleet.mark_changed();
    sources.trust.mark_changed();
    loop {
        let instruction = tokio::select! {
            () = sources.drain.signaled() => return stopping(),
            () = up.connection.signaled() => {
                return if sources.drain.is_draining() { stopping() } else { aged() };
            }
            () = session.superseded.cancelled() => {
                return Status::aborted("this node has opened a newer session");
            }
            () = sleep_until(silent_at) => {
                return Status::deadline_exceeded("no report for 30 s");
            }
            () = changed(&mut sources.fleet) => {
                let fleet = sources.fleet.borrow_and_update().clone();
                let present = fleet.nodes.contains_key(node);
                if registered && !present {
                    return removed(node);
                }
                registered = present;
                let config = fleet.node_config(&sources.cluster, node);
                if config == sent {
                    continue;
                }
                sent = config.clone();
                Instruction::Config(config)
            }
            () = changed(&mut sources.trust) => {
                Instruction::Trust(Trust::from(&**sources.trust.borrow_and_update()))
            }
            Some(instruction) = session.instructions.recv() => match instruction.instruction {
                Some(instruction) => instruction,
                None => continue,
            },
            report = up.reports.message() => match report {
                Ok(Some(report)) => {
                    silent_at = Instant::now() + SILENCE;
                    note(node, session, sources, report);
                    continue;
                }
                Ok(None) => return Status::ok("the node ended the session"),
                Err(status) => return status,
            },
        };
        let instruction = NodeInstruction {
            instruction: Some(instruction),
        };
        tokio::select! {
            outcome = down.send(Ok(instruction)) => if outcome.is_err() {
                return Status::cancelled("the connection is gone");
            },
            () = sleep_until(silent_at) => {
                return Status::deadline_exceeded("the node reads no instructions");
            }
        }
    }
}

/// A value that nobody changes any more stays as it is.
async fn changed<T>(receiver: &mut watch::Receiver<T>) {
    if receiver.changed().await.is_err() {
        std::future::pending().await
    }
}

fn stopping() -> Status {
    Status::unavailable("this supervisor is stopping: connect to another")
}

/// New tunnel connections would come over another connection than the session's, to whatever replica that leads. No
/// error: those that the node has may finish.
fn aged() -> Status {
    Status::ok("its connection is old: the node opens another")
}

pub(super) fn removed(node: &str) -> Status {
    Status::permission_denied(format!(
        "node {node:?} isn't registered (any more): join it again with a new token"
    ))
}

fn note(node: &str, session: &Session, sources: &Sources, report: NodeReport) {
    match report.report {
        Some(Report::Status(status)) => session.set_waiting_for(status.waiting_for),
        Some(Report::Telemetry(outcome)) => session.answer(outcome),
        Some(Report::Hello(hello)) => {
            // Written aside, so that a slow datastore doesn't hold up the session.
            let (node, sources) = (node.to_owned(), sources.clone());
            sources
                .drain
                .clone()
                .spawn(async move { register(&node, &sources, hello).await });
        }
        None => {}
    }
}

/// Writes what a node says of itself to its record, until it is there.
async fn register(node: &str, sources: &Sources, hello: NodeHello) {
    let now = crate::clock::now();
    let addresses: Vec<String> = hello
        .addresses
        .iter()
        .filter(
            |text| match check_addresses(std::slice::from_ref(text), &sources.cluster) {
                Ok(_) => true,
                Err(refusal) => {
                    tracing::warn!(node, %refusal, "address left out");
                    false
                }
            },
        )
        .cloned()
        .collect();
    let mut backoff = sextant_kit::backoff::Backoff::default();
    for _ in 0..20 {
        let outcome = sources.store.update_node(node, |record| {
            let before = record.clone();
            record.addresses.clone_from(&addresses);
            record.vtep_mac.clone_from(&hello.vtep_mac);
            record.agent_version.clone_from(&hello.version);
            if record.first_session_unix == 0 {
                record.first_session_unix = now;
            }
            *record != before
        });
        match outcome.await {
            Ok(()) => return,
            Err(error) => tracing::warn!(node, %error, "node's addresses not registered yet"),
        }
        tokio::time::sleep(backoff.next()).await;
    }
}
