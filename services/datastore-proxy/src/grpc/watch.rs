//! The watch stream: reads what its client asks, sends what the hub queued, and reads the log for watches that
//! lag. One task does all of it, so the order on the wire is the order of its steps.

mod answer;

use super::{MAX_MESSAGE, Services};
use crate::domain::authz::{Call, Caller};
use crate::domain::fault::Fault;
use crate::domain::range::KeyRange;
use crate::watch::committed::{Change, Committed, Previous};
use crate::watch::hub::{CatchUp, Spec};
use crate::watch::outbox::{Out, Outbox};
use answer::Answers;
use bytes::Bytes;
use sextant_proto::etcd::etcdserverpb as pb;
use sextant_proto::etcd::etcdserverpb::watch_create_request::FilterType;
use sextant_proto::etcd::etcdserverpb::watch_request::RequestUnion;
use std::collections::HashMap;
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

/// The id in answers that are of no one watch.
const NO_WATCH: i64 = -1;
/// Answers on their way to one client, beside what the outbox holds.
const ANSWERS: usize = 8;
/// A part of the log that is read at once.
const PAGE_BYTES: usize = MAX_MESSAGE / 2;

pub(super) struct Watches(pub(super) Services);

#[tonic::async_trait]
impl pb::watch_server::Watch for Watches {
    type WatchStream = ReceiverStream<Result<pb::WatchResponse, Status>>;

    async fn watch(
        &self,
        request: Request<Streaming<pb::WatchRequest>>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let caller = self.0.caller(&request, Call::Keys)?;
        let (answers, stream) = mpsc::channel(ANSWERS);
        let mut task = Stream {
            answers: Answers::new(self.0.clone(), answers.clone()),
            services: self.0.clone(),
            caller,
            outbox: Arc::default(),
            watches: HashMap::new(),
            next_id: 0,
            progress_wanted: false,
        };
        let requests = request.into_inner();
        tokio::spawn(async move {
            if let Err(status) = task.run(requests).await {
                // A client that has gone needs no answer.
                let _ = answers.try_send(Err(status));
            }
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}

/// A watch of this stream.
struct Open {
    /// Its number in the hub.
    key: u64,
    progress_notify: bool,
    /// Whether it was sent something since the last report of progress.
    active: bool,
}

struct Stream {
    services: Services,
    caller: Caller,
    outbox: Arc<Outbox>,
    answers: Answers,
    watches: HashMap<i64, Open>,
    next_id: i64,
    /// The client waits for a report on all watches, and one of them lags.
    progress_wanted: bool,
}

impl Drop for Stream {
    fn drop(&mut self) {
        for open in self.watches.values() {
            self.services.engine.shared().hub.remove(open.key, false);
        }
        self.measure();
    }
}

impl Stream {
    async fn run(&mut self, mut requests: Streaming<pb::WatchRequest>) -> Result<(), Status> {
        let period = self.services.progress;
        // Streams that begin together should not report together.
        let first = Instant::now() + period.mul_f64(rand::random_range(0.5..1.0));
        let mut ticks = tokio::time::interval_at(first, period);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let drain = self.services.drain.clone();
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
                _ = ticks.tick() => self.report(),
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
                    self.services.engine.shared().hub.remove(open.key, true);
                    self.measure();
                }
                Ok(())
            }
            Some(RequestUnion::ProgressRequest(_)) => {
                self.progress_wanted = true;
                self.report_all();
                Ok(())
            }
            None => Ok(()),
        }
    }

    async fn create(&mut self, request: pb::WatchCreateRequest) -> Result<(), Status> {
        let shared = Arc::clone(self.services.engine.shared());
        let spec = match self.spec(&request) {
            Ok(spec) => spec,
            Err(reason) => return self.answers.refused(shared.hub.revision(), reason).await,
        };
        let id = spec.id;
        let key = shared.hub.add(&self.outbox, spec, request.start_revision);
        let progress_notify = request.progress_notify;
        self.watches.insert(
            id,
            Open {
                key,
                progress_notify,
                active: false,
            },
        );
        self.measure();
        Ok(())
    }

    /// What a client asks for, or why it doesn't get it.
    fn spec(&mut self, request: &pb::WatchCreateRequest) -> Result<Spec, String> {
        if request.start_revision < 0 {
            return Err(Fault::Compacted.to_string());
        }
        // Copied, so that a watch doesn't keep a whole buffer alive. Without a key: from the smallest one on.
        let key = match request.key.as_ref() {
            [] => Bytes::from_static(&[0]),
            key => Bytes::copy_from_slice(key),
        };
        let range = KeyRange::parse(key, Bytes::copy_from_slice(&request.range_end));
        if range.is_empty() {
            return Err("mvcc: watcher range is empty".to_owned());
        }
        let range = self
            .caller
            .clip(&range)
            .map_err(|fault| fault.to_string())?;
        let id = match request.watch_id {
            0 => {
                while self.watches.contains_key(&self.next_id) {
                    self.next_id += 1;
                }
                self.next_id += 1;
                self.next_id - 1
            }
            id if self.watches.contains_key(&id) => {
                return Err("mvcc: duplicate watch ID provided on the WatchStream".to_owned());
            }
            id => id,
        };
        let has = |filter: FilterType| request.filters.contains(&filter.into());
        Ok(Spec {
            id,
            range,
            no_put: has(FilterType::Noput),
            no_delete: has(FilterType::Nodelete),
            prev_kv: request.prev_kv,
            fragment: request.fragment,
        })
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

    /// One step of a watch that lags.
    async fn catch_up(&mut self, key: u64) -> Result<(), Status> {
        let shared = Arc::clone(self.services.engine.shared());
        match shared.hub.catch_up(key) {
            CatchUp::Nothing => {}
            CatchUp::Send {
                spec,
                from,
                revisions,
                through,
            } => {
                if self.cancel_if_compacted(&spec, key, from).await? {
                    return Ok(());
                }
                if !revisions.is_empty() {
                    self.send_events(&spec, &revisions, through).await?;
                }
            }
            CatchUp::Read {
                spec,
                from,
                through,
            } => {
                self.read(&spec, key, from, through).await?;
            }
        }
        if self.progress_wanted {
            self.report_all();
        }
        self.measure();
        Ok(())
    }

    async fn read(&mut self, spec: &Spec, key: u64, from: i64, through: i64) -> Result<(), Status> {
        let shared = Arc::clone(self.services.engine.shared());
        let page = shared
            .page(spec.range.clone(), from, through, PAGE_BYTES)
            .await?;
        // Looked at after reading: before, rows could still have gone missing.
        if self.cancel_if_compacted(spec, key, from).await? {
            return Ok(());
        }
        let changes: Vec<Change> = {
            let state = shared.state();
            let change = |logged: crate::store::Logged| {
                let before = state
                    .index
                    .get(&logged.key, logged.version.mod_revision - 1);
                let previous = before.map(|version| Previous {
                    version: *version,
                    value: None,
                });
                Change::of(logged.key, &logged.version, logged.value, previous)
            };
            page.writes
                .into_iter()
                .map(change)
                .filter(|change| spec.wants(change))
                .collect()
        };
        if !changes.is_empty()
            && let Some(open) = self.watches.get_mut(&spec.id)
        {
            open.active = true;
            let changes: Vec<&Change> = changes.iter().collect();
            self.answers.events(spec, &changes, page.through).await?;
        }
        shared.hub.advance(key, page.through);
        Ok(())
    }

    /// Ends a watch that would have to read what is forgotten.
    async fn cancel_if_compacted(
        &mut self,
        spec: &Spec,
        key: u64,
        from: i64,
    ) -> Result<bool, Status> {
        let shared = Arc::clone(self.services.engine.shared());
        let compacted = shared.state().compacted;
        if from >= compacted {
            return Ok(false);
        }
        self.watches.remove(&spec.id);
        shared.hub.remove(key, false);
        self.measure();
        self.answers
            .compacted(spec.id, shared.hub.revision(), compacted)
            .await?;
        Ok(true)
    }

    /// Reports progress to those watches that want it and heard nothing else.
    fn report(&mut self) {
        let hub = &self.services.engine.shared().hub;
        for (id, open) in &mut self.watches {
            if open.progress_notify && !open.active {
                hub.progress(&self.outbox, std::iter::once(open.key), *id);
            }
            open.active = false;
        }
    }

    /// Reports progress on behalf of all watches, now or once the last of them is in step.
    fn report_all(&mut self) {
        let hub = &self.services.engine.shared().hub;
        let keys = self.watches.values().map(|open| open.key);
        self.progress_wanted = !hub.progress(&self.outbox, keys, NO_WATCH);
    }

    fn measure(&self) {
        let shared = self.services.engine.shared();
        let (watches, lagging) = shared.hub.len();
        shared.metrics.watchers(watches, lagging);
    }
}
