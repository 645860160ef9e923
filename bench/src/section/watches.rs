//! Many watches, of which each write concerns one: what a write costs the server with and without them.

use super::events::Watch;
use crate::Bench;
use crate::figures::{Better, Figures};
use crate::server::Server;
use crate::{proc, shape};
use anyhow::{Result, ensure};
use bytes::Bytes;
use std::time::Duration;

/// Connections that the watches share: about as many as an API server has.
const CONNECTIONS: usize = 300;
/// Writes that are averaged.
const WRITES: usize = 2000;
/// Before the measurement everything that the watches set off must be over.
const QUIET: Duration = Duration::from_millis(500);

pub(super) async fn run(bench: &mut Bench) -> Result<()> {
    let count = bench.plan.watches;
    for round in 0..bench.plan.rounds {
        for program in bench.programs.clone() {
            let name = format!("watches-{round}");
            let server = bench.start_one(&program, &name).await?;
            measure(&server, count, &mut bench.figures).await?;
            bench.stop(vec![server], &name).await?;
        }
    }
    Ok(())
}

async fn measure(server: &Server, count: usize, figures: &mut Figures) -> Result<()> {
    let alone = write(server, "/registry/alone/").await?;
    let connections = CONNECTIONS.min(count);
    let mut watches = Vec::with_capacity(connections);
    for connection in 0..connections {
        let mut watch = Watch::open(server, &prefix(connection)).await?;
        for number in (connection + connections..count).step_by(connections) {
            watch.add(&prefix(number)).await?;
        }
        watches.push(watch);
    }
    // These writes concern none of them; the next ones one each.
    let beside = write(server, "/registry/beside/").await?;
    wake(server, &mut watches, count).await?;
    let mut lower = |what: &str, unit, value| {
        let name = format!("{count} watches: {what}");
        figures.add(&name, unit, Better::Lower, server.kind, value);
    };
    lower("CPU of a write without them", "µs", micros(alone));
    lower("CPU of a write that concerns none", "µs", micros(beside));
    lower("memory of the server", "MiB", server.rss()?);
    Ok(())
}

fn prefix(watch: usize) -> String {
    format!("/registry/pods/namespace-{watch:05}/")
}

/// Processor time of the server per write.
async fn write(server: &Server, prefix: &str) -> Result<Duration> {
    let mut kv = server.kv().await?;
    tokio::time::sleep(QUIET).await;
    let before = proc::cpu(server.pid())?;
    for number in 0..WRITES {
        let key = Bytes::from(format!("{prefix}{number:06}"));
        kv.txn(shape::create(&key, shape::value(1))).await?;
    }
    let spent = proc::cpu(server.pid())?.saturating_sub(before);
    Ok(spent / u32::try_from(WRITES)?)
}

/// Each connection gets the event of the one write that concerns it, and nothing else.
async fn wake(server: &Server, watches: &mut [Watch], count: usize) -> Result<()> {
    let mut kv = server.kv().await?;
    for (number, watch) in watches.iter_mut().enumerate() {
        ensure!(number < count, "more connections than watches");
        let key = Bytes::from(format!("{}object", prefix(number)));
        kv.txn(shape::create(&key, shape::value(1))).await?;
        watch.next(1).await?;
    }
    Ok(())
}

fn micros(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}
