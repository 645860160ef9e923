//! The same with three replicas on a database server: killed, standing still, cut off from the database; and with a
//! database that crashes.

use crate::load::Load;
use crate::proxy::Proxy;
use crate::server::Server;
use crate::support::database::{self, on_each_server};
use crate::{judge_all, seed, times};
use nix::sys::signal::Signal;

on_each_server! {
    cut_off,
    killed,
    standing_still,
    the_database_crashes,
    without_a_fault,
}

const REPLICAS: usize = 3;

struct Trio {
    replicas: Vec<Server>,
    load: Load,
}

impl Trio {
    /// Three replicas that reach the database at `port`, and clients of each.
    async fn start(database: &database::Server, port: u16) -> Self {
        let endpoint = database.endpoint_at(port, "plane");
        let replicas: Vec<Server> = (0..REPLICAS)
            .map(|_| Server::replica(endpoint.clone()))
            .collect();
        let urls: Vec<String> = replicas.iter().map(Server::url).collect();
        let load = Load::start_on(&urls, seed());
        load.progress(50).await;
        Self { replicas, load }
    }

    async fn judge(self) {
        self.load.progress(50).await;
        judge_all(self.load, &self.replicas).await;
    }
}

async fn without_a_fault(database: database::Server) {
    let trio = Trio::start(&database, database.port()).await;
    trio.load.progress(300).await;
    trio.judge().await;
}

async fn killed(database: database::Server) {
    let mut trio = Trio::start(&database, database.port()).await;
    for time in 0..times() {
        let replica = &mut trio.replicas[time % REPLICAS];
        replica.kill().await;
        // Written through the others, after an election if it was the one that writes.
        trio.load.progress(20 + time * 37 % 100).await;
        replica.restart();
    }
    trio.judge().await;
}

async fn standing_still(database: database::Server) {
    let trio = Trio::start(&database, database.port()).await;
    for time in 0..times() {
        let replica = &trio.replicas[time % REPLICAS];
        replica.signal(Signal::SIGSTOP);
        // Long enough for clients to give up, and for another one to be elected.
        trio.load.silence(4).await;
        trio.load.progress(50).await;
        replica.signal(Signal::SIGCONT);
    }
    trio.judge().await;
}

async fn cut_off(database: database::Server) {
    let proxy = Proxy::start(database.port()).await;
    let trio = Trio::start(&database, proxy.port()).await;
    for _ in 0..times() * 3 {
        trio.load.progress(20).await;
        proxy.cut();
    }
    trio.judge().await;
}

async fn the_database_crashes(mut database: database::Server) {
    let trio = Trio::start(&database, database.port()).await;
    for _ in 0..times() {
        trio.load.progress(50).await;
        database.restart().await;
    }
    trio.judge().await;
}
