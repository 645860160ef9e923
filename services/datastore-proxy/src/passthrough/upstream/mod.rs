//! The way to the etcd: few connections to each member, calls spread over them, other members when one fails.

mod connect;
mod failure;
mod member;
mod tls;

pub use tls::EtcdConfig;

use super::address::Address;
use super::metrics::Metrics;
use crate::error::Error;
use failure::Failure;
use member::{Lane, Member};
use sextant_kit::telemetry::rpc;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};
use tonic::metadata::MetadataValue;
use tonic::{Request, Response, Status};

/// A connection to a member. Calls carry their trace to the etcd.
pub(super) type Channel = rpc::Client<tonic::transport::Channel>;

/// Long answers that are read at a time.
const BULK_STREAMS: u32 = 64;
/// How long a call may take, with all members that are tried.
pub(super) const CALL_DEADLINE: Duration = Duration::from_secs(30);
/// How long one member may keep a call that another could answer.
const TRY_DEADLINE: Duration = Duration::from_secs(8);
/// How long a long answer may wait for others to end.
const BULK_DEADLINE: Duration = Duration::from_secs(10);

/// Whether a call may be made twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// It changes nothing: may be asked of another member when one doesn't answer.
    Read,
    /// Asked of another member only if it certainly wasn't done.
    Write,
}

/// Connections to all members. Cheap to clone.
#[derive(Clone)]
pub(super) struct Pool(Arc<Inner>);

struct Inner {
    members: Vec<Member>,
    turn: AtomicUsize,
    bulk: Arc<Semaphore>,
    metrics: Metrics,
}

impl Pool {
    /// Checks what is configured; connects when there is something to ask.
    pub(super) fn new(
        address: &Address,
        config: EtcdConfig,
        metrics: Metrics,
    ) -> Result<Self, Error> {
        if config.load()?.is_none()
            && let [remote, ..] = address.remote().as_slice()
        {
            return Err(Error::EtcdPlaintext((*remote).to_owned()));
        }
        let config = Arc::new(config);
        let members = address.members.iter();
        let members = members.map(|member| Member::new(member.clone(), &config, BULK_STREAMS));
        Ok(Self(Arc::new(Inner {
            members: members.collect(),
            turn: AtomicUsize::new(0),
            bulk: Arc::new(Semaphore::new(BULK_STREAMS as usize)),
            metrics,
        })))
    }

    /// Makes a short call. What etcd answers, errors included, is passed on.
    pub(super) async fn call<T, F>(
        &self,
        kind: Kind,
        call: impl FnMut(Channel) -> F,
    ) -> Result<T, Status>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let (answer, _) = self.on(Lane::Calls, kind, CALL_DEADLINE, call).await?;
        Ok(answer)
    }

    /// Makes a call with another limit than is usual.
    pub(super) async fn call_within<T, F>(
        &self,
        kind: Kind,
        limit: Duration,
        call: impl FnMut(Channel) -> F,
    ) -> Result<T, Status>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let (answer, _) = self.on(Lane::Calls, kind, limit, call).await?;
        Ok(answer)
    }

    /// Makes a call at every member, one after the other; the last answer, or the first error.
    pub(super) async fn each<T, F>(
        &self,
        limit: Duration,
        mut call: impl FnMut(Channel) -> F,
    ) -> Result<T, Status>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let mut last = None;
        for member in &self.0.members {
            let answer = tokio::time::timeout(limit, call(member.channel(Lane::Calls))).await;
            let answer = answer.unwrap_or_else(|_| Err(Status::from_error(Box::new(Silent))));
            let response = answer.map_err(|status| {
                let reason = failure::reason(&status);
                Status::new(status.code(), format!("{}: {reason}", member.address))
            })?;
            last = Some(response.into_inner());
        }
        last.ok_or_else(|| Status::unavailable("there is no etcd to ask"))
    }

    /// Opens a long answer. The permit is held as long as it is read.
    pub(super) async fn open<T, F>(
        &self,
        call: impl FnMut(Channel) -> F,
    ) -> Result<(T, OwnedSemaphorePermit), Status>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let permit = Arc::clone(&self.0.bulk).acquire_owned();
        let permit = match tokio::time::timeout(BULK_DEADLINE, permit).await {
            Ok(Ok(permit)) => permit,
            Ok(Err(_)) | Err(_) => {
                return Err(Status::unavailable(format!(
                    "{BULK_STREAMS} long answers of etcd are being read, and none ended within {BULK_DEADLINE:?}"
                )));
            }
        };
        let (answer, _) = self.on(Lane::Bulk, Kind::Read, CALL_DEADLINE, call).await?;
        Ok((answer, permit))
    }

    /// Opens the watch of everything, and tells at which member.
    pub(super) async fn feed<T, F>(
        &self,
        call: impl FnMut(Channel) -> F,
    ) -> Result<(T, String), Status>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        self.on(Lane::Feed, Kind::Read, CALL_DEADLINE, call).await
    }

    /// Asks one member after the other, those that failed lately last.
    async fn on<T, F>(
        &self,
        lane: Lane,
        kind: Kind,
        limit: Duration,
        mut call: impl FnMut(Channel) -> F,
    ) -> Result<(T, String), Status>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let deadline = Instant::now() + limit;
        let order = self.order();
        let mut tried = Vec::new();
        for (at, member) in order.iter().enumerate() {
            let is_last = at + 1 == order.len();
            let patience = match kind {
                Kind::Read if !is_last => deadline.min(Instant::now() + TRY_DEADLINE),
                Kind::Read | Kind::Write => deadline,
            };
            let answer = timeout_at(patience, call(member.channel(lane))).await;
            let status = match answer {
                Ok(Ok(response)) => {
                    self.up(member);
                    return Ok((response.into_inner(), member.address.clone()));
                }
                Ok(Err(status)) => status,
                Err(_) => Status::from_error(Box::new(Silent)),
            };
            let failure = failure::classify(&status);
            if failure == Failure::Answered {
                self.up(member);
                return Err(status);
            }
            let reason = failure::reason(&status);
            self.down(member, &reason);
            tried.push(format!("{}: {reason}", member.address));
            if failure == Failure::Lost && kind == Kind::Write {
                let tried = tried.join("; ");
                return Err(Status::unavailable(format!(
                    "etcd did not answer ({tried}): whether it was done is unknown"
                )));
            }
        }
        Err(Status::unavailable(format!(
            "no etcd answered ({})",
            tried.join("; ")
        )))
    }

    fn order(&self) -> Vec<&Member> {
        let members = &self.0.members;
        let first = self.0.turn.fetch_add(1, Ordering::Relaxed) % members.len().max(1);
        let turned = || members.iter().cycle().skip(first).take(members.len());
        let (down, up): (Vec<_>, Vec<_>) = turned().partition(|member| member.is_down());
        [up, down].concat()
    }

    fn up(&self, member: &Member) {
        if member.up() {
            tracing::info!(member = member.address, "etcd answers again");
        }
    }

    fn down(&self, member: &Member, reason: &str) {
        self.0.metrics.failed(&member.address);
        if member.down() {
            tracing::warn!(member = member.address, reason, "etcd does not answer");
        }
    }
}

/// A request that a member refuses at once if it knows of no leader.
pub(super) fn demanding_leader<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request
        .metadata_mut()
        .insert("hasleader", MetadataValue::from_static("true"));
    request
}

#[derive(Debug, thiserror::Error)]
#[error("no answer in time")]
struct Silent;

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(members: &str, config: EtcdConfig) -> Result<Pool, Error> {
        let address = Address::parse(members).unwrap();
        Pool::new(
            &address,
            config,
            Metrics::new(&sextant_kit::Metrics::default()),
        )
    }

    #[tokio::test]
    async fn plaintext_stays_on_this_machine() {
        assert!(pool("127.0.0.1:1", EtcdConfig::default()).is_ok());
        let Err(error) = pool("127.0.0.1:1,10.0.0.1:1", EtcdConfig::default()) else {
            panic!("10.0.0.1 is not on this machine");
        };
        assert!(error.to_string().contains("10.0.0.1:1"), "{error}");
    }

    #[tokio::test]
    async fn an_error_names_every_member_that_was_tried() {
        let port = |listener: std::net::TcpListener| listener.local_addr().unwrap();
        let free = || port(std::net::TcpListener::bind("127.0.0.1:0").unwrap());
        let (one, two) = (free(), free());
        let pool = pool(&format!("{one},{two}"), EtcdConfig::default()).unwrap();
        let answer: Result<(), _> = pool
            .call(Kind::Write, |channel| async move {
                let mut client =
                    sextant_proto::etcd::etcdserverpb::kv_client::KvClient::new(channel);
                let answer = client.put(sextant_proto::etcd::etcdserverpb::PutRequest::default());
                answer.await.map(|_| Response::new(()))
            })
            .await;
        let status = answer.unwrap_err();
        assert_eq!(status.code(), tonic::Code::Unavailable);
        for part in [one.to_string(), two.to_string(), "refused".to_owned()] {
            assert!(status.message().contains(&part), "{part}: {status}");
        }
    }
}
