//! Keeping the certificates fresh.

use super::{Joined, Joiner};
use crate::error::Error;
use crate::store::Last;
use rand::RngExt;
use sextant_identity::{Credentials, Mesh, Peer, ServiceName, TrustBundle, renewal, renewed};
use sextant_kit::backoff::Backoff;
use sextant_kit::{Drain, Task};
use sextant_proto::supervisor::node_session_client::NodeSessionClient;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::sync::{Notify, watch};
use tracing::Instrument as _;

/// The clock may be stepped while we wait, so look at it now and then.
const LOOK: Duration = Duration::from_secs(60);
/// Longest time for one renewal.
const DEADLINE: Duration = Duration::from_secs(30);

/// Renews at half life, at each change of the node's addresses, and by Rejoin once it is too late for that. A node
/// that was removed joins anew as soon as it finds a token.
pub struct Renewal {
    /// For Rejoin.
    pub joiner: Joiner,
    /// For renewals over the mesh.
    pub mesh: Mesh,
    /// Where new credentials go.
    pub credentials: watch::Sender<Arc<Credentials>>,
    /// Where new anchors go.
    pub trust: watch::Sender<Arc<TrustBundle>>,
    /// The last configuration.
    pub last: Last,
    /// The node's addresses.
    pub addresses: watch::Receiver<Vec<IpAddr>>,
    /// Says why the node has no valid certificate.
    pub task: Task,
    /// Told when a supervisor refuses the node.
    pub removed: Arc<Notify>,
}

impl Renewal {
    /// Runs until drained.
    pub async fn run(mut self, drain: Drain) {
        let _ = drain.run(self.renew_forever()).await;
    }

    async fn renew_forever(&mut self) {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60));
        let mut again = backoff.clone();
        let mut fraction = rand::rng().random_range(0.45..0.55);
        self.task.ready();
        loop {
            let addresses = self.addresses.borrow_and_update().clone();
            let current = self.credentials.borrow().clone();
            let moved = !addresses.is_empty() && self.joiner.state.addresses() != addresses;
            if !moved && let Some(wait) = until(&current, fraction, SystemTime::now()) {
                tokio::select! {
                    // Sessions are tried more often than this: no refusal since then means membership.
                    () = tokio::time::sleep(wait.min(LOOK)) => self.task.ready(),
                    _ = self.addresses.changed() => {}
                    () = self.removed.notified() => self.join_anew(&addresses, &mut again).await,
                }
                continue;
            }
            let span = renewal("node");
            let work = self.renew(&current, &addresses).instrument(span.clone());
            match work.await {
                Ok(()) => {
                    renewed(&span, &self.credentials.borrow());
                    self.task.ready();
                    backoff.reset();
                    fraction = rand::rng().random_range(0.45..0.55);
                }
                Err(error) => {
                    let expired = current.not_after <= SystemTime::now();
                    if expired {
                        self.task
                            .waiting(format!("the node's certificate expired: {error}"));
                    }
                    tracing::warn!(%error, expired, "certificates not renewed yet");
                    tokio::time::sleep(backoff.next()).await;
                }
            }
        }
    }

    /// The node was removed while it ran. Whoever wants it back leaves a token where the first one was.
    async fn join_anew(&self, addresses: &[IpAddr], backoff: &mut Backoff) {
        match self.joiner.join(addresses).await {
            Ok(joined) => {
                self.install(joined);
                self.task.ready();
                backoff.reset();
            }
            Err(error) => {
                let reason = format!("the node was removed from the cluster: {error}");
                tracing::warn!(reason, "not a member");
                self.task.waiting(reason);
                tokio::time::sleep(backoff.next()).await;
            }
        }
    }

    fn install(&self, joined: Joined) {
        self.trust.send_replace(Arc::new(joined.trust));
        self.last.set(joined.config);
        self.credentials.send_replace(Arc::new(joined.credentials));
    }

    async fn renew(&self, current: &Credentials, addresses: &[IpAddr]) -> Result<(), Error> {
        if current.not_after <= SystemTime::now() {
            let trust = self.trust.borrow().clone();
            let last = (**self.last.follow().borrow()).clone();
            self.install(self.joiner.rejoin(&trust, last, addresses).await?);
            return Ok(());
        }
        let keys = self.joiner.state.keys()?;
        let requests = keys.requests(addresses.iter().map(IpAddr::to_string).collect())?;
        let mut failed = Error::Join("no supervisor is known".into());
        for address in self.supervisors() {
            let channel = self
                .mesh
                .channel(&address, Peer::Service(ServiceName::Supervisor));
            let mut client = NodeSessionClient::new(channel);
            let answer = tokio::time::timeout(DEADLINE, client.renew(requests.clone())).await;
            let reason = match answer {
                Ok(Ok(certificates)) => {
                    let fresh = self.joiner.state.install(&keys, certificates.get_ref())?;
                    self.joiner.state.set_addresses(addresses)?;
                    tracing::info!(supervisor = address, "certificates renewed");
                    self.credentials.send_replace(Arc::new(fresh));
                    return Ok(());
                }
                Ok(Err(status)) => format!("renewal: {}", status.message()),
                Err(_) => format!("renewal: no answer within {} s", DEADLINE.as_secs()),
            };
            failed = Error::Supervisor { address, reason };
        }
        Err(failed)
    }

    fn supervisors(&self) -> Vec<String> {
        let config = self.last.follow().borrow().clone();
        let mut all = config
            .settings
            .as_ref()
            .map_or_else(Vec::new, |s| s.supervisors.clone());
        for address in &self.joiner.supervisors {
            if !all.contains(address) {
                all.push(address.clone());
            }
        }
        all
    }
}

/// Time until `fraction` of the life is over; `None` once it is.
fn until(credentials: &Credentials, fraction: f64, now: SystemTime) -> Option<Duration> {
    let life = credentials
        .not_after
        .duration_since(credentials.not_before)
        .ok()?;
    let due = credentials.not_before + life.mul_f64(fraction);
    due.duration_since(now).ok().filter(|wait| !wait.is_zero())
}
