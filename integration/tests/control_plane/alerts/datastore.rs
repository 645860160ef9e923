//! What a datastore suffers from its clients: the test is its kube-apiserver.

use super::Watch;
use crate::keys::etcd;
use crate::part::Part;
use crate::plane::Plane;
use anyhow::Result;
use etcd_client::{Client, WatchOptions};
use futures::{StreamExt as _, stream};
use serde_json::json;
use std::path::PathBuf;
use std::time::Duration;
use tokio::task::JoinSet;

const QUOTA: usize = 64 << 20;
const VALUE: usize = 64 << 10;
/// So many fill nine tenths of the quota.
const VALUES: usize = 930;
/// The rule asks for a hundred revisions in 20 of these.
const PAUSE: Duration = Duration::from_millis(50);

pub async fn nobody_compacts_and_nobody_reads(program: PathBuf) -> Result<bool> {
    let mut plane = Plane::new()?;
    plane.configure(Part::DatastoreProxy, "quota_bytes", json!(QUOTA))?;
    plane.start_all()?;
    plane.all_ready().await?;
    let watch = Watch::start(&program, &plane, &[Part::DatastoreProxy])?;
    let client = etcd(&plane, "kube-apiserver").await?;
    let mut reader = etcd(&plane, "kube-apiserver").await?;
    let all = WatchOptions::new().with_prefix();
    let unread = reader.watch("/registry/", Some(all)).await?;
    let mut writing = JoinSet::new();
    writing.spawn(write_on(client.clone()));

    let alerts: [(&str, &[(&str, &str)]); 3] = [
        ("DatastoreWatchLag", &[]),
        ("DatastoreFull", &[]),
        ("DatastoreCompactionLate", &[]),
    ];
    watch.fires_after(&alerts, fill(&client)).await?;
    for (alert, _) in alerts {
        watch.look(&plane, alert, "datastore-proxy")?;
    }
    drop((unread, reader));
    watch.end(&["DatastoreWatchLag"])?;
    let mut client = client;
    let newest = client.get("/registry/", None).await?;
    let newest = newest.header().map_or(0, |header| header.revision());
    client.compact(newest, None).await?;
    watch.end(&["DatastoreCompactionLate", "DatastoreFull"])?;
    Ok(true)
}

/// One key that is written again and again: all but the newest version is what a compaction forgets.
async fn fill(client: &Client) -> Result<()> {
    let puts = (0..VALUES).map(|_| {
        let mut client = client.clone();
        async move {
            client
                .put(
                    "/registry/configmaps/default/large",
                    vec![b'x'; VALUE],
                    None,
                )
                .await
        }
    });
    let outcomes: Vec<_> = stream::iter(puts).buffer_unordered(4).collect().await;
    outcomes.into_iter().try_for_each(|put| put.map(drop))?;
    Ok(())
}

/// A cluster's usual writes, until its task is aborted.
async fn write_on(mut client: Client) -> Result<()> {
    let mut pauses = tokio::time::interval(PAUSE);
    loop {
        pauses.tick().await;
        client
            .put("/registry/leases/kube-node-lease/a", "x", None)
            .await?;
    }
}
