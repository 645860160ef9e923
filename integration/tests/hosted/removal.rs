//! `helm uninstall`, what it leaves, and what comes back from it.

use crate::world::{SOON, World};
use anyhow::{Result, ensure};
use sextant_integration::{Api, Tenant, eventually};
use std::collections::BTreeSet;

const KINDS: &str = "all,configmaps,secrets,persistentvolumeclaims,serviceaccounts,roles,rolebindings,networkpolicies,\
                     poddisruptionbudgets,horizontalpodautoscalers,leases";

/// What the hosting cluster has of a plane, beyond what every namespace has.
fn left(world: &World, tenant: &Tenant) -> Result<BTreeSet<String>> {
    let own = world
        .host
        .kubectl(&["get", KINDS, "-n", tenant.name(), "-o", "name"])?;
    let cluster = world
        .host
        .kubectl(&["get", "clusterroles,clusterrolebindings", "-o", "name"])?;
    let of_plane = format!("/{}.", tenant.name());
    let cluster = cluster.lines().filter(|name| name.contains(&of_plane));
    let everybodys = ["configmap/kube-root-ca.crt", "serviceaccount/default"];
    Ok(own
        .lines()
        .filter(|name| !everybodys.contains(name))
        .chain(cluster)
        .map(str::to_owned)
        .collect())
}

fn data(tenant: &Tenant) -> BTreeSet<String> {
    let name = tenant.name();
    let claims = [
        format!("persistentvolumeclaim/{name}-datastore-proxy"),
        format!("persistentvolumeclaim/state-{name}-cert-authority-0"),
    ];
    let secrets = ["keyring", "seal", "state"].map(|secret| format!("secret/{name}-{secret}"));
    claims.into_iter().chain(secrets).collect()
}

pub fn keeps_data(world: &World) -> Result<()> {
    let a = &world.a;
    a.kubectl(&["create", "configmap", "remembered"])?;
    a.helm(&["uninstall", a.name(), "--wait"])?.ok()?;
    let mut wanted = data(a);
    // Of the replicas that there were for a while.
    for replica in [1, 2] {
        let name = a.name();
        let claim = format!("persistentvolumeclaim/state-{name}-cert-authority-{replica}");
        wanted.insert(claim);
    }
    eventually("nothing but data is left", SOON, || {
        let left = left(world, a)?;
        ensure!(left == wanted, "{left:?}");
        Ok(())
    })?;
    let shown = a.purge(&[])?;
    ensure!(
        shown.code == 1 && wanted.iter().all(|object| shown.stdout.contains(object)),
        "{shown:?}"
    );
    ensure!(
        left(world, a)? == wanted,
        "purge without --yes has removed something"
    );
    Ok(())
}

/// The same keyring and the same state: its node is one again without a new token.
pub fn comes_back(world: &World) -> Result<()> {
    let a = &world.a;
    a.install(&[])?.ok()?;
    world.wait_whole(a)?;
    a.get(&["configmap", "remembered"])?;
    a.wait_for_node(&crate::world::node(a))?;
    let installed = a.purge(&["--yes"])?;
    ensure!(
        installed.code != 0 && installed.stderr.contains("still installed"),
        "{installed:?}"
    );
    a.helm(&["uninstall", a.name(), "--wait"])?.ok()?;
    eventually("purged", SOON, || {
        a.purge(&["--yes"])?.ok()?;
        let left = left(world, a)?;
        ensure!(left.is_empty(), "{left:?}");
        Ok(())
    })
}

/// With keepData=false, `helm uninstall` is the end of it.
pub fn nothing(world: &World) -> Result<()> {
    let b = &world.b;
    b.install(&["keepData=false"])?.ok()?;
    b.helm(&["uninstall", b.name(), "--wait"])?.ok()?;
    eventually("nothing is left", SOON, || {
        let left = left(world, b)?;
        ensure!(left.is_empty(), "{left:?}");
        Ok(())
    })
}
