//! `helm upgrade` and `helm rollback`: what is refused, and what nobody notices.

use crate::tenants::fetch;
use crate::world::{PARTS, SOON, World, text};
use anyhow::{Result, ensure};
use sextant_integration::{Api, Tenant, eventually, run};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const SCALED: [&str; 5] = [
    "kubeApiserver.replicas=2",
    "supervisor.replicas=2",
    "tokenService.replicas=3",
    "certAuthority.replicas=2",
    "kubeScheduler.replicas=2",
];

pub fn wrong_values(world: &World) -> Result<()> {
    for (set, sentence) in [
        ("kubeApiserver.replicas=many", "replicas"),
        ("kubeApiservers.replicas=2", "kubeApiservers"),
        ("datastoreProxy.replicas=2", "one volume"),
    ] {
        let refused = world.a.install(&[set])?;
        ensure!(
            refused.code != 0 && refused.stderr.contains(sentence),
            "--set {set}: {refused:?}"
        );
    }
    Ok(())
}

/// The hook refuses, says why where Helm shows it, and nothing has moved.
pub fn refused(world: &World) -> Result<()> {
    let a = &world.a;
    let before = uids(world, a)?;
    let refused = a.install(&[
        "cluster.serviceCidr=10.97.0.0/16",
        "cluster.dnsAddress=10.97.0.10",
    ])?;
    let said = format!("{}{}", refused.stdout, refused.stderr);
    ensure!(refused.code != 0, "the upgrade went through: {said}");
    ensure!(
        said.contains("serviceCidr can't change from 10.96.0.0/16 to 10.97.0.0/16"),
        "{said}"
    );
    ensure!(uids(world, a)? == before, "pods were replaced");
    a.kubectl(&["get", "--raw", "/readyz"]).map(drop)
}

pub fn scale_up(world: &World) -> Result<()> {
    let a = &world.a;
    a.install(&SCALED)?.ok()?;
    for (part, replicas) in [
        ("kube-apiserver", 2),
        ("supervisor", 2),
        ("token-service", 3),
        ("cert-authority", 2),
        ("kube-scheduler", 2),
    ] {
        eventually(&format!("{replicas} of {part}"), SOON, || {
            let pods = world.pods(a, part)?.len();
            ensure!(pods == replicas, "{pods}");
            Ok(())
        })?;
    }
    world.wait_whole(a)?;
    // The node has a session with one supervisor, and exec comes in at either kube-apiserver.
    for _ in 0..8 {
        eventually("exec works", SOON, || fetch(a))?;
    }
    Ok(())
}

/// Every pod of kube-apiserver and supervisor replaced, there and back, while somebody reads and writes.
pub fn rolled(world: &World) -> Result<()> {
    let a = &world.a;
    let mut set = SCALED.to_vec();
    set.extend([
        "kubeApiserver.podAnnotations.rolled=once",
        "supervisor.podAnnotations.rolled=once",
    ]);
    let steps: [(&str, &dyn Fn() -> Result<()>); 2] = [
        ("upgrade", &|| a.install(&set)?.ok().map(drop)),
        ("rollback", &|| {
            a.helm(&["rollback", a.name()])?.ok().map(drop)
        }),
    ];
    for (name, step) in steps {
        let before = uids(world, a)?;
        let (asked, failed) = under_load(a, || {
            step()?;
            for part in ["kube-apiserver", "supervisor"] {
                let deployment = format!("deployment/{}-{part}", a.name());
                world.host.kubectl(&[
                    "rollout",
                    "status",
                    &deployment,
                    "-n",
                    a.name(),
                    "--timeout=170s",
                ])?;
            }
            Ok(())
        })?;
        ensure!(uids(world, a)? != before, "{name}: no pod was replaced");
        ensure!(
            failed.is_empty() && asked > 10,
            "{name}: {} of {asked} requests failed: {failed:?}",
            failed.len()
        );
    }
    Ok(())
}

pub fn scale_down(world: &World) -> Result<()> {
    let a = &world.a;
    a.install(&[])?.ok()?;
    for part in PARTS {
        eventually(&format!("one of {part}"), SOON, || {
            let pods = world.pods(a, part)?.len();
            ensure!(pods == 1, "{pods}");
            Ok(())
        })?;
    }
    world.wait_whole(a)?;
    eventually("exec works", SOON, || fetch(a)).map(drop)
}

fn uids(world: &World, tenant: &Tenant) -> Result<Vec<String>> {
    let mut uids = Vec::new();
    for part in PARTS {
        for pod in world.pods(tenant, part)? {
            uids.push(text(&pod, "/metadata/uid")?.to_owned());
        }
    }
    uids.sort();
    Ok(uids)
}

/// Reads and writes, each on a connection of its own, until `work` is done; how many, and what the failed ones said.
fn under_load(tenant: &Tenant, work: impl FnOnce() -> Result<()>) -> Result<(usize, Vec<String>)> {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let load = scope.spawn(|| {
            let (mut asked, mut failed) = (0, Vec::new());
            while !done.load(Ordering::Relaxed) {
                asked += 1;
                let number = format!("number={asked}");
                let write = ["annotate", "namespace", "default", "--overwrite", &number];
                let read = ["get", "namespace", "default", "-o", "name"];
                let arguments: &[&str] = if asked % 2 == 0 { &write } else { &read };
                let outcome = run(
                    tenant.kubectl_command().args(arguments),
                    Duration::from_secs(60),
                );
                if let Err(error) = outcome.and_then(|outcome| outcome.ok()) {
                    failed.push(format!("{error:#}"));
                }
            }
            (asked, failed)
        });
        let worked = work();
        done.store(true, Ordering::Relaxed);
        let counted = load.join().unwrap_or_default();
        worked.map(|()| counted)
    })
}
