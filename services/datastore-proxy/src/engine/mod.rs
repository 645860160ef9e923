//! The running store: one writer, many readers, the watches.

mod cache;
mod care;
mod clock;
mod command;
pub(crate) mod compaction;
pub(crate) mod expiry;
mod late;
mod queue;
mod read;
mod shared;
pub(crate) mod writer;

pub use care::Checksum;
pub use clock::Clock;
pub use command::{Command, Reply, Request};
pub use queue::{Queue, Sender, queue};
pub use shared::Shared;

use crate::domain::authz::Caller;
use crate::domain::fault::Fault;
use crate::error::Error;
use crate::metrics::Metrics;
use crate::replica::Replicas;
use crate::store::Opened;
use queue::Rejected;
use sextant_kit::Drain;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;

/// How long an answer may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Handle of a running store. Cheap to clone; the writer stops when the last one is gone.
#[derive(Clone)]
pub struct Engine {
    shared: Arc<Shared>,
    writer: Writer,
    /// Bytes that the store may hold, 0 for any number.
    quota: u64,
}

/// Where the writer is.
#[derive(Clone)]
enum Writer {
    /// Here, always.
    Alone(Sender),
    /// In one of several replicas.
    Elected(Arc<Replicas>),
}

impl Engine {
    /// Starts the writer and the expiry of leases on an opened store that nobody else has.
    pub fn start(opened: Opened, metrics: Metrics, drain: &Drain) -> Result<Self, Error> {
        let Opened {
            loaded,
            keys,
            log,
            reader,
        } = opened;
        let shared = Arc::new(Shared::new(loaded, keys, reader, metrics));
        let (commands, queue) = queue();
        let stop = |end| {
            if end != writer::End::Closed {
                tracing::error!(
                    "the log and the memory differ: stopping, so that a new start reads the log"
                );
                std::process::exit(1);
            }
        };
        writer::start(Arc::clone(&shared), log, queue, drain.guard(), stop)?;
        let writer = Writer::Alone(commands);
        let engine = Self {
            shared,
            writer,
            quota: 0,
        };
        drain.spawn(expiry::run(engine.clone()));
        Ok(engine)
    }

    /// The engine of one of several replicas.
    pub fn of(replicas: Arc<Replicas>) -> Self {
        Self {
            shared: Arc::clone(replicas.shared()),
            writer: Writer::Elected(replicas),
            quota: 0,
        }
    }

    /// The same store, where these handles may fill it with at most `bytes` (0: with any number).
    pub fn with_quota(self, bytes: u64) -> Self {
        self.shared.metrics.quota(bytes);
        Self {
            quota: bytes,
            ..self
        }
    }

    /// Bytes that the store may hold, 0 for any number.
    pub fn quota(&self) -> u64 {
        self.quota
    }

    /// What is known without asking the writer.
    pub fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// The replicas, where there may be several.
    pub fn replicas(&self) -> Option<&Arc<Replicas>> {
        match &self.writer {
            Writer::Alone(_) => None,
            Writer::Elected(replicas) => Some(replicas),
        }
    }

    fn is_replica(&self) -> bool {
        self.replicas().is_some()
    }

    /// Whether what is asked here is also decided here, and not at another replica.
    fn writes_here(&self) -> bool {
        self.replicas().is_none_or(|replicas| replicas.writes())
    }

    /// The term of whoever writes, and its member id; 0 for nobody.
    pub fn term(&self) -> (u64, u64) {
        match &self.writer {
            Writer::Alone(_) => (1, self.shared.member_id),
            Writer::Elected(replicas) => {
                let (epoch, holder) = replicas.term();
                (epoch.unsigned_abs(), holder)
            }
        }
    }

    /// Resolves once every write that was acknowledged anywhere before the call is visible here. Reads that must
    /// not be stale wait for it.
    pub async fn confirm(&self) -> Result<(), Fault> {
        match &self.writer {
            Writer::Alone(_) => Ok(()),
            Writer::Elected(replicas) => replicas.confirm().await,
        }
    }

    /// Has the writer do something, and waits until it is durable.
    pub async fn submit(&self, request: Request, caller: Caller) -> Result<Reply, Fault> {
        self.submit_within(request, caller, TIMEOUT).await
    }

    /// [`submit`](Self::submit) with another limit, for what may take long.
    pub async fn submit_within(
        &self,
        request: Request,
        caller: Caller,
        limit: Duration,
    ) -> Result<Reply, Fault> {
        if self.writes_here() {
            self.admit(&request).await?;
        }
        match &self.writer {
            Writer::Alone(commands) => match enqueue(commands, request, caller) {
                Ok(answer) => wait(answer, limit).await,
                Err(Refused::Closed(_)) => Err(Fault::Stopped),
                Err(Refused::Full) => Err(Fault::TooManyRequests),
            },
            Writer::Elected(replicas) => replicas.submit(request, caller, limit).await,
        }
    }
}

/// Why a queue takes no more.
pub(crate) enum Refused {
    /// The writer has ended. Gives the request back.
    Closed(Request),
    /// Too many of this caller wait.
    Full,
}

/// An answer on its way.
pub(crate) type Pending = oneshot::Receiver<Result<Reply, Fault>>;

/// Queues a request for the writer.
pub(crate) fn enqueue(
    commands: &Sender,
    request: Request,
    caller: Caller,
) -> Result<Pending, Refused> {
    let (reply, answer) = oneshot::channel();
    // Ends with the command, once that is answered; the commit of its batch links to it.
    let span = tracing::info_span!("commit.wait");
    let command = Command {
        request,
        caller,
        span,
        reply,
    };
    commands.send(command).map_err(|rejected| match rejected {
        Rejected::Full => Refused::Full,
        Rejected::Closed(command) => Refused::Closed(command.request),
    })?;
    Ok(answer)
}

/// Waits for the writer's answer.
pub(crate) async fn wait(answer: Pending, limit: Duration) -> Result<Reply, Fault> {
    match tokio::time::timeout(limit, answer).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(_)) => Err(Fault::Stopped),
        Err(_) => Err(Fault::Timeout),
    }
}
