//! The sessions that this replica holds.

use sextant_proto::supervisor::{
    NodeInstruction, OpenTunnel, TelemetryInstruction, TelemetryOutcome,
    node_instruction::Instruction,
};
use sextant_proto::telemetry::ChangeRequest;
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tonic::Status;

/// Instructions that may wait for a slow node.
const QUEUE: usize = 256;
/// Changes of telemetry that may wait for a node's answer.
const ASKED: usize = 64;

/// Who waits for which answer.
type Asked = Arc<Mutex<HashMap<u64, oneshot::Sender<TelemetryOutcome>>>>;

/// An open session, as others see it.
#[derive(Clone, Debug)]
pub struct Live {
    id: u64,
    instructions: mpsc::Sender<NodeInstruction>,
    superseded: CancellationToken,
    asked: Asked,
    /// When it was opened.
    pub since_unix: i64,
    /// What the node last said it waits for.
    pub waiting_for: Vec<String>,
}

/// All sessions by node. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Hub {
    live: Arc<watch::Sender<BTreeMap<String, Live>>>,
    next: Arc<AtomicU64>,
}

/// The node's end of a session; closed when dropped.
#[derive(Debug)]
pub struct Session {
    hub: Hub,
    node: String,
    id: u64,
    asked: Asked,
    /// What others want the node to be told.
    pub instructions: mpsc::Receiver<NodeInstruction>,
    /// Ends when the same node opens a newer session here.
    pub superseded: CancellationToken,
}

impl Hub {
    /// Opens a session; an older one of the same node ends.
    pub fn open(&self, node: &str, now: i64) -> Session {
        let (sender, instructions) = mpsc::channel(QUEUE);
        let superseded = CancellationToken::new();
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let asked = Asked::default();
        let live = Live {
            id,
            instructions: sender,
            superseded: superseded.clone(),
            asked: asked.clone(),
            since_unix: now,
            waiting_for: Vec::new(),
        };
        self.live.send_modify(|all| {
            if let Some(older) = all.insert(node.to_owned(), live) {
                older.superseded.cancel();
            }
        });
        Session {
            hub: self.clone(),
            node: node.to_owned(),
            id,
            asked,
            instructions,
            superseded,
        }
    }

    /// The sessions, and each change of them.
    pub fn watch(&self) -> watch::Receiver<BTreeMap<String, Live>> {
        self.live.subscribe()
    }

    /// Whether a node has a session here.
    pub fn has(&self, node: &str) -> bool {
        self.live.borrow().contains_key(node)
    }

    /// Any node with a session here that waits for nothing, chosen by `pick`.
    pub fn any_ready(&self, pick: u64) -> Option<String> {
        let live = self.live.borrow();
        let ready: Vec<_> = live
            .iter()
            .filter(|(_, l)| l.waiting_for.is_empty())
            .collect();
        let index = usize::try_from(pick % (ready.len().max(1) as u64)).unwrap_or(0);
        ready.get(index).map(|(name, _)| (*name).clone())
    }

    /// Asks a node to open its end of a tunnel connection.
    ///
    /// # Errors
    /// `UNAVAILABLE` when it has no session here, `RESOURCE_EXHAUSTED` when it doesn't keep up.
    pub fn open_tunnel(&self, node: &str, open: OpenTunnel) -> Result<(), Status> {
        self.instruct(node, Instruction::OpenTunnel(open))
    }

    /// Asks a process of a node to change its telemetry; the receiver gets the answer, or an error when the session
    /// ends before.
    ///
    /// # Errors
    /// As for [`Self::open_tunnel`].
    pub fn change_telemetry(
        &self,
        node: &str,
        process: String,
        change: ChangeRequest,
    ) -> Result<oneshot::Receiver<TelemetryOutcome>, Status> {
        let asked = self.live.borrow().get(node).map(|live| live.asked.clone());
        let asked = asked.ok_or_else(|| no_session(node))?;
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (sender, answer) = oneshot::channel();
        {
            let mut asked = asked.lock().unwrap_or_else(PoisonError::into_inner);
            asked.retain(|_, waiting| !waiting.is_closed());
            if asked.len() >= ASKED {
                return Err(Status::resource_exhausted(format!(
                    "{ASKED} changes wait for node {node:?} already"
                )));
            }
            asked.insert(id, sender);
        }
        let instruction = TelemetryInstruction {
            id,
            process,
            change: Some(change),
        };
        self.instruct(node, Instruction::Telemetry(instruction))?;
        Ok(answer)
    }

    fn instruct(&self, node: &str, instruction: Instruction) -> Result<(), Status> {
        let sender = self
            .live
            .borrow()
            .get(node)
            .map(|live| live.instructions.clone());
        let sender = sender.ok_or_else(|| no_session(node))?;
        let instruction = NodeInstruction {
            instruction: Some(instruction),
        };
        sender.try_send(instruction).map_err(|error| match error {
            mpsc::error::TrySendError::Closed(_) => {
                Status::unavailable(format!("the session of node {node:?} has just ended"))
            }
            mpsc::error::TrySendError::Full(_) => Status::resource_exhausted(format!(
                "node {node:?} has {QUEUE} instructions waiting and takes none; look at its node-agent"
            )),
        })
    }
}

fn no_session(node: &str) -> Status {
    Status::unavailable(format!("node {node:?} has no session with this supervisor"))
}

impl Session {
    /// Passes an answer on to whoever waits for it.
    pub fn answer(&self, outcome: TelemetryOutcome) {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(waiting) = asked.remove(&outcome.id) {
            // It may have given up.
            let _ = waiting.send(outcome);
        }
    }

    /// Notes what the node says it waits for.
    pub fn set_waiting_for(&self, reasons: Vec<String>) {
        self.hub
            .live
            .send_if_modified(|all| match all.get_mut(&self.node) {
                Some(live) if live.id == self.id && live.waiting_for != reasons => {
                    live.waiting_for = reasons;
                    true
                }
                _ => false,
            });
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // Whoever waits hears at once that no answer will come.
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.clear();
        drop(asked);
        self.hub.live.send_if_modified(|all| {
            let own = all.get(&self.node).is_some_and(|live| live.id == self.id);
            if own {
                all.remove(&self.node);
            }
            own
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_newer_session_supersedes_and_outlives_the_older() {
        let hub = Hub::default();
        let older = hub.open("n", 1);
        let newer = hub.open("n", 2);
        assert!(older.superseded.is_cancelled());
        drop(older);
        assert!(hub.has("n"));
        drop(newer);
        assert!(!hub.has("n"));
    }

    #[test]
    fn services_go_to_nodes_that_wait_for_nothing() {
        let hub = Hub::default();
        assert_eq!(hub.any_ready(3), None);
        let waiting = hub.open("a", 1);
        waiting.set_waiting_for(vec!["kubelet".into()]);
        let _ready = hub.open("b", 1);
        for pick in 0..4 {
            assert_eq!(hub.any_ready(pick).as_deref(), Some("b"));
        }
    }

    #[test]
    fn a_node_that_takes_no_instructions_is_refused_not_waited_for() {
        let hub = Hub::default();
        let open = || hub.open_tunnel("n", OpenTunnel::default());
        assert_eq!(open().unwrap_err().code(), tonic::Code::Unavailable);
        let _session = hub.open("n", 1);
        for _ in 0..QUEUE {
            open().unwrap();
        }
        assert_eq!(open().unwrap_err().code(), tonic::Code::ResourceExhausted);
    }
}
