//! A file with a million revisions: how soon a start with it answers, and what its compaction does to others.

use crate::Bench;
use crate::figures::{Better, Figures};
use crate::load::{self, Client, Op, Outcome};
use crate::server::{Kind, Program, Server};
use anyhow::{Context, Result, ensure};
use sextant_proto::etcd::etcdserverpb as pb;
use std::time::{Duration, Instant};
use tokio::sync::watch;

const NAME: &str = "million";
/// Clients that write while it compacts.
const WRITERS: usize = 32;
/// Clients that make the revisions.
const FILLERS: usize = 1000;
/// Objects of each of these; the rest of the revisions are their updates.
const OBJECTS: usize = 100;
/// How often files are looked at.
const LOOK: Duration = Duration::from_millis(20);
/// Compaction, and giving the space back, must come to an end.
const WITHIN: Duration = Duration::from_secs(300);

pub(super) async fn run(bench: &mut Bench) -> Result<()> {
    let own = |program: &&Program| program.kind == Kind::DatastoreProxy;
    let program = bench.programs.iter().find(own).cloned();
    let program = program.context("datastore-proxy is not among the programs")?;
    let server = bench.start_one(&program, NAME).await?;
    lower(
        &mut bench.figures,
        "memory when empty and idle",
        "MiB",
        server.rss()?,
    );
    eprintln!("  making {} revisions", bench.plan.revisions);
    fill(&server, bench.plan.revisions).await?;
    server.stop().await?;
    for _ in 0..bench.plan.rounds {
        let server = bench.start_one(&program, NAME).await?;
        started(&server, &mut bench.figures)?;
        server.stop().await?;
    }
    let server = bench.start_one(&program, NAME).await?;
    compact(&server, bench).await?;
    bench.stop(vec![server], NAME).await
}

fn lower(figures: &mut Figures, what: &str, unit: &'static str, value: f64) {
    figures.add(what, unit, Better::Lower, Kind::DatastoreProxy, value);
}

async fn fill(server: &Server, revisions: usize) -> Result<()> {
    let clients = load::clients(server, FILLERS, "/registry/pods/").await?;
    let each = revisions.div_ceil(FILLERS);
    let (clients, _) = load::run(clients, Op::Create, Duration::MAX, OBJECTS.min(each)).await?;
    let updates = each.saturating_sub(OBJECTS);
    let (_, outcome) = load::run(clients, Op::Update, Duration::MAX, updates).await?;
    ensure!(
        outcome.errors == 0,
        "{} errors while filling",
        outcome.errors
    );
    Ok(())
}

fn started(server: &Server, figures: &mut Figures) -> Result<()> {
    let milliseconds = server.took.as_secs_f64() * 1e3;
    let size = server.file("state.db");
    lower(figures, "start with a large file: size", "MiB", size);
    lower(
        figures,
        "start with a large file: first answer",
        "ms",
        milliseconds,
    );
    lower(
        figures,
        "start with a large file: memory",
        "MiB",
        server.rss()?,
    );
    Ok(())
}

/// Compacts everything while clients write.
async fn compact(server: &Server, bench: &mut Bench) -> Result<()> {
    let clients = load::clients(server, WRITERS, "/registry/leases/").await?;
    let (clients, _) = load::run(clients, Op::Create, Duration::MAX, 10).await?;
    // The same load without a compaction, to compare with.
    let (clients, alone) = load::run(clients, Op::Update, bench.plan.length(), usize::MAX).await?;
    let before = server.file("state.db");
    let (stop, stopped) = watch::channel(false);
    let writing = tokio::spawn(write(clients, stopped));
    let mut kv = server.kv().await?;
    let began = Instant::now();
    let revision = newest(&mut kv).await?;
    let physical = pb::CompactionRequest {
        revision,
        physical: true,
    };
    let mut wal = 0_f64;
    let compacting = kv.compact(physical);
    tokio::pin!(compacting);
    loop {
        wal = wal.max(server.file("state.db-wal"));
        tokio::select! {
            done = &mut compacting => break done.map(drop)?,
            () = tokio::time::sleep(LOOK) => {}
        }
    }
    let took = began.elapsed();
    stop.send_replace(true);
    let beside = writing.await??;
    let after = shrunk(server, before, &mut wal).await?;
    let figures = &mut bench.figures;
    for (name, outcome) in [("before", &alone), ("during", &beside)] {
        let name = format!("32 clients {name} a compaction");
        outcome.add(&name, server, figures);
        let times = &outcome.times;
        eprintln!("  {} writes {name}", times.len());
        lower(figures, &format!("{name}: p99.9"), "ms", times.part(0.999));
    }
    lower(figures, "compaction: length", "s", took.as_secs_f64());
    lower(figures, "compaction: largest write-ahead log", "MiB", wal);
    lower(figures, "compaction: file before", "MiB", before);
    lower(figures, "compaction: file after", "MiB", after);
    Ok(())
}

async fn write(mut clients: Vec<Client>, stopped: watch::Receiver<bool>) -> Result<Outcome> {
    let mut tasks = tokio::task::JoinSet::new();
    let began = Instant::now();
    for mut client in clients.drain(..) {
        let stopped = stopped.clone();
        tasks.spawn(async move {
            let mut times = Vec::new();
            while !*stopped.borrow() {
                let started = Instant::now();
                client.once(Op::Update).await?;
                times.push(started.elapsed().as_secs_f64() * 1e3);
            }
            anyhow::Ok(times)
        });
    }
    let mut times = Vec::new();
    while let Some(ended) = tasks.join_next().await {
        times.extend(ended??);
    }
    Ok(Outcome::of(times, began.elapsed()))
}

async fn newest(kv: &mut pb::kv_client::KvClient<tonic::transport::Channel>) -> Result<i64> {
    let key = bytes::Bytes::from_static(b"/registry/health");
    let answer = kv.range(crate::shape::get(&key)).await?.into_inner();
    Ok(answer
        .header
        .context("an answer without a header")?
        .revision)
}

/// Waits until the file has stopped shrinking; its size in MiB then.
async fn shrunk(server: &Server, before: f64, wal: &mut f64) -> Result<f64> {
    let began = Instant::now();
    let (mut size, mut since) = (before, Instant::now());
    while since.elapsed() < Duration::from_secs(3) {
        ensure!(
            began.elapsed() < WITHIN,
            "still shrinking after {WITHIN:?}: {size} MiB"
        );
        tokio::time::sleep(LOOK).await;
        *wal = wal.max(server.file("state.db-wal"));
        let now = server.file("state.db");
        if now < size {
            (size, since) = (now, Instant::now());
        }
    }
    Ok(size)
}
