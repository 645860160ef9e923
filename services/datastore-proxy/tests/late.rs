//! A start with a large store: reads are answered before all keys are in memory.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    missing_docs,
    reason = "tests may stop at the first surprise"
)]

use datastore_proxy::domain::authz::Caller;
use datastore_proxy::domain::fault::Fault;
use datastore_proxy::domain::range::KeyRange;
use datastore_proxy::domain::request::{Op, Put, Query, Txn};
use datastore_proxy::domain::state::State;
use datastore_proxy::engine::{Engine, Reply, Request};
use datastore_proxy::metrics::Metrics;
use datastore_proxy::store::sqlite::Claim;
use datastore_proxy::store::{Keys, Opened, StoreError};
use sextant_kit::{Context, DrainTrigger};
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

/// Loads all keys only when told to.
struct Held {
    keys: Arc<dyn Keys>,
    release: Mutex<Receiver<()>>,
}

impl Keys for Held {
    fn load(&self, range: &KeyRange, state: &mut State) -> Result<(), StoreError> {
        if *range == KeyRange::all() {
            let release = self.release.lock().expect("the receiver");
            release.recv().expect("the word to load");
        }
        self.keys.load(range, state)
    }
}

struct Running {
    engine: Engine,
    trigger: DrainTrigger,
}

impl Running {
    fn start(opened: Opened) -> Self {
        let (ctx, trigger) = Context::new();
        let engine =
            Engine::start(opened, Metrics::new(&ctx.metrics), &ctx.drain).expect("it starts");
        Self { engine, trigger }
    }

    /// Stops it and waits until the file is free again.
    async fn stop(self) {
        self.trigger.start();
        drop(self.engine);
        self.trigger.finished().await;
    }
}

/// A start with a file that counts as large, and what lets its keys be loaded.
fn start_held(path: &Path) -> (Running, Sender<()>) {
    let opened = Claim::new(path)
        .expect("the file")
        .open_as(0)
        .expect("the store");
    assert!(opened.loaded.state.index.is_empty());
    let (release, receiver) = channel();
    let held = Held {
        keys: opened.keys.clone().expect("keys to load"),
        release: Mutex::new(receiver),
    };
    let opened = Opened {
        keys: Some(Arc::new(held)),
        ..opened
    };
    (Running::start(opened), release)
}

async fn put(engine: &Engine, key: &'static str) -> Result<Reply, Fault> {
    let put = Op::Put(Put {
        key: key.into(),
        value: Some("value".into()),
        lease: Some(0),
        prev_kv: false,
    });
    let request = Request::Txn(Txn::of(put));
    engine.submit(request, Caller::local()).await
}

async fn list(engine: &Engine, query: &Query) -> (Vec<String>, i64, i64) {
    let answer = engine.range(query, true).await.expect("a range");
    let key = |kv: &sextant_proto::etcd::mvccpb::KeyValue| String::from_utf8_lossy(&kv.key).into();
    let keys = answer.kvs.iter().map(key).collect();
    (keys, answer.count, answer.revision)
}

fn keys(keys: &[&str]) -> Vec<String> {
    keys.iter().map(|key| (*key).to_owned()).collect()
}

#[tokio::test]
async fn reads_dont_wait_for_the_keys_and_writes_do() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.db");
    let before = Running::start(Claim::new(&path).unwrap().open().unwrap());
    for key in ["a/1", "b/1", "b/2", "b/3"] {
        put(&before.engine, key).await.unwrap();
    }
    before.stop().await;

    let (running, release) = start_held(&path);
    let engine = &running.engine;
    let prefix = Query {
        limit: 2,
        ..Query::new(KeyRange::prefix(b"b/"))
    };
    assert_eq!(list(engine, &prefix).await, (keys(&["b/1", "b/2"]), 3, 5));
    let older = Query {
        revision: 3,
        ..prefix.clone()
    };
    assert_eq!(list(engine, &older).await, (keys(&["b/1"]), 1, 5));
    let count = Query {
        count_only: true,
        ..Query::new(KeyRange::all())
    };
    let writing = tokio::spawn({
        let engine = engine.clone();
        async move { put(&engine, "b/1").await.map(drop) }
    });
    assert!(!writing.is_finished());
    release.send(()).unwrap();
    writing.await.unwrap().unwrap();
    assert_eq!(list(engine, &count).await, (vec![], 4, 6));
    assert_eq!(list(engine, &prefix).await, (keys(&["b/1", "b/2"]), 3, 6));
    running.stop().await;
}
