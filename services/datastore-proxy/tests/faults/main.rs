//! What clients see while the process is killed, stands still, loses its connections, its disk space or its disk:
//! nothing that a single store, which does one thing after the other, could not have shown them. And what is left
//! on disk when the power fails.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    missing_docs,
    unreachable_pub,
    reason = "tests may stop at the first surprise"
)]

#[path = "../support/mod.rs"]
mod support;

mod history;
mod load;
mod power;
mod proxy;
mod replicas;
mod server;
mod watcher;

use load::Load;
use nix::sys::signal::Signal;
use proxy::Proxy;
use server::Server;

/// So often each fault happens.
const TIMES: usize = 6;

fn times() -> usize {
    let times = std::env::var("TEST_TIMES").ok();
    times.map_or(TIMES, |text| text.parse().expect("a number"))
}

fn seed() -> u64 {
    let seed = std::env::var("TEST_SEED").ok();
    seed.map_or_else(rand::random::<u32>, |text| text.parse().expect("a number"))
        .into()
}

/// Ends the load, and compares what it saw with what can be.
async fn judge(load: Load, server: &Server) {
    judge_all(load, std::slice::from_ref(server)).await;
}

async fn judge_all(load: Load, servers: &[Server]) {
    let history = load.finish().await;
    let violations = history.violations();
    let count = violations.len();
    let shown: Vec<String> = violations
        .into_iter()
        .take(10)
        .map(|violation| violation.chars().take(2000).collect())
        .collect();
    assert!(
        count == 0,
        "{count} violations, the first: {shown:#?}\n{}",
        servers.iter().map(Server::output).collect::<String>()
    );
    println!(
        "{} writes, {} reads, {} watches, {} events",
        history.writes.len(),
        history.reads.len(),
        history.watches.len(),
        history.log.len()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_fault() {
    let server = Server::start();
    let load = Load::start(&server.url(), seed());
    load.progress(500).await;
    judge(load, &server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed() {
    let mut server = Server::start();
    let load = Load::start(&server.url(), seed());
    for time in 0..times() {
        // Each time at another moment.
        load.progress(20 + time * 37 % 100).await;
        server.kill().await;
        server.restart();
    }
    load.progress(20).await;
    judge(load, &server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn standing_still() {
    let server = Server::start();
    let load = Load::start(&server.url(), seed());
    for _ in 0..times() {
        load.progress(50).await;
        server.signal(Signal::SIGSTOP);
        // Long enough for clients to give up what is done later.
        load.silence(4).await;
        server.signal(Signal::SIGCONT);
    }
    load.progress(50).await;
    judge(load, &server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cut_off() {
    let server = Server::start();
    let proxy = Proxy::start(server.port()).await;
    let load = Load::start(&proxy.url(), seed());
    for _ in 0..times() * 3 {
        load.progress(20).await;
        proxy.cut();
    }
    load.progress(20).await;
    judge(load, &server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_space() {
    let Some(mut server) = Server::start_shimmed() else {
        return;
    };
    let load = Load::start(&server.url(), seed());
    for time in 0..times() {
        load.progress(50).await;
        server.order("full", true);
        load.refusals(5).await;
        if time % 2 == 1 {
            // With the disk full it can't be started again, so there is space again meanwhile.
            server.kill().await;
            server.order("full", false);
            server.restart();
        } else {
            server.order("full", false);
        }
    }
    load.progress(50).await;
    judge(load, &server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_syncs() {
    let Some(mut server) = Server::start_shimmed() else {
        return;
    };
    let load = Load::start(&server.url(), seed());
    for time in 0..times() {
        load.progress(50).await;
        server.order("fail-sync", true);
        // Nothing is acknowledged that is not on disk.
        load.silence(5).await;
        server.order("fail-sync", false);
        if time % 2 == 1 {
            server.kill().await;
        }
        server.revive();
    }
    load.progress(50).await;
    judge(load, &server).await;
}
