//! Two unmodified kube-apiservers on one datastore-proxy, or on two replicas of it, with objects made, changed, listed
//! and deleted through both: what they cache is what is stored, and neither loses anything that it acknowledged.
//!
//! `TEST_KUBE_APISERVER` names the binary; without it the test is skipped. `TEST_KUBE_OBJECTS` and
//! `TEST_KUBE_SECONDS` make the run longer: kube-apiserver's own check of its caches, which ends the process at a
//! difference, begins after five to eight minutes.
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

mod apiserver;
mod compare;
mod from_kine;
mod load;

use apiserver::ApiServer;
use load::{Kind, Load};
use std::path::{Path, PathBuf};
use std::time::Duration;
use support::database;
use support::{Served, Store};

const OBJECTS: usize = 500;
const SECONDS: usize = 30;
/// The run is looked at as a whole so often.
const ROUNDS: u32 = 5;

fn number(name: &str, default: usize) -> usize {
    let text = std::env::var(name).ok();
    text.map_or(default, |text| text.parse().expect("a number"))
}

#[tokio::test(flavor = "multi_thread")]
async fn caches_hold_what_is_stored() {
    let Some(binary) = binary() else { return };
    let store = Store::sqlite();
    let served = Served::on(&store).await;
    two_servers(&binary, &[&served, &served]).await;
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn caches_hold_what_is_stored_through_two_replicas_on_mariadb() {
    through_two_replicas(database::Kind::MariaDb).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn caches_hold_what_is_stored_through_two_replicas_on_postgresql() {
    through_two_replicas(database::Kind::Postgres).await;
}

async fn through_two_replicas(kind: database::Kind) {
    let Some(binary) = binary() else { return };
    let Some(store) = Store::server(kind).await else {
        return;
    };
    let first = Served::on(&store).await;
    let second = Served::on(&store).await;
    two_servers(&binary, &[&first, &second]).await;
    first.stop().await;
    second.stop().await;
}

fn binary() -> Option<PathBuf> {
    let binary = std::env::var_os("TEST_KUBE_APISERVER").map(PathBuf::from);
    if binary.is_none() {
        println!("SKIP TEST_KUBE_APISERVER names no kube-apiserver");
    }
    binary
}

/// Each server has its own replica, or both have the same.
async fn two_servers(binary: &Path, replicas: &[&Served; 2]) {
    let objects = number("TEST_KUBE_OBJECTS", OBJECTS);
    let seconds = u64::try_from(number("TEST_KUBE_SECONDS", SECONDS)).unwrap();
    let mut servers = replicas.map(|served| {
        let etcd = format!("http://{}", served.address);
        ApiServer::start(binary, &etcd)
    });
    for server in &servers {
        server.ready().await;
    }
    let clients: Vec<_> = servers.iter().map(ApiServer::client).collect();
    let mut load = Load::new(&clients, objects, Duration::from_secs(seconds) / ROUNDS);
    let mut store = replicas[0].clients().await;
    for round in 0..ROUNDS {
        let known = load.round().await;
        for (kind, known) in Kind::ALL.iter().zip(&known) {
            for client in &clients {
                compare::cache_with_store(kind, client, &mut store).await;
            }
            compare::known_with_store(kind, known, &mut store).await;
        }
        let counts: Vec<usize> = known.iter().map(|known| known.len()).collect();
        println!("round {round}: {counts:?} objects known");
    }
    for server in &mut servers {
        let checks = compare::own_checks(&server.client()).await;
        println!("{checks:?} checks of its own caches");
        assert!(server.is_running(), "{}", server.output());
    }
}
