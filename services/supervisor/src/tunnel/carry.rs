//! A connection over a session of this replica: opening it, then copying both directions, each at its own pace.

use super::pending::{NodeEnd, Pending};
use super::{OPEN_DEADLINE, WINDOW};
use crate::metrics::TunnelMetrics;
use crate::session::Hub;
use bytes::Bytes;
use sextant_kit::Drain;
use sextant_proto::supervisor::{
    EgressData, EgressOpened, OpenTunnel, TunnelData, egress_data::Message,
};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};
use tracing::field::Empty;
use tracing::{Instrument, Span, info_span};

const STOPPING: &str = "this supervisor is stopping";

/// What a connection over an own session needs. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Carrier {
    /// Sessions of this replica.
    pub hub: Hub,
    /// Connections that wait for their node.
    pub pending: Pending,
    /// What is counted.
    pub metrics: TunnelMetrics,
    /// Cuts all connections.
    pub drain: Drain,
}

type Answer = Result<EgressData, Status>;

impl Carrier {
    /// Opens a connection to `target` by `node` and starts to copy; the answer begins with `opened`.
    pub(super) async fn carry(
        &self,
        node: &str,
        target: &str,
        from_api: Streaming<EgressData>,
    ) -> Result<ReceiverStream<Answer>, Status> {
        let span = info_span!("tunnel", id = Empty, node, target);
        let opening = self.open(node, target, &span);
        let opened = opening.instrument(span.clone()).await;
        let (end, first) = opened.inspect_err(|error| self.failed(target, error))?;
        let (to_api, answers) = mpsc::channel(WINDOW);
        let opened = Message::Opened(EgressOpened {
            node: node.to_owned(),
        });
        // The channel is new and has room for both.
        let _ = to_api.try_send(Ok(EgressData {
            message: Some(opened),
        }));
        if !first.is_empty() {
            let _ = to_api.try_send(Ok(EgressData {
                message: Some(Message::Data(first)),
            }));
        }
        let carrier = self.clone();
        let copying = async move {
            let _open = carrier.metrics.opened();
            tokio::join!(carrier.up(end.up, to_api), carrier.down(from_api, end.down));
        };
        tokio::spawn(copying.instrument(span));
        Ok(ReceiverStream::new(answers))
    }

    /// Counts and tells a connection that no node opened.
    pub(super) fn failed(&self, target: &str, error: &Status) {
        self.metrics.failed();
        tracing::warn!(
            to = target,
            error = error.message(),
            "no tunnel to the target"
        );
    }

    /// Asks the node to dial and waits for its answer, which may carry data already.
    async fn open(
        &self,
        node: &str,
        target: &str,
        span: &Span,
    ) -> Result<(NodeEnd, Bytes), Status> {
        let deadline = Instant::now() + OPEN_DEADLINE;
        let late = |what: &str| {
            Status::deadline_exceeded(format!("node {node:?} {what} {target} within 10 s"))
        };
        let mut expected = self.pending.expect(node)?;
        // The node's own span has it, too.
        span.record("id", &expected.id);
        let open = OpenTunnel {
            id: expected.id.clone(),
            target: target.to_owned(),
        };
        self.hub.open_tunnel(node, open)?;
        let mut end = match timeout_at(deadline, &mut expected.end).await {
            Ok(Ok(end)) => end,
            Ok(Err(_)) | Err(_) => return Err(late("did not answer the request to dial")),
        };
        match timeout_at(deadline, end.up.message()).await {
            Err(_) => Err(late("did not reach")),
            Ok(Ok(Some(first))) if first.error.is_empty() => Ok((end, first.data)),
            Ok(Ok(Some(first))) => Err(Status::unavailable(format!(
                "node {node:?} could not reach {target}: {}",
                first.error
            ))),
            Ok(Ok(None)) => Err(Status::unavailable(format!(
                "node {node:?} closed its end for {target} without an answer"
            ))),
            Ok(Err(status)) => Err(Status::unavailable(format!(
                "node {node:?} broke off before it reached {target}: {}",
                status.message()
            ))),
        }
    }

    /// From the node to kube-apiserver. Ending the answer is the half-close.
    async fn up(&self, mut from: Streaming<TunnelData>, to: mpsc::Sender<Answer>) {
        loop {
            let message = tokio::select! {
                // Nobody reads any more: dropping `from` tells the node.
                () = to.closed() => return,
                () = self.drain.signaled() => Err(Status::unavailable(STOPPING)),
                message = from.message() => message,
            };
            let answer = match message {
                Ok(None) => return,
                Ok(Some(TunnelData { data, .. })) => {
                    self.metrics.count_up(data.len());
                    Ok(EgressData {
                        message: Some(Message::Data(data)),
                    })
                }
                Err(status) => Err(Status::unavailable(format!("cut: {}", status.message()))),
            };
            let cut = answer.is_err();
            if to.send(answer).await.is_err() || cut {
                return;
            }
        }
    }

    /// From kube-apiserver to the node. Dropping the sender is the half-close.
    async fn down(
        &self,
        mut from: Streaming<EgressData>,
        to: mpsc::Sender<Result<TunnelData, Status>>,
    ) {
        loop {
            let message = tokio::select! {
                () = to.closed() => return,
                () = self.drain.signaled() => Err(Status::unavailable(STOPPING)),
                message = from.message() => message,
            };
            let answer = match message {
                Ok(None) => return,
                Ok(Some(EgressData {
                    message: Some(Message::Data(data)),
                })) => {
                    self.metrics.count_down(data.len());
                    Ok(TunnelData {
                        data,
                        error: String::new(),
                    })
                }
                Ok(Some(_)) => continue,
                Err(status) => Err(Status::cancelled(status.message().to_owned())),
            };
            let cut = answer.is_err();
            if to.send(answer).await.is_err() || cut {
                return;
            }
        }
    }
}
