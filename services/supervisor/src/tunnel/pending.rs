//! Connections that wait for their node's end.

use super::WINDOW;
use sextant_proto::supervisor::TunnelData;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

/// Connections that may wait at one time.
const MOST: usize = 1024;

/// The node's end of a connection.
#[derive(Debug)]
pub(super) struct NodeEnd {
    /// From the node.
    pub up: Streaming<TunnelData>,
    /// To the node.
    pub down: mpsc::Sender<Result<TunnelData, Status>>,
}

#[derive(Debug)]
struct Waiting {
    node: String,
    end: oneshot::Sender<NodeEnd>,
}

type Waitings = Mutex<HashMap<String, Waiting>>;

/// Connections by id. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Pending {
    waiting: Arc<Waitings>,
}

/// A connection that waits; forgotten when dropped.
#[derive(Debug)]
pub(super) struct Expected {
    waiting: Arc<Waitings>,
    /// Names it to the node.
    pub id: String,
    /// The node's end.
    pub end: oneshot::Receiver<NodeEnd>,
}

impl Pending {
    /// Expects `node` to call with a new id.
    pub(super) fn expect(&self, node: &str) -> Result<Expected, Status> {
        let id = format!("{:032x}", rand::random::<u128>());
        let (sender, end) = oneshot::channel();
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() >= MOST {
            return Err(Status::resource_exhausted(format!(
                "{MOST} connections already wait for their nodes: are the nodes overloaded?"
            )));
        }
        waiting.insert(
            id.clone(),
            Waiting {
                node: node.to_owned(),
                end: sender,
            },
        );
        Ok(Expected {
            waiting: Arc::clone(&self.waiting),
            id,
            end,
        })
    }

    /// The node's end has come; gives the stream to send down to it.
    ///
    /// # Errors
    /// `NOT_FOUND` when nobody waits for it (any more), or waits for another node.
    pub fn arrive(
        &self,
        id: &str,
        node: &str,
        up: Streaming<TunnelData>,
    ) -> Result<ReceiverStream<Result<TunnelData, Status>>, Status> {
        let unknown = || Status::not_found("nobody waits for this tunnel connection (any more)");
        let expected = {
            let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            match waiting.get(id) {
                Some(entry) if entry.node == node => waiting.remove(id),
                _ => None,
            }
        };
        let (down, stream) = mpsc::channel(WINDOW);
        expected
            .ok_or_else(unknown)?
            .end
            .send(NodeEnd { up, down })
            .map_err(|_| unknown())?;
        Ok(ReceiverStream::new(stream))
    }
}

impl Drop for Expected {
    fn drop(&mut self) {
        self.waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&self.id);
    }
}
