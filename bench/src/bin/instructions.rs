//! Does one thing so many times: `instructions put 1000`. `cargo xtask instructions` runs it under callgrind with
//! two numbers; the difference is what the thing costs, without the start.

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use datastore_proxy::domain::authz::Caller;
use datastore_proxy::domain::range::KeyRange;
use datastore_proxy::domain::request::{Compare, Op, Put, Query, Relation, Target, Txn};
use datastore_proxy::domain::state::Write;
use datastore_proxy::domain::version::Version;
use datastore_proxy::engine::{Engine, Reply, Request};
use datastore_proxy::metrics::Metrics;
use datastore_proxy::store::sqlite::Claim;
use datastore_proxy::watch::committed::Committed;
use datastore_proxy::watch::hub::{Hub, Spec};
use datastore_proxy::watch::outbox::{Out, Outbox};
use std::sync::Arc;

/// Size of an object.
const VALUE: usize = 1024;
/// Objects that are read and updated.
const OBJECTS: usize = 20;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [what, times] = arguments.as_slice() else {
        bail!("usage: instructions put|get|txn|event TIMES");
    };
    let times = times.parse().context("the number of times")?;
    if what == "event" {
        return events(times);
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("starting the runtime")?;
    runtime.block_on(requests(what, times))
}

async fn requests(what: &str, times: usize) -> Result<()> {
    let folder = tempfile::tempdir().context("making a folder")?;
    let (ctx, _trigger) = sextant_kit::Context::new();
    let opened = Claim::new(&folder.path().join("state.db"))?.open()?;
    let engine = Engine::start(opened, Metrics::new(&ctx.metrics), &ctx.drain)?;
    let mut revisions = Vec::with_capacity(OBJECTS);
    for number in 0..OBJECTS {
        revisions.push(write(&engine, Txn::of(put(&key(number)))).await?);
    }
    for (number, turn) in (0..OBJECTS).cycle().zip(0..times) {
        let revision = revisions.get_mut(number).context("an object")?;
        let object = key(number);
        match what {
            "get" => {
                let query = Query::new(KeyRange::key(object));
                let found = engine.range(&query, true).await?;
                ensure!(found.kvs.len() == 1, "an object is missing");
            }
            "put" => drop(write(&engine, Txn::of(put(&key(OBJECTS + turn)))).await?),
            "txn" => *revision = write(&engine, update(&object, *revision)).await?,
            other => bail!("{other} is not known"),
        }
    }
    Ok(())
}

/// Its revision.
async fn write(engine: &Engine, txn: Txn) -> Result<i64> {
    match engine.submit(Request::Txn(txn), Caller::local()).await? {
        Reply::Txn(answer) if answer.succeeded => Ok(answer.revision),
        other => bail!("a write was answered with {other:?}"),
    }
}

fn key(number: usize) -> Bytes {
    Bytes::from(format!("/registry/configmaps/default/object-{number:08}"))
}

fn put(key: &Bytes) -> Op {
    Op::Put(Put {
        key: key.clone(),
        value: Some(vec![7; VALUE].into()),
        lease: Some(0),
        prev_kv: false,
    })
}

/// kube-apiserver's update.
fn update(key: &Bytes, revision: i64) -> Txn {
    let range = KeyRange::key(key.clone());
    Txn {
        compares: vec![Compare {
            range: range.clone(),
            target: Target::Mod(revision),
            relation: Relation::Equal,
        }],
        success: vec![put(key)],
        failure: vec![Op::Range(Query::new(range))],
    }
}

/// Revisions that each concern one of several watches, up to the message that its stream sends.
fn events(times: usize) -> Result<()> {
    let hub = Hub::new(1);
    let outboxes: Vec<Arc<Outbox>> = (0..OBJECTS).map(|_| Arc::default()).collect();
    for (number, outbox) in outboxes.iter().enumerate() {
        let spec = Spec {
            id: 0,
            range: KeyRange::key(key(number)),
            no_put: false,
            no_delete: false,
            prev_kv: true,
            fragment: false,
        };
        hub.add(outbox, spec, 0);
        ensure!(outbox.pop().is_some(), "a watch was not made");
    }
    for (revision, (number, outbox)) in (2..).zip(outboxes.iter().enumerate().cycle().take(times)) {
        hub.publish(Committed::of(&[written(number, revision)], |_| None));
        let Some(Out::Events { committed, .. }) = outbox.pop() else {
            bail!("no event at revision {revision}");
        };
        let events = committed.changes.iter().map(|change| change.event(None));
        ensure!(events.count() == 1, "not one event");
    }
    Ok(())
}

fn written(number: usize, revision: i64) -> Write {
    let version = Version {
        row: revision,
        mod_revision: revision,
        create_revision: revision,
        version: 1,
        lease: 0,
    };
    Write {
        key: key(number),
        version,
        value: vec![7; VALUE].into(),
        previous: None,
    }
}
