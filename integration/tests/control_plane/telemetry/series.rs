//! The number of series grows with parts and nodes, and not with what a cluster holds.

use crate::access::call;
use crate::part::Part;
use crate::plane::{Plane, SOON};
use anyhow::{Result, ensure};
use etcd_client::{Compare, CompareOp, Txn, TxnOp};
use futures::StreamExt as _;
use futures::stream;
use sextant_identity::ServiceName;
use sextant_proto::supervisor::{CreateTokenRequest, ListTokensRequest};
use sextant_testkit::eventually;
use std::collections::{BTreeMap, BTreeSet};

const OBJECTS: usize = 10_000;
const TOKENS: usize = 200;

pub async fn objects_make_no_series() -> Result<()> {
    let plane = Plane::ready().await?;
    work(&plane, "before", 1, 1).await?;
    // What the parts do now and then by themselves.
    for part in [Part::DatastoreProxy, Part::Supervisor] {
        eventually(SOON, "a lease kept alive", || async {
            let text = plane.metrics(part).await.map_err(|e| format!("{e:#}"))?;
            let kept = "method=\"/etcdserverpb.Lease/LeaseKeepAlive\"";
            if text.contains(kept) {
                Ok(())
            } else {
                Err(text)
            }
        })
        .await;
    }
    let before = series(&plane).await?;
    work(&plane, "after", OBJECTS, TOKENS).await?;
    let after = series(&plane).await?;
    for (part, series) in &after {
        let more: Vec<_> = series.difference(&before[part]).collect();
        ensure!(more.is_empty(), "{part}: {more:#?}");
        ensure!(series.len() > 10, "{part}: only {} series", series.len());
    }
    // One scrape of the whole control plane.
    let all: usize = after.values().map(BTreeSet::len).sum();
    ensure!(all < 3_000, "{all} series");
    Ok(())
}

/// ConfigMaps as kube-apiserver writes, reads and removes them, and join tokens.
async fn work(plane: &Plane, run: &str, objects: usize, tokens: usize) -> Result<()> {
    let datastore = plane.datastore_client("kube-apiserver").await?;
    let writes = (0..objects).map(|number| {
        let mut datastore = datastore.clone();
        let key = format!("/registry/configmaps/{run}-{}/{number}", number % 100);
        async move {
            let create = Txn::new()
                .when([Compare::mod_revision(&*key, CompareOp::Equal, 0)])
                .and_then([TxnOp::put(&*key, "x".repeat(200), None)]);
            datastore.txn(create).await?;
            datastore.get(&*key, None).await?;
            if number % 10 == 0 {
                datastore.delete(&*key, None).await?;
            }
            anyhow::Ok(())
        }
    });
    let outcomes: Vec<Result<()>> = stream::iter(writes).buffer_unordered(200).collect().await;
    outcomes.into_iter().collect::<Result<()>>()?;
    let mut admin = plane.admin().await?;
    for _ in 0..tokens {
        admin.create_token(CreateTokenRequest::default()).await?;
    }
    admin.list_tokens(ListTokensRequest {}).await?;
    made_up_names(plane, run, tokens).await?;
    // The agents of the network ask, too.
    for part in Part::ALL {
        plane.readyz(part).await?;
    }
    Ok(())
}

/// Somebody without a certificate, and somebody with one, call what there isn't.
async fn made_up_names(plane: &Plane, run: &str, count: usize) -> Result<()> {
    let supervisor = (plane.public_address(), ServiceName::Supervisor);
    let token_service = (plane.address(Part::TokenService), ServiceName::TokenService);
    let mesh = plane.enrol("kube-apiserver").await?;
    for number in 0..count.min(50) {
        let path = format!("/made.up.{run}/{number}");
        call(None, supervisor.0, supervisor.1, &path).await?;
        call(Some(&mesh), supervisor.0, supervisor.1, &path).await?;
        call(Some(&mesh), token_service.0, token_service.1, &path).await?;
    }
    Ok(())
}

/// Names and labels of everything that each part tells.
async fn series(plane: &Plane) -> Result<BTreeMap<&'static str, BTreeSet<String>>> {
    let mut all = BTreeMap::new();
    for part in Part::ALL {
        let text = plane.metrics(part).await?;
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        // Before the value and its exemplar; no label of ours holds a blank after its end.
        let name = |line: &str| match line.split_once("} ") {
            Some((name, _)) => name.to_owned(),
            None => line.split(' ').next().unwrap_or_default().to_owned(),
        };
        all.insert(part.name(), lines.map(name).collect());
    }
    Ok(all)
}
