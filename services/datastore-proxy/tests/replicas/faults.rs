//! The replica that writes fails, or its database does, under load.

use crate::cluster::{Replica, leader_is, three_processes};
use crate::history::Load;
use crate::proxy::Proxy;
use crate::support::Clients;
use crate::support::database::{Server, on_each_server};
use nix::sys::signal::Signal;
use sextant_proto::etcd::etcdserverpb as pb;
use sextant_testkit::eventually;
use std::time::Duration;

on_each_server! {
    a_killed_writer_is_replaced,
    a_writer_that_stands_still_is_replaced_and_follows_when_it_wakes,
    a_database_that_restarts_loses_nothing,
    nobody_writes_while_there_is_no_database,
    a_database_that_stands_still_loses_nothing,
    a_commit_whose_connection_is_cut_is_answered_as_it_went,
    a_follower_that_slept_through_a_compaction_says_so_to_its_watches,
}

const WRITERS: usize = 4;

fn clients(replicas: &[Replica]) -> Vec<Clients> {
    replicas.iter().map(|r| r.clients.clone()).collect()
}

fn everywhere(server: &Server) -> [String; 3] {
    std::array::from_fn(|_| server.endpoint("plane"))
}

async fn a_killed_writer_is_replaced(server: Server) {
    let mut replicas = three_processes(everywhere(&server)).await;
    let load = Load::start(&clients(&replicas), WRITERS);
    for _ in 0..2 {
        load.more(100).await;
        let known = |leader| replicas.iter().any(|r| r.member == leader);
        let leader = leader_is(&replicas[0].clients, known).await;
        let at = replicas.iter().position(|r| r.member == leader).unwrap();
        let mut killed = replicas.remove(at);
        killed.process.signal(Signal::SIGKILL);
        killed.process.wait(Duration::from_secs(10)).await;
        let took = load.more(1).await;
        println!("the first write was acknowledged {took:?} after the kill");
    }
    load.more(100).await;
    load.check(&clients(&replicas)).await;
}

async fn a_writer_that_stands_still_is_replaced_and_follows_when_it_wakes(server: Server) {
    let replicas = three_processes(everywhere(&server)).await;
    let load = Load::start(&clients(&replicas), WRITERS);
    load.more(100).await;
    let old = &replicas[0];
    old.process.signal(Signal::SIGSTOP);
    leader_is(&replicas[1].clients, |leader| {
        leader != 0 && leader != old.member
    })
    .await;
    load.more(100).await;
    let mut others = replicas[1].clients.clone();
    let written = others.put("/load/after", "it").await;
    old.process.signal(Signal::SIGCONT);
    // Whatever it answers, it isn't stale.
    let seen = eventually(Duration::from_secs(20), "it answers again", || {
        let mut clients = old.clients.clone();
        async move { clients.kv.range(crate::support::get("/load/after")).await }
    })
    .await
    .into_inner();
    assert_eq!(
        seen.kvs.len(),
        1,
        "a stale read, {written} was acknowledged"
    );
    leader_is(&old.clients, |leader| leader != 0 && leader != old.member).await;
    load.more(100).await;
    load.check(&clients(&replicas)).await;
}

async fn a_database_that_restarts_loses_nothing(mut server: Server) {
    let replicas = three_processes(everywhere(&server)).await;
    let load = Load::start(&clients(&replicas), WRITERS);
    for _ in 0..3 {
        load.more(100).await;
        server.restart().await;
    }
    load.more(100).await;
    load.check(&clients(&replicas)).await;
}

/// Also where nothing is written, and so nothing fails.
async fn nobody_writes_while_there_is_no_database(mut server: Server) {
    let replicas = three_processes(everywhere(&server)).await;
    let known = |leader| replicas.iter().any(|r| r.member == leader);
    let writer = leader_is(&replicas[0].clients, known).await;
    let at = replicas.iter().position(|r| r.member == writer).unwrap();
    server.crash();
    leader_is(&replicas[at].clients, |leader| leader == 0).await;
    server.restart().await;
    // While the new writer gets ready there is none.
    eventually(Duration::from_secs(30), "a write", || {
        let mut clients = replicas[at].clients.clone();
        async move {
            clients
                .kv
                .put(crate::support::put("/load/after", "it"))
                .await
        }
    })
    .await;
}

async fn a_database_that_stands_still_loses_nothing(server: Server) {
    let proxy = Proxy::start(server.port()).await;
    let replicas = three_processes(std::array::from_fn(|_| {
        server.endpoint_at(proxy.port, "plane")
    }))
    .await;
    let load = Load::start(&clients(&replicas), WRITERS);
    load.more(100).await;
    proxy.hold(true);
    tokio::time::sleep(Duration::from_secs(5)).await;
    proxy.hold(false);
    load.more(100).await;
    load.check(&clients(&replicas)).await;
}

async fn a_commit_whose_connection_is_cut_is_answered_as_it_went(server: Server) {
    let proxy = Proxy::start(server.port()).await;
    let replicas = three_processes(std::array::from_fn(|_| {
        server.endpoint_at(proxy.port, "plane")
    }))
    .await;
    let load = Load::start(&clients(&replicas), WRITERS);
    for _ in 0..15 {
        load.more(40).await;
        proxy.cut();
    }
    load.more(100).await;
    load.check(&clients(&replicas)).await;
}

async fn a_follower_that_slept_through_a_compaction_says_so_to_its_watches(server: Server) {
    let replicas = three_processes(everywhere(&server)).await;
    let (mut writer, mut sleeper) = (replicas[0].clients.clone(), replicas[1].clients.clone());
    let create = |key: &str| pb::WatchCreateRequest {
        key: key.to_owned().into(),
        ..pb::WatchCreateRequest::default()
    };
    let mut watch = crate::watch(&mut sleeper, create("k")).await;
    assert!(watch.message().await.unwrap().unwrap().created);
    replicas[1].process.signal(Signal::SIGSTOP);
    // More than fits into what lies between them.
    let mut newest = 0;
    for number in 0..300 {
        let value = format!("{number}-{}", "x".repeat(50_000));
        newest = writer.put("k", &value).await;
    }
    let compaction = pb::CompactionRequest {
        revision: newest,
        physical: true,
    };
    writer.kv.compact(compaction).await.unwrap();
    replicas[1].process.signal(Signal::SIGCONT);
    let value = sleeper.get("k").await.unwrap();
    assert!(value.starts_with("299-"), "{}", &value[..10]);
    let mut seen = 1;
    loop {
        let answer = tokio::time::timeout(Duration::from_secs(20), watch.message()).await;
        let answer = answer.expect("an answer").unwrap().unwrap();
        if answer.canceled {
            assert_eq!(answer.compact_revision, newest);
            return;
        }
        for event in answer.events {
            seen += 1;
            assert_eq!(event.kv.unwrap().mod_revision, seen, "an event is missing");
        }
        assert!(seen < newest, "nothing was missed after all");
    }
}
