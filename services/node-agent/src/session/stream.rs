//! One session: reports up, instructions down.

use super::{Sessions, telemetry, tunnel};
use sextant_identity::{Channel, Peer, ServiceName};
use sextant_kit::Drain;
use sextant_kit::backoff::Backoff;
use sextant_proto::supervisor::node_instruction::Instruction;
use sextant_proto::supervisor::node_report::Report;
use sextant_proto::supervisor::node_session_client::NodeSessionClient;
use sextant_proto::supervisor::{NodeHello, NodeInstruction, NodeReport, NodeStatus};
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Streaming};
use tracing::{Instrument, info_span};

/// Sign of life.
const HEARTBEAT: Duration = Duration::from_secs(10);
/// Longest time until the supervisor accepts a session or takes a report.
const DEADLINE: Duration = Duration::from_secs(10);

impl Sessions {
    /// Holds a session to `address`, again and again.
    pub(super) async fn follow(self, address: String, drain: Drain) {
        let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(10));
        loop {
            let channel = self
                .mesh
                .channel(&address, Peer::Service(ServiceName::Supervisor));
            let started = Instant::now();
            let ended = self.session(&address, channel, &drain).await;
            self.open.send_if_modified(|open| open.remove(&address));
            if drain.is_draining() {
                return;
            }
            if started.elapsed() > Duration::from_secs(30) {
                backoff.reset();
            }
            let pause = backoff.next();
            tracing::info!(
                supervisor = address,
                reason = ended,
                ?pause,
                "session ended"
            );
            tokio::time::sleep(pause).await;
        }
    }

    /// One session; returns why it ended.
    async fn session(&self, address: &str, channel: Channel, drain: &Drain) -> String {
        let (reports, queue) = mpsc::channel(8);
        let mut addresses = self.addresses.clone();
        // The queue is empty and its receiver is here: this can't wait.
        let _ = reports.try_send(self.hello(&addresses.borrow_and_update()));
        let mut client = NodeSessionClient::new(channel.clone());
        let opening = client.session(ReceiverStream::new(queue));
        let mut instructions = match tokio::time::timeout(DEADLINE, opening).await {
            Ok(Ok(response)) => response.into_inner(),
            Ok(Err(status)) => return format!("refused: {}", self.ended(&status)),
            Err(_) => return format!("no answer within {} s", DEADLINE.as_secs()),
        };
        tracing::info!(supervisor = address, "session open");
        self.open
            .send_if_modified(|open| open.insert(address.to_owned()));
        let reporting = self.report(&reports, &mut addresses);
        let following = self.obey(&mut instructions, &reports, channel, drain);
        tokio::select! {
            ended = reporting => ended,
            ended = following => ended,
        }
    }

    /// Why the supervisor ended it. A refusal is a decision about the node, not about this session.
    fn ended(&self, status: &tonic::Status) -> String {
        if status.code() == Code::PermissionDenied {
            self.removed.notify_one();
        }
        describe(status)
    }

    fn hello(&self, addresses: &[IpAddr]) -> NodeReport {
        let hello = NodeHello {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            addresses: addresses.iter().map(IpAddr::to_string).collect(),
            vtep_mac: self.vtep_mac.to_string(),
        };
        NodeReport {
            report: Some(Report::Hello(hello)),
        }
    }

    async fn report(
        &self,
        reports: &mpsc::Sender<NodeReport>,
        addresses: &mut watch::Receiver<Vec<IpAddr>>,
    ) -> String {
        loop {
            let changed = self.readiness.changed();
            let status = NodeStatus {
                waiting_for: self.waiting_for(),
            };
            let report = NodeReport {
                report: Some(Report::Status(status)),
            };
            if !send(reports, report).await {
                return "it takes no reports".to_owned();
            }
            tokio::select! {
                () = changed => {}
                () = tokio::time::sleep(HEARTBEAT) => {}
                _ = addresses.changed() => {
                    let hello = self.hello(&addresses.borrow_and_update());
                    if !send(reports, hello).await {
                        return "it takes no reports".to_owned();
                    }
                }
            }
        }
    }

    async fn obey(
        &self,
        instructions: &mut Streaming<NodeInstruction>,
        reports: &mpsc::Sender<NodeReport>,
        channel: Channel,
        drain: &Drain,
    ) -> String {
        // Dropped with the session: its tunnels end with it, unless only the connection was too old for new ones.
        let mut tunnels = JoinSet::new();
        loop {
            let message = tokio::select! {
                message = instructions.message() => message,
                Some(_) = tunnels.join_next() => continue,
                () = drain.signaled() => return "stopping".to_owned(),
            };
            let instruction = match message {
                Ok(Some(NodeInstruction { instruction })) => instruction,
                Ok(None) => {
                    tunnels.detach_all();
                    return "closed by the supervisor".to_owned();
                }
                Err(status) => return self.ended(&status),
            };
            match instruction {
                Some(Instruction::Config(config)) => self.last.set(config),
                Some(Instruction::OpenTunnel(open)) => {
                    let span =
                        info_span!(parent: None, "tunnel", id = open.id, target = open.target);
                    let permit = self.tunnels.clone().try_acquire_owned();
                    let dial = match permit {
                        Ok(permit) => tunnel::Dial::new(self.reach(), open.target, permit),
                        Err(_) => tunnel::Dial::refused("the node carries too many connections"),
                    };
                    let carried = tunnel::carry(channel.clone(), open.id, dial);
                    tunnels.spawn(carried.instrument(span));
                }
                Some(Instruction::Trust(trust)) => self.set_trust(&trust),
                Some(Instruction::Telemetry(wanted)) => {
                    let (reports, policy) = (reports.clone(), self.policy_socket.clone());
                    tunnels.spawn(async move {
                        let outcome = telemetry::obey(wanted, &policy).await;
                        let report = Some(Report::Telemetry(outcome));
                        send(&reports, NodeReport { report }).await;
                    });
                }
                // A newer supervisor may know more.
                None => tracing::debug!("unknown instruction"),
            }
        }
    }
}

async fn send(reports: &mpsc::Sender<NodeReport>, report: NodeReport) -> bool {
    matches!(
        tokio::time::timeout(DEADLINE, reports.send(report)).await,
        Ok(Ok(()))
    )
}

/// A status with the causes that its message leaves out.
fn describe(status: &tonic::Status) -> String {
    let mut seen = BTreeSet::from([status.message().to_owned()]);
    let mut text = status.message().to_owned();
    let mut cause = std::error::Error::source(status);
    while let Some(error) = cause {
        let next = error.to_string();
        if seen.insert(next.clone()) {
            text = if text.is_empty() {
                next
            } else {
                format!("{text}: {next}")
            };
        }
        cause = error.source();
    }
    text
}
