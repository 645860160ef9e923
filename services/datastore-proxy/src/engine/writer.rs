//! The thread that owns the log. It takes what has queued up, runs it as one transaction, and answers when that
//! is durable: while one batch is synced the next one gathers, so no request waits for a timer.

mod tidy;

use super::Shared;
use super::command::{Command, Reply, Request};
use super::compaction::{Compaction, Waiter};
use super::queue::{Next, Queue};
use crate::domain::evaluate;
use crate::domain::fault::Fault;
use crate::domain::pending::{Pending, Values};
use crate::domain::query::View;
use crate::domain::state::Changes;
use crate::domain::version::Row;
use crate::error::Error;
use crate::store::{Log, StoreError};
use bytes::Bytes;
use sextant_kit::{DrainGuard, telemetry};
use std::sync::Arc;
use std::time::Instant;

/// Requests in one transaction at most.
const BATCH: usize = 512;
/// Bytes of them, roughly: what servers take in one statement is limited, and so is memory.
const BATCH_BYTES: usize = 8 << 20;
/// Bytes that a row takes beside its key and its value, roughly.
const ROW: usize = 120;
/// Rows that a compaction removes within the transaction of others.
const ROWS_BESIDE: usize = 64;

/// Why the writer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Nobody can ask it any more.
    Closed,
    /// What is stored may not be what is in memory.
    Differs,
    /// Another replica writes now.
    Deposed,
}

/// Starts the writer; `ended` is told why it ended.
pub(crate) fn start(
    shared: Arc<Shared>,
    log: Box<dyn Log>,
    queue: Queue,
    guard: DrainGuard,
    ended: impl FnOnce(End) + Send + 'static,
) -> Result<(), Error> {
    let mut compaction = Compaction::default();
    let compacted = shared.state().compacted;
    if compacted > 0 {
        // What a stopped process left over.
        compaction.start(compacted);
    }
    let mut writer = Writer {
        shared,
        log,
        queue,
        compaction,
        shrinking: true,
        sweep: (compacted > 0).then_some(0),
        defragmentation: Vec::new(),
    };
    std::thread::Builder::new()
        .name("writer".into())
        .spawn(move || {
            let end = writer.run();
            // The file is free before the drain counts this as ended.
            drop(writer);
            drop(guard);
            ended(end);
        })
        .map_err(Error::Thread)?;
    Ok(())
}

struct Writer {
    shared: Arc<Shared>,
    log: Box<dyn Log>,
    queue: Queue,
    compaction: Compaction,
    shrinking: bool,
    /// Where the look for rows goes on that another process' compaction left over.
    sweep: Option<Row>,
    /// Who waits until all free space is given back.
    defragmentation: Vec<(Waiter, Reply)>,
}

/// A request that was run, and what to tell its client once the batch is durable.
struct Done {
    command: Command,
    outcome: Result<Reply, Fault>,
}

struct CachedValues<'a> {
    shared: &'a Shared,
    log: &'a dyn Log,
}

impl Values for CachedValues<'_> {
    fn value(&self, row: Row) -> Result<Bytes, Fault> {
        match self.shared.cache.get_one(row) {
            Some(value) => Ok(value),
            None => self.log.value(row)?.ok_or(Fault::Corrupt),
        }
    }
}

impl Writer {
    fn run(&mut self) -> End {
        self.measure();
        if let Err(error) = self.shared.load_keys() {
            tracing::error!(%error, "the keys can't be loaded: stopping");
            std::process::exit(1);
        }
        while let Some(batch) = self.next_batch() {
            let went_on = if batch.is_empty() {
                self.tidy()
            } else {
                self.commit(batch)
            };
            if let Err(end) = went_on {
                self.refuse_waiting();
                return end;
            }
            self.compaction.settle();
            self.defragment();
        }
        End::Closed
    }

    /// Tells those who still wait that nothing was done for them.
    fn refuse_waiting(&mut self) {
        self.queue.close();
        while let Next::Command(command) = self.queue.next() {
            // A client that has gone needs no answer.
            let _ = command.reply.send(Err(Fault::LeaderChanged));
        }
    }

    /// What to do next; empty when there is time to tidy up, `None` at the end.
    fn next_batch(&mut self) -> Option<Vec<Command>> {
        let mut batch = Vec::new();
        let has_work = self.compaction.is_active()
            || self.shrinking
            || self.sweep.is_some()
            || !self.defragmentation.is_empty();
        if has_work {
            match self.queue.next() {
                Next::Command(command) => batch.push(command),
                Next::Empty => return Some(batch),
                Next::End => return None,
            }
        } else {
            batch.push(self.queue.wait()?);
        }
        let mut bytes = batch.iter().map(|c| c.request.size()).sum::<usize>();
        while batch.len() < BATCH
            && bytes < BATCH_BYTES
            && let Next::Command(command) = self.queue.next()
        {
            bytes += command.request.size();
            batch.push(command);
        }
        self.shared.metrics.waiting(self.queue.len());
        Some(batch)
    }

    /// Runs a batch.
    fn commit(&mut self, mut batch: Vec<Command>) -> Result<(), End> {
        let span = tracing::info_span!("commit", requests = batch.len());
        for command in &batch {
            span.follows_from(&command.span);
        }
        let span = span.entered();
        let began = Instant::now();
        if let Err(error) = self.log.begin() {
            telemetry::fail(&span, &error);
            answer_all(batch, &error);
            return Ok(());
        }
        // Whoever gave up while the log was locked was told that it failed: so it does.
        batch.retain(|command| !command.reply.is_closed());
        let size = batch.len();
        let rows = if self.log.is_behind() {
            Vec::new()
        } else {
            self.compaction.take(ROWS_BESIDE, &self.shared)
        };
        let (done, changes, result) = self.run_batch(batch, &rows);
        let result = result.and_then(|()| self.log.commit());
        if let Err(error) = result {
            telemetry::fail(&span, &error);
            return self.fail(done, rows, &error);
        }
        self.shared.metrics.committed(size, began.elapsed());
        if !changes.is_empty() {
            self.shared.set_full(false);
        }
        self.shared.publish(&changes);
        for done in done {
            self.answer(done);
        }
        if !self.measure() {
            self.estimate(&changes);
        }
        Ok(())
    }

    /// Runs every request on top of the ones before it and adds what it changed to the log. An error: the whole
    /// transaction is lost.
    fn run_batch(
        &self,
        batch: Vec<Command>,
        rows: &[Row],
    ) -> (Vec<Done>, Vec<Changes>, Result<(), StoreError>) {
        let state = self.shared.state();
        let values = CachedValues {
            shared: &self.shared,
            log: self.log.as_ref(),
        };
        let mut pending = Pending::new(&state, &values);
        let mut done = Vec::with_capacity(batch.len());
        let mut all = Vec::with_capacity(batch.len());
        let mut result = if rows.is_empty() {
            Ok(())
        } else {
            self.log.remove(rows)
        };
        for command in batch {
            let mut outcome = run(&mut pending, &command, self.shared.clock.now());
            if let Ok((_, changes)) = &mut outcome
                && !changes.is_empty()
                && result.is_ok()
            {
                let changes = std::mem::take(changes);
                match self.log.append(&changes) {
                    Ok(()) => all.push(changes),
                    Err(error) => {
                        pending.undo(changes);
                        self.shared
                            .set_full(matches!(error, StoreError::NoSpace(_)));
                        outcome = Err(error.clone().into());
                        if !self.log.is_open() {
                            result = Err(error);
                        }
                    }
                }
            }
            done.push(Done {
                command,
                outcome: outcome.map(|(reply, _)| reply),
            });
        }
        (done, all, result)
    }

    /// Answers a batch that was not stored.
    fn fail(&mut self, done: Vec<Done>, rows: Vec<Row>, error: &StoreError) -> Result<(), End> {
        self.shared
            .set_full(matches!(error, StoreError::NoSpace(_)));
        tracing::warn!(%error, requests = done.len(), "nothing of a batch was stored");
        self.compaction.put_back(rows);
        let rolled_back = self.log.rollback();
        answer_all(done.into_iter().map(|done| done.command).collect(), error);
        match error {
            StoreError::Deposed => return Err(End::Deposed),
            StoreError::Unknown { .. } => return Err(End::Differs),
            _ => {}
        }
        // A commit may fail after the log has it. What counts is what is stored.
        let expected = self.shared.state().next_row - 1;
        match rolled_back.and_then(|()| self.log.last_row()) {
            Ok(last) if last <= expected => Ok(()),
            Ok(_) => Err(End::Differs),
            Err(error) => {
                tracing::error!(%error, "the log can't be read");
                Err(End::Differs)
            }
        }
    }

    fn answer(&mut self, done: Done) {
        let Done { command, outcome } = done;
        if let (Request::Compact { revision, physical }, Ok(reply)) = (&command.request, &outcome) {
            self.compaction.start(*revision);
            self.shrinking = true;
            if *physical {
                self.compaction.wait(command.reply, reply.clone());
                return;
            }
        }
        if let (Request::Defragment, Ok(reply)) = (&command.request, &outcome) {
            self.defragmentation.push((command.reply, reply.clone()));
            return;
        }
        // A client that has gone needs no answer.
        let _ = command.reply.send(outcome);
    }

    /// Counts what was added, until the store is measured again elsewhere: the quota goes by it.
    fn estimate(&self, changes: &[Changes]) {
        let writes = changes.iter().flat_map(|changes| &changes.writes);
        let bytes = writes.map(|write| write.key.len() + write.value.len() + ROW);
        self.shared.grow(bytes.sum::<usize>() as u64);
    }

    /// Takes note of the size; `false` where it is measured elsewhere.
    fn measure(&self) -> bool {
        match self.log.size() {
            Ok(Some(size)) => self.shared.set_size(size),
            Ok(None) => return false,
            Err(error) => tracing::debug!(%error, "the size is unknown"),
        }
        true
    }
}

fn answer_all(batch: Vec<Command>, error: &StoreError) {
    for command in batch {
        // A client that has gone needs no answer.
        let _ = command.reply.send(Err(error.clone().into()));
    }
}

fn run(pending: &mut Pending<'_>, command: &Command, now: i64) -> Result<(Reply, Changes), Fault> {
    let caller = &command.caller;
    let changes = match &command.request {
        Request::Txn(txn) => {
            let (answer, changes) = evaluate::transaction(pending, txn, caller)?;
            return Ok((Reply::Txn(answer), changes));
        }
        Request::Grant { id, ttl } => {
            let changes = evaluate::grant(pending, *id, *ttl, caller, now)?;
            let ttl = pending.lease(*id).map_or(*ttl, |lease| lease.ttl);
            return Ok((
                Reply::Lease {
                    revision: pending.revision(),
                    ttl,
                },
                changes,
            ));
        }
        Request::Renew { id } => {
            let (ttl, changes) = evaluate::renew(pending, *id, caller, now)?;
            return Ok((
                Reply::Lease {
                    revision: pending.revision(),
                    ttl,
                },
                changes,
            ));
        }
        Request::Alarm { alarm, raised } => evaluate::alarm(pending, *alarm, *raised),
        Request::Defragment => Changes::default(),
        Request::Compact { revision, .. } => evaluate::compact(pending, *revision)?,
        Request::Expire { id } => evaluate::expire(pending, *id, now)?,
        Request::Revoke { id } => evaluate::revoke(pending, *id, caller)?,
    };
    Ok((
        Reply::Done {
            revision: pending.revision(),
        },
        changes,
    ))
}
