//! Lists, counts and streams.

use crate::Bench;
use crate::figures::{Better, Figures, Times};
use crate::server::Server;
use crate::{load, proc, shape};
use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;
use tokio_stream::StreamExt;

const PODS: &str = "/registry/pods/";
/// What clients that page ask for.
const PAGE: i64 = 500;
/// Clients that list at the same time.
const LISTERS: usize = 4;

pub(super) async fn list(bench: &mut Bench) -> Result<()> {
    let (objects, length) = (bench.plan.objects, bench.plan.length());
    let servers = filled(bench, "list", objects).await?;
    for _ in 0..bench.plan.rounds {
        for server in &servers {
            let paged = listed(server, PAGE, length).await?;
            let whole = listed(server, 0, length).await?;
            let figures = &mut bench.figures;
            let mut add =
                |name, rate| figures.add(name, "objects/s", Better::Higher, server.kind, rate);
            add("list in pages of 500, 4 clients", paged);
            add("list whole, 4 clients", whole);
        }
    }
    bench.stop(servers, "list").await
}

async fn filled(bench: &Bench, name: &str, objects: usize) -> Result<Vec<Server>> {
    let servers = bench.start(name).await?;
    for server in &servers {
        eprintln!("  filling {}", server.kind);
        load::fill(server, PODS, objects).await?;
    }
    Ok(servers)
}

/// Objects per second.
async fn listed(server: &Server, limit: i64, length: Duration) -> Result<f64> {
    let began = Instant::now();
    let mut tasks = JoinSet::new();
    for _ in 0..LISTERS {
        let mut kv = server.kv().await?;
        tasks.spawn(async move {
            let start = Bytes::from_static(PODS.as_bytes());
            let (mut from, mut revision, mut objects) = (start.clone(), 0, 0);
            while began.elapsed() < length {
                let page = shape::page(from.clone(), PODS, limit, revision);
                let page = kv.range(page).await?.into_inner();
                objects += page.kvs.len();
                match page.kvs.last() {
                    Some(last) if page.more => {
                        from = [last.key.as_ref(), b"\0"].concat().into();
                        revision = page.header.map_or(0, |header| header.revision);
                    }
                    _ => (from, revision) = (start.clone(), 0),
                }
            }
            anyhow::Ok(objects)
        });
    }
    let mut objects = 0;
    while let Some(listed) = tasks.join_next().await {
        objects += listed??;
    }
    Ok(objects as f64 / began.elapsed().as_secs_f64())
}

pub(super) async fn count(bench: &mut Bench) -> Result<()> {
    let (keys, length) = (bench.plan.keys, bench.plan.length());
    let servers = filled(bench, "count", keys).await?;
    for _ in 0..bench.plan.rounds {
        for server in &servers {
            let (times, found) = counted(server, length).await?;
            ensure!(found >= keys, "{} counts {found} of {keys}", server.kind);
            let name = format!("count {keys} keys");
            for (label, part) in [("p50", 0.5), ("p99", 0.99)] {
                let name = format!("{name}: {label}");
                let figures = &mut bench.figures;
                figures.add(&name, "ms", Better::Lower, server.kind, times.part(part));
            }
        }
    }
    bench.stop(servers, "count").await
}

async fn counted(server: &Server, length: Duration) -> Result<(Times, usize)> {
    let mut kv = server.kv().await?;
    let began = Instant::now();
    let (mut times, mut found) = (Vec::new(), 0);
    while began.elapsed() < length {
        let started = Instant::now();
        found = kv.range(shape::count(PODS)).await?.into_inner().count;
        times.push(started.elapsed().as_secs_f64() * 1e3);
    }
    Ok((Times::of(times), usize::try_from(found)?))
}

pub(super) async fn stream(bench: &mut Bench) -> Result<()> {
    let objects = bench.plan.objects;
    let servers = filled(bench, "stream", objects).await?;
    for _ in 0..bench.plan.rounds {
        for server in &servers {
            streamed(server, objects, &mut bench.figures).await?;
        }
    }
    bench.stop(servers, "stream").await
}

async fn streamed(server: &Server, objects: usize, figures: &mut Figures) -> Result<()> {
    let mut kv = server.kv().await?;
    proc::forget_peak(server.pid())?;
    let before = server.rss()?;
    let began = Instant::now();
    let start = Bytes::from_static(PODS.as_bytes());
    let request = shape::page(start, PODS, 0, 0);
    let mut pieces = kv.range_stream(request).await?.into_inner();
    let (mut first, mut found) = (None, 0);
    while let Some(piece) = pieces.next().await {
        first.get_or_insert_with(|| began.elapsed());
        found += piece?.range_response.map_or(0, |piece| piece.kvs.len());
    }
    let took = began.elapsed();
    ensure!(
        found >= objects,
        "{} streams {found} of {objects}",
        server.kind
    );
    let first = first.context("a stream of nothing")?;
    let memory = proc::peak(server.pid())? - before;
    let name = |of: &str| format!("stream {objects} objects: {of}");
    let mut lower =
        |of, unit, value| figures.add(&name(of), unit, Better::Lower, server.kind, value);
    lower("first piece", "ms", first.as_secs_f64() * 1e3);
    lower("all", "ms", took.as_secs_f64() * 1e3);
    lower("extra memory", "MiB", memory);
    Ok(())
}
