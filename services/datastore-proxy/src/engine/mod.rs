//! The running store: one writer, many readers, the watches.

mod cache;
mod clock;
mod command;
mod compaction;
mod expiry;
mod late;
mod read;
mod shared;
mod writer;

pub use clock::Clock;
pub use command::{Reply, Request};
pub use shared::Shared;

use crate::domain::authz::Caller;
use crate::domain::fault::Fault;
use crate::error::Error;
use crate::metrics::Metrics;
use crate::store::Opened;
use command::Command;
use sextant_kit::Drain;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// Requests that may wait for the writer.
const QUEUE: usize = 5000;
/// How long an answer may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Handle of a running store. Cheap to clone; the writer stops when the last one is gone.
#[derive(Clone)]
pub struct Engine {
    shared: Arc<Shared>,
    commands: mpsc::Sender<Command>,
}

impl Engine {
    /// Starts the writer and the expiry of leases on an opened store.
    pub fn start(opened: Opened, metrics: Metrics, drain: &Drain) -> Result<Self, Error> {
        let Opened {
            loaded,
            keys,
            log,
            reader,
        } = opened;
        let shared = Arc::new(Shared::new(loaded, keys, reader, metrics));
        let (commands, queue) = mpsc::channel(QUEUE);
        writer::start(Arc::clone(&shared), log, queue, drain.guard())?;
        let engine = Self { shared, commands };
        drain.spawn(expiry::run(engine.clone()));
        Ok(engine)
    }

    /// What is known without asking the writer.
    pub fn shared(&self) -> &Arc<Shared> {
        &self.shared
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
        let (reply, answer) = oneshot::channel();
        let span = tracing::Span::current();
        let command = Command {
            request,
            caller,
            span,
            reply,
        };
        self.commands
            .try_send(command)
            .map_err(|error| match error {
                mpsc::error::TrySendError::Full(_) => Fault::TooManyRequests,
                mpsc::error::TrySendError::Closed(_) => Fault::Stopped,
            })?;
        match tokio::time::timeout(limit, answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(Fault::Stopped),
            Err(_) => Err(Fault::Timeout),
        }
    }
}
