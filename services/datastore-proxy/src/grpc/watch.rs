//! The watch stream: reads what its client asks, sends what the hub queued, and reads the log for watches that
//! lag. One task does all of it, so the order on the wire is the order of its steps.

mod answer;
mod create;
mod lag;
mod local;
mod reports;

use super::caller;
use crate::domain::authz::{Call, Caller};
use crate::domain::fault::Fault;
use crate::watch::committed::Committed;
use crate::watch::hub::Spec;
use crate::watch::outbox::{Out, Outbox};
use crate::watch::source::Source;
use answer::Answers;
use reports::{Refresh, Reports, refreshed};
use sextant_kit::Drain;
use sextant_proto::etcd::etcdserverpb as pb;
use sextant_proto::etcd::etcdserverpb::watch_request::RequestUnion;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

/// The id in answers that are of no one watch.
const NO_WATCH: i64 = -1;
/// How long a client may take to hear why its stream has ended.
const LAST_WORD: Duration = Duration::from_secs(60);
/// Answers on their way to one client, beside what the outbox holds.
const ANSWERS: usize = 8;

/// The watch service over any source.
pub(crate) struct Watches<S> {
    pub(crate) source: S,
    /// How often a watch that asked for it hears of progress.
    pub(crate) progress: Duration,
    /// Ends the watches.
    pub(crate) drain: Drain,
    pub(crate) trusts_loopback: bool,
}

#[tonic::async_trait]
impl<S: Source> pb::watch_server::Watch for Watches<S> {
    type WatchStream = ReceiverStream<Result<pb::WatchResponse, Status>>;

    async fn watch(
        &self,
        request: Request<Streaming<pb::WatchRequest>>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let caller = caller::of(&request, self.trusts_loopback, Call::Keys)?;
        let (answers, stream) = mpsc::channel(ANSWERS);
        let mut task = Stream {
            answers: Answers::new(
                self.source.clone(),
                caller.name().to_owned(),
                answers.clone(),
            ),
            source: self.source.clone(),
            caller,
            outbox: Arc::default(),
            watches: HashMap::new(),
            next_id: 0,
            progress_wanted: false,
            refresh: None,
            reports: Reports::default(),
        };
        let requests = request.into_inner();
        let (period, drain) = (self.progress, self.drain.clone());
        tokio::spawn(async move {
            let outcome = task.run(requests, period, drain).await;
            drop(task);
            if let Err(status) = outcome {
                // A client that has gone needs no answer.
                let _ = answers.send_timeout(Err(status), LAST_WORD).await;
            }
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}

/// A watch of this stream.
struct Open<P> {
    /// Its number in the hub.
    key: u64,
    progress_notify: bool,
    /// Whether it was sent something since the last report of progress.
    active: bool,
    /// Where it reads what it missed, and the revision that comes next there.
    past: Option<(i64, P)>,
}

struct Stream<S: Source> {
    source: S,
    caller: Caller,
    outbox: Arc<Outbox>,
    answers: Answers<S>,
    watches: HashMap<i64, Open<S::Past>>,
    next_id: i64,
    /// The client waits for a report on all watches, and one of them lags.
    progress_wanted: bool,
    /// Resolves when the hub is fresh enough for the reports that come then.
    refresh: Option<(Reports, Refresh)>,
    /// Reports that were asked for since.
    reports: Reports,
}

impl<S: Source> Drop for Stream<S> {
    fn drop(&mut self) {
        for open in self.watches.values() {
            self.source.hub().remove(open.key, false);
        }
        self.source.measure();
    }
}

impl<S: Source> Stream<S> {
    async fn run(
        &mut self,
        mut requests: Streaming<pb::WatchRequest>,
        period: Duration,
        drain: Drain,
    ) -> Result<(), Status> {
        // Streams that begin together should not report together.
        let first = Instant::now() + period.mul_f64(rand::random_range(0.5..1.0));
        let mut ticks = tokio::time::interval_at(first, period);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let source = self.source.clone();
        let mut lost = std::pin::pin!(source.lost());
        let mut reading = true;
        loop {
            while let Some(out) = self.outbox.pop() {
                self.send(out).await?;
            }
            if let Some(key) = self.outbox.next_lagging() {
                self.catch_up(key).await?;
                continue;
            }
            tokio::select! {
                () = self.outbox.changed() => {}
                request = requests.message(), if reading => match request? {
                    Some(request) => self.handle(request).await?,
                    // The client has nothing more to ask, but may go on listening.
                    None => reading = false,
                },
                _ = ticks.tick() => self.want(Reports { all: false, each: true }),
                reports = refreshed(&mut self.refresh) => self.report(reports),
                status = &mut lost => return Err(status),
                () = drain.signaled() => return Err(Fault::Stopped.into()),
                () = self.answers.closed() => return Ok(()),
            }
        }
    }

    async fn handle(&mut self, request: pb::WatchRequest) -> Result<(), Status> {
        match request.request_union {
            Some(RequestUnion::CreateRequest(request)) => self.create(request).await,
            Some(RequestUnion::CancelRequest(request)) => {
                if let Some(open) = self.watches.remove(&request.watch_id) {
                    self.source.hub().remove(open.key, true);
                    self.source.measure();
                }
                Ok(())
            }
            Some(RequestUnion::ProgressRequest(_)) => {
                self.want(Reports {
                    all: true,
                    each: false,
                });
                Ok(())
            }
            None => Ok(()),
        }
    }

    async fn send(&mut self, out: Out) -> Result<(), Status> {
        match out {
            Out::Canceled { id, revision } => self.answers.canceled(id, revision).await,
            Out::Created { id, revision } => self.answers.created(id, revision).await,
            Out::Events {
                spec,
                committed,
                picked,
            } => {
                let revision = committed.revision;
                self.send_events(&spec, &[(committed, picked)], revision)
                    .await
            }
            Out::Progress { id, revision } => self.answers.progress(id, revision).await,
        }
    }

    async fn send_events(
        &mut self,
        spec: &Spec,
        revisions: &[(Arc<Committed>, Vec<usize>)],
        through: i64,
    ) -> Result<(), Status> {
        // Canceled meanwhile: its client doesn't expect anything any more.
        let Some(open) = self.watches.get_mut(&spec.id) else {
            return Ok(());
        };
        open.active = true;
        let changes = revisions.iter().flat_map(|(committed, picked)| {
            picked.iter().filter_map(|at| committed.changes.get(*at))
        });
        self.answers
            .events(spec, &changes.collect::<Vec<_>>(), through)
            .await
    }

    /// Has progress reported once the hub is fresh.
    fn want(&mut self, reports: Reports) {
        self.reports.all |= reports.all;
        self.reports.each |= reports.each;
        if self.refresh.is_none() {
            let reports = std::mem::take(&mut self.reports);
            self.refresh = Some((reports, Box::pin(self.source.fresh())));
        }
    }

    fn report(&mut self, reports: Reports) {
        if reports.all {
            self.progress_wanted = true;
            self.report_all();
        }
        if reports.each {
            self.report_each();
        }
        if self.reports.all || self.reports.each {
            self.want(Reports::default());
        }
    }

    /// Reports progress to those watches that want it and heard nothing else.
    fn report_each(&mut self) {
        let hub = self.source.hub();
        for (id, open) in &mut self.watches {
            if open.progress_notify && !open.active {
                hub.progress(&self.outbox, std::iter::once(open.key), *id);
            }
            open.active = false;
        }
    }

    /// Reports progress on behalf of all watches, now or once the last of them is in step.
    fn report_all(&mut self) {
        let keys = self.watches.values().map(|open| open.key);
        self.progress_wanted = !self.source.hub().progress(&self.outbox, keys, NO_WATCH);
    }
}
