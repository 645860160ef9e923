//! How soon a watch hears of a write.

use crate::Bench;
use crate::figures::{Better, Figures, Times};
use crate::server::Server;
use crate::shape;
use anyhow::{Context, Result, bail};
use bytes::Bytes;
use sextant_proto::etcd::etcdserverpb as pb;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

/// Between two writes: the server has nothing else to do.
const PACE: Duration = Duration::from_millis(5);
/// An event that takes longer is lost.
const WITHIN: Duration = Duration::from_secs(10);

pub(super) async fn run(bench: &mut Bench) -> Result<()> {
    let servers = bench.start("events").await?;
    for round in 0..bench.plan.rounds {
        for server in &servers {
            let length = bench.plan.length();
            measure(server, round, length, &mut bench.figures).await?;
        }
    }
    bench.stop(servers, "events").await
}

async fn measure(
    server: &Server,
    round: u32,
    length: Duration,
    figures: &mut Figures,
) -> Result<()> {
    let prefix = format!("/registry/events/round-{round}/");
    let mut watch = Watch::open(server, &prefix).await?;
    let mut kv = server.kv().await?;
    let mut pace = tokio::time::interval(PACE);
    let began = Instant::now();
    let (mut from_request, mut from_commit) = (Vec::new(), Vec::new());
    while began.elapsed() < length {
        pace.tick().await;
        let key = Bytes::from(format!("{prefix}{:06}", from_request.len()));
        let sent = Instant::now();
        let write = async {
            let answer = kv.txn(shape::create(&key, shape::value(1))).await?;
            anyhow::ensure!(answer.into_inner().succeeded, "a create was refused");
            Ok(Instant::now())
        };
        let (answered, heard) = tokio::try_join!(write, watch.next(1))?;
        from_request.push((heard - sent).as_secs_f64() * 1e3);
        // The event often overtakes the answer.
        from_commit.push(heard.saturating_duration_since(answered).as_secs_f64() * 1e3);
    }
    for (name, times) in [("request", from_request), ("answer", from_commit)] {
        let times = Times::of(times);
        for (label, part) in [("p50", 0.5), ("p99", 0.99)] {
            let name = format!("event after a create's {name}: {label}");
            figures.add(&name, "ms", Better::Lower, server.kind, times.part(part));
        }
    }
    Ok(())
}

/// A stream of watches on a connection of its own.
pub(super) struct Watch {
    requests: mpsc::Sender<pb::WatchRequest>,
    answers: Streaming<pb::WatchResponse>,
}

impl Watch {
    /// A stream with one watch, of `prefix`.
    pub(super) async fn open(server: &Server, prefix: &str) -> Result<Self> {
        let (requests, receiver) = mpsc::channel(16);
        requests.send(shape::watch(prefix)).await?;
        let mut client = server.watcher().await?;
        let answers = client.watch(ReceiverStream::new(receiver)).await?;
        let mut watch = Self {
            requests,
            answers: answers.into_inner(),
        };
        watch.created().await?;
        Ok(watch)
    }

    /// One more watch on it.
    pub(super) async fn add(&mut self, prefix: &str) -> Result<()> {
        self.requests.send(shape::watch(prefix)).await?;
        self.created().await
    }

    async fn created(&mut self) -> Result<()> {
        match self.answer().await? {
            answer if answer.created && !answer.canceled => Ok(()),
            answer => bail!("a watch was not made: {answer:?}"),
        }
    }

    /// Waits for so many events; answers when the last of them came.
    pub(super) async fn next(&mut self, events: usize) -> Result<Instant> {
        let mut heard = 0;
        while heard < events {
            heard += self.answer().await?.events.len();
        }
        Ok(Instant::now())
    }

    async fn answer(&mut self) -> Result<pb::WatchResponse> {
        let answer = tokio::time::timeout(WITHIN, self.answers.message()).await;
        let answer = answer.context("waiting for an event")??;
        answer.context("the watch stream ended")
    }
}
