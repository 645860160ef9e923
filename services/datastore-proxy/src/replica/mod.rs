//! Several replicas on one database: one of them writes, the others send it what they are asked to write, follow
//! what it commits, and read what they have.
//!
//! Which one writes is decided in the database, see [`crate::domain::election`]. Every replica holds the whole
//! index; what it shows is never ahead of what the writer shows.

mod confirm;
mod follow;
mod forward;
pub mod join;
mod lead;
mod peer;
mod stand_by;
pub mod wire;

pub use peer::{Dial, PeerChannel, loopback};

use crate::domain::authz::Caller;
use crate::domain::fault::Fault;
use crate::domain::lease::Lease;
use crate::engine::{self, Refused, Reply, Request, Shared};
use crate::metrics::Metrics;
use crate::store::Loaded;
use crate::store::replicated::{Member, Replicated, Won};
use confirm::Question;
use sextant_kit::Drain;
use sextant_proto::datastore::replica_client::ReplicaClient;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

/// How long a request waits for a writer to be elected.
const ELECTION: Duration = Duration::from_secs(6);
/// How often a replica says that it lives.
const ANNOUNCE: Duration = Duration::from_secs(3);
/// How often the size is measured.
const MEASURE: Duration = Duration::from_secs(15);
/// Reads that may wait for a confirmation.
const QUESTIONS: usize = 4096;

/// Who writes.
#[derive(Clone)]
pub enum Writer {
    /// This replica.
    Here {
        /// Its queue.
        commands: engine::Sender,
        /// Its term.
        won: Won,
    },
    /// Nobody, as far as is known here.
    Nobody,
    /// Another replica.
    There {
        /// Its term.
        epoch: i64,
        /// Its member id.
        holder: u64,
        /// The way to it.
        client: ReplicaClient<PeerChannel>,
    },
}

/// This replica among the others.
pub struct Replicas {
    shared: Arc<Shared>,
    database: Arc<dyn Replicated>,
    member: Member,
    dial: Dial,
    writer: watch::Sender<Writer>,
    questions: mpsc::Sender<Question>,
    drain: Drain,
}

impl Replicas {
    /// Takes part, beginning with what was loaded.
    pub fn start(
        database: Arc<dyn Replicated>,
        loaded: Loaded,
        member: Member,
        dial: Dial,
        metrics: Metrics,
        drain: &Drain,
    ) -> Arc<Self> {
        let shared = Arc::new(Shared::new(loaded, None, database.reader(), metrics));
        let (questions, asked) = mpsc::channel(QUESTIONS);
        let replicas = Arc::new(Self {
            shared,
            database,
            member,
            dial,
            writer: watch::Sender::new(Writer::Nobody),
            questions,
            drain: drain.clone(),
        });
        drain.spawn(confirm::answer(Arc::clone(&replicas), asked));
        drain.spawn(announce(Arc::clone(&replicas)));
        drain.spawn(measure(Arc::clone(&replicas)));
        // Not dropped at the drain: what was begun is ended, and the term given back.
        let guard = drain.guard();
        let running = Arc::clone(&replicas);
        tokio::spawn(async move {
            let _guard = guard;
            while let Some(won) = stand_by::until_elected(&running).await {
                lead::lead(&running, won).await;
            }
        });
        replicas
    }

    /// What is known without asking the writer.
    pub fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Who writes, followed.
    pub fn writer(&self) -> watch::Receiver<Writer> {
        self.writer.subscribe()
    }

    fn set_writer(&self, writer: Writer) {
        let is_here = matches!(writer, Writer::Here { .. });
        self.shared.metrics.elected(writer.name().0, is_here);
        self.writer.send_replace(writer);
    }

    /// The epoch of the term and its holder's member id; 0 for nobody.
    pub fn term(&self) -> (i64, u64) {
        match &*self.writer.borrow() {
            Writer::Here { won, .. } => (won.epoch(), self.member.id),
            Writer::Nobody => (0, 0),
            Writer::There { epoch, holder, .. } => (*epoch, *holder),
        }
    }

    /// The replicas that live.
    pub async fn members(&self) -> Result<Vec<Member>, Fault> {
        Ok(self.database.members().await?)
    }

    /// Whether this one writes.
    pub fn writes(&self) -> bool {
        matches!(&*self.writer.borrow(), Writer::Here { .. })
    }

    /// Takes over the alarms that another replica has raised or cleared.
    pub async fn learn_alarms(&self) -> Result<(), Fault> {
        if self.writes() {
            return Ok(());
        }
        let alarms = self.database.alarms().await?;
        // Who has begun to write meanwhile knows better.
        if !self.writes() {
            self.shared.state_mut().alarms = alarms;
        }
        Ok(())
    }

    /// All leases.
    pub async fn leases(&self) -> Result<Vec<Lease>, Fault> {
        Ok(self.database.leases().await?)
    }

    /// Has the database give free space back.
    pub async fn shrink(&self) -> Result<(), Fault> {
        self.database.shrink().await?;
        self.shared.set_size(self.database.size().await?);
        Ok(())
    }

    /// Has the writer do something, wherever it is.
    pub async fn submit(
        &self,
        mut request: Request,
        caller: Caller,
        limit: Duration,
    ) -> Result<Reply, Fault> {
        let deadline = Instant::now() + limit;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let writer = self.some_writer(left).await?;
            match writer {
                Writer::Here { ref commands, .. } => {
                    match engine::enqueue(commands, request, caller.clone()) {
                        Ok(answer) => return engine::wait(answer, left).await,
                        Err(Refused::Full) => return Err(Fault::TooManyRequests),
                        Err(Refused::Closed(back)) => request = back,
                    }
                }
                Writer::There { ref client, .. } => {
                    let client = client.clone();
                    if let Some(reply) = self.forward(client, &request, &caller, left).await? {
                        return Ok(reply);
                    }
                }
                Writer::Nobody => return Err(Fault::NoLeader),
            }
            // It was not done: that one writes no more.
            self.another_writer(&writer, deadline).await?;
        }
    }

    /// A writer, once there is one.
    async fn some_writer(&self, limit: Duration) -> Result<Writer, Fault> {
        let mut writer = self.writer.subscribe();
        let elected = writer.wait_for(|writer| !matches!(writer, Writer::Nobody));
        let wait = tokio::time::timeout(limit.min(ELECTION), elected);
        match self.drain.run(wait).await {
            Some(Ok(Ok(writer))) => Ok(writer.clone()),
            _ => Err(Fault::NoLeader),
        }
    }

    /// Resolves once `old` isn't the writer any more.
    async fn another_writer(&self, old: &Writer, deadline: Instant) -> Result<(), Fault> {
        let mut writer = self.writer.subscribe();
        let deadline = deadline.min(Instant::now() + ELECTION);
        let changed = writer.wait_for(|writer| writer.name() != old.name());
        match tokio::time::timeout_at(deadline, changed).await {
            Ok(Ok(_)) => Ok(()),
            _ => Err(Fault::NoLeader),
        }
    }
}

impl Writer {
    /// Tells one term at one place from all others.
    fn name(&self) -> (i64, u64) {
        match self {
            Self::Here { won, .. } => (won.epoch(), 0),
            Self::Nobody => (0, 0),
            Self::There { epoch, holder, .. } => (*epoch, *holder),
        }
    }
}

async fn announce(replicas: Arc<Replicas>) {
    let mut ticks = tokio::time::interval(ANNOUNCE);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if let Err(error) = replicas.database.announce(&replicas.member).await {
            tracing::debug!(%error, "not announced");
        }
    }
}

async fn measure(replicas: Arc<Replicas>) {
    let mut ticks = tokio::time::interval(MEASURE);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        match replicas.database.size().await {
            Ok(size) => replicas.shared.set_size(size),
            Err(error) => tracing::debug!(%error, "the size is unknown"),
        }
    }
}
